"""Open one split of a local dataset or of a dataset on the Hub, as a ``datasets.Dataset``."""

from __future__ import annotations

import logging
import os
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hf_sfda.dataset import remote, sounds
from hf_sfda.dataset.folder import Layout, arrange, has_class_folders
from hf_sfda.dataset.images import SUFFIXES
from hf_sfda.dataset.one_split import (
    LOADERS,
    OpenedDataset,
    narrow_to_split,
    open_prepared,
    remember,
    remembered,
    stands_alone,
)
from hf_sfda.dataset.pointers import refuse_pointers
from hf_sfda.dataset.readme import SETTINGS_FILES, check_folder, names_data_files
from hf_sfda.dataset.remote import RemoteSplit, SplitFiles
from hf_sfda.dataset.tables import (
    JSON_ROWS,
    check_json_file,
    check_json_rows,
    check_metadata,
    holds_unknown_types,
    read_arrow_files,
    read_csv_files,
)
from hf_sfda.dataset.walk import (
    NO_READER,
    NO_SOUND_READER,
    Files,
    find_files,
    is_system_name,
)
from hf_sfda.errors import TargetError
from hf_sfda.foreign import clean, listing
from hf_sfda.format import cut
from hf_sfda.hub import explain, hub_api, load_verified, retry_download, retry_read
from hf_sfda.types import Modality

if TYPE_CHECKING:
    from datasets import Dataset
    from huggingface_hub import HfApi

_FILES: Mapping[str, str] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
    ".parquet": "parquet",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json.gz": "json",
    ".jsonl.gz": "json",
    ".arrow": "arrow",
    ".tar": "webdataset",
}
_METADATA = (
    "metadata.csv",
    "metadata.jsonl",
    "metadata.parquet",
)  # metadata files that `imagefolder` reads
_INPUTS = SUFFIXES | sounds.SUFFIXES
_FEW = 0.1
"""A folder with images and sounds is read as the one if the other are fewer than this share."""
_ARCHIVES = frozenset(".zip .gz .h5 .hdf5 .7z .rar .tgz .bz2 .xz".split())
_DATA_SUFFIXES = frozenset(".parquet .arrow .tar .lance".split()) | _ARCHIVES
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
_MAX_MESSAGE = 400  # characters of a library's error message
_ALLOWED = (
    "Allowed are a Hub id (org/name or org/name:config), a folder with one sub-folder of "
    f"images or sounds per class, a file ({', '.join(_FILES)}) or a save_to_disk folder."
)


@dataclass(frozen=True, eq=False)
class Source:
    """An open split of a dataset.

    Attributes:
        data: The rows; of a very large split on the Hub, only parts are read.
        revision: Commit sha, for a dataset on the Hub.
        config: Name of the configuration; ``None`` if there is only a default one.
        split: Name of the split.
        ids: Id of each row; ``None`` for ``"<split>/<row>"``.
        left_out: Reason -> number of files that are not used as rows.
        notes: Warnings about how the data was read.
    """

    data: Dataset | RemoteSplit
    revision: str | None
    config: str | None
    split: str
    ids: Sequence[str] | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()


def open_source(
    dataset: str,
    *,
    revision: str | None,
    split: str | None,
    token: str | None,
    input_column: str | None = None,
) -> Source:
    """Open ``dataset``. A path that exists takes precedence over a Hub id with the same spelling.

    ``input_column`` is ``image`` or ``audio`` where a folder holds files of both.

    No code of a dataset is executed: the ``datasets`` library does not support loading scripts.

    Raises:
        TargetError: The dataset is unknown, unreadable or empty, or the user must choose a
            configuration or a split.
    """
    path, config = local_path(dataset), None
    if not path.exists() and ":" in dataset:
        name, _, config = dataset.rpartition(":")
        path = local_path(name)
    if path.exists() and revision is not None:
        raise TargetError(f"{dataset} is local and has no revisions; leave --revision out.")
    refuse_pointers(path)
    if path.exists():
        _require_utf8(str(path), [str(path)])
    with no_progress_bars():
        if path.is_file() and config is None:
            return _file(path, split)
        if path.is_dir():
            return _folder(path, config, split, input_column)
        return _hub(dataset, revision, split, token, input_column)


# -- local datasets


