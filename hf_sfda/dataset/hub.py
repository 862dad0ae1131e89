"""Open a split of a dataset on the Hub, and tell the size of its download beforehand."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from hf_sfda.dataset import sounds
from hf_sfda.dataset.built import fetched, in_parts, open_built, other_commit, split_to_read
from hf_sfda.dataset.folder import has_class_folders
from hf_sfda.dataset.images import SUFFIXES
from hf_sfda.dataset.local import (
    ARCHIVES,
    DATA_SUFFIXES,
    INPUTS,
    METADATA,
    archive_error,
    class_folders,
    described_sounds,
)
from hf_sfda.dataset.readme import SETTINGS_FILES, check_folder, names_data_files
from hf_sfda.dataset.sources import (
    ALLOWED,
    FILES,
    Source,
    as_target_error,
    local_path,
    no_progress_bars,
)
from hf_sfda.dataset.tables import check_metadata
from hf_sfda.dataset.walk import find_files, is_system_name
from hf_sfda.errors import TargetError
from hf_sfda.hub import hub_api, load_verified, retry_download, retry_read

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_PATHS_PER_REQUEST = 500


def open_on_hub(
    dataset: str,
    revision: str | None,
    split: str | None,
    token: str | None,
    input_column: str | None,
) -> Source:
    """Open a split of a dataset on the Hub (``org/name`` or ``org/name:config``) at a commit.

    Arguments and errors are those of :func:`~hf_sfda.dataset.load.load_target`.
    """
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
            f"{dataset!r} is neither a path that exists nor a Hub id.{hint} {ALLOWED}"
        ) from error
    with as_target_error(dataset):
        api = hub_api(token)
        sha, names = _commit_and_files(api, repo, revision)
        notes: list[str] = []
        for name in [name for name in names if PurePosixPath(name).name == "metadata.csv"]:
            notes += check_metadata(fetched(f"hf://datasets/{repo}@{sha}/{name}", token))
        if not config and _is_described_sounds(names):
            folder = _snapshot(api, repo, sha)
            if not names_data_files(folder):
                described = described_sounds(repo, folder, find_files(folder), split)
                return replace(described, revision=sha)
        if not config and _is_folder_of_inputs(names):
            ignored = [f"*{suffix}" for suffix in sorted(ARCHIVES)]
            folder = _snapshot(api, repo, sha, ignore_patterns=ignored)
            named = names_data_files(folder)
            source = None if named else class_folders(repo, folder, split, input_column)
            if source is not None:
                return replace(source, revision=sha)
    try:
        source = open_built(repo, split, repo, name=config or None, revision=sha, token=token)
        return replace(source, notes=(*source.notes, *notes))
    except TargetError as error:
        if isinstance(error.__cause__, DatasetNotFoundError):  # it has no reason: ask the Hub
            with as_target_error(dataset):
                retry_read(api.auth_check, repo, repo_type="dataset")
        zips = [name for name in names if name.lower().endswith(".zip")]
        if zips and "Invalid string class label" in str(error):
            raise archive_error(repo, zips[0]) from error
        raise


def _commit_and_files(api: HfApi, repo: str, revision: str | None) -> tuple[str, list[str]]:
    """The commit of a revision of a dataset, and the paths of its files.

    Its settings files are downloaded and checked first.

    Raises:
        TargetError: The settings name files outside the dataset, or cannot be downloaded.
    """
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import RepositoryNotFoundError

    sha = retry_read(api.resolve_revision, repo, repo_type="dataset", revision=revision).resolved
    try:
        with _hub_errors_only():  # otherwise it warns about a repository without these files
            folder = _snapshot(api, repo, sha, allow_patterns=list(SETTINGS_FILES))
    except RepositoryNotFoundError:  # includes gated repositories
        raise
    except Exception as error:
        if others := [commit for commit in _cached_commits(repo) if commit != sha]:
            raise other_commit(repo, others[-1], sha) from error
        raise
    check_folder(repo, folder)
    tree = get_cached_repo_tree(repo, repo_type="dataset", revision=sha)
    return sha, [file.path for file in tree]


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
    described = any(PurePosixPath(name).name in METADATA for name in names)
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
    if any(path.name in METADATA for path in paths) or suffixes & (DATA_SUFFIXES - ARCHIVES):
        return False
    if suffixes & ARCHIVES:
        return has_class_folders([str(path) for path in paths if path.suffix.lower() in INPUTS])
    inside = [path.suffix.lower() for path in paths if len(path.parts) > 1]
    nameless = not suffixes & set(FILES) and "" in inside
    return nameless or any(suffix in INPUTS for suffix in inside)


def download_size(
    dataset: str,
    *,
    revision: str | None = None,
    split: str | None = None,
    samples: int = 2000,
    token: str | None = None,
) -> int | None:
    """Bytes of a configuration of a Hub dataset that a run reads.

    These are the files of one split, or of all splits where splits cannot be read one by one. Of a
    very large split, only parts are read; their size is an estimate.

    Args:
        dataset: Hub id, ``org/name`` or ``org/name:config``.
        revision: Branch, tag or commit.
        split: As in :func:`~hf_sfda.dataset.load.load_target`.
        samples: Size of the sample.
        token: User access token; ``None`` uses the saved login.

    Returns:
        The size, including files that are in the cache already; ``None`` for a local dataset.

    Raises:
        TargetError: The dataset cannot be opened.
    """
    if local_path(dataset).exists():
        return None
    from datasets import load_dataset_builder

    repo, _, config = dataset.partition(":")
    with no_progress_bars(), as_target_error(dataset):
        api = hub_api(token)
        sha, _ = _commit_and_files(api, repo, revision)
        builder = retry_download(
            load_dataset_builder, repo, name=config or None, revision=sha, token=token
        )
        chosen, places = split_to_read(builder, dataset, split)
        if (parts := in_parts(builder, dataset, repo, chosen, token)) is not None:
            return parts.estimate(samples)
        inside = f"hf://datasets/{repo}@{sha}/"
        # `zip://a.csv::hf://...` is a file inside a file
        names = (place.rpartition("::")[2] for place in places)
        files = sorted({name.removeprefix(inside) for name in names})
        total = 0
        for start in range(0, len(files), _PATHS_PER_REQUEST):
            paths = files[start : start + _PATHS_PER_REQUEST]
            infos = retry_read(api.get_paths_info, repo, paths, revision=sha, repo_type="dataset")
            total += sum(getattr(info, "size", 0) for info in infos)
    return total
