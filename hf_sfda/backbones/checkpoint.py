"""Is this folder a checkpoint we may open, and did every weight arrive?

Everything is checked before a library could fall back to a pickle, and after loading against what
the library says it did not find: a network that is partly random still gives features, and only
this check notices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import ExtractionError
from hf_sfda.files import LFS_POINTER, is_lfs_pointer
from hf_sfda.foreign import read_json_file
from hf_sfda.hub import WEIGHTS, WEIGHTS_INDEX, shard_names

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"

# Parameters that only masked training reads.
_UNUSED = ("mask_token", "num_batches_tracked")


def read_config(path: Path) -> dict[str, Any]:
    """The checkpoint's ``config.json``.

    Raises:
        ExtractionError: It is missing, is no JSON object, or describes weights we cannot run.
    """
    require_no_pointers(path)
    file = path / CONFIG
    try:
        config = read_json_file(file)
    except FileNotFoundError:
        raise ExtractionError(f"no {CONFIG} in the folder: not a model we can open") from None
    except (OSError, ValueError) as error:
        raise ExtractionError(f"{CONFIG} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ExtractionError(f"{CONFIG} holds a {type(config).__name__}, not an object")
    if "quantization_config" in config:
        raise ExtractionError("the weights are quantised; rank the full-precision checkpoint")
    return config


def require_no_pointers(path: Path) -> None:
    """Refuse a folder in which git-lfs left pointers in the place of files that are read.

    Raises:
        ExtractionError: Names the first of them.
    """
    suffixes = (".json", ".txt", ".model", ".spm", ".safetensors")
    for file in sorted(path.glob("*")):
        if file.suffix in suffixes and is_lfs_pointer(file):
            raise ExtractionError(f"{file.name} {LFS_POINTER}")


@dataclass(frozen=True, slots=True)
class Weights:
    """What the headers of a checkpoint's safetensors files say; no weight is read.

    Attributes:
        files: The files, in order of their names.
        shapes: Name of each tensor -> shape.
    """

    files: tuple[Path, ...]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def values(self) -> int:
        """Number of values in all tensors together."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    @property
    def bytes(self) -> int:
        """Size of the files."""
        return sum(file.stat().st_size for file in self.files)


def read_weights(path: Path) -> Weights:
    """The safetensors files of a checkpoint, each with a header that fits its size.

    Raises:
        ExtractionError: There are none, one of several is missing, or one is truncated.
    """
    from safetensors import SafetensorError, safe_open

    files = _listed(path)
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files:
        if is_lfs_pointer(file):
            raise ExtractionError(f"{file.name} {LFS_POINTER}")
        try:
            with safe_open(file, framework="numpy") as header:
                for name in header.keys():
                    shapes[name] = tuple(header.get_slice(name).get_shape())
        except FileNotFoundError:
            raise ExtractionError(
                f"{file.name} is missing, though {WEIGHTS_INDEX} names it"
            ) from None
        except (SafetensorError, OSError) as error:
            raise ExtractionError(f"{file.name} is truncated or damaged: {error}") from error
    return Weights(files, shapes)


def _listed(path: Path) -> tuple[Path, ...]:
    if (path / WEIGHTS).is_file():
        return (path / WEIGHTS,)
    if not (path / WEIGHTS_INDEX).is_file():
        others = sorted(f.name for f in path.glob("*") if f.suffix in (".bin", ".pt", ".pth"))
        found = f"only {', '.join(others)}, which can run code when opened" if others else "none"
        raise ExtractionError(f"no {WEIGHTS} in the folder (weights found: {found})")
    try:
        return tuple(path / name for name in shard_names((path / WEIGHTS_INDEX).read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ExtractionError(f"{WEIGHTS_INDEX} {error}") from error


def require_shapes(
    found: Mapping[str, Iterable[int]], expected: Mapping[str, Iterable[int]]
) -> None:
    """Compare shapes by name.

    Args:
        found: name -> shape in the file.
        expected: name -> shape in the architecture that ``config.json`` describes.

    Raises:
        ExtractionError: Names the first tensor whose shapes differ.
    """
    for name in sorted(found.keys() & expected.keys()):
        if tuple(found[name]) != tuple(expected[name]):
            raise ExtractionError(
                f"{name} has shape {list(found[name])}, the architecture in {CONFIG} "
                f"needs {list(expected[name])}"
            )


def require_complete(missing: Iterable[str]) -> None:
    """Refuse a network whose body is partly random.

    Args:
        missing: Names the checkpoint did not fill, poolers and classifiers left out.

    Raises:
        ExtractionError: Names some of them.
    """
    names = sorted(name for name in missing if not name.endswith(_UNUSED))
    if not names:
        return
    shown = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    raise ExtractionError(
        f"the checkpoint does not fill {shown}{more}: the network would be partly random"
    )


def require_finite(model: torch.nn.Module) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises:
        ExtractionError: Names the first such tensor.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            kind = "NaN" if tensor.isnan().any() else "infinity"
            raise ExtractionError(f"{name} holds {kind}")


def count_params(model: torch.nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
