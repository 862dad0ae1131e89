"""The caches that visitors' jobs share, kept below a size: each job may bring gigabytes.

For a Space, whose disk is nobody's. On a person's own machine these are their own caches, and
nothing here may be called.
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
"""Seconds after its last use for which an entry stays: twice what the longest job takes."""


@dataclass(frozen=True)
class Cached:
    """Something that can be fetched or made again.

    Attributes:
        size: In bytes.
        used: When it was last used, in seconds since 1970.
        remove: Removes it.
    """

    size: int
    used: float
    remove: Callable[[], object]


def on_a_space() -> bool:
    """Whether this is a Space on the Hub."""
    return bool(os.environ.get("SPACE_ID"))


def trim(limit: int, *, in_use: float = IN_USE) -> int:
    """Remove what was used least recently until models, datasets and features fit.

    Args:
        limit: Bytes that may stay.
        in_use: Seconds after its last use for which an entry stays, limit or not.

    Returns:
        Bytes freed.
    """
    everything = [*_repositories(), *_datasets(), *_features()]
    left, freed, now = sum(entry.size for entry in everything), 0, time.time()
    for entry in sorted(everything, key=lambda entry: entry.used):
        if left <= limit or now - entry.used < in_use:
            break
        entry.remove()
        left -= entry.size
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
    """What the datasets library made of the files: a folder a dataset."""
    from datasets import config

    root = Path(config.HF_DATASETS_CACHE)
    for folder in root.iterdir() if root.is_dir() else ():
        files = [file.stat() for file in folder.rglob("*") if file.is_file()]
        if folder.is_dir() and files:
            used = max(max(file.st_atime, file.st_mtime) for file in files)
            size = sum(file.st_size for file in files)
            yield Cached(size, used, partial(_remove, folder))


def _features() -> Iterator[Cached]:
    from hf_sfda.store import FeatureStore

    for entry in FeatureStore().entries():
        try:
            found = entry.path.stat()
        except FileNotFoundError:
            continue
        yield Cached(
            entry.bytes, max(found.st_atime, found.st_mtime), partial(_remove_entry, entry.path)
        )


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _remove_entry(data: Path) -> None:
    data.with_suffix(".json").unlink(missing_ok=True)  # first: without it there is no entry
    data.unlink(missing_ok=True)
