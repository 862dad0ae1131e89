"""An open split, the choice of it, and the errors of the libraries in plain words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.dataset.remote import RemoteSplit
from hf_sfda.dataset.tables import JSON_ROWS
from hf_sfda.errors import TargetError
from hf_sfda.format import cut
from hf_sfda.hub import comes_from_unreachable_hub, explain

if TYPE_CHECKING:
    from datasets import Dataset

FILES: Mapping[str, str] = {
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
_MAX_MESSAGE = 400  # characters of a library's error message
ALLOWED = (
    "Allowed are a Hub id (org/name or org/name:config), a folder with one sub-folder of "
    f"images or sounds per class, a file ({', '.join(FILES)}) or a save_to_disk folder."
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
        raise TargetError(f"{name!r} cannot be opened: {reason}. {ALLOWED}") from error
    return path


def loader_of(path: Path) -> str | None:
    """The loader of ``datasets`` that reads a file, by its suffix; ``None`` if there is none."""
    name = path.name.lower()
    return next((loader for suffix, loader in FILES.items() if name.endswith(suffix)), None)


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
        reason = cut(_reason(error), _MAX_MESSAGE)
        if comes_from_unreachable_hub(error) and not local_path(dataset).exists():
            reason += ". No file or folder has this name here, either"
        raise TargetError(f"Dataset {dataset}: {reason}.") from error


def _reason(error: Exception) -> str:
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError

    if isinstance(error, (EmptyDatasetError, DataFilesNotFoundError)):
        return "it holds no data files. " + ALLOWED.rstrip(".")
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
