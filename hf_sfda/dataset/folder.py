"""Assign the images or sounds of a folder to splits and classes.

These layouts are recognised:

- ``cat/ dog/``: class folders. Images in deeper folders belong to the class folder above them.
- ``train/{cat,dog} test/{cat,dog}``: splits that hold class folders. The usual names of splits are
  recognised (``training_set``, ``val_images``, ``seg_train``, ``TrainData`` ...). A split without
  class folders has no labels and is left out. Other folders beside two splits are left out.
- ``cat/{train,test} dog/{train,test}``: class folders that hold splits.
- ``fold1/{cat,dog} fold2/{cat,dog}``: splits; none of them is the train split.
- ``fold1/train/{cat,dog} fold2/train/{cat,dog}`` and ``images/ masks/``: refused. The message says
  what to pass instead.
- A single folder that contains everything else is skipped: it cannot be the only class.
- ``train`` beside ``bus``: a class like any other.

If two layouts are possible, an error asks the user to choose.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hf_sfda.dataset.walk import NO_READER, NO_SOUND_READER, Files
from hf_sfda.errors import TargetError
from hf_sfda.foreign import listing
from hf_sfda.types import Modality

_SPLIT_WORDS: Mapping[str, str] = {
    word: split_name
    for split_name, words in {
        "train": "train training trn trainer entrainement entrenamiento 训练 训练集",
        "validation": "val valid validation validate validating dev development 验证 验证集",
        "test": "test tests testing tst eval evaluation holdout heldout prueba pruebas 测试 测试集",
        "unlabeled": "unlabeled unlabelled unsupervised unsup unlabel unlabled",
    }.items()
    for word in words.split()
}
_SPLIT_ABBREVIATIONS = {
    "tr": "train",
    "ts": "test",
    "te": "test",
    "va": "validation",
    "vl": "validation",
}
"""Abbreviations that are read as splits only beside a word such as ``images``. For example, ``tr``
is also the code of Turkish."""

_NEVER_CLASSES = frozenset(
    "test tests testing val validation validate unlabeled unlabelled unsupervised unsup".split()
)
"""Words that are rarely the name of a class. If a folder with such a name holds images and is
beside class folders, an error asks the user to choose."""

_FILLERS = frozenset(
    "set sets image images img imgs pic pics picture pictures photo photos data dataset datasets "
    "ds split splits folder folders dir directory file files full all raw final public private "
    "jpg jpeg png rgb jpegs pngs part the new crop crops cropped "
    "audio audios sound sounds wav wavs mp3 flac ogg clip clips recording recordings".split()
)
"""Words without meaning for the layout, beside the name of a split or as the name of a parent
folder."""

_STRAYS = frozenset(
    "sample samples example examples demo label labels annotation annotations mask masks doc docs "
    "figure figures fig figs readme preview previews thumbnail thumbnails thumbs misc extra extras "
    "pred predict prediction predictions submission submissions inference augmented aug "
    "metadata meta assets".split()
)
"""Words in the names of folders that are often beside splits and are not classes."""

_IMAGES = frozenset(
    "image images img imgs pic pics picture pictures photo photos jpg jpeg jpegs png rgb input "
    "inputs hr frame frames".split()
)
_TARGETS = frozenset(
    "mask masks label labels annotation annotations gt groundtruth ground truth seg segs "
    "segmentation segmentations class object instance instances semantic panoptic trimap trimaps "
    "depth edge edges contour contours saliency target targets output outputs lr".split()
)
"""Words in the names of folders with inputs and with expected outputs, as datasets for segmentation
and image restoration have them. Such folders are not classes."""

_FOLD = re.compile(
    r"(k?-?fold|cv|split|part|subset|partition|batch|chunk|shard|set)[ _-]*(\d+|[a-f])"
    r"|\d+(st|nd|rd|th)?[ _-]*fold",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Z]?[a-zà-ÿ]+|[A-Z]+(?![a-zà-ÿ])|[^\W\d_a-zA-Zà-ÿ]+")
_GLUED = re.compile(r"(train|training|val|valid|validation|test|testing|eval|dev)([a-z]+)")

NOUNS = {"image": "image", "audio": "sound file"}


def outside(noun: str) -> str:
    """The reason of an image or a sound beside the class folders."""
    return f"{noun} outside the class folders"


@dataclass(frozen=True)
class Layout:
    """How the images of a folder are arranged.

    Attributes:
        splits: Split -> class -> paths of its images, all sorted.
        left_out: Split -> reason -> number of files of the split that are not used.
        ignored: Reason -> number of files that belong to no split.
        notes: Warnings about how the folder was read.
    """

    splits: Mapping[str, Mapping[str, list[str]]]
    left_out: Mapping[str, Counter[str]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()


@dataclass
class _Folder:
    """A folder with its images and with the sub-folders that hold images at any depth.

    A folder of sounds has sounds instead of images.

    Attributes:
        name: Name of the folder.
        noun: What the folder holds, for messages.
        inputs: Paths of the images directly in the folder.
        others: Path -> reason why the file is no image. For files directly in the folder or in
            sub-folders without images.
        folders: Name -> sub-folder.
    """

    name: str
    noun: str = "image"
    inputs: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    folders: dict[str, _Folder] = field(default_factory=dict)

    def only_folder(self) -> _Folder | None:
        """The sub-folder of a folder that holds nothing else; ``None`` if it holds more."""
        alone = len(self.folders) == 1 and not self.inputs
        return next(iter(self.folders.values())) if alone else None

    def all_inputs(self) -> list[str]:
        inner = [path for folder in self.folders.values() for path in folder.all_inputs()]
        return sorted([*self.inputs, *inner])

    def all_others(self) -> Iterator[str]:
        """The reason of each file that is no image, in all sub-folders."""
        yield from self.others.values()
        for folder in self.folders.values():
            yield from folder.all_others()


def arrange(
    dataset: str, files: Files, split: str | None = None, modality: Modality = "image"
) -> Layout:
    """Find the splits and classes in the paths of images or sounds.

    Args:
        dataset: Name of the folder, for messages.
        files: The files of the folder.
        split: The split that the user asked for. It decides whether ambiguous folders are splits.
        modality: ``image`` or ``audio``: which files are arranged.

    Returns:
        The layout. It has no split if there are no images.

    Raises:
        TargetError: There are images but no class folders, or the layout is ambiguous.
    """
    root = _tree(files, dataset.rstrip("/").rpartition("/")[2], modality)
    if not root.inputs and not root.folders:
        return Layout({}, ignored=files.ignored)
    base, notes = _unwrapped(dataset, root)
    layout = (
        _split_layout(dataset, base, split)
        or _class_first_layout(dataset, base)
        or _fold_layout(dataset, base)
        or _class_layout(dataset, base)
    )
    ignored = layout.ignored + files.ignored + _unused(base)
    return Layout(layout.splits, layout.left_out, ignored, (*notes, *layout.notes))


def has_class_folders(paths: Sequence[str]) -> bool:
    """Whether the paths show two or more class folders, not counting names such as ``docs``.

    Example:
        >>> has_class_folders(["cat/1.png", "dog/1.png"]), has_class_folders(["docs/1.png"])
        (True, False)
    """
    try:
        layout = arrange("the dataset", Files(images=list(paths)))
    except TargetError:  # no class folders, or an ambiguous layout
        return False
    classes = {label for split in layout.splits.values() for label in split}
    return len([label for label in classes if not _is_stray(label)]) > 1


def _tree(files: Files, name: str, modality: Modality) -> _Folder:
    noun = NOUNS[modality]
    root = _Folder(name, noun)
    for path in files.inputs(modality):
        folder = root
        for name in path.split("/")[:-1]:
            folder = folder.folders.setdefault(name, _Folder(name, noun))
        folder.inputs.append(path)
    for path, reason in files.rest(modality).items():
        folder = root
        for name in path.split("/")[:-1]:
            if name not in folder.folders:
                break
            folder = folder.folders[name]
        folder.others[path] = reason
    return root


def _unwrapped(dataset: str, root: _Folder) -> tuple[_Folder, tuple[str, ...]]:
    """Find the folder that holds the splits or classes.

    Returns:
        The folder, and a warning if the name of a skipped folder could be a class.
    """
    folder, notes = root, []
    while (inner := folder.only_folder()) is not None:
        plain = _is_filler(inner.name, folder.name) or _leads_to_splits(inner)
        if _split_name(inner.name) is not None and not _leads_to_splits(inner):
            break
        if not (plain or len(inner.folders) > 1):
            break
        if not plain:
            notes.append(
                f"{dataset} holds {root.noun}s in one folder only, {inner.name}; the folders in it "
                f"({_names(sorted(inner.folders))}) were read as the classes."
            )
        folder = inner
    return folder, tuple(notes)


def _leads_to_splits(folder: _Folder) -> bool:
    while (inner := folder.only_folder()) is not None:
        folder = inner
    return len(set(_split_names(folder).values())) > 1 and any(
        f.folders for f in folder.folders.values()
    )


def _is_filler(name: str, around: str) -> bool:
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


def _split_name(name: str) -> str | None:
    """The split that the name of a folder stands for, without a look at other folders.

    Example:
        >>> names = ("Training_Set", "val2017", "imagesTr", "freight train", "tr")
        >>> [_split_name(name) for name in names]
        ['train', 'validation', 'train', None, None]
    """
    words = _words(name)
    known: Mapping[str, str] = _SPLIT_WORDS
    if known.keys().isdisjoint(words) and any(w in _FILLERS or w == "labels" for w in words):
        known = _SPLIT_ABBREVIATIONS
    split_names = {known[word] for word in words if word in known}
    is_split = len(split_names) == 1 and all(word in known or word in _FILLERS for word in words)
    return split_names.pop() if is_split else None


def _split_names(folder: _Folder) -> dict[str, str]:
    """Sub-folder -> split, for the sub-folders that are named after splits.

    The name alone can show the split. If it does not, names that differ only in the split are
    compared, such as ``seg_train`` and ``seg_test``.
    """
    split_names = {
        name: split_name for name in folder.folders if (split_name := _split_name(name)) is not None
    }
    families: dict[tuple[str, ...], dict[str, str]] = {}
    for name in folder.folders.keys() - split_names.keys():
        words = _words(name)
        named = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
        if len(named) == 1:
            rest = tuple(word for word in words if word not in _SPLIT_WORDS)
            families.setdefault(rest, {})[name] = named.pop()
    for family in (*families.values(), _abbreviated(folder)):
        if len(set(family.values())) > 1:
            split_names |= family
    return {name: split_names[name] for name in folder.folders if name in split_names}


def _abbreviated(folder: _Folder) -> dict[str, str]:
    """Sub-folders called ``tr``, ``va``, ``te`` that hold the same class folders."""
    split_names = {
        name: _SPLIT_ABBREVIATIONS[name.lower()]
        for name in folder.folders
        if name.lower() in _SPLIT_ABBREVIATIONS
    }
    inner = [set(folder.folders[name].folders) for name in split_names]
    return split_names if inner and len(inner[0]) > 1 and _overlap(inner) else {}


# -- layouts


def _split_layout(dataset: str, base: _Folder, requested: str | None) -> Layout | None:
    """Splits that hold class folders; ``None`` if there are none.

    Raises:
        TargetError: The folders can also be read as classes.
    """
    split_names = _split_names(base)
    if not split_names:
        return None
    folders = {name: _inner(base.folders[name]) for name in split_names}
    classed = [name for name, folder in folders.items() if folder.folders]
    beside = [name for name in base.folders if name not in split_names]
    loose = [name for name in folders if name not in classed]
    if not classed:
        return _without_class_folders(dataset, base, split_names, beside, requested)
    several = len(set(split_names.values())) > 1
    strays = all(set(_words(name)) & _STRAYS for name in beside)
    if not (several or strays or requested in split_names.values()):
        inner = list(folders[classed[0]].folders)
        if len(inner) < 2 or len(folders[classed[0]].inputs) > len(inner):
            return None  # a class that happens to hold a folder
        raise TargetError(
            f"{dataset} can be read in two ways: {classed[0]!r} has the name of a split and holds "
            f"folders ({_names(inner)}), and beside it is {_names(beside)}. To rank the "
            f"classes in {classed[0]!r}, pass --split {split_names[classed[0]]}; if {classed[0]!r} "
            "is a class, rename it."
        )
    ignored = _counted(base, loose, "which has no class folders")
    ignored += _counted(base, beside, "which lies beside the splits")
    notes = [
        note
        for name in classed
        if split_names[name] == (requested or "train")
        for note in _class_notes(f"{dataset.rstrip('/')}/{name}", folders[name])
    ]
    parts = [(split_names[name], *_labeled_classes(dataset, folders[name])) for name in classed]
    return _layout(parts, ignored, (*_merged_note(dataset, split_names, classed), *notes))


def _layout(
    parts: Iterable[tuple[str, Mapping[str, list[str]], Counter[str]]],
    ignored: Counter[str],
    notes: tuple[str, ...] = (),
) -> Layout:
    """Merge parts of splits: (split, class -> images, reason -> number of files not used)."""
    splits: dict[str, dict[str, list[str]]] = {}
    left_out: dict[str, Counter[str]] = {}
    for split_name, classes, unused in parts:
        merged = splits.setdefault(split_name, {})
        for label, paths in classes.items():
            merged[label] = sorted([*merged.get(label, []), *paths])
        left_out.setdefault(split_name, Counter()).update(unused)
    ordered = {name: dict(sorted(classes.items())) for name, classes in splits.items()}
    return Layout(ordered, left_out, ignored, notes)


def _counted(base: _Folder, names: Iterable[str], why: str) -> Counter[str]:
    """The images of sub-folders that belong to no split, by reason."""
    return Counter(
        {f"{base.noun} of {name}, {why}": len(base.folders[name].all_inputs()) for name in names}
    )


def _inner(folder: _Folder) -> _Folder:
    """Skip folders inside a split that repeat its name or have no meaning for the layout."""
    while (inner := folder.only_folder()) is not None:
        if not (_is_filler(inner.name, folder.name) or _split_name(inner.name) is not None):
            break
        folder = inner
    return folder


def _without_class_folders(
    dataset: str,
    base: _Folder,
    split_names: Mapping[str, str],
    beside: Sequence[str],
    requested: str | None,
) -> Layout | None:
    """Folders named after splits that hold images directly.

    Returns:
        ``None`` if they are read as classes; a layout without them if the user named a split.

    Raises:
        TargetError: It is not clear whether they are splits or classes.
    """
    if not beside:
        if len(set(split_names.values())) < 2:
            return None  # a single class can have such a name
        raise TargetError(
            f"{dataset} holds folders named after splits ({_names(list(split_names))}) with "
            f"{base.noun}s directly in them, so the class of each {base.noun} is not known. Make "
            "one sub-folder per class in each, or add a metadata.csv with file_name and label."
        )
    doubtful = [name for name in split_names if set(_words(name)) & _NEVER_CLASSES]
    if not doubtful:
        return None
    if requested not in {"train", *split_names.values()}:
        raise TargetError(
            f"{dataset} can be read in two ways: {_names(doubtful)} has the name of a split and no "
            f"class folders, and beside it is {_names(beside)}. If these are the classes, pass "
            f"--split train; if {doubtful[0]!r} is a class, rename it."
        )
    rest = _Folder(
        base.name, base.noun, [], base.others, {name: base.folders[name] for name in beside}
    )
    classes, unused = _classes(rest)
    ignored = _counted(base, split_names, "which has no class folders")
    return Layout({"train": classes}, {"train": unused}, ignored)


def _class_first_layout(dataset: str, base: _Folder) -> Layout | None:
    """``cat/{train,test} dog/{train,test}``: classes that hold splits.

    Raises:
        TargetError: All splits hold the same folders, so the folder holds several datasets.
    """
    if len(base.folders) < 2:
        return None
    split_names = {label: _split_names(folder) for label, folder in base.folders.items()}
    if any(split_names[label].keys() != f.folders.keys() for label, f in base.folders.items()):
        return None
    if len({split_name for each in split_names.values() for split_name in each.values()}) < 2:
        return None
    classes_inside = [
        set(_inner(folder.folders[name]).folders)
        for label, folder in base.folders.items()
        for name in split_names[label]
    ]
    if len(classes_inside[0]) > 1 and _overlap(classes_inside):
        raise TargetError(
            f"{dataset} holds several datasets ({_names(sorted(base.folders))}), each with splits "
            f"of the classes {_names(sorted(classes_inside[0]))}. Pass one of them, such as "
            f"{dataset.rstrip('/')}/{min(base.folders)}."
        )
    inner = [
        (split_name, label, folder.folders[name])
        for label, folder in base.folders.items()
        for name, split_name in split_names[label].items()
    ]
    parts = [(s, {label: f.all_inputs()}, Counter(f.all_others())) for s, label, f in inner]
    ignored = {
        f"{base.noun} of {label} that lies beside its splits": len(folder.inputs)
        for label, folder in base.folders.items()
    }
    return _layout(parts, Counter(ignored))


def _fold_layout(dataset: str, base: _Folder) -> Layout | None:
    """``fold1/{cat,dog} fold2/{cat,dog}``: numbered folders that hold the same classes."""
    folders = {name: _inner(folder) for name, folder in base.folders.items()}
    numbered = [name for name in folders if _FOLD.fullmatch(name)]
    others = [name for name in folders if name not in numbered]
    if len(numbered) < 2 or not all(set(_words(name)) & _STRAYS for name in others):
        return None
    inner = [set(folders[name].folders) for name in numbered]
    if min(map(len, inner)) < 1 or len(set.union(*inner)) < 2 or not _overlap(inner):
        return None
    parts = [(name, *_labeled_classes(dataset, folders[name])) for name in numbered]
    return _layout(parts, _counted(base, others, "which lies beside the splits"))


def _overlap(sets: Sequence[set[str]]) -> bool:
    """Whether more than half of the members of each set are also in the first set."""
    return all(2 * len(each & sets[0]) > len(each) for each in sets)


def _class_layout(dataset: str, base: _Folder) -> Layout:
    """Class folders.

    Raises:
        TargetError: There are none.
    """
    if not base.folders:
        raise TargetError(
            f"{dataset} holds {len(base.inputs)} {base.noun}s but no class folders. Make one "
            "sub-folder per class, or add a metadata.csv with file_name and label."
        )
    _refuse_targets(dataset, base)
    classes, unused = _classes(base)
    return Layout({"train": classes}, {"train": unused}, notes=_class_notes(dataset, base))


def _class_notes(dataset: str, base: _Folder) -> tuple[str, ...]:
    return (*_inner_note(dataset, base), *_stray_note(dataset, base))


def _refuse_targets(dataset: str, folder: _Folder) -> None:
    """Refuse folders of images beside folders of masks or other expected outputs.

    Raises:
        TargetError: All folders have such names.
    """
    words = {name: set(_words(name)) for name in folder.folders}
    targets = [name for name in words if words[name] & _TARGETS]
    images = [name for name in words if words[name] & _IMAGES and name not in targets]
    plain = all(each <= _IMAGES | _TARGETS | _FILLERS | _STRAYS for each in words.values())
    if targets and images and plain:
        raise TargetError(
            f"{dataset} holds {folder.noun}s ({_names(images)}) and expected outputs "
            f"({_names(targets)}), as a dataset for segmentation or restoration does. These "
            "folders are not classes. Make one sub-folder per class, or add a metadata.csv with "
            "file_name and label."
        )


def _stray_note(dataset: str, base: _Folder) -> tuple[str, ...]:
    """Warn if a folder was read as a class although its name suggests that it is none."""
    strays = [name for name in sorted(base.folders) if _is_stray(name)]
    if not strays:
        return ()
    return (
        f"The folders {_names(strays)} of {dataset} were read as classes. If they are not "
        "classes, move them out of it.",
    )


def _is_stray(name: str) -> bool:
    words = _words(name)
    return bool(words) and all(word in _STRAYS or word in ("image", "images") for word in words)


def _inner_note(dataset: str, base: _Folder) -> tuple[str, ...]:
    """Warn if the folders inside the class folders could be the classes."""
    inner = [set(folder.folders) for folder in base.folders.values()]
    if len(inner) < 2 or max(map(len, inner)) < 2:
        return ()
    if any(folder.inputs for folder in base.folders.values()):
        return ()
    if any(each != inner[0] for each in inner):
        first = next(name for name in sorted(base.folders) if len(base.folders[name].folders) > 1)
        return (
            f"Class folders of {dataset} hold folders ({first}: "
            f"{_names(sorted(base.folders[first].folders))}), which were read as parts of the "
            "class. If they are the classes, move them one level up.",
        )
    return (
        f"Every class folder of {dataset} holds the same folders ({_names(sorted(inner[0]))}), "
        f"which were read as parts of the classes {_names(sorted(base.folders))}. If they are the "
        f"classes, pass one of these folders, such as {dataset.rstrip('/')}/{min(base.folders)}.",
    )


def _classes(folder: _Folder) -> tuple[dict[str, list[str]], Counter[str]]:
    """(class -> images, reason -> number of files that are not used)."""
    classes = {name: folder.folders[name].all_inputs() for name in sorted(folder.folders)}
    unused = Counter(reason for inner in folder.folders.values() for reason in inner.all_others())
    return classes, unused


def _labeled_classes(dataset: str, folder: _Folder) -> tuple[dict[str, list[str]], Counter[str]]:
    """Like :func:`_classes` for a split, with what lies beside the class folders.

    A folder called ``unlabeled`` is not read as a class.

    Raises:
        TargetError: The folders in the split are not classes.
    """
    _refuse_targets(dataset, folder)
    classes, unused = _classes(folder)
    for name in [name for name in classes if _split_name(name) == "unlabeled"]:
        if len(classes) > 2:
            reason = f"{folder.noun} of {name}, which is no class by its name"
            unused[reason] += len(classes.pop(name))
    return classes, unused + _unused(folder)


def _unused(folder: _Folder) -> Counter[str]:
    """Count images beside the class folders, and files of folders without a readable image."""
    unreadable = [
        reason
        for reason in folder.others.values()
        if reason.startswith((NO_READER, NO_SOUND_READER))
    ]
    return +Counter({outside(folder.noun): len(folder.inputs)}) + Counter(unreadable)


def _merged_note(
    dataset: str, split_names: Mapping[str, str], classed: Sequence[str]
) -> tuple[str, ...]:
    folders: dict[str, list[str]] = {}
    for name in classed:
        folders.setdefault(split_names[name], []).append(name)
    return tuple(
        f"The folders {_names(names)} of {dataset} were read together as the split {split_name}."
        for split_name, names in folders.items()
        if len(names) > 1
    )


def _names(names: Iterable[str]) -> str:
    return listing(names, most=5)
