"""Which images of a folder belong to which split and class.

The folders that come from other tools, and how each is read:

- ``cat/ dog/``: classes. Images deeper down belong to the class folder above them.
- ``train/{cat,dog} test/{cat,dog}``: splits of classes, under any name that other tools give them
  (``training_set``, ``val_images``, ``seg_train``, ``TrainData`` ...). A split without class
  folders has no labels and is left out. Other folders beside two splits are left out.
- ``cat/{train,test} dog/{train,test}``: the same, the other way round.
- ``fold1/{cat,dog} fold2/{cat,dog}``: splits; none of them is the train split.
- ``fold1/train/{cat,dog} fold2/train/{cat,dog}``, ``images/ masks/``: refused, with what to pass.
- One folder around everything is looked into: alone it could only be a single class.
- ``train`` beside ``bus``: a class, like any other.

Where two of these fit, the reader is asked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hf_sfda.dataset.walk import NO_READER, Files
from hf_sfda.errors import TargetError

_KINDS: Mapping[str, str] = {
    word: kind
    for kind, words in {
        "train": "train training trn trainer entrainement entrenamiento 训练 训练集",
        "validation": "val valid validation validate validating dev development 验证 验证集",
        "test": "test tests testing tst eval evaluation holdout heldout prueba pruebas 测试 测试集",
        "unlabeled": "unlabeled unlabelled unsupervised unsup unlabel unlabled",
    }.items()
    for word in words.split()
}
_KINDS_OF_TWO = {"tr": "train", "ts": "test", "te": "test", "va": "validation", "vl": "validation"}
"""Abbreviations that count only beside a word such as ``images``: ``tr`` is also Turkish."""

_NEVER_CLASSES = frozenset(
    "test tests testing val validation validate unlabeled unlabelled unsupervised unsup".split()
)
"""What hardly is a class: images in such a folder beside class folders are asked about."""

_FILLERS = frozenset(
    "set sets image images img imgs pic pics picture pictures photo photos data dataset datasets "
    "ds split splits folder folders dir directory file files full all raw final public private "
    "jpg jpeg png rgb jpegs pngs part the new crop crops cropped".split()
)
"""Words that say nothing beside the name of a split, or as the name of a folder around it."""

_STRAYS = frozenset(
    "sample samples example examples demo label labels annotation annotations mask masks doc docs "
    "figure figures fig figs readme preview previews thumbnail thumbnails thumbs misc extra extras "
    "pred predict prediction predictions submission submissions inference augmented aug "
    "metadata meta assets".split()
)
"""Names of folders that lie beside splits and are no classes."""

_IMAGES = frozenset(
    "image images img imgs pic pics picture pictures photo photos jpg jpeg jpegs png rgb input "
    "inputs hr frame frames".split()
)
_TARGETS = frozenset(
    "mask masks label labels annotation annotations gt groundtruth ground truth seg segs "
    "segmentation segmentations class object instance instances semantic panoptic trimap trimaps "
    "depth edge edges contour contours saliency target targets output outputs lr".split()
)
"""Folders of images, and folders with what a model shall make of them: a layout for segmentation or
restoration, where folders are no classes."""

_FOLD = re.compile(
    r"(k?-?fold|cv|split|part|subset|partition|batch|chunk|shard|set)[ _-]*(\d+|[a-f])"
    r"|\d+(st|nd|rd|th)?[ _-]*fold",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Z]?[a-zà-ÿ]+|[A-Z]+(?![a-zà-ÿ])|[^\W\d_a-zA-Zà-ÿ]+")
_GLUED = re.compile(r"(train|training|val|valid|validation|test|testing|eval|dev)([a-z]+)")

OUTSIDE = "image outside the class folders"


@dataclass(frozen=True)
class Layout:
    """How the images of a folder are arranged.

    Attributes:
        splits: Split -> class -> paths of its images, all sorted.
        left_out: Split -> reason -> files of the split that are not used.
        ignored: Reason -> files that belong to no split.
        notes: What a reader should know about how the folder was read.
    """

    splits: Mapping[str, Mapping[str, list[str]]]
    left_out: Mapping[str, Counter[str]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()


@dataclass
class _Folder:
    """A folder; of its sub-folders only those that hold images at some depth.

    Attributes:
        name: Its name.
        images: Paths of the images directly in it.
        others: Path -> why it is no image, of files directly in it or in sub-folders without
            images.
        folders: Name -> sub-folder.
    """

    name: str
    images: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    folders: dict[str, _Folder] = field(default_factory=dict)

    def all_images(self) -> list[str]:
        inner = [path for folder in self.folders.values() for path in folder.all_images()]
        return sorted([*self.images, *inner])

    def all_others(self) -> Iterator[str]:
        """The reasons, one a file."""
        yield from self.others.values()
        for folder in self.folders.values():
            yield from folder.all_others()


def arrange(shown: str, files: Files, split: str | None = None) -> Layout:
    """Find the splits and classes in the paths of images.

    Args:
        shown: The folder, for messages.
        files: What it holds.
        split: The split that was asked for; it settles whether folders are splits.

    Returns:
        The layout, without any split where there are no images.

    Raises:
        TargetError: There are images but no class folders, or two ways to read the folders.
    """
    root = _tree(files, shown.rstrip("/").rpartition("/")[2])
    if not root.images and not root.folders:
        return Layout({}, ignored=files.ignored)
    base, notes = _unwrapped(shown, root)
    layout = (
        _split_layout(shown, base, split)
        or _class_first_layout(shown, base)
        or _fold_layout(shown, base)
        or _class_layout(shown, base)
    )
    ignored = layout.ignored + files.ignored + _unused(base)
    return Layout(layout.splits, layout.left_out, ignored, (*notes, *layout.notes))


def has_class_folders(images: Sequence[str]) -> bool:
    """Whether images lie in class folders, by the names alone: two or more, not only leftovers.

    Example:
        >>> has_class_folders(["cat/1.png", "dog/1.png"]), has_class_folders(["docs/1.png"])
        (True, False)
    """
    try:
        layout = arrange("the data set", Files(images=list(images)))
    except TargetError:  # no class folders, or not surely
        return False
    classes = {label for split in layout.splits.values() for label in split}
    return len([label for label in classes if not _is_stray(label)]) > 1


def _tree(files: Files, name: str) -> _Folder:
    root = _Folder(name)
    for path in files.images:
        folder = root
        for name in path.split("/")[:-1]:
            folder = folder.folders.setdefault(name, _Folder(name))
        folder.images.append(path)
    for path, reason in files.others.items():
        folder = root
        for name in path.split("/")[:-1]:
            if name not in folder.folders:
                break
            folder = folder.folders[name]
        folder.others[path] = reason
    return root


def _unwrapped(shown: str, root: _Folder) -> tuple[_Folder, tuple[str, ...]]:
    """The folder that holds the splits or classes, with a word where its name could be a class."""
    folder, notes = root, []
    while len(folder.folders) == 1 and not folder.images:
        inner = next(iter(folder.folders.values()))
        plain = _says_nothing(inner.name, folder.name) or _leads_to_splits(inner)
        if _kind(inner.name) is not None and not _leads_to_splits(inner):
            break
        if not (plain or len(inner.folders) > 1):
            break
        if not plain:
            notes.append(
                f"{shown} holds images in one folder only, {inner.name}; the folders in it "
                f"({_few(sorted(inner.folders))}) were read as the classes."
            )
        folder = inner
    return folder, tuple(notes)


def _leads_to_splits(folder: _Folder) -> bool:
    while len(folder.folders) == 1 and not folder.images:
        (folder,) = folder.folders.values()
    return len(set(_kinds(folder).values())) > 1 and any(f.folders for f in folder.folders.values())


def _says_nothing(name: str, around: str) -> bool:
    words = _words(name)
    return name == around or (bool(words) and all(word in _FILLERS for word in words))


# -- names


def _words(name: str) -> list[str]:
    """The words of a name in lower case, without digits.

    Example:
        >>> _words("trainSet_2017"), _words("testimages")
        (['train', 'set'], ['test', 'images'])
    """
    words: list[str] = []
    for word in (match.lower() for match in _WORDS.findall(name)):
        glued = _GLUED.fullmatch(word)
        if glued and glued[2] in _FILLERS:
            words += [glued[1], glued[2]]
        else:
            words.append(word)
    return words


def _kind(name: str) -> str | None:
    """The split that a folder's name alone stands for.

    Example:
        >>> [_kind(name) for name in ("Training_Set", "val2017", "imagesTr", "freight train", "tr")]
        ['train', 'validation', 'train', None, None]
    """
    words = _words(name)
    kinds = {_KINDS[word] for word in words if word in _KINDS}
    rest = [word for word in words if word not in _KINDS]
    if not kinds and any(word in _FILLERS or word == "labels" for word in rest):
        kinds = {_KINDS_OF_TWO[word] for word in rest if word in _KINDS_OF_TWO}
        rest = [word for word in rest if word not in _KINDS_OF_TWO]
    return kinds.pop() if len(kinds) == 1 and all(word in _FILLERS for word in rest) else None


def _kinds(folder: _Folder) -> dict[str, str]:
    """Sub-folder -> split, for those that are called after splits: by their own name, or like
    ``seg_train`` and ``seg_test`` by what differs between them.
    """
    kinds = {name: kind for name in folder.folders if (kind := _kind(name)) is not None}
    families: dict[tuple[str, ...], dict[str, str]] = {}
    for name in folder.folders.keys() - kinds.keys():
        words = _words(name)
        named = {_KINDS[word] for word in words if word in _KINDS}
        if len(named) == 1:
            rest = tuple(word for word in words if word not in _KINDS)
            families.setdefault(rest, {})[name] = named.pop()
    for family in (*families.values(), _abbreviated(folder)):
        if len(set(family.values())) > 1:
            kinds |= family
    return {name: kinds[name] for name in folder.folders if name in kinds}


def _abbreviated(folder: _Folder) -> dict[str, str]:
    """Sub-folders called ``tr``, ``va``, ``te`` that hold the same class folders."""
    kinds = {
        name: _KINDS_OF_TWO[name.lower()]
        for name in folder.folders
        if name.lower() in _KINDS_OF_TWO
    }
    inner = [set(folder.folders[name].folders) for name in kinds]
    return kinds if inner and len(inner[0]) > 1 and _overlap(inner) else {}


# -- layouts


def _split_layout(shown: str, base: _Folder, asked: str | None) -> Layout | None:
    """Folders of splits that hold class folders, or ``None`` where there are none.

    Raises:
        TargetError: It may also be a layout of classes.
    """
    kinds = _kinds(base)
    if not kinds:
        return None
    folders = {name: _inner(base.folders[name]) for name in kinds}
    classed = [name for name, folder in folders.items() if folder.folders]
    beside = [name for name in base.folders if name not in kinds]
    loose = [name for name in folders if name not in classed]
    if not classed:
        return _without_class_folders(shown, base, kinds, beside, asked)
    several = len(set(kinds.values())) > 1
    strays = all(set(_words(name)) & _STRAYS for name in beside)
    if not (several or strays or asked in kinds.values()):
        inner = list(folders[classed[0]].folders)
        if len(inner) < 2 or len(folders[classed[0]].images) > len(inner):
            return None  # one more class, with a folder inside
        raise TargetError(
            f"{shown} can be read in two ways: {classed[0]!r} is called after a split and holds "
            f"folders ({_few(inner)}), and beside it lies {_few(beside)}. To rank the classes in "
            f"{classed[0]!r}, pass --split {kinds[classed[0]]}; if {classed[0]!r} is a class, "
            "rename it."
        )
    splits: dict[str, dict[str, list[str]]] = {}
    left_out: dict[str, Counter[str]] = {}
    for name in classed:
        classes, lost = _labeled_classes(shown, folders[name])
        merged = splits.setdefault(kinds[name], {})
        for label, paths in classes.items():
            merged[label] = sorted([*merged.get(label, []), *paths])
        left_out.setdefault(kinds[name], Counter()).update(lost + _unused(folders[name]))
    ignored: Counter[str] = Counter()
    for name in loose:
        ignored[f"image of {name}, which has no class folders"] += len(folders[name].all_images())
    for name in beside:
        images = len(base.folders[name].all_images())
        ignored[f"image of {name}, which lies beside the splits"] += images
    notes = [
        note
        for name in classed
        if kinds[name] == (asked or "train")
        for note in _class_notes(f"{shown.rstrip('/')}/{name}", folders[name])
    ]
    notes = [*_merged_note(shown, kinds, classed), *notes]
    return Layout(_sorted(splits), left_out, ignored, tuple(notes))


def _inner(folder: _Folder) -> _Folder:
    """A split's folder, or the one in it that repeats its name or says nothing."""
    while len(folder.folders) == 1 and not folder.images:
        (inner,) = folder.folders.values()
        if not (_says_nothing(inner.name, folder.name) or _kind(inner.name) is not None):
            break
        folder = inner
    return folder


