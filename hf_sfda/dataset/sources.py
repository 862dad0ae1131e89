"""Open a dataset wherever it lies: one split of it, as a ``datasets.Dataset``."""

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
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hf_sfda.dataset.folder import Layout, arrange, has_class_folders
from hf_sfda.dataset.images import SUFFIXES
from hf_sfda.dataset.pointers import refuse_pointers
from hf_sfda.dataset.readme import SETTINGS_FILES, check_folder, names_data_files
from hf_sfda.dataset.tables import (
    JSON_ROWS,
    check_json_file,
    check_json_rows,
    check_metadata,
    holds_unknown_types,
    read_arrow_files,
    read_csv_files,
)
from hf_sfda.dataset.walk import NO_READER, Files, find_files, is_system_name
from hf_sfda.errors import TargetError
from hf_sfda.foreign import clean, listing
from hf_sfda.hub import explain, hub_api, load_verified, retry_download, retry_read

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
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # what `imagefolder` reads
_ARCHIVES = frozenset(".zip .gz .h5 .hdf5 .7z .rar .tgz .bz2 .xz".split())
_DATA_SUFFIXES = frozenset(".parquet .arrow .tar .lance".split()) | _ARCHIVES
"""Files beside which folders of images are not the data: where the rows are in such files, images
only illustrate a README. Archives beside class folders are most often where these came from."""
_ADVICE = (
    ((".xlsx", ".xls", ".ods"), " Save the sheet as CSV in UTF-8."),
    ((".zip", ".7z", ".rar", ".tar.gz", ".tgz"), " Unpack it and pass the folder."),
    ((".bz2", ".xz", ".zst", ".gz"), " Unpack it and pass the file in it."),
    ((".pkl", ".pickle", ".feather", ".orc", ".h5"), " Save it as parquet."),
    ((".txt",), " Write a csv with the columns text and label."),
)
_LONGEST = 400  # characters of a library's own words
_ALLOWED = (
    "Allowed are a Hub id (org/name or org/name:config), a folder with one sub-folder of images "
    f"a class, a file ({', '.join(_FILES)}) or a save_to_disk folder."
)


@dataclass(frozen=True, eq=False)
class Source:
    """One split, opened.

    Attributes:
        data: The rows.
        revision: Commit sha, for a Hub dataset.
        config: Configuration name, where there is a choice of them.
        split: Name of the split.
        ids: Id of each row; ``None`` numbers them ``"<split>/<row>"``.
        left_out: Reason -> files that were seen and are no rows.
        notes: What a reader should know about how the data was read.
    """

    data: Dataset
    revision: str | None
    config: str | None
    split: str
    ids: Sequence[str] | None = None
    left_out: Counter[str] = field(default_factory=Counter)
    notes: tuple[str, ...] = ()


def open_source(
    dataset: str, *, revision: str | None, split: str | None, token: str | None
) -> Source:
    """Open ``dataset``; a path that exists wins over a Hub id of the same spelling.

    No code of a dataset is ever run: the ``datasets`` library has given that up.

    Raises:
        TargetError: Unknown, unreadable or empty, or a configuration or split must be chosen.
    """
    place, config = local_path(dataset), None
    if not place.exists() and ":" in dataset:
        name, _, config = dataset.rpartition(":")
        place = local_path(name)
    if place.exists() and revision is not None:
        raise TargetError(f"{dataset} is local and has no revisions; leave --revision out.")
    refuse_pointers(place)
    if place.exists():
        _require_utf8(str(place), [str(place)])
    with quiet():
        if place.is_file() and config is None:
            return _file(place, split)
        if place.is_dir():
            return _folder(place, config, split)
        return _hub(dataset, revision, split, token)


# -- on this machine


def local_path(dataset: str) -> Path:
    """The path that a user's words name, whether or not there is anything.

    Raises:
        TargetError: They name no path that could exist: an unknown user's home, a name that is too
            long.
    """
    try:
        path = Path(dataset).expanduser()
        if "\0" in dataset:
            raise ValueError("it holds a NUL character")
        path.exists()
    except (RuntimeError, OSError, ValueError) as error:
        shown = dataset if len(dataset) <= 80 else f"{dataset[:79]}…"
        why = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise TargetError(f"{shown!r} cannot be opened: {why}. {_ALLOWED}") from error
    return path


