"""Bring a checkpoint's files here, once."""

from __future__ import annotations

import glob
import threading
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from hf_sfda.errors import ExtractionError
from hf_sfda.hub.api import fetch, hub_api
from hf_sfda.hub.checksums import matches
from hf_sfda.hub.files import MODEL_FILES, WEIGHTS, WEIGHTS_INDEX, model_files, shard_names
from hf_sfda.hub.reasons import explain_answer
from hf_sfda.progress import Advance, NoProgress, Progress
from hf_sfda.types import Candidate


def download_model(
    candidate: Candidate, *, token: str | None = None, progress: Progress | None = None
) -> Path:
    """The folder with a candidate's files: its own, the cache's, or freshly downloaded.

    A download is pinned to ``candidate.revision``, resumes where an earlier one broke off, and is
    not started at all where the cache holds every file of that commit: then no request is made.

    Args:
        candidate: One that :func:`hf_sfda.scan.find_candidates` did not leave out.
        token: User access token; ``None`` takes the login.
        progress: Told the bytes as they arrive.

    Raises:
        ExtractionError: The files cannot be had; the message says why, in one sentence.
    """
    if candidate.path is not None:
        return candidate.path
    if (folder := cached_model(candidate)) is not None:
        return folder
    listener = progress or NoProgress()
    task = listener.task("download", candidate.model_id, total=candidate.download_bytes, unit="B")
    with task as advance:
        # The card is for the licence when offline.
        folder = _download_whole(candidate, [*MODEL_FILES, "README.md"], token, advance)
        if missing := [name for name in _shards(folder) if not (folder / name).is_file()]:
            _download_whole(candidate, [glob.escape(name) for name in missing], token, advance)
    for name in _shards(folder) or [WEIGHTS]:
        if not (folder / name).is_file():
            raise ExtractionError(
                f"{candidate.model_id} at {candidate.revision} holds no {name}; "
                "pickles are never opened"
            )
    return folder


def cached_model(candidate: Candidate) -> Path | None:
    """The cached snapshot of a Hub candidate if it is known to be complete; asks nobody."""
    from huggingface_hub import get_cached_repo_tree, try_to_load_from_cache
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    repo, sha = candidate.model_id, candidate.revision
    if candidate.source != "hub" or sha is None:
        return None
    try:
        listing = get_cached_repo_tree(repo, revision=sha)
    except CachedRepoTreeNotFoundError:
        return None
    # A listing that a killed process left half written is none.
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    needed = model_files(file.path for file in listing)
    found = [try_to_load_from_cache(repo, name, revision=sha) for name in needed]
    if "config.json" not in needed or not all(isinstance(path, str) for path in found):
        return None
    folder = Path(str(found[needed.index("config.json")])).parent
    try:
        shards = _shards(folder)
    except ExtractionError:
        return None  # the download says what is wrong
    return folder if all((folder / name).is_file() for name in shards) else None


def _shards(folder: Path) -> list[str]:
    """The shards that the index in a snapshot names; none if there is a file with all weights.

    Raises:
        ExtractionError: The index is none.
    """
    if (folder / WEIGHTS).is_file() or not (folder / WEIGHTS_INDEX).is_file():
        return []
    try:
        return shard_names((folder / WEIGHTS_INDEX).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExtractionError(f"{WEIGHTS_INDEX} {error}") from error


def _download_whole(
    candidate: Candidate, patterns: list[str], token: str | None, advance: Advance
) -> Path:
    """Download files and hold them against their checksums; once more where they differ."""
    for _ in range(2):
        folder = _download(candidate, patterns, token, advance)
        damaged = _remove_damaged(folder, patterns)
        if not damaged:
            return folder
    raise ExtractionError(
        f"{damaged[0]} of {candidate.model_id} arrives damaged (its checksum is not the Hub's); "
        "try again later, or check what lies between you and the Hub"
    )


def _download(
    candidate: Candidate, patterns: list[str], token: str | None, advance: Advance
) -> Path:
    try:
        folder = fetch(
            hub_api(token).snapshot_download,
            candidate.model_id,
            revision=candidate.revision,
            allow_patterns=patterns,
            tqdm_class=_reporting(advance),
        )
    # httpx2 errors, OSError, and errors that are neither (EntryNotFoundError): whatever it is, it
    # belongs to this candidate alone.
    except Exception as error:
        raise ExtractionError(explain_answer(error)) from error
    return Path(folder)


def _remove_damaged(folder: Path, patterns: list[str]) -> list[str]:
    """Remove downloaded files whose content is not what their name in the cache says.

    Returns:
        Their names.
    """
    damaged = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            continue
        blob = path.resolve()
        if blob.is_file() and not matches(blob):
            blob.unlink()
            path.unlink(missing_ok=True)
            damaged.append(name)
    return damaged


def _reporting(advance: Advance) -> type[Any]:
    """A bar for ``snapshot_download`` that draws nothing and passes the bytes written on."""
    from huggingface_hub import utils

    bar: type[Any] = utils.tqdm  # type: ignore[attr-defined]  # it is public, but not typed so
    lock = threading.Lock()  # files are fetched by several threads

    class Reporting(bar):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # There are three bars: files done, bytes received, bytes written. One is enough, and
            # only the last one also counts what an earlier, interrupted download left behind.
            name = str(kwargs.get("name") or "")
            self._counts = kwargs.get("unit") == "B" and not name.endswith(".transfer")
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)

        def update(self, n: float | None = 1) -> bool | None:
            if self._counts and n:
                with lock:
                    advance(n)
            return None

    return Reporting
