"""Limit the size of the caches that visitors' jobs share; each job may add gigabytes.

Only for a deployed Space. On a user's own machine these caches belong to the user and must not be
trimmed.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

logger = logging.getLogger(__name__)

IN_USE = 3600.0
"""Seconds after its last use during which an entry is never removed: twice the longest job."""


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


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _remove_entry(data: Path) -> None:
    data.with_suffix(".json").unlink(missing_ok=True)  # first: an entry without it is not read
    data.unlink(missing_ok=True)
