"""Store extracted features on disk, under a key of everything that determines them.

An entry is two files under ``root/ab/abcdef...``: ``.safetensors`` with the arrays, and ``.json``
(the marker) with the key, and with the size and the sha256 of the first file. The marker is written
last, and an entry without it does not exist. So a process that is killed at any time leaves either
a complete entry or none. Both files are written to a temporary file and renamed. Writers hold the
lock of the entry, which the kernel releases when a process dies.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import StoreError
from hf_sfda.files import remove_leftovers, write_atomically
from hf_sfda.foreign import ForeignError, read_json, read_json_file
from hf_sfda.types import Features

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from filelock import FileLock

STORE_SCHEMA = 1
"""Version of the format. It is part of every key, so raising it makes older entries unreachable."""

_LOGITS = "__source_logits__"
_MEASURED = "__measured__/"

_MARKER: Mapping[str, Any] = {
    "key": dict, "bytes": int, "sha256": str, "stages": list, "n_samples": int,
    "params": (int, NoneType), "seconds": (int, float), "meta": dict,
}  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeatureKey:
    """Everything that determines the features.

    The preprocessing has no field of its own, because its files are part of the checkpoint's
    revision. So a key can be computed before a download.

    Attributes:
        model: Commit sha of a Hub model, or ``sha256:...`` of a local one.
        inputs: Fingerprint of the inputs, :attr:`~hf_sfda.types.Target.inputs_fingerprint`.
        modality: ``image`` or ``text``; a dual encoder has one tower for each.
        dtype: Data type of the forward pass.
        max_length: Largest number of tokens of a text; ``None`` for images.
        extractor: Version of the extraction code (layers, pooling).
        batch_norms: ``both`` if there may be features with measured batch norms, too.
    """

    model: str
    inputs: str
    modality: str
    dtype: str
    max_length: int | None
    extractor: int
    batch_norms: str = "published"

    @property
    def digest(self) -> str:
        """The name of the entry: 32 hexadecimal digits."""
        fields = asdict(self)
        if self.batch_norms == "published":  # all that earlier versions had
            del fields["batch_norms"]
        text = json.dumps({"schema": STORE_SCHEMA, **fields}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the store, without its arrays.

    Attributes:
        digest: The name of the entry.
        key: The fields of its :class:`FeatureKey`.
        bytes: Size of the safetensors file.
        n_samples: Number of samples.
        path: Path of the safetensors file.
        params: Number of parameters of the model.
        seconds: Wall time of its forward passes.
    """

    digest: str
    key: dict[str, Any]
    bytes: int
    n_samples: int
    path: Path
    params: int | None
    seconds: float


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
        """Whether the store has an entry. Checks the marker and the size but not the checksum."""
        marker = self._read_marker(key.digest)
        data = self._path(key.digest, ".safetensors")
        try:
            return marker is not None and data.stat().st_size == marker["bytes"]
        except OSError:  # the file does not exist; another process may have removed it
            return False

    def get(self, key: FeatureKey) -> Features | None:
        """Read the entry of a key, see :meth:`get_by_digest`."""
        return self.get_by_digest(key.digest)

    def get_by_digest(self, digest: str) -> Features | None:
        """Read an entry by its name, which the rows of a ranking have as ``feature_key``.

        The checksum is verified. A damaged entry is removed with a warning, so that the features
        are extracted again.

        Returns:
            The features, or ``None`` if there is no intact entry.

        Raises:
            StoreError: The file exists but cannot be read (permissions, input/output error).
        """
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
            return _features(marker, content)
        except StoreError as error:
            self._drop(digest, str(error))
            return None

    def files_of(self, digest: str) -> tuple[Path, Path] | None:
        """The marker and the safetensors file of an entry, to be copied as they are.

        Returns:
            The paths, or ``None`` if there is no entry. The checksum is not verified.
        """
        if self._read_marker(digest) is None:
            return None
        marker, data = self._path(digest, ".json"), self._path(digest, ".safetensors")
        return (marker, data) if data.is_file() else None

    def add(self, key: FeatureKey, marker: bytes, content: bytes) -> Features:
        """Add an entry that another store holds, after checking that it is one of this key.

        Its time is set to 0, since it was measured on another machine.

        Args:
            key: The key of the features that are wanted.
            marker: The marker of the other store.
            content: The safetensors file of the other store.

        Raises:
            StoreError: The files are not an entry of this key, they are damaged, or this store
                cannot be written.
        """
        try:
            facts = read_json(marker)
        except ForeignError as error:
            raise StoreError(f"the marker cannot be read: {error}") from error
        if not _is_marker(facts) or facts["key"] != asdict(key):
            raise StoreError("the marker is not one of these features")
        if hashlib.sha256(content).hexdigest() != facts["sha256"]:
            raise StoreError("the checksum of the features does not match")
        features = replace(_features(facts, content), seconds=0.0)
        if not all(_is_finite(array) for array in features.layers.values()) or not all(
            _is_finite(array) for array in features.measured.values()
        ):
            raise StoreError("the features hold NaN or infinite numbers")
        self.put(key, features)
        return features

    def put(self, key: FeatureKey, features: Features) -> None:
        """Write an entry; concurrent readers see the old entry, none, or the complete new one.

        Raises:
            StoreError: The disk is full or the folder cannot be written.
        """
        from safetensors.numpy import save

        arrays = dict(features.layers)
        arrays |= {_MEASURED + name: values for name, values in features.measured.items()}
        if features.source_logits is not None:
            arrays[_LOGITS] = features.source_logits
        content = save(arrays, metadata={"key": json.dumps(asdict(key), sort_keys=True)})
        marker: dict[str, Any] = {
            "schema": STORE_SCHEMA,
            "key": asdict(key),
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "stages": list(features.layers),
            "n_samples": len(features),
            "params": features.params,
            "seconds": features.seconds,
            "meta": dict(features.meta),
        }
        if features.measured:
            marker["measured"] = list(features.measured)
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
        """The lock of an entry, between processes and between nodes with a shared file system.

        Raises:
            StoreError: The folder cannot be written.
        """
        from filelock import FileLock

        folder = self.root / "locks"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(_os_message("write", self.root, error)) from error
        return FileLock(folder / f"{key.digest}.lock")

    def entries(self, newest: int | None = None) -> Iterator[Entry]:
        """All complete entries in no particular order, or the newest ones."""
        paths: Iterable[Path] = self.root.glob("??/*.json")
        if newest is not None:
            paths = heapq.nlargest(newest, paths, key=_changed)
        for path in paths:
            if marker := self._read_marker(path.stem):
                data = path.with_suffix(".safetensors")
                size = {"bytes": marker["bytes"], "n_samples": marker["n_samples"]}
                work = {"params": marker["params"], "seconds": marker["seconds"]}
                yield Entry(path.stem, marker["key"], path=data, **size, **work)

    def remove(self, digest: str) -> int:
        """Remove an entry.

        Returns:
            Number of bytes that were freed.

        Raises:
            StoreError: It cannot be removed.
        """
        freed = 0
        for suffix in (".json", ".safetensors"):  # the marker first: no entry without its data
            path = self._path(digest, suffix)
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:  # another process removed it first
                continue
            except OSError as error:
                raise StoreError(_os_message("write", self.root, error)) from error
            freed += size
        return freed

    def clear(self) -> int:
        """Remove all entries and the leftovers of interrupted writers.

        Returns:
            Number of bytes that were freed.
        """
        freed = 0
        for path in sorted(self.root.glob("??/*"), key=lambda path: path.suffix != ".json"):
            with suppress(FileNotFoundError):  # another process removed it first
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _sweep(self) -> None:
        """Remove the leftovers of killed writers in the whole store, once per object."""
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
        logger.warning(
            "Feature file %s is damaged (%s); its features are extracted again.", digest, reason
        )
        with suppress(OSError):  # the user may have no permission to write
            self._path(digest, ".json").unlink(missing_ok=True)
            self._path(digest, ".safetensors").unlink(missing_ok=True)