def _loader(path: Path) -> str | None:
    """Which packaged loader reads a file; the longest suffix decides."""
    name = path.name.lower()
    return next((loader for suffix, loader in _FILES.items() if name.endswith(suffix)), None)


def _file(path: Path, split: str | None) -> Source:
    loader = _loader(path)
    if loader is None:
        advice = next((text for names, text in _ADVICE if path.name.lower().endswith(names)), "")
        raise TargetError(f"{path} is no dataset. {_ALLOWED}{advice}")
    if split not in (None, "train"):
        raise TargetError(f"--split {split!r}: a single file has only one split, train.")
    with explained(str(path)):
        data, notes = _rows(loader, [path], str(path))
    return Source(data, None, None, "train", notes=notes)


def _rows(loader: str, files: Sequence[Path], shown: str) -> tuple[Dataset, tuple[str, ...]]:
    """The rows of files of one kind, and what to say about them."""
    from datasets import load_dataset

    if loader == "csv":
        return read_csv_files(files, shown)
    if loader in ("parquet", "arrow") and (rows := read_arrow_files(files)) is not None:
        return rows
    if loader == "json":
        for file in files:
            check_json_file(file)
    data = load_dataset(loader, data_files=[str(file) for file in files], split="train")
    if loader == "json":
        check_json_rows(data, shown)
    return data, ()


def _folder(path: Path, config: str | None, split: str | None) -> Source:
    if config is None and (path / "dataset_dict.json").is_file():
        return _saved_splits(path, split)
    if config is None and (path / "state.json").is_file():
        return _saved(path, split)
    if config is None and any(_find(path, name) for name in _METADATA):
        for file in (path / "metadata.csv", *sorted(path.glob("*/metadata.csv"))):
            if file.is_file():
                check_metadata(file)
        return _built(str(path), split, "imagefolder", data_dir=str(path))
    check_folder(str(path), path)
    if config is None and not names_data_files(path):
        source = _image_folder(str(path), path, split)
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

    with explained(str(path)):
        try:
            return load_from_disk(str(path))
        except IndexError as error:  # datasets does not read back what it saved without rows
            raise TargetError(f"{path} is empty, or one of its splits is.") from error


def _image_folder(shown: str, path: Path, split: str | None) -> Source | None:
    """A folder of class folders, read file by file; ``None`` where it holds no images.

    ``imagefolder`` would take a class folder called ``train``, or a file called ``test_1.png``, for
    a split, and gives no labels at all where folders differ in depth.
    """
    from datasets import ClassLabel, Dataset, Features, Image

    files = find_files(path)
    suffixes = {PurePosixPath(name).suffix.lower() for name in files.others}
    if suffixes & (_DATA_SUFFIXES - _ARCHIVES):
        return None
    if suffixes & _ARCHIVES and not has_class_folders(files.images):
        _refuse_archives(shown, path, files)
        return None
    layout = arrange(shown, files, split)
    if not layout.splits:
        _check_readable(shown, files.others.values(), suffixes)
        return None
    name = choose_split(shown, list(layout.splits), split)
    classes = layout.splits[name]
    rows = [(file, c) for c, kind in enumerate(classes) for file in classes[kind]]
    _require_utf8(shown, [file for file, _ in rows])
    features = Features({"image": Image(), "label": ClassLabel(names=list(classes))})
    data = Dataset.from_dict(
        {"image": [str(path / file) for file, _ in rows], "label": [label for _, label in rows]},
        features=features,
    )
    ids = [file for file, _ in rows]
    archives = [name for name in files.others if PurePosixPath(name).suffix.lower() in _ARCHIVES]
    notes = layout.notes
    if archives:
        notes = (*notes, f"These archives in {shown} were not read: {listing(archives, 3)}.")
    return Source(data, None, None, name, ids, _left_out(layout, name), notes)


def _require_utf8(shown: str, names: Sequence[str]) -> None:
    """Refuse names in another encoding, such as those of an archive from an old Windows.

    Arrow holds paths and class names as UTF-8.

    Raises:
        TargetError: Counts such names and shows the first of them.
    """
    # Python shows a byte that is not UTF-8 as a lone surrogate.
    others = [name for name in names if not _is_utf8(name)]
    if not others:
        return
    first = os.fsencode(others[0]).decode("utf-8", errors="backslashreplace")
    raise TargetError(
        f"Names in {shown} are not valid UTF-8: {clean(first)!r:.200}, {len(others):,} of "
        f"{len(names):,} in all. Rename them, for example with `convmv -f latin1 -t utf8`."
    )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_archives(shown: str, path: Path, files: Files) -> None:
    """Refuse images in zip files: ``datasets`` reads them without their folders, or not at all.

    Raises:
        TargetError: A zip file holds images.
    """
    for name in files.others:
        if name.lower().endswith(".zip") and _holds_images(path / name):
            raise _packed_images(shown, name)


