"""Open a split of a local dataset: a file, a folder of class folders, a saved dataset."""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hf_sfda.dataset import sounds
from hf_sfda.dataset.built import open_built
from hf_sfda.dataset.folder import arrange, has_class_folders
from hf_sfda.dataset.images import SUFFIXES
from hf_sfda.dataset.readme import check_folder, names_data_files
from hf_sfda.dataset.sources import ALLOWED, FILES, Source, as_target_error, choose_split, loader_of
from hf_sfda.dataset.tables import check_json_rows, check_metadata, read_files
from hf_sfda.dataset.walk import NO_READER, NO_SOUND_READER, Files, find_files
from hf_sfda.errors import TargetError
from hf_sfda.files import LFS_POINTER, is_lfs_pointer
from hf_sfda.foreign import clean, listing
from hf_sfda.types import Modality

if TYPE_CHECKING:
    from datasets import Dataset

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Metadata files that ``imagefolder`` reads."""

INPUTS = SUFFIXES | sounds.SUFFIXES
_FEW = 0.1
"""A folder with images and sounds is read as the one if the other are fewer than this share."""
ARCHIVES = frozenset(".zip .gz .h5 .hdf5 .7z .rar .tgz .bz2 .xz".split())
DATA_SUFFIXES = frozenset(".parquet .arrow .tar .lance".split()) | ARCHIVES
"""Suffixes of data files. If a dataset holds such files, its images usually illustrate the README
and are not the data. Archives are an exception: beside class folders they often hold the same
images."""
_ADVICE = (
    ((".xlsx", ".xls", ".ods"), " Save the sheet as CSV in UTF-8."),
    ((".zip", ".7z", ".rar", ".tar.gz", ".tgz"), " Unpack it and pass the folder."),
    ((".bz2", ".xz", ".zst", ".gz"), " Unpack it and pass the file in it."),
    ((".pkl", ".pickle", ".feather", ".orc", ".h5"), " Save it as parquet."),
    ((".txt",), " Write a csv with the columns text and label."),
)


def open_file(path: Path, split: str | None) -> Source:
    """Open a file, which has one split only, ``train``.

    Raises:
        TargetError: It is no data file, or cannot be read.
    """
    loader = loader_of(path)
    if loader is None:
        advice = next((text for names, text in _ADVICE if path.name.lower().endswith(names)), "")
        raise TargetError(f"{path} is not a dataset. {ALLOWED}{advice}")
    if split not in (None, "train"):
        raise TargetError(f"--split {split!r}: a single file has only one split, train.")
    with as_target_error(str(path)):
        data, notes = _rows(loader, path, str(path))
    return Source(data, None, None, "train", notes=notes)


def _rows(loader: str, file: Path, dataset: str) -> tuple[Dataset, tuple[str, ...]]:
    """The rows of a file, and warnings about them."""
    from datasets import load_dataset

    if (rows := read_files(loader, [file], dataset)) is not None:
        return rows
    data = load_dataset(loader, data_files=[str(file)], split="train")
    if loader == "json":
        check_json_rows(data, dataset)
    return data, ()


def open_folder(
    path: Path, config: str | None, split: str | None, input_column: str | None
) -> Source:
    """Open a folder: a saved dataset, class folders, or what ``datasets`` builds out of it.

    Arguments and errors are those of :func:`~hf_sfda.dataset.load.load_target`.
    """
    if config is None and (path / "dataset_dict.json").is_file():
        return _saved_splits(path, split)
    if config is None and (path / "state.json").is_file():
        return _saved(path, split)
    if config is None and (tables := _metadata_files(path)):
        notes = [note for file in tables if file.suffix == ".csv" for note in check_metadata(file)]
        files = find_files(path)
        if _kind_of(str(path), files, input_column) == "audio":
            return described_sounds(str(path), path, files, split)
        built = open_built(str(path), split, "imagefolder", data_dir=str(path))
        notes += _unnamed_images(path, files, tables)
        return replace(built, notes=(*built.notes, *notes))
    check_folder(str(path), path)
    if config is not None or names_data_files(path):
        return open_built(str(path), split, str(path), name=config)
    source = class_folders(str(path), path, split, input_column)
    if source is not None:
        return source
    return open_built(str(path), split, str(path), notes_on_files=True)


def _metadata_files(path: Path) -> list[Path]:
    """The metadata files in a folder and in its sub-folders."""
    places = [file for name in METADATA for file in (path / name, *sorted(path.glob(f"*/{name}")))]
    return [file for file in places if file.is_file()]


def _saved(path: Path, split: str | None) -> Source:
    data = _load_from_disk(path)
    name = str(data.split or "train")
    if split not in (None, name):
        raise TargetError(f"--split {split!r} does not exist in {path}; it holds only {name}.")
    return Source(data, None, None, name)


def _saved_splits(path: Path, split: str | None) -> Source:
    data = _load_from_disk(path)
    name = choose_split(str(path), list(data), split)
    return Source(data[name], None, None, name)


def _load_from_disk(path: Path) -> Any:
    from datasets import load_from_disk

    with as_target_error(str(path)):
        try:
            return load_from_disk(str(path))
        except IndexError as error:  # datasets fails to load a saved dataset that has no rows
            raise TargetError(f"{path} is empty, or one of its splits is.") from error


def _kind_of(dataset: str, files: Files, input_column: str | None) -> Modality:
    """Whether a folder is read as images or as sounds: as those that it mostly holds.

    Covers lie beside songs, and a few sounds may lie beside images.

    Raises:
        TargetError: It holds many of both, and the user did not choose.
    """
    images, n_sounds = len(files.images), len(files.sounds)
    if input_column in ("image", "audio"):
        return "audio" if input_column == "audio" else "image"
    if min(images, n_sounds) > _FEW * max(images, n_sounds):
        raise TargetError(
            f"{dataset} holds {images:,} images and {n_sounds:,} sound files. Pass --input-column "
            "image or --input-column audio."
        )
    return "audio" if n_sounds > images else "image"


def class_folders(
    dataset: str, path: Path, split: str | None, input_column: str | None
) -> Source | None:
    """Open a folder of class folders file by file; ``None`` if it holds no images and no sounds.

    ``imagefolder`` and ``audiofolder`` are not used, because they read a class folder called
    ``train`` or a file called ``test_1.png`` as a split, and give no labels if folders differ in
    depth.
    """
    from datasets import Audio, ClassLabel, Dataset, Features, Image, Value

    files = find_files(path)
    suffixes = {PurePosixPath(name).suffix.lower() for name in files.others}
    if suffixes & (DATA_SUFFIXES - ARCHIVES):
        return None
    kind = _kind_of(dataset, files, input_column)
    if suffixes & ARCHIVES and not has_class_folders(files.inputs(kind)):
        _refuse_archives(dataset, path, files)
        return None
    layout = arrange(dataset, files, split, kind)
    if not layout.splits:
        _check_readable(dataset, files.others.values(), suffixes)
        return None
    name = choose_split(dataset, list(layout.splits), split)
    classes = layout.splits[name]
    ids = [file for inside in classes.values() for file in inside]
    labels = [c for c, inside in enumerate(classes.values()) for _ in inside]
    require_utf8(dataset, ids)
    features = Features({kind: Value("string"), "label": ClassLabel(names=list(classes))})
    columns = {kind: [str(path / file) for file in ids], "label": labels}
    data = Dataset.from_dict(columns, features=features)
    # Cast, because `datasets` needs torchcodec to store even the path of a sound otherwise.
    data = data.cast_column(kind, Image() if kind == "image" else Audio(decode=False))
    archives = [name for name in files.others if PurePosixPath(name).suffix.lower() in ARCHIVES]
    notes = layout.notes
    if archives:
        notes = (*notes, f"These archives in {dataset} were not read: {listing(archives, 3)}.")
    left_out = layout.ignored + layout.left_out.get(name, Counter())
    return Source(data, None, None, name, ids, left_out, notes)


def described_sounds(dataset: str, path: Path, files: Files, split: str | None) -> Source:
    """Open sounds that a metadata file names in its column ``file_name``; its others are kept.

    The file lies in the folder, or in a sub-folder for each split. ``audiofolder`` is not used,
    because it needs torchcodec. Sounds that the file does not name are counted.

    Raises:
        TargetError: The file has no such column or no other column, or names files elsewhere.
    """
    from datasets import Audio, Value

    tables = _metadata_files(path)
    by_split = {"train" if file.parent == path else file.parent.name: file for file in tables}
    chosen = choose_split(dataset, list(by_split), split)
    file = by_split[chosen]
    with as_target_error(dataset):
        data, notes = _rows(loader_of(file) or "csv", file, dataset)
    if "file_name" not in data.column_names:
        raise TargetError(
            f"{dataset}: {file.name} has no column file_name, which names the sound of each row. "
            f"Columns: {listing(data.column_names, 10)}."
        )
    if data.column_names == ["file_name"]:
        raise TargetError(
            f"{dataset}: {file.name} has only the column file_name. Add a column with the labels."
        )
    names = [_as_path(file.parent, str(name or "")) for name in data["file_name"]]
    if outside := [name for name in names if os.path.normpath(name).startswith(("..", "/"))]:
        raise TargetError(
            f"{dataset}: {file.name} names a file outside the folder, {clean(outside[0])!r:.200}. "
            "Names are relative to the metadata file."
        )
    places = [str(file.parent / name) if name else None for name in names]
    data = data.remove_columns("file_name")
    column = "audio" if "audio" not in data.column_names else "file_name"
    data = data.add_column(column, places, feature=Value("string"))
    data = data.cast_column(column, Audio(decode=False))
    unnamed = _unnamed(path, files, tables, file, names)
    left_out = +Counter({f"sound file that {file.name} does not name": unnamed})
    return Source(data, None, None, chosen, names, left_out, notes)


def _as_path(folder: Path, name: str) -> str:
    """A name in a metadata file, where Windows wrote it with backslashes as well."""
    other = name.replace("\\", "/")
    return other if other != name and not (folder / name).exists() else name


def _unnamed(
    path: Path, files: Files, metadata: Sequence[Path], chosen: Path, names: Sequence[str]
) -> int:
    """How many sounds beside the chosen metadata file it does not name.

    Sounds in the folder of another metadata file belong to that file.
    """
    own = chosen.parent
    others = {file.parent for file in metadata} - {own, path}
    named = {os.path.normpath(own.relative_to(path) / name) for name in names}
    return sum(
        own in (above := (path / sound).parents) and others.isdisjoint(above) and sound not in named
        for sound in files.sounds
    )


def _unnamed_images(path: Path, files: Files, tables: Sequence[Path]) -> list[str]:
    """Say how many images no metadata file names."""
    named: set[str] = set()
    for file in tables:
        with as_target_error(str(path)):
            data, _ = _rows(loader_of(file) or "csv", file, str(path))
        for column in data.column_names:
            if column == "file_name" or column.endswith("_file_name"):
                places = [file.parent / _as_path(file.parent, str(n or "")) for n in data[column]]
                named |= {os.path.relpath(place, path) for place in places}
    unnamed = sum(image not in named for image in files.images)
    if not unnamed:
        return []
    return [f"{unnamed:,} images in {path} are named by no metadata file and were not read."]


def require_utf8(dataset: str, names: Sequence[str]) -> None:
    """Refuse names in another encoding, for example from an archive made on an old Windows.

    Arrow stores paths and class names as UTF-8.

    Raises:
        TargetError: There are such names. The message has their number and the first of them.
    """
    # Python represents a byte that is not UTF-8 as a lone surrogate.
    others = [name for name in names if name.encode(errors="ignore").decode() != name]
    if not others:
        return
    first = os.fsencode(others[0]).decode("utf-8", errors="backslashreplace")
    raise TargetError(
        f"Names in {dataset} are not valid UTF-8: {clean(first)!r:.200}, {len(others):,} of "
        f"{len(names):,} in all. Rename them, for example with `convmv -f latin1 -t utf8`."
    )


def _refuse_archives(dataset: str, path: Path, files: Files) -> None:
    """Refuse images and sounds in zip files: ``datasets`` loses their folders, or fails.

    Raises:
        TargetError: A zip file holds images or sounds.
    """
    for name in files.others:
        if name.lower().endswith(".zip") and _holds_inputs(path / name):
            raise archive_error(dataset, name)


def archive_error(dataset: str, archive: str) -> TargetError:
    """The error that images or sounds in an archive are not read."""
    return TargetError(
        f"{dataset} holds images or sounds in an archive ({clean(archive)}). Folders in an "
        "archive are not read as classes. Unpack it, and pass the folder that holds the class "
        "folders."
    )


def _holds_inputs(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as opened:
            return any(PurePosixPath(name).suffix.lower() in INPUTS for name in opened.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def _check_readable(dataset: str, reasons: Collection[str], suffixes: set[str]) -> None:
    """Refuse a folder that holds only text files, or only images or sounds in unsupported formats.

    Raises:
        TargetError: It does.
    """
    texts = sum(reason.endswith("(.txt)") for reason in reasons)
    if suffixes <= {".txt", ".md", "", ".py"} and texts > 1:
        raise TargetError(
            f"{dataset} holds {texts:,} text files. Folders of texts are not supported. Write one "
            "csv or jsonl file with the columns text and label."
        )
    unreadable = Counter(
        reason for reason in reasons if reason.startswith((NO_READER, NO_SOUND_READER))
    )
    if unreadable and not suffixes & {*FILES, ".txt"}:
        what = ", ".join(f"{reason}: {count:,}" for reason, count in unreadable.items())
        raise TargetError(
            f"{dataset} holds no image or sound in a supported format ({what}). Convert images to "
            "JPEG or PNG, and sounds to WAV, FLAC or MP3."
        )


def refuse_pointers(path: Path) -> None:
    """Refuse a file that is a git-lfs pointer, or a folder that holds one.

    Args:
        path: A file or a folder. If it does not exist, nothing is raised.

    Raises:
        TargetError: There is a pointer. The message names the first one and the number of others.
    """
    if is_lfs_pointer(path):
        raise TargetError(f"{path} {LFS_POINTER}.")
    pointers = [
        Path(folder, name)
        for folder, _, names in os.walk(path)
        for name in sorted(names)
        if not any(part.startswith(".") for part in Path(folder, name).relative_to(path).parts)
        and is_lfs_pointer(Path(folder, name))
    ]
    if pointers:
        more = f" (and {len(pointers) - 1:,} more files)" if len(pointers) > 1 else ""
        raise TargetError(f"{min(pointers)} {LFS_POINTER}{more}.")