def _without_class_folders(
    shown: str, base: _Folder, kinds: Mapping[str, str], beside: Sequence[str], asked: str | None
) -> Layout | None:
    """Folders called after splits, all of them flat: classes only where that is plausible.

    Raises:
        TargetError: It is not.
    """
    if not beside:
        if len(set(kinds.values())) < 2:
            return None  # said of one class
        raise TargetError(
            f"{shown} holds folders called after splits ({_few(list(kinds))}) with images directly "
            "in them: nothing says which class an image belongs to. Make one sub-folder a class in "
            "each, or add a metadata.csv with file_name and label."
        )
    doubtful = [name for name in kinds if set(_words(name)) & _NEVER_CLASSES]
    if not doubtful:
        return None
    if asked not in {"train", *kinds.values()}:
        raise TargetError(
            f"{shown} can be read in two ways: {_few(doubtful)} is called after a split and has no "
            f"class folders, and beside it lies {_few(beside)}. If these are the classes, pass "
            f"--split train; if {doubtful[0]!r} is a class, rename it."
        )
    rest = _Folder(base.name, [], base.others, {name: base.folders[name] for name in beside})
    classes, lost = _classes(rest)
    ignored = Counter(
        {
            f"image of {name}, which has no class folders": len(base.folders[name].all_images())
            for name in kinds
        }
    )
    return Layout({"train": classes}, {"train": lost}, ignored)