def local_path(dataset: str) -> Path:
    """Convert the user's input to a path, which need not exist.

    Raises:
        TargetError: No such path can exist: the home of an unknown user, a name that is too long,
            or a NUL character.
    """
    try:
        path = Path(dataset).expanduser()
        if "\0" in dataset:
            raise ValueError("it holds a NUL character")
        path.exists()
    except (RuntimeError, OSError, ValueError) as error:
        name = cut(dataset, 80)
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise TargetError(f"{name!r} cannot be opened: {reason}. {_ALLOWED}") from error
    return path


def _loader(path: Path) -> str | None:
    """The loader of ``datasets`` that reads a file, by its suffix; ``None`` if there is none."""
    name = path.name.lower()
    return next((loader for suffix, loader in _FILES.items() if name.endswith(suffix)), None)


def _file(path: Path, split: str | None) -> Source:
    loader = _loader(path)
    if loader is None:
        advice = next((text for names, text in _ADVICE if path.name.lower().endswith(names)), "")
        raise TargetError(f"{path} is not a dataset. {_ALLOWED}{advice}")
    if split not in (None, "train"):
        raise TargetError(f"--split {split!r}: a single file has only one split, train.")
    with as_target_error(str(path)):
        data, notes = _rows(loader, [path], str(path))
    return Source(data, None, None, "train", notes=notes)


def _rows(loader: str, files: Sequence[Path], dataset: str) -> tuple[Dataset, tuple[str, ...]]:
    """The rows of files of one format, and warnings about them."""
    from datasets import load_dataset

    if loader == "csv":
        return read_csv_files(files, dataset)
    if loader in ("parquet", "arrow") and (rows := read_arrow_files(files)) is not None:
        return rows
    if loader == "json":
        for file in files:
            check_json_file(file)
    data = load_dataset(loader, data_files=[str(file) for file in files], split="train")
    if loader == "json":
        check_json_rows(data, dataset)
    return data, ()


def _folder(path: Path, config: str | None, split: str | None, input_column: str | None) -> Source:
    if config is None and (path / "dataset_dict.json").is_file():
        return _saved_splits(path, split)
    if config is None and (path / "state.json").is_file():
        return _saved(path, split)
    if config is None and any(_find(path, name) for name in _METADATA):
        for file in (path / "metadata.csv", *sorted(path.glob("*/metadata.csv"))):
            if file.is_file():
                check_metadata(file)
        files = find_files(path)
        if _kind_of(str(path), files, input_column) == "audio":
            return _described_sounds(str(path), path, files, split)
        return _built(str(path), split, "imagefolder", data_dir=str(path))
    check_folder(str(path), path)
    if config is None and not names_data_files(path):
        source = _class_folders(str(path), path, split, input_column)
        if source is not None:
            return source
    return _built(str(path), split, str(path), name=config)


def _find(path: Path, name: str) -> bool:
    return any(file.is_file() for file in (path / name, *path.glob(f"*/{name}")))


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


