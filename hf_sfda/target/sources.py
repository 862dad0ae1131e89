"""Open a dataset wherever it lies: one split of it, as a ``datasets.Dataset``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import TargetError
from hf_sfda.hub import explain, fetch, hub_api, read
from hf_sfda.target.folder import picture_splits
from hf_sfda.target.pointers import refuse_pointers

if TYPE_CHECKING:
    from datasets import Dataset

_FILES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    # Only an empty cell is a missing one: "NA" is also Namibia, and "None" may be a class.
    ".csv": ("csv", {"keep_default_na": False, "na_values": [""]}),
    ".tsv": ("csv", {"keep_default_na": False, "na_values": [""], "sep": "\t"}),
    ".parquet": ("parquet", {}),
    ".json": ("json", {}),
    ".jsonl": ("json", {}),
    ".ndjson": ("json", {}),
    ".arrow": ("arrow", {}),
}
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")  # what `imagefolder` reads
_ALLOWED = (
    "Allowed are a Hub id (org/name or org/name:config), a folder with one sub-folder of pictures "
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
    """

    data: Dataset
    revision: str | None
    config: str | None
    split: str
    ids: Sequence[str] | None = None


def open_source(
    dataset: str, *, revision: str | None, split: str | None, token: str | None
) -> Source:
    """Open ``dataset``; a path that exists wins over a Hub id of the same spelling.

    No code of a dataset is ever run: the ``datasets`` library has given that up.

    Raises:
        TargetError: Unknown, unreadable or empty, or a configuration or split must be chosen.
    """
    path = Path(dataset).expanduser()
    place, config = path, None
    if not path.exists() and ":" in dataset:
        name, _, config = dataset.rpartition(":")
        place = Path(name).expanduser()
    if place.exists() and revision is not None:
        raise TargetError(f"{dataset} is local and has no revisions; leave --revision out.")
    refuse_pointers(place)
    with quiet():
        if place.is_file() and config is None:
            return _file(place, split)
        if place.is_dir():
            return _folder(place, config, split)
        return _hub(dataset, revision, split, token)


# -- on this machine


def _file(path: Path, split: str | None) -> Source:
    if path.suffix.lower() not in _FILES:
        raise TargetError(f"{path} is no dataset. {_ALLOWED}")
    if split not in (None, "train"):
        raise TargetError(f"--split {split!r}: a single file has only one split, train.")
    loader, options = _FILES[path.suffix.lower()]
    with explained(str(path)):
        from datasets import load_dataset

        data = load_dataset(loader, data_files=str(path), split="train", **options)
    return Source(data, None, None, "train")


def _folder(path: Path, config: str | None, split: str | None) -> Source:
    if config is None and (path / "dataset_dict.json").is_file():
        return _saved_splits(path, split)
    if config is None and (path / "state.json").is_file():
        return _saved(path, split)
    if config is None and any(_find(path, name) for name in _METADATA):
        return _built(str(path), split, "imagefolder", data_dir=str(path))
    if config is None and (splits := picture_splits(path)):
        return _pictures(path, splits, split)
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


def _pictures(
    path: Path, splits: Mapping[str, Mapping[str, Sequence[Path]]], split: str | None
) -> Source:
    """A folder of class folders, read file by file.

    ``imagefolder`` would take a class folder called ``train``, or a file called ``test_1.png``, for
    a split, and gives no labels at all where folders differ in depth.
    """
    from datasets import ClassLabel, Dataset, Features, Image

    name = choose_split(str(path), list(splits), split)
    classes = splits[name]
    files = [(str(file), c) for c, kind in enumerate(classes) for file in classes[kind]]
    features = Features({"image": Image(), "label": ClassLabel(names=list(classes))})
    data = Dataset.from_dict(
        {"image": [file for file, _ in files], "label": [label for _, label in files]},
        features=features,
    )
    ids = [Path(file).relative_to(path).as_posix() for file, _ in files]
    return Source(data, None, None, name, ids)


# -- on the Hub


def _hub(dataset: str, revision: str | None, split: str | None, token: str | None) -> Source:
    from datasets.exceptions import DatasetNotFoundError
    from huggingface_hub import utils
    from huggingface_hub.errors import HFValidationError

    repo, _, config = dataset.partition(":")
    try:
        utils.validate_repo_id(repo)  # type: ignore[attr-defined]  # public, not typed so
    except HFValidationError as error:
        raise TargetError(
            f"{dataset!r} is neither a path that exists nor a Hub id. {_ALLOWED}"
        ) from error
    with explained(dataset):
        api = hub_api(token)
        sha = read(api.resolve_revision, repo, repo_type="dataset", revision=revision).resolved
    try:
        return _built(repo, split, repo, name=config or None, revision=sha, token=token)
    except TargetError as error:
        if isinstance(error.__cause__, DatasetNotFoundError):  # it forgets why: ask again
            with explained(dataset):
                read(api.auth_check, repo, repo_type="dataset")
        raise


def _built(shown: str, split: str | None, loader: str, **options: Any) -> Source:
    """Anything that ``load_dataset`` reads: metadata first, data only after the split is known."""
    from datasets import load_dataset_builder

    with explained(shown):
        try:
            builder = fetch(load_dataset_builder, loader, **options)
        except ValueError as error:
            raise _config_error(shown, loader, options) or error from error
    _check_commit(shown, builder.hash, options.get("revision"))
    with explained(shown):
        names = _names(builder.info.splits or builder.config.data_files or ())
        if names:
            choose_split(shown, names, split)
        fetch(builder.download_and_prepare)
        name = choose_split(shown, _names(builder.info.splits), split)
        data = builder.as_dataset(split=name)
    config = str(builder.config.name)
    unnamed = options.get("name") is None and (config == "default" or loader == "imagefolder")
    return Source(data, options.get("revision"), None if unnamed else config, name)


def _check_commit(shown: str, loaded: str | None, wanted: str | None) -> None:
    """Where the Hub fails, datasets takes *any* cached commit; that must not go unseen."""
    if wanted is not None and loaded is not None and loaded != wanted:
        raise TargetError(
            f"{shown} cannot be read at {wanted}: the Hub cannot be reached or fails, and the "
            f"local cache holds another commit, {loaded}. Try later, or pass --revision {loaded}."
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
        raise TargetError(f"Dataset {dataset}: {_why(error)}.") from error


def _why(error: Exception) -> str:
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError

    if isinstance(error, (EmptyDatasetError, DataFilesNotFoundError)):
        return "it holds no data files. " + _ALLOWED.rstrip(".")
    if "corresponds to no data" in str(error):
        return "it is empty"
    if isinstance(error, RuntimeError) and "scripts are no longer supported" in str(error):
        return "it needs its own loading script, which is never run; convert it to parquet first"
    if isinstance(error, DatasetGenerationError) and error.__cause__ is not None:
        return explain(error.__cause__)  # itself it only says that an error occurred
    return explain(error)


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