def _features(marker: Mapping[str, Any], content: bytes) -> Features:
    """The features of an entry.

    Raises:
        StoreError: The file is not safetensors, or its arrays are not those that the marker names:
            matrices of float32 with one row a sample.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
    except SafetensorError as error:
        raise StoreError(str(error)) from error
    measured = {name: _MEASURED + name for name in marker.get("measured", [])}
    for name in (*marker["stages"], *measured.values()):
        if name not in arrays:
            raise StoreError(f"it lacks {name}")
    for name, array in arrays.items():
        if array.ndim != 2 or len(array) != marker["n_samples"] or array.dtype != np.float32:
            raise StoreError(f"{name} is no matrix of float32 with {marker['n_samples']} rows")
    return Features(
        layers={name: arrays[name] for name in marker["stages"]},
        source_logits=arrays.get(_LOGITS),
        measured={name: arrays[stored] for name, stored in measured.items()},
        params=marker["params"],
        seconds=marker["seconds"],
        meta=marker["meta"],
    )


def _is_finite(array: npt.NDArray[np.float32]) -> bool:
    import numpy as np

    return bool(np.isfinite(array).all())


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process removed it
        return 0.0


def _is_marker(marker: Any) -> bool:
    """Whether a marker is valid: it has all fields, with the right types."""
    if not isinstance(marker, dict) or marker.get("schema") != STORE_SCHEMA:
        return False
    if not _are_names(marker.get("measured", [])):  # earlier versions did not write it
        return False
    complete = all(
        name in marker and isinstance(marker[name], kind) and not isinstance(marker[name], bool)
        for name, kind in _MARKER.items()
    )
    return complete and "last" in marker["stages"] and _are_names(marker["stages"])


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(type(name) is str for name in value)


def default_root() -> Path:
    """The default folder of the store, in the cache of huggingface_hub.

    Raises:
        StoreError: The folder cannot be created.
    """
    from huggingface_hub import cached_assets_path, constants

    try:
        return Path(cached_assets_path("hf-sfda", namespace="features", subfolder="v1"))
    except (OSError, ValueError) as error:  # ValueError: a file has the name of the folder
        raise StoreError(_os_message("create", Path(constants.HF_ASSETS_CACHE), error)) from error


def _os_message(verb: str, root: Path, error: OSError | ValueError) -> str:
    reason = getattr(error, "strerror", None) or str(error).rstrip(".")
    return (
        f"Cannot {verb} the feature store {root}: {reason}. "
        "Free space there, or point HF_HOME or HF_ASSETS_CACHE at another disk."
    )
