"""Is this folder a checkpoint we may open, and did every weight arrive?

Everything is checked before a library could fall back to a pickle, and after loading against what
the library says it did not find: a network that is partly random still gives features, and only
this check notices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import ExtractionError
from hf_sfda.files import LFS_POINTER, is_lfs_pointer
from hf_sfda.foreign import read_json_file
from hf_sfda.hub import WEIGHTS, WEIGHTS_INDEX, shard_names

if TYPE_CHECKING:
    import torch

CONFIG = "config.json"

# Where a configuration says that its weights are quantised; libraries have used both names.
_QUANTISATION = ("quantization_config", "compression_config")
# Types of tensors as safetensors calls them.
_WHOLE_NUMBERS = ("BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")
_EIGHT_BITS = ("F8_", "F4", "F6_")
# Last parts of the names of tensors that only quantised weights have.
_PACKED = ("qweight", "qzeros", "weight_packed", "SCB", "absmax", "quant_map")
# What the scale of a weight may be called, beside the weight's own name or in the same module.
_SCALES = ("{name}_scale", "{name}_scale_inv", "{module}.scale_weight", "{module}.scale")

# Parameters that only masked training reads.
_UNUSED = ("mask_token", "num_batches_tracked")


_CROSS_ATTENTION = ("cross", "encoder_attn", "encdec", "EncDec", "enc_dec")


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
    if (how := _quantisation(config)) is not None:
        raise ExtractionError(f"the weights are quantised{how}; rank the model it was made from")
    return config


def _quantisation(config: Mapping[str, Any]) -> str | None:
    """The method in brackets, empty if it has no name; ``None`` if nothing says quantised."""
    towers = [value for value in config.values() if isinstance(value, Mapping)]
    for part in (config, *towers):
        for name in _QUANTISATION:
            if settings := part.get(name):
                method = settings.get("quant_method") if isinstance(settings, Mapping) else None
                return f" ({method})" if isinstance(method, str) else ""
    return None


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
        types: Name of each tensor -> type of its values, such as ``"F32"``.
    """

    files: tuple[Path, ...]
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, str] = field(default_factory=dict)

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
        ExtractionError: There are none, one of several is missing, one is truncated, or they are
            quantised.
    """
    from safetensors import SafetensorError, safe_open

    files = _listed(path)
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, str] = {}
    for file in files:
        if is_lfs_pointer(file):
            raise ExtractionError(f"{file.name} {LFS_POINTER}")
        try:
            with safe_open(file, framework="numpy") as header:
                for name in header.keys():
                    tensor = header.get_slice(name)
                    if name in shapes:
                        raise ExtractionError(
                            f"{name} is in several files of {WEIGHTS_INDEX}; only one can be right"
                        )
                    shapes[name], types[name] = tuple(tensor.get_shape()), tensor.get_dtype()
        except FileNotFoundError:
            raise ExtractionError(
                f"{file.name} is missing, though {WEIGHTS_INDEX} names it"
            ) from None
        except (SafetensorError, OSError) as error:
            raise ExtractionError(f"{file.name} is truncated or damaged: {error}") from error
    require_unquantised(types)
    return Weights(files, shapes, types)


def require_unquantised(types: Mapping[str, str]) -> None:
    """Refuse weights that are quantised although ``config.json`` does not say so.

    Such weights have the usual names and shapes. A library that is not told would take their whole
    numbers, or their eight bits without the scale, for the weights themselves.

    Args:
        types: Name of each tensor -> type of its values.

    Raises:
        ExtractionError: Names the first such tensor.
    """
    for name, kind in types.items():
        if kind.startswith("C"):
            raise ExtractionError(f"{name} holds complex numbers ({kind}), which are not supported")
        module, _, leaf = name.rpartition(".")
        scales = (scale.format(name=name, module=module) for scale in _SCALES)
        if (
            leaf in _PACKED
            or (leaf.endswith("weight") and kind in _WHOLE_NUMBERS)
            or (kind.startswith(_EIGHT_BITS) and any(scale in types for scale in scales))
        ):
            raise ExtractionError(
                f"the weights are quantised ({name} holds {kind}); rank the model it was made from"
            )


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


def require_used(network: torch.nn.Module, unused: Iterable[str]) -> None:
    """Refuse a network that is smaller than the one whose weights the checkpoint holds.

    Heads and towers that are not run are no fault. But a layer behind the last one, a bias of a
    layer that is built without one, or a part of a block belongs to what runs: ``config.json`` then
    describes another network, which would still give features.

    Args:
        network: What runs.
        unused: Names in the checkpoint for which the network has no place.

    Raises:
        ExtractionError: Names some of the weights that belong to it.
    """
    names = sorted(name for name in unused if _is_left_out_of(network, name))
    if not names:
        return
    shown = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    raise ExtractionError(
        f"{CONFIG} describes a network that leaves out {shown}{more}, which the weights hold: they "
        "do not belong together"
    )


def _is_left_out_of(network: torch.nn.Module, name: str) -> bool:
    from torch import nn

    *path, leaf = name.split(".")
    if leaf not in ("weight", "bias") or any(part in name for part in _CROSS_ATTENTION):
        return False  # buffers of older versions; what only a decoder reads
    module, in_block = network, False
    for part in path:
        is_list = isinstance(module, nn.ModuleList | nn.Sequential)
        inner = module._modules.get(part)
        if inner is None:
            return in_block or (is_list and part.isdecimal())
        module, in_block = inner, in_block or is_list
    # Only layers that have weights: attention of old GPT checkpoints saved a mask as `bias`.
    return bool(module._parameters)


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
