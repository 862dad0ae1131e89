"""Prepare only one split of a dataset on the Hub: the files of the others are not downloaded.

The rows are stored beside those of ``datasets``, in a folder of their own. In its own folder,
``datasets`` expects all splits.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_sfda.files import write_atomically
from hf_sfda.foreign import ForeignError, read_json_file

LOADERS = ("arrow", "csv", "json", "parquet", "text", "webdataset")
"""The loaders of ``datasets`` that read each split by itself. ``imagefolder`` collects the class
names of all splits."""

_NAME = re.compile(r"\w+(\.\w+)*")
"""The names of splits that ``datasets`` allows. It checks them late, and they become folders."""


@dataclass(frozen=True)
class OpenedDataset:
    """What is needed to open a prepared split again without a network.

    Attributes:
        config: Name of the configuration.
        splits: The names of all splits.
        version: Version of the configuration.
        others: The names of the other configurations.
    """

    config: str
    splits: tuple[str, ...]
    version: str
    others: tuple[str, ...] = ()


def stands_alone(builder: Any, split: str) -> bool:
    """Whether a split can be read without the files of the others, by one of :data:`LOADERS`."""
    files = builder.config.data_files or {}
    # Unless the README declares features, `datasets` takes those of the first split for all.
    if split not in files or not _NAME.fullmatch(split):
        return False
    return bool(builder.info.features is not None or next(iter(files)) == split)


def narrow_to_split(builder: Any, split: str) -> Path | None:
    """Restrict a builder to one split that stands alone, and give the folder for its rows.

    The data files of the builder and the sizes of its splits are changed.

    Returns:
        The folder; ``None`` if the builder is unchanged, because there is one split only or all
        splits are in the cache.
    """
    from datasets import SplitDict
    from datasets.data_files import DataFilesDict

    files = builder.config.data_files
    if len(files) < 2 or Path(builder.cache_dir).is_dir():
        return None
    folder = _folder(builder.repo_id, split).joinpath(*Path(builder.cache_dir).parts[-4:])
    builder.config = copy.copy(builder.config)
    builder.config.data_files = DataFilesDict({split: files[split]})
    declared = builder.info.splits or {}
    info = {split: declared[split]} if split in declared else None
    builder.info.splits = info and SplitDict(info, dataset_name=builder.dataset_name)
    builder.info.size_in_bytes = None  # of all splits; `datasets` checks that the disk can hold it
    return folder


def remember(repo: str, commit: str, name: str | None, opened: OpenedDataset) -> None:
    """Store what :func:`open_prepared` needs. Without a name, it is the default configuration."""
    place = _index(repo, commit, name)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, json.dumps(asdict(opened)).encode())


def remembered(repo: str, commit: str, name: str | None) -> OpenedDataset | None:
    """What an earlier run found; ``None`` if there was none."""
    try:
        fields = read_json_file(_index(repo, commit, name))
    except (OSError, ForeignError):
        return None
    if not isinstance(fields, Mapping):
        return None
    config, version = fields.get("config"), fields.get("version")
    splits, others = _texts(fields.get("splits")), _texts(fields.get("others", []))
    if not isinstance(config, str) or not isinstance(version, str):
        return None
    if splits is None or others is None:
        return None
    return OpenedDataset(config, splits, version, others)


def _texts(value: Any) -> tuple[str, ...] | None:
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return tuple(value) if is_list else None


def open_prepared(repo: str, commit: str, opened: OpenedDataset, split: str) -> Any | None:
    """The builder of a split that an earlier run has prepared; ``None`` if it has not."""
    from datasets.packaged_modules.cache.cache import Cache

    builder = Cache(
        cache_dir=str(_folder(repo, split)),
        dataset_name=repo.rpartition("/")[2],
        config_name=opened.config,
        version=opened.version,
        hash=commit,
        repo_id=repo,
    )
    return builder if split in (builder.info.splits or ()) else None


def _folder(repo: str, split: str) -> Path:
    """The folder of all prepared splits of this name, for every commit of a dataset."""
    return _root(repo) / split


def _index(repo: str, commit: str, name: str | None) -> Path:
    digest = hashlib.sha256((name or "").encode()).hexdigest()[:16]  # a name may hold any letter
    return _root(repo) / "-index" / commit / f"{digest}.json"


def _root(repo: str) -> Path:
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / f"hf-sfda--{repo.replace('/', '--')}"