def _packed_images(shown: str, archive: str) -> TargetError:
    return TargetError(
        f"{shown} holds images in an archive ({clean(archive)}), whose folders are not read as "
        "classes. Unpack it, and pass the folder that holds the class folders."
    )


def _holds_images(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as opened:
            return any(PurePosixPath(name).suffix.lower() in SUFFIXES for name in opened.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return False


def _left_out(layout: Layout, split: str) -> Counter[str]:
    return layout.ignored + layout.left_out.get(split, Counter())


def _check_readable(shown: str, reasons: Collection[str], suffixes: set[str]) -> None:
    """Where all that a folder holds are images of other formats, or single texts, say so.

    Raises:
        TargetError: They are.
    """
    texts = sum(reason.endswith("(.txt)") for reason in reasons)
    if suffixes <= {".txt", ".md", "", ".py"} and texts > 1:
        raise TargetError(
            f"{shown} holds {texts:,} text files. Folders of texts are not read: write one csv or "
            "jsonl file with the columns text and label."
        )
    unreadable = Counter(reason for reason in reasons if reason.startswith(NO_READER))
    if unreadable and not suffixes & {*_FILES, ".txt"}:
        what = ", ".join(f"{reason}: {count:,}" for reason, count in unreadable.items())
        raise TargetError(
            f"{shown} holds no image that can be read ({what}). Convert the files to JPEG or PNG."
        )


# -- on the Hub


def _hub(dataset: str, revision: str | None, split: str | None, token: str | None) -> Source:
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import utils
    from huggingface_hub.errors import HFValidationError

    repo, _, config = dataset.partition(":")
    try:
        utils.validate_repo_id(repo)  # type: ignore[attr-defined]  # public, not typed so
    except HFValidationError as error:
        address = re.search(r"(huggingface\.co|hf\.co)/+datasets/([\w.-]+/[\w.-]+)", dataset)
        hint = f" Pass {address[2]}, not an address." if address else ""
        raise TargetError(
            f"{dataset!r} is neither a path that exists nor a Hub id.{hint} {_ALLOWED}"
        ) from error
    with explained(dataset):
        api = hub_api(token)
        sha = retry_read(
            api.resolve_revision, repo, repo_type="dataset", revision=revision
        ).resolved
        names = hub_files(api, repo, sha)
        for name in [name for name in names if PurePosixPath(name).name == "metadata.csv"]:
            check_metadata(_fetched(f"hf://datasets/{repo}@{sha}/{name}", token))
        if not config and _is_image_folder(names):
            folder = Path(
                retry_download(
                    api.snapshot_download,
                    repo,
                    repo_type="dataset",
                    revision=sha,
                    ignore_patterns=[f"*{suffix}" for suffix in sorted(_ARCHIVES)],
                )
            )
            named = names_data_files(folder)
            source = None if named else _image_folder(repo, folder, split)
            if source is not None:
                return replace(source, revision=sha)
    try:
        return _built(repo, split, repo, name=config or None, revision=sha, token=token)
    except TargetError as error:
        if isinstance(error.__cause__, DatasetNotFoundError):  # it forgets why: ask again
            with explained(dataset):
                retry_read(api.auth_check, repo, repo_type="dataset")
        zips = [name for name in names if name.lower().endswith(".zip")]
        if zips and "Invalid string class label" in str(error):
            raise _packed_images(repo, zips[0]) from error
        raise


def hub_files(api: HfApi, repo: str, sha: str) -> list[str]:
    """The paths of a dataset's files, once its settings are known to name no others.

    Args:
        api: The client.
        repo: Id of the dataset.
        sha: Commit.

    Raises:
        TargetError: Its settings lead outside it, or cannot be had.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        with _hub_errors_only():  # else a repository without these files is warned of
            folder = retry_download(
                api.snapshot_download,
                repo,
                repo_type="dataset",
                revision=sha,
                allow_patterns=list(SETTINGS_FILES),
            )
    except RepositoryNotFoundError:  # gated ones, too
        raise
    except Exception as error:
        if others := [commit for commit in _cached_commits(repo) if commit != sha]:
            raise _other_commit(repo, others[-1], sha) from error
        raise
    check_folder(repo, Path(folder))
    return [file.path for file in get_cached_repo_tree(repo, repo_type="dataset", revision=sha)]


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
    """Commits of a dataset in the cache, the latest last."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{repo.replace('/', '--')}" / "snapshots"
    commits = folder.iterdir() if folder.is_dir() else ()
    return [path.name for path in sorted(commits, key=lambda path: path.stat().st_mtime)]


def _is_image_folder(names: Iterable[str]) -> bool:
    """Whether a repository of these files is a folder of images rather than of tables.

    Example:
        >>> _is_image_folder(["cat/1.png", "README.md"])
        True
        >>> _is_image_folder(["1.parquet", "docs/1.png"])
        False
    """
    paths = [PurePosixPath(name) for name in names]
    paths = [path for path in paths if not any(map(is_system_name, path.parts))]
    suffixes = {path.suffix.lower() for path in paths}
    if any(path.name in _METADATA for path in paths) or suffixes & (_DATA_SUFFIXES - _ARCHIVES):
        return False
    if suffixes & _ARCHIVES:
        return has_class_folders([str(path) for path in paths if path.suffix.lower() in SUFFIXES])
    inside = [path.suffix.lower() for path in paths if len(path.parts) > 1]
    nameless = not suffixes & set(_FILES) and "" in inside
    return nameless or any(suffix in SUFFIXES for suffix in inside)


def _read_ourselves(
    builder: Any, split: str, shown: str, token: str | None
) -> tuple[Dataset, tuple[str, ...]] | None:
    """The rows of csv files, and of parquet and arrow files with view types; ``None`` where the
    library reads the files as they are, or their author says how. Json files are only checked.
    """
    kinds = ("csv", "json", "parquet", "arrow")
    loader = next((kind for kind in kinds if _is_packaged(builder, kind)), None)
    if loader is None or not _has_default_options(builder):
        return None
    places = [str(place) for place in (builder.config.data_files or {}).get(split, ())]
    # `zip://a.csv::hf://...` is a file inside a file; servers are asked by the library alone
    plain = all("://" not in place or _ON_HUB.fullmatch(place) for place in places)
    if not places or not plain or any(_loader(Path(place)) != loader for place in places):
        return None
    first = _fetched(places[0], token)
    if loader in ("parquet", "arrow") and not holds_unknown_types(first):
        return None
    files = [first, *(_fetched(place, token) for place in places[1:])]
    if loader == "csv":
        data, notes = read_csv_files(files, shown)
        return _as_declared(data, builder.info.features), notes
    if loader == "json":
        for file in files:
            check_json_file(file)
        return None
    return read_arrow_files(files)


def _as_declared(data: Dataset, features: Any) -> Dataset:
    """The rows with the features that a dataset's README declares, such as the names of classes."""
    if features is None or set(features) != set(data.column_names):
        return data
    return data.select_columns(list(features)).cast(features)


def _built(shown: str, split: str | None, loader: str, **options: Any) -> Source:
    """Anything that ``load_dataset`` reads: metadata first, data only after the split is known."""
    from datasets import load_dataset_builder

    with explained(shown):
        try:
            builder = retry_download(load_dataset_builder, loader, **options)
        except ValueError as error:
            raise _config_error(shown, loader, options) or error from error
    _check_commit(shown, builder.hash, options.get("revision"))
    with explained(shown):
        names = _names(builder.info.splits or builder.config.data_files or ())
        given = choose_split(shown, names, split) if names else ""

        def load() -> tuple[str, Dataset, tuple[str, ...]]:
            rows = _read_ourselves(builder, given, shown, options.get("token"))
            if rows is not None:
                return (given, *rows)
            retry_download(builder.download_and_prepare)
            name = choose_split(shown, _names(builder.info.splits), split)
            data = builder.as_dataset(split=name)
            if _is_packaged(builder, "json"):
                check_json_rows(data, shown)
            return name, data, ()

        if options.get("revision") is None:  # on this machine
            name, data, notes = load()
        else:
            name, data, notes = load_verified(loader, load, lambda: _forget(builder))
    config = str(builder.config.name)
    unnamed = options.get("name") is None and (config == "default" or loader == "imagefolder")
    return Source(data, options.get("revision"), None if unnamed else config, name, notes=notes)


def _forget(builder: Any) -> None:
    """Remove what was prepared out of a builder's files."""
    shutil.rmtree(builder.cache_dir, ignore_errors=True)


def _is_packaged(builder: Any, loader: str) -> bool:
    return any(
        kind.__module__ == f"datasets.packaged_modules.{loader}.{loader}"
        for kind in type(builder).__mro__
    )


def _has_default_options(builder: Any) -> bool:
    """Whether the author of the data leaves open how its files are written."""
    from datasets import BuilderConfig

    config = builder.config
    plain = type(config)()
    general = {f.name for f in fields(BuilderConfig)}
    names = [f.name for f in fields(config) if f.name not in general and f.name != "features"]
    return all(getattr(config, name) == getattr(plain, name) for name in names)


_ON_HUB = re.compile(r"hf://datasets/(?P<repo>[^@]+)@(?P<commit>[0-9a-f]{40})/(?P<path>.+)")


def _fetched(place: str, token: str | None) -> Path:
    """A data file on this machine."""
    found = _ON_HUB.fullmatch(place)
    if found is None:
        return Path(place)
    file = retry_download(
        hub_api(token).hf_hub_download,
        found["repo"],
        found["path"],
        repo_type="dataset",
        revision=found["commit"],
    )
    return Path(file)


def _check_commit(shown: str, loaded: str | None, wanted: str | None) -> None:
    """Where the Hub fails, datasets takes *any* cached commit; that must not go unseen."""
    if wanted is not None and loaded is not None and loaded != wanted:
        raise _other_commit(shown, loaded, wanted)


def _other_commit(shown: str, loaded: str, wanted: str) -> TargetError:
    return TargetError(
        f"{shown} cannot be read at {wanted}: the Hub cannot be reached or fails, and the local "
        f"cache holds another commit, {loaded}. Try later, or pass --revision {loaded}."
    )


def _names(splits: Iterable[Any]) -> list[str]:
    return [str(name) for name in splits]  # datasets has a class for them


def _config_error(shown: str, loader: str, options: Mapping[str, Any]) -> TargetError | None:
    """Whether a configuration is missing or unknown, and which there are."""
    from datasets import get_dataset_config_names

    names = get_dataset_config_names(
        loader, revision=options.get("revision"), token=options.get("token")
    )
    given = options.get("name")
    if given in names or (given is None and len(names) < 2):
        return None
    what = "has several configurations" if given is None else f"has no configuration {given!r}"
    return TargetError(f"{shown} {what}; pass one as {shown}:NAME. Allowed: {', '.join(names)}.")


# -- both


def choose_split(dataset: str, names: Sequence[str], given: str | None) -> str:
    """The split to sample: the given one, ``train``, or the only one that is not for testing.

    A test split is taken only when asked for: choosing a model by it would spoil it.

    Raises:
        TargetError: There is no such split, or the choice is not ours.
    """
    there = ", ".join(names) or "none"
    if given is not None:
        if given in names:
            return given
        raise TargetError(f"--split {given!r} does not exist in {dataset}. Splits: {there}.")
    if "train" in names:
        return "train"
    usable = [name for name in names if not name.lower().startswith("test")]
    if len(usable) == 1:
        return usable[0]
    raise TargetError(f"{dataset} has no train split. Splits: {there}. Pass one with --split.")


@contextmanager
def explained(dataset: str) -> Iterator[None]:
    """Turn whatever the libraries raise into one sentence about this dataset."""
    try:
        yield
    except TargetError:
        raise
    # datasets, pyarrow, pandas, fsspec and httpx2 each have their own; all mean the same to us.
    except Exception as error:
        why = _why(error)
        why = why if len(why) <= _LONGEST else f"{why[:_LONGEST]}…"
        raise TargetError(f"Dataset {dataset}: {why}.") from error


def _why(error: Exception) -> str:
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
        cause = error.__cause__  # itself it only says that an error occurred
    why = explain(cause)
    if "JSON parse error" in str(cause):
        return f"{why.rstrip('.')}. {JSON_ROWS.rstrip('.')}"
    return why


@contextmanager
def quiet() -> Iterator[None]:
    """Without the libraries' own bars: ours are the ones that the listener asked for."""
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
