"""Periodic cleanup of a server: discard old jobs and limit the size of the caches that jobs share.

Each job may add gigabytes to the caches. They are trimmed only on a deployed Space. On a user's own
machine these caches belong to the user and must not be trimmed.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hf_sfda.space.jobs import Jobs

logger = logging.getLogger(__name__)
_remove = partial(shutil.rmtree, ignore_errors=True)
EVERY = 600.0
"""Seconds between two cleanups."""

OLDEST = 2 * 3600.0
"""Age in seconds at which a finished job is discarded, even if its visitor's page is open."""

IN_USE = 3600.0
"""Seconds after its last use during which an entry is never removed: twice the longest job."""


def start_cleanup(jobs: Jobs, *, every: float = EVERY, oldest: float = OLDEST) -> threading.Event:
    """Clean up periodically, in a daemon thread.

    Args:
        jobs: The jobs of this server.
        every: Seconds between two cleanups.
        oldest: Age in seconds at which an idle job is discarded.

    Returns:
        An event that ends the thread when it is set.
    """
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(every):
            try:
                clean_up(jobs, oldest)
            except Exception:  # try again next time: without any cleanup the disk fills up
                logger.exception("The cleanup failed")

    threading.Thread(target=loop, name="cleanup", daemon=True).start()
    return stop


def clean_up(jobs: Jobs, oldest: float = OLDEST) -> None:
    """Clean up once. Caches are trimmed on a Space only; elsewhere they belong to the user."""
    jobs.sweep(oldest)
    if on_a_space() and not jobs.busy:
        trim(jobs.limits.cache_bytes)


def on_a_space() -> bool:
    """Whether this process runs in a Space on the Hub."""
    return bool(os.environ.get("SPACE_ID"))


def trim(limit: int, *, in_use: float = IN_USE) -> int:
    """Remove the least recently used models, datasets and features until the rest fits.

    Args:
        limit: Largest total size in bytes.
        in_use: Seconds after its last use during which an entry is never removed.

    Returns:
        Number of bytes that were freed.
    """
    entries = [*_repositories(), *_datasets(), *_features()]
    total, freed, now = sum(entry.size for entry in entries), 0, time.time()
    for entry in sorted(entries, key=lambda entry: entry.used):
        if total <= limit or now - entry.used < in_use:
            break
        entry.remove()
        total -= entry.size
        freed += entry.size
    if freed:
        logger.info("%d MB of cached files removed.", freed // 1_000_000)
    return freed


@dataclass(frozen=True)
class Cached:
    """A cache entry, which can be downloaded or computed again.

    Attributes:
        size: Size in bytes.
        used: Time of the last use, in seconds since 1970.
        remove: Function that removes the entry.
    """

    size: int
    used: float
    remove: Callable[[], object]


def _repositories() -> Iterator[Cached]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        cache = scan_cache_dir()
    except CacheNotFound:
        return
    for repo in cache.repos:
        used = max(repo.last_accessed, repo.last_modified)
        yield Cached(repo.size_on_disk, used, partial(_remove, repo.repo_path))


def _datasets() -> Iterator[Cached]:
    """The folders of the datasets library and of parts of very large splits, one per dataset."""
    from datasets import config

    from hf_sfda.dataset.remote import parts_root

    roots = (Path(config.HF_DATASETS_CACHE), parts_root())
    for folder in (folder for root in roots if root.is_dir() for folder in root.iterdir()):
        files = [file.stat() for file in folder.rglob("*") if file.is_file()]
        if folder.is_dir() and files:
            used = max(max(file.st_atime, file.st_mtime) for file in files)
            size = sum(file.st_size for file in files)
            yield Cached(size, used, partial(_remove, folder))


def _features() -> Iterator[Cached]:
    from hf_sfda.store import FeatureStore

    for entry in FeatureStore().entries():
        try:
            stat = entry.path.stat()
        except FileNotFoundError:
            continue
        yield Cached(
            entry.bytes, max(stat.st_atime, stat.st_mtime), partial(_remove_entry, entry.path)
        )


def _remove_entry(data: Path) -> None:
    data.with_suffix(".json").unlink(missing_ok=True)  # first: an entry without it is not read
    data.unlink(missing_ok=True)