def _class_folders(
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
    if suffixes & (_DATA_SUFFIXES - _ARCHIVES):
        return None
    kind = _kind_of(dataset, files, input_column)
    if suffixes & _ARCHIVES and not has_class_folders(files.inputs(kind)):
        _refuse_archives(dataset, path, files)
        return None
    layout = arrange(dataset, files, split, kind)
    if not layout.splits:
        _check_readable(dataset, files.others.values(), suffixes)
        return None
    name = choose_split(dataset, list(layout.splits), split)
    classes = layout.splits[name]
    rows = [(file, c) for c, label in enumerate(classes) for file in classes[label]]
    _require_utf8(dataset, [file for file, _ in rows])
    features = Features({kind: Value("string"), "label": ClassLabel(names=list(classes))})
    data = Dataset.from_dict(
        {kind: [str(path / file) for file, _ in rows], "label": [label for _, label in rows]},
        features=features,
    )
    # Cast, because `datasets` needs torchcodec to store even the path of a sound otherwise.
    data = data.cast_column(kind, Image() if kind == "image" else Audio(decode=False))
    ids = [file for file, _ in rows]
    archives = [name for name in files.others if PurePosixPath(name).suffix.lower() in _ARCHIVES]
    notes = layout.notes
    if archives:
        notes = (*notes, f"These archives in {dataset} were not read: {listing(archives, 3)}.")
    return Source(data, None, None, name, ids, _left_out(layout, name), notes)


def _described_sounds(dataset: str, path: Path, files: Files, split: str | None) -> Source:
    """Open sounds that a metadata file names in its column ``file_name``; its others are kept.

    The file lies in the folder, or in a sub-folder for each split. ``audiofolder`` is not used,
    because it needs torchcodec. Sounds that the file does not name are counted.

    Raises:
        TargetError: The file has no such column or no other column, or names files elsewhere.
    """
    from datasets import Audio, Value

    found = [file for name in _METADATA for file in (path / name, *sorted(path.glob(f"*/{name}")))]
    found = [file for file in found if file.is_file()]
    by_split = {"train" if file.parent == path else file.parent.name: file for file in found}
    chosen = choose_split(dataset, list(by_split), split)
    file = by_split[chosen]
    with as_target_error(dataset):
        data, notes = _rows(_loader(file) or "csv", [file], dataset)
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
    left_out: Counter[str] = Counter()
    if unnamed := _unnamed(path, files, found, file, names):
        left_out[f"sound file that {file.name} does not name"] = unnamed
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
    folders = [file.parent.relative_to(path).as_posix() for file in metadata]
    own = chosen.parent.relative_to(path)
    named = {os.path.normpath(own / name) for name in names}
    deeper = [f"{folder}/" for folder in folders if folder not in (".", own.as_posix())]
    beside = "" if own == Path() else f"{own.as_posix()}/"
    return sum(
        sound.startswith(beside) and not sound.startswith(tuple(deeper)) and sound not in named
        for sound in files.sounds
    )


def _require_utf8(dataset: str, names: Sequence[str]) -> None:
    """Refuse names in another encoding, for example from an archive made on an old Windows.

    Arrow stores paths and class names as UTF-8.

    Raises:
        TargetError: There are such names. The message has their number and the first of them.
    """
    # Python represents a byte that is not UTF-8 as a lone surrogate.
    others = [name for name in names if not _is_utf8(name)]
    if not others:
        return
    first = os.fsencode(others[0]).decode("utf-8", errors="backslashreplace")
    raise TargetError(
        f"Names in {dataset} are not valid UTF-8: {clean(first)!r:.200}, {len(others):,} of "
        f"{len(names):,} in all. Rename them, for example with `convmv -f latin1 -t utf8`."
    )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_archives(dataset: str, path: Path, files: Files) -> None:
    """Refuse images and sounds in zip files: ``datasets`` loses their folders, or fails.

    Raises:
        TargetError: A zip file holds images or sounds.
    """
    for name in files.others:
        if name.lower().endswith(".zip") and _holds_inputs(path / name):
            raise _packed(dataset, name)


def _packed(dataset: str, archive: str) -> TargetError:
    return TargetError(
        f"{dataset} holds images or sounds in an archive ({clean(archive)}). Folders in an "
        "archive are not read as classes. Unpack it, and pass the folder that holds the class "
        "folders."
    )


def _holds_inputs(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as opened:
            return any(PurePosixPath(name).suffix.lower() in _INPUTS for name in opened.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def _left_out(layout: Layout, split: str) -> Counter[str]:
    return layout.ignored + layout.left_out.get(split, Counter())


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
    if unreadable and not suffixes & {*_FILES, ".txt"}:
        what = ", ".join(f"{reason}: {count:,}" for reason, count in unreadable.items())
        raise TargetError(
            f"{dataset} holds no image or sound in a supported format ({what}). Convert images to "
            "JPEG or PNG, and sounds to WAV, FLAC or MP3."
        )


# -- on the Hub


def _hub(
    dataset: str,
    revision: str | None,
    split: str | None,
    token: str | None,
    input_column: str | None,
) -> Source:
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import utils
    from huggingface_hub.errors import HFValidationError

    repo, _, config = dataset.partition(":")
    try:
        utils.validate_repo_id(repo)  # type: ignore[attr-defined]  # public, but not exported in the types
    except HFValidationError as error:
        address = re.search(r"(huggingface\.co|hf\.co)/+datasets/([\w.-]+/[\w.-]+)", dataset)
        hint = f" Pass {address[2]}, not a URL." if address else ""
        raise TargetError(
            f"{dataset!r} is neither a path that exists nor a Hub id.{hint} {_ALLOWED}"
        ) from error
    with as_target_error(dataset):
        api = hub_api(token)
        sha = retry_read(
            api.resolve_revision, repo, repo_type="dataset", revision=revision
        ).resolved
        names = hub_files(api, repo, sha)
        for name in [name for name in names if PurePosixPath(name).name == "metadata.csv"]:
            check_metadata(_fetched(f"hf://datasets/{repo}@{sha}/{name}", token))
        if not config and _is_described_sounds(names):
            folder = _snapshot(api, repo, sha)
            if not names_data_files(folder):
                described = _described_sounds(repo, folder, find_files(folder), split)
                return replace(described, revision=sha)
        if not config and _is_folder_of_inputs(names):
            ignored = [f"*{suffix}" for suffix in sorted(_ARCHIVES)]
            folder = _snapshot(api, repo, sha, ignore_patterns=ignored)
            named = names_data_files(folder)
            source = None if named else _class_folders(repo, folder, split, input_column)
            if source is not None:
                return replace(source, revision=sha)
    try:
        return _built(repo, split, repo, name=config or None, revision=sha, token=token)
    except TargetError as error:
        if isinstance(
            error.__cause__, DatasetNotFoundError
        ):  # the error has no reason, so ask the Hub again
            with as_target_error(dataset):
                retry_read(api.auth_check, repo, repo_type="dataset")
        zips = [name for name in names if name.lower().endswith(".zip")]
        if zips and "Invalid string class label" in str(error):
            raise _packed(repo, zips[0]) from error
        raise


def hub_files(api: HfApi, repo: str, sha: str) -> list[str]:
    """The paths of the files of a dataset. Its settings files are downloaded and checked first.

    Args:
        api: Client of the Hub.
        repo: Id of the dataset.
        sha: Commit of the dataset.

    Raises:
        TargetError: The settings name files outside the dataset, or cannot be downloaded.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        with _hub_errors_only():  # otherwise it warns about a repository without these files
            folder = _snapshot(api, repo, sha, allow_patterns=list(SETTINGS_FILES))
    except RepositoryNotFoundError:  # includes gated repositories
        raise
    except Exception as error:
        if others := [commit for commit in _cached_commits(repo) if commit != sha]:
            raise _other_commit(repo, others[-1], sha) from error
        raise
    check_folder(repo, folder)
    return [file.path for file in get_cached_repo_tree(repo, repo_type="dataset", revision=sha)]


def _snapshot(api: HfApi, repo: str, sha: str, **patterns: Any) -> Path:
    """Download files of a dataset and verify them; the folder that holds them."""
    download = partial(api.snapshot_download, repo, repo_type="dataset", revision=sha, **patterns)
    return Path(load_verified(repo, lambda: retry_download(download), lambda: None))


@contextmanager
def _hub_errors_only() -> Iterator[None]:
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _cached_commits(repo: str) -> list[str]:
    """Commits of a dataset in the cache, the newest last."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{repo.replace('/', '--')}" / "snapshots"
    commits = folder.iterdir() if folder.is_dir() else ()
    return [path.name for path in sorted(commits, key=lambda path: path.stat().st_mtime)]


def _is_described_sounds(names: Sequence[str]) -> bool:
    """Whether a repository with these files has a metadata file, and more sounds than images."""
    suffixes = [PurePosixPath(name).suffix.lower() for name in names]
    n_sounds = sum(suffix in sounds.SUFFIXES for suffix in suffixes)
    described = any(PurePosixPath(name).name in _METADATA for name in names)
    return described and n_sounds > sum(suffix in SUFFIXES for suffix in suffixes)


def _is_folder_of_inputs(names: Iterable[str]) -> bool:
    """Whether a repository with these files is a folder of images or sounds, not of data files.

    Example:
        >>> _is_folder_of_inputs(["cat/1.png", "README.md"])
        True
        >>> _is_folder_of_inputs(["1.parquet", "docs/1.png"])
        False
    """
    paths = [PurePosixPath(name) for name in names]
    paths = [path for path in paths if not any(map(is_system_name, path.parts))]
    suffixes = {path.suffix.lower() for path in paths}
    if any(path.name in _METADATA for path in paths) or suffixes & (_DATA_SUFFIXES - _ARCHIVES):
        return False
    if suffixes & _ARCHIVES:
        return has_class_folders([str(path) for path in paths if path.suffix.lower() in _INPUTS])
    inside = [path.suffix.lower() for path in paths if len(path.parts) > 1]
    nameless = not suffixes & set(_FILES) and "" in inside
    return nameless or any(suffix in _INPUTS for suffix in inside)


def _read_files(
    builder: Any, split: str, dataset: str, token: str | None
) -> tuple[Dataset, tuple[str, ...]] | None:
    """Read csv files, and parquet and arrow files with types that ``datasets`` does not support.

    Json files are only checked here.

    Returns:
        The rows and warnings; ``None`` if ``datasets`` should read the files, because it supports
        them or because the dataset declares reading options.
    """
    kinds = ("csv", "json", "parquet", "arrow")
    loader = next((kind for kind in kinds if _is_packaged(builder, kind)), None)
    if loader is None or not _has_default_options(builder):
        return None
    places = [str(place) for place in (builder.config.data_files or {}).get(split, ())]
    # `zip://a.csv::hf://...` is a file inside a file. `datasets` reads files of other servers.
    plain = all("://" not in place or _ON_HUB.fullmatch(place) for place in places)
    if not places or not plain or any(_loader(Path(place)) != loader for place in places):
        return None
    first = _fetched(places[0], token)
    if loader in ("parquet", "arrow") and not holds_unknown_types(first):
        return None
    files = [first, *(_fetched(place, token) for place in places[1:])]
    if loader == "csv":
        data, notes = read_csv_files(files, dataset)
        return _as_declared(data, builder.info.features), notes
    if loader == "json":
        for file in files:
            check_json_file(file)
        return None
    return read_arrow_files(files)


def _as_declared(data: Dataset, features: Any) -> Dataset:
    """Cast the rows to the features that the README declares, such as named classes."""
    if features is None or set(features) != set(data.column_names):
        return data
    return data.select_columns(list(features)).cast(features)


def _built(dataset: str, split: str | None, loader: str, **options: Any) -> Source:
    """Open anything that ``load_dataset`` reads. The split is chosen before data is downloaded."""
    from datasets import load_dataset_builder

    with as_target_error(dataset):
        try:
            builder = retry_download(load_dataset_builder, loader, **options)
        except (OSError, ValueError) as error:  # without a network, both mean: not in the cache
            if (source := _prepared(dataset, split, loader, **options)) is not None:
                return source
            if isinstance(error, ValueError):
                raise _config_error(dataset, loader, options) or error from error
            raise
        if _is_packaged(builder, "cache"):  # there is no network
            source = _prepared(dataset, split, loader, **options)
            if source is not None:
                return source
    _check_commit(dataset, builder.hash, options.get("revision"))
    with as_target_error(dataset):
        name, data, notes = _read(builder, dataset, split, loader, options)
    config = _shown_config(str(builder.config.name), loader, options)
    return Source(data, options.get("revision"), config, name, notes=notes)


def _read(
    builder: Any, dataset: str, split: str | None, loader: str, options: Mapping[str, Any]
) -> tuple[str, Dataset | RemoteSplit, tuple[str, ...]]:
    """The name of the split that is chosen, its rows, and warnings about them."""
    names = _names(builder.info.splits or builder.config.data_files or ())
    chosen = choose_split(dataset, names, split) if names else ""
    opened = OpenedDataset(builder.config.name, tuple(names), str(builder.config.version))
    from_hub = options.get("revision") is not None
    folder = None
    if from_hub:
        parts = in_parts(builder, dataset, loader, chosen, options.get("token"))
        if parts is not None:
            remember(loader, builder.hash, options.get("name"), opened)
            return chosen, parts, ()
        if _stands_alone(builder, chosen):
            folder = narrow_to_split(builder, chosen)

    def load() -> tuple[str, Dataset, tuple[str, ...]]:
        rows = _read_files(builder, chosen, dataset, options.get("token"))
        if rows is not None:
            return (chosen, *rows)
        place = None if folder is None else str(folder)
        retry_download(builder.download_and_prepare, output_dir=place)
        if folder is not None:
            remember(loader, folder.name, options.get("name"), opened)
        name = choose_split(dataset, _names(builder.info.splits), split)
        data = builder.as_dataset(split=name)
        if _is_packaged(builder, "json"):
            check_json_rows(data, dataset)
        return name, data, ()

    if not from_hub:
        return load()
    prepared = folder or Path(builder.cache_dir)
    return load_verified(loader, load, partial(shutil.rmtree, prepared, ignore_errors=True))


def split_to_read(builder: Any, dataset: str, split: str | None) -> tuple[str, list[str]]:
    """The split of a dataset on the Hub that is chosen, and the data files that it needs.

    Args:
        builder: A builder of the dataset.
        dataset: Name of the dataset, for messages.
        split: The split that the user asked for.

    Raises:
        TargetError: The split does not exist, or the choice is ambiguous.
    """
    files = builder.config.data_files or {}
    names = _names(builder.info.splits or files)
    chosen = choose_split(dataset, names, split) if names else ""
    wanted = [chosen] if _stands_alone(builder, chosen) else list(files)
    return chosen, [str(file) for name in wanted for file in files[name]]


def in_parts(
    builder: Any, dataset: str, repo: str, split: str, token: str | None
) -> RemoteSplit | None:
    """Open a split of a dataset on the Hub in parts, if it consists of very large parquet files.

    This depends only on the dataset, not on what is in the cache: the sample is drawn otherwise.

    Args:
        builder: A builder of the dataset at a commit.
        dataset: Name of the dataset, for messages.
        repo: Id of the dataset.
        split: The split that is wanted.
        token: User access token; ``None`` uses the saved login.

    Returns:
        The split; ``None`` if it must be downloaded.
    """
    from huggingface_hub import get_cached_repo_tree

    if not _is_packaged(builder, "parquet") or not _has_default_options(builder):
        return None
    data_files = builder.config.data_files or {}
    places = [_ON_HUB.fullmatch(str(place)) for place in data_files.get(split, ())]
    paths = tuple(match["path"] for match in places if match is not None)
    commit = builder.hash
    tree = get_cached_repo_tree(repo, repo_type="dataset", revision=commit)
    sizes = {file.path: file.size for file in tree}
    if len(paths) < len(places) or not set(paths) <= set(sizes):
        return None
    files = SplitFiles(
        dataset, repo, commit, builder.config.name, split, paths, tuple(sizes[p] for p in paths)
    )
    if files.weight <= remote.LARGE:
        return None
    declared = builder.info.features
    first = next(iter(data_files.values()))[0]
    if declared is None and (match := _ON_HUB.fullmatch(str(first))) is not None:
        # `datasets` takes the features of all splits from the first file
        path = match["path"]
        head = replace(files, paths=(path,), sizes=(sizes[path],))
        declared = RemoteSplit(head, None, token).features
    parts = RemoteSplit(files, declared, token)
    if not parts.is_supported():
        return None
    remote.remember_files(files, declared)
    return parts


def _stands_alone(builder: Any, split: str) -> bool:
    return any(_is_packaged(builder, loader) for loader in LOADERS) and stands_alone(builder, split)


def _shown_config(config: str, loader: str, options: Mapping[str, Any]) -> str | None:
    """The name of a configuration; ``None`` if there is only a default one."""
    unnamed = options.get("name") is None and (config == "default" or loader == "imagefolder")
    return None if unnamed else config


def _prepared(dataset: str, split: str | None, repo: str, **options: Any) -> Source | None:
    """Open a split that an earlier run has prepared, without a network; ``None`` if it has not."""
    commit, name = options.get("revision"), options.get("name")
    opened = remembered(repo, commit, name) if commit is not None else None
    if commit is None or opened is None:
        return None
    chosen = choose_split(dataset, opened.splits, split)
    shown = _shown_config(opened.config, repo, options)
    token = options.get("token")
    parts = remote.remembered_split(dataset, repo, commit, opened.config, chosen, token)
    if parts is not None:
        return Source(parts, commit, shown, chosen)
    builder = open_prepared(repo, commit, opened, chosen)
    if builder is None:
        return None
    data = builder.as_dataset(split=chosen)
    if builder.info.builder_name == "json":
        check_json_rows(data, dataset)
    return Source(data, commit, shown, chosen)


def _is_packaged(builder: Any, loader: str) -> bool:
    return any(
        base.__module__ == f"datasets.packaged_modules.{loader}.{loader}"
        for base in type(builder).__mro__
    )


def _has_default_options(builder: Any) -> bool:
    """Whether the dataset declares no reading options, such as a separator."""
    from datasets import BuilderConfig

    config = builder.config
    plain = type(config)()
    general = {f.name for f in fields(BuilderConfig)}
    names = [f.name for f in fields(config) if f.name not in general and f.name != "features"]
    return all(getattr(config, name) == getattr(plain, name) for name in names)


_ON_HUB = re.compile(r"hf://datasets/(?P<repo>[^@]+)@(?P<commit>[0-9a-f]{40})/(?P<path>.+)")


def _fetched(place: str, token: str | None) -> Path:
    """Path of a data file, which is downloaded first if it is on the Hub."""
    match = _ON_HUB.fullmatch(place)
    if match is None:
        return Path(place)
    repo, commit, path = match["repo"], match["commit"], match["path"]
    api = hub_api(token)
    download = partial(api.hf_hub_download, repo, path, repo_type="dataset", revision=commit)
    return Path(load_verified(repo, lambda: retry_download(download), lambda: None))


def _check_commit(dataset: str, loaded: str | None, wanted: str | None) -> None:
    """Refuse another commit. If the Hub fails, ``datasets`` silently loads any cached commit.

    Raises:
        TargetError: The loaded commit is not the requested one.
    """
    if wanted is not None and loaded is not None and loaded != wanted:
        raise _other_commit(dataset, loaded, wanted)


def _other_commit(dataset: str, loaded: str, wanted: str) -> TargetError:
    return TargetError(
        f"{dataset} cannot be read at {wanted}: the Hub cannot be reached or fails, and the local "
        f"cache holds another commit, {loaded}. Try later, or pass --revision {loaded}."
    )


def _names(splits: Iterable[Any]) -> list[str]:
    return [str(name) for name in splits]  # datasets uses a subclass of str


def _config_error(dataset: str, loader: str, options: Mapping[str, Any]) -> TargetError | None:
    """The error if a configuration is missing or unknown, with the allowed names."""
    from datasets import get_dataset_config_names

    names = get_dataset_config_names(
        loader, revision=options.get("revision"), token=options.get("token")
    )
    config = options.get("name")
    if config in names or (config is None and len(names) < 2):
        return None
    what = "has several configurations" if config is None else f"has no configuration {config!r}"
    return TargetError(
        f"{dataset} {what}; pass one as {dataset}:NAME. Allowed: {', '.join(names)}."
    )


# -- local datasets and the Hub


def choose_split(dataset: str, names: Sequence[str], requested: str | None) -> str:
    """The split to sample: the requested one, ``train``, or the only one that is not for testing.

    A test split is used only if the user requests it. After a model was chosen with a test split,
    the accuracy on that split is no longer an unbiased estimate.

    Raises:
        TargetError: The split does not exist, or the choice is ambiguous.
    """
    splits = ", ".join(names) or "none"
    if requested is not None:
        if requested in names:
            return requested
        raise TargetError(f"--split {requested!r} does not exist in {dataset}. Splits: {splits}.")
    if "train" in names:
        return "train"
    usable = [name for name in names if not name.lower().startswith("test")]
    if len(usable) == 1:
        return usable[0]
    raise TargetError(f"{dataset} has no train split. Splits: {splits}. Pass one with --split.")


@contextmanager
def as_target_error(dataset: str) -> Iterator[None]:
    """Convert any error of the libraries to a :class:`TargetError` of one sentence."""
    try:
        yield
    except TargetError:
        raise
    # datasets, pyarrow, pandas, fsspec and httpx2 raise different errors. All of them mean that the
    # dataset cannot be read.
    except Exception as error:
        reason = _reason(error)
        reason = cut(reason, _MAX_MESSAGE)
        raise TargetError(f"Dataset {dataset}: {reason}.") from error


def _reason(error: Exception) -> str:
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError

    if isinstance(error, (EmptyDatasetError, DataFilesNotFoundError)):
        return "it holds no data files. " + _ALLOWED.rstrip(".")
    if "corresponds to no data" in str(error):
        return "it is empty"
    if isinstance(error, RuntimeError) and "scripts are no longer supported" in str(error):
        return "it needs its own loading script, which is never run; convert it to parquet first"
    cause: BaseException = error
    if isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        cause = error.__cause__  # the error itself has no details
    reason = explain(cause)
    if "JSON parse error" in str(cause):
        return f"{reason.rstrip('.')}. {JSON_ROWS.rstrip('.')}"
    return reason


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Disable the progress bars of the libraries; progress is reported to the listener instead."""
    import datasets
    from huggingface_hub import utils

    switches: list[tuple[bool, Callable[[], Any]]] = [
        (datasets.are_progress_bars_disabled(), datasets.enable_progress_bars),
        (utils.are_progress_bars_disabled(), utils.enable_progress_bars),  # type: ignore[attr-defined]
    ]
    datasets.disable_progress_bars()
    utils.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for was_disabled, enable in switches:
            if not was_disabled:
                enable()
