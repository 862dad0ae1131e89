"""Features on disk, by content: what was extracted once is never extracted again.

One entry is two files under ``root/ab/abcdef...``: ``.safetensors`` with the arrays and, written
last, ``.json`` with the key, the size and the sha256 of the first. An entry without its ``.json``
does not exist, so a process killed at any moment leaves either a whole entry or none. Both files
are written beside their final name and renamed. Writers hold the entry's lock; the kernel drops
it when a process dies.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import StoreError
from hf_sfda.files import remove_leftovers, write_atomically
from hf_sfda.foreign import ForeignError, read_json_file
from hf_sfda.types import Features

if TYPE_CHECKING:
    from filelock import FileLock

STORE_SCHEMA = 1
"""Part of every key: raising it abandons entries of an older layout instead of misreading them."""

_LOGITS = "__source_logits__"

_MARKER: Mapping[str, Any] = {
    "key": dict, "bytes": int, "sha256": str, "stages": list, "n_samples": int,
    "params": (int, NoneType), "seconds": (int, float), "meta": dict,
}  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeatureKey:
    """Everything that decides what the features are.

    The preprocessing is part of the checkpoint's revision (its processor files), so it needs no
    field of its own, and a key can be computed before anything is downloaded.

    Attributes:
        model: Commit sha of a Hub model, ``sha256:...`` of a local one.
        inputs: :attr:`~hf_sfda.types.Target.inputs_fingerprint`.
        modality: ``image`` or ``text``; a dual encoder has a tower for each.
        dtype: Of the forward pass.
        max_length: Tokens kept of a text; ``None`` for pictures.
        extractor: Version of the extraction code (stages, pooling).
    """

    model: str
    inputs: str
    modality: str
    dtype: str
    max_length: int | None
    extractor: int

    @property
    def digest(self) -> str:
        """Name of the entry: 32 hex digits."""
        text = json.dumps({"schema": STORE_SCHEMA, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Entry:
    """What the store knows of one entry without reading its arrays."""

    digest: str
    key: dict[str, Any]
    bytes: int
    n_samples: int
    path: Path


class FeatureStore:
    """A folder of feature files.

    Args:
        root: The folder; by default ``hf-sfda/features`` in huggingface_hub's assets cache, which
            follows ``HF_HOME`` and ``HF_ASSETS_CACHE``.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = Path(root) if root is not None else default_root()
        self._swept = False

    def has(self, key: FeatureKey) -> bool:
        """Whether a whole entry is there, judged by its marker and size (no checksum)."""
        marker = self._read_marker(key.digest)
        data = self._path(key.digest, ".safetensors")
        try:
            return marker is not None and data.stat().st_size == marker["bytes"]
        except OSError:  # it is gone, perhaps since a moment ago
            return False

    def get(self, key: FeatureKey) -> Features | None:
        """Read an entry and verify its checksum; returns and raises as :meth:`get_by_digest`."""
        return self.get_by_digest(key.digest)

    def get_by_digest(self, digest: str) -> Features | None:
        """Read the entry of this name, as a ranking's rows have it in ``feature_key``.

        Returns:
            The features, or ``None`` if there is no entry. A damaged entry is removed, with a
            warning, and counts as none: it will be extracted again.

        Raises:
            StoreError: The file is there and cannot be read (permissions, input/output error).
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        marker = self._read_marker(digest)
        if marker is None:
            return None
        try:
            content = self._path(digest, ".safetensors").read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(_os_message("read", self.root, error)) from error
        if hashlib.sha256(content).hexdigest() != marker["sha256"]:
            self._drop(digest, "its checksum does not match")
            return None
        try:
            arrays = load(content)
        except SafetensorError as error:
            self._drop(digest, str(error))
            return None
        if lost := [name for name in marker["stages"] if name not in arrays]:
            self._drop(digest, f"it lacks {lost[0]}")
            return None
        return Features(
            stages={name: arrays[name] for name in marker["stages"]},
            source_logits=arrays.get(_LOGITS),
            params=marker["params"],
            seconds=marker["seconds"],
            meta=marker["meta"],
        )

    def put(self, key: FeatureKey, features: Features) -> None:
        """Write an entry; whoever reads meanwhile sees the old state or the whole new one.

        Raises:
            StoreError: The disk is full or the folder cannot be written.
        """
        from safetensors.numpy import save

        arrays = dict(features.stages)
        if features.source_logits is not None:
            arrays[_LOGITS] = features.source_logits
        content = save(arrays, metadata={"key": json.dumps(asdict(key), sort_keys=True)})
        marker = {
            "schema": STORE_SCHEMA,
            "key": asdict(key),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "stages": list(features.stages),
            "n_samples": len(features),
            "params": features.params,
            "seconds": features.seconds,
            "meta": dict(features.meta),
        }
        path = self._path(key.digest, ".json")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._sweep()
            path.unlink(missing_ok=True)
            write_atomically(self._path(key.digest, ".safetensors"), content)
            write_atomically(path, json.dumps(marker, indent=1).encode())
        except OSError as error:
            raise StoreError(_os_message("write", self.root, error)) from error

    def lock(self, key: FeatureKey) -> FileLock:
        """The entry's lock between processes; also between nodes that share the file system."""
        from filelock import FileLock

        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(_os_message("write", self.root, error)) from error
        return FileLock(folder / f"{key.digest}.lock")

    def entries(self) -> Iterator[Entry]:
        """All whole entries, in no particular order."""
        for path in self.root.glob("??/*.json"):
            if marker := self._read_marker(path.stem):
                data = path.with_suffix(".safetensors")
                yield Entry(path.stem, marker["key"], marker["bytes"], marker["n_samples"], data)

    def clear(self) -> int:
        """Remove every entry and what interrupted writers left.

        Returns:
            Bytes freed.
        """
        freed = 0
        for path in sorted(self.root.glob("??/*"), key=lambda path: path.suffix != ".json"):
            with suppress(FileNotFoundError):  # another process was faster
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _sweep(self) -> None:
        """Remove, once, what killed writers left anywhere in the store."""
        if not self._swept:
            self._swept = True
            for folder in self.root.glob("??"):
                remove_leftovers(folder)

    def _path(self, digest: str, suffix: str) -> Path:
        return self.root / digest[:2] / f"{digest}{suffix}"

    def _read_marker(self, digest: str) -> dict[str, Any] | None:
        try:
            marker = read_json_file(self._path(digest, ".json"))
        except (FileNotFoundError, ForeignError):
            return None
        except OSError as error:
            raise StoreError(_os_message("read", self.root, error)) from error
        return marker if _is_marker(marker) else None

    def _drop(self, digest: str, reason: str) -> None:
        logger.warning("Feature file %s is damaged (%s); it is made again.", digest, reason)
        with suppress(OSError):  # a store that this user may only read
            self._path(digest, ".json").unlink(missing_ok=True)
            self._path(digest, ".safetensors").unlink(missing_ok=True)


def _is_marker(marker: Any) -> bool:
    """Whether a marker holds all that is read from it later; a damaged one is no entry."""
    if not isinstance(marker, dict) or marker.get("schema") != STORE_SCHEMA:
        return False
    whole = all(
        name in marker and isinstance(marker[name], kind) and not isinstance(marker[name], bool)
        for name, kind in _MARKER.items()
    )
    return whole and "last" in marker["stages"] and all(type(n) is str for n in marker["stages"])


def default_root() -> Path:
    """Where features live unless told otherwise.

    Raises:
        StoreError: The folder cannot be made.
    """
    from huggingface_hub import cached_assets_path, constants

    try:
        return Path(cached_assets_path("hf-sfda", namespace="features", subfolder="v1"))
    except OSError as error:
        raise StoreError(_os_message("make", Path(constants.HF_ASSETS_CACHE), error)) from error


def _os_message(verb: str, root: Path, error: OSError) -> str:
    return (
        f"Cannot {verb} the feature store {root}: {error.strerror or error}. "
        "Free space there, or point HF_HOME or HF_ASSETS_CACHE at another disk."
    )