def _class_first_layout(shown: str, base: _Folder) -> Layout | None:
    """``cat/{train,test} dog/{train,test}``: classes that hold splits.

    Raises:
        TargetError: The splits hold the same folders everywhere, so these are the classes.
    """
    if len(base.folders) < 2:
        return None
    kinds = {label: _kinds(folder) for label, folder in base.folders.items()}
    everywhere = all(kinds[label].keys() == f.folders.keys() for label, f in base.folders.items())
    if not everywhere or len({kind for each in kinds.values() for kind in each.values()}) < 2:
        return None
    classes_inside = [
        set(_inner(folder.folders[name]).folders)
        for label, folder in base.folders.items()
        for name in kinds[label]
    ]
    if len(classes_inside[0]) > 1 and _overlap(classes_inside):
        raise TargetError(
            f"{shown} holds several data sets ({_few(sorted(base.folders))}), each with splits of "
            f"the classes {_few(sorted(classes_inside[0]))}. Pass one of them, such as "
            f"{shown.rstrip('/')}/{min(base.folders)}."
        )
    splits: dict[str, dict[str, list[str]]] = {}
    left_out: dict[str, Counter[str]] = {}
    ignored: Counter[str] = Counter()
    for label, folder in base.folders.items():
        ignored[f"image of {label} that lies beside its splits"] += len(folder.images)
        for name, kind in kinds[label].items():
            inner = folder.folders[name]
            classes = splits.setdefault(kind, {})
            classes[label] = sorted([*classes.get(label, []), *inner.all_images()])
            left_out.setdefault(kind, Counter()).update(inner.all_others())
    return Layout(_sorted(splits), left_out, ignored)


