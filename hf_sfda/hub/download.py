"""Download a checkpoint, or find it in the cache."""

from __future__ import annotations

import glob
import threading
from pathlib import Path
from typing import Any

from hf_sfda.errors import ExtractionError
from hf_sfda.hub.api import hub_api, retry_download
from hf_sfda.hub.checksums import snapshot_verified
from hf_sfda.hub.files import MODEL_FILES, WEIGHTS, WEIGHTS_INDEX, model_files, shard_names
from hf_sfda.hub.reasons import explain_answer
from hf_sfda.progress import Advance
from hf_sfda.session import Session
from hf_sfda.types import Candidate


def download_model(candidate: Candidate, session: Session | None = None) -> Path:
    """Return the folder with a candidate's files; download what the cache does not hold.

    A download is pinned to ``candidate.revision`` and resumes an interrupted one. If the cache
    holds every file of that commit, no request is made.

    Args:
        candidate: A candidate that :func:`hf_sfda.scan.find_candidates` did not skip.
        session: Its token is used, and its progress receives the number of bytes as they arrive.

    Returns:
        ``candidate.path`` for a local candidate, else the snapshot folder in the cache.

    Raises:
        ExtractionError: The files are not available; the message says why, in one sentence.
    """
    if candidate.path is not None:
        return candidate.path
    if (folder := cached_model(candidate)) is not None:
        return folder
    session = session or Session()
    with session.progress.task(
        "download", candidate.model_id, total=candidate.download_bytes, unit="B"
    ) as advance:
        # The model card has the licence, which offline runs show.
        folder = _download(candidate, [*MODEL_FILES, "README.md"], session.token, advance)
        if missing := [name for name in _shards(folder) if not (folder / name).is_file()]:
            _download(candidate, [glob.escape(name) for name in missing], session.token, advance)
    for name in _shards(folder) or [WEIGHTS]:
        if not (folder / name).is_file():
            raise ExtractionError(
                f"{candidate.model_id} at {candidate.revision} holds no {name}; "
                "pickles are never opened"
            )
    return folder


def cached_model(candidate: Candidate) -> Path | None:
    """The cached snapshot of a Hub candidate, or ``None`` unless it is complete; no request."""
    from huggingface_hub import get_cached_repo_tree, try_to_load_from_cache
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    repo, sha = candidate.model_id, candidate.revision
    if candidate.source != "hub" or sha is None:
        return None
    try:
        listing = get_cached_repo_tree(repo, revision=sha)
    except CachedRepoTreeNotFoundError:
        return None
    # A killed process may have left half of a listing.
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    needed = model_files(file.path for file in listing)
    paths = [try_to_load_from_cache(repo, name, revision=sha) for name in needed]
    if "config.json" not in needed or not all(isinstance(path, str) for path in paths):
        return None
    folder = Path(str(paths[needed.index("config.json")])).parent
    try:
        shards = _shards(folder)
    except ExtractionError:
        return None  # the download that follows reports the error
    return folder if all((folder / name).is_file() for name in shards) else None


def _shards(folder: Path) -> list[str]:
    """The shards that the index in a snapshot lists; empty if one file holds all weights.

    Raises:
        ExtractionError: The index is invalid.
    """
    if (folder / WEIGHTS).is_file() or not (folder / WEIGHTS_INDEX).is_file():
        return []
    try:
        return shard_names((folder / WEIGHTS_INDEX).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExtractionError(f"{WEIGHTS_INDEX} {error}") from error


def _download(
    candidate: Candidate, patterns: list[str], token: str | None, advance: Advance
) -> Path:
    """Download files and verify their checksums.

    Raises:
        ExtractionError: The download fails, or a file is damaged after the second attempt.
    """
    try:
        return snapshot_verified(
            candidate.model_id,
            patterns,
            lambda: retry_download(
                hub_api(token).snapshot_download,
                candidate.model_id,
                revision=candidate.revision,
                allow_patterns=patterns,
                tqdm_class=_reporting(advance),
            ),
        )
    # httpx2 errors, OSError, and errors that are neither (EntryNotFoundError). Catch them all: one
    # candidate's failure must not stop the run.
    except Exception as error:
        raise ExtractionError(explain_answer(error)) from error


def _reporting(advance: Advance) -> type[Any]:
    """A progress bar class for ``snapshot_download``: draws nothing, calls ``advance(bytes)``."""
    from huggingface_hub import utils

    bar: type[Any] = utils.tqdm  # type: ignore[attr-defined]  # public, but without a type stub
    lock = threading.Lock()  # files are fetched by several threads

    class Reporting(bar):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # huggingface_hub makes three bars: files, bytes received, bytes written. Only the last
            # one also counts the bytes of an earlier, interrupted download, so use that one.
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