def _fold_layout(shown: str, base: _Folder) -> Layout | None:
    """``fold1/{cat,dog} fold2/{cat,dog}``: numbered parts that hold the same classes."""
    folders = {name: _inner(folder) for name, folder in base.folders.items()}
    numbered = [name for name in folders if _FOLD.fullmatch(name)]
    others = [name for name in folders if name not in numbered]
    if len(numbered) < 2 or not all(set(_words(name)) & _STRAYS for name in others):
        return None
    inner = [set(folders[name].folders) for name in numbered]
    if min(map(len, inner)) < 1 or len(set.union(*inner)) < 2 or not _overlap(inner):
        return None
    parts = {name: _labeled_classes(shown, folders[name]) for name in numbered}
    ignored = Counter(
        {
            f"image of {name}, which lies beside the splits": len(folders[name].all_images())
            for name in others
        }
    )
    return Layout(
        {name: classes for name, (classes, _) in parts.items()},
        {name: lost + _unused(folders[name]) for name, (_, lost) in parts.items()},
        ignored,
    )


def _overlap(sets: Sequence[set[str]]) -> bool:
    """Whether each shares more than half of its members with the first."""
    return all(2 * len(each & sets[0]) > len(each) for each in sets)


def _class_layout(shown: str, base: _Folder) -> Layout:
    """Class folders.

    Raises:
        TargetError: There are none.
    """
    if not base.folders:
        raise TargetError(
            f"{shown} holds {len(base.images)} images but no class folders; make one sub-folder "
            "a class, or add a metadata.csv with file_name and label."
        )
    _refuse_targets(shown, base)
    classes, lost = _classes(base)
    return Layout({"train": classes}, {"train": lost}, notes=_class_notes(shown, base))


def _class_notes(shown: str, base: _Folder) -> tuple[str, ...]:
    return (*_inner_note(shown, base), *_stray_note(shown, base))


def _refuse_targets(shown: str, folder: _Folder) -> None:
    """Refuse folders of images beside folders of masks or the like.

    Raises:
        TargetError: All folders are called so.
    """
    words = {name: set(_words(name)) for name in folder.folders}
    targets = [name for name in words if words[name] & _TARGETS]
    images = [name for name in words if words[name] & _IMAGES and name not in targets]
    plain = all(each <= _IMAGES | _TARGETS | _FILLERS | _STRAYS for each in words.values())
    if targets and images and plain:
        raise TargetError(
            f"{shown} holds images ({_few(images)}) and what belongs to them ({_few(targets)}), as "
            "data for segmentation or restoration does: these folders are no classes. Make one "
            "sub-folder a class, or add a metadata.csv with file_name and label."
        )


def _stray_note(shown: str, base: _Folder) -> tuple[str, ...]:
    """A word where a folder was read as a class that by its name hardly is one."""
    strays = [name for name in sorted(base.folders) if _is_stray(name)]
    if not strays:
        return ()
    return (
        f"The folders {_few(strays)} of {shown} were read as classes. If they are none, move them "
        "out of it.",
    )


def _is_stray(name: str) -> bool:
    words = _words(name)
    return bool(words) and all(word in _STRAYS or word in ("image", "images") for word in words)


def _inner_note(shown: str, base: _Folder) -> tuple[str, ...]:
    """A word where the folders inside the class folders could be the classes."""
    inner = [set(folder.folders) for folder in base.folders.values()]
    if len(inner) < 2 or max(map(len, inner)) < 2:
        return ()
    if any(folder.images for folder in base.folders.values()):
        return ()
    if any(each != inner[0] for each in inner):
        first = next(name for name in sorted(base.folders) if len(base.folders[name].folders) > 1)
        return (
            f"Class folders of {shown} hold folders ({first}: "
            f"{_few(sorted(base.folders[first].folders))}), which were read as parts of the class. "
            "If they are the classes, move them one level up.",
        )
    return (
        f"Every class folder of {shown} holds the same folders ({_few(sorted(inner[0]))}), which "
        f"were read as parts of the classes {_few(sorted(base.folders))}. If they are the classes, "
        f"pass one of these folders, such as {shown.rstrip('/')}/{min(base.folders)}.",
    )


def _classes(folder: _Folder) -> tuple[dict[str, list[str]], Counter[str]]:
    """Class -> images, and what of the folder is not used."""
    classes = {name: folder.folders[name].all_images() for name in sorted(folder.folders)}
    lost = Counter(reason for inner in folder.folders.values() for reason in inner.all_others())
    return classes, lost


def _labeled_classes(shown: str, folder: _Folder) -> tuple[dict[str, list[str]], Counter[str]]:
    """:func:`_classes` of a split; a folder called ``unlabeled`` in it is no class.

    Raises:
        TargetError: The folders in it are no classes.
    """
    _refuse_targets(shown, folder)
    classes, lost = _classes(folder)
    for name in [name for name in classes if _kind(name) == "unlabeled"]:
        if len(classes) > 2:
            lost[f"image of {name}, which is no class by its name"] += len(classes.pop(name))
    return classes, lost


def _unused(folder: _Folder) -> Counter[str]:
    """Images beside the class folders, and class folders of which no file can be read."""
    unreadable = [reason for reason in folder.others.values() if reason.startswith(NO_READER)]
    return +Counter({OUTSIDE: len(folder.images)}) + Counter(unreadable)


def _sorted(splits: Mapping[str, Mapping[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    return {name: dict(sorted(classes.items())) for name, classes in splits.items()}


def _merged_note(shown: str, kinds: Mapping[str, str], classed: Sequence[str]) -> tuple[str, ...]:
    folders: dict[str, list[str]] = {}
    for name in classed:
        folders.setdefault(kinds[name], []).append(name)
    return tuple(
        f"The folders {_few(names)} of {shown} were read together as the split {kind}."
        for kind, names in folders.items()
        if len(names) > 1
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
