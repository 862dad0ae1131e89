"""Check a checkpoint before it is opened, and check that all its weights were loaded.

The files are checked before a library can fall back to a pickle. After loading, the names of
missing weights are checked: a network with random weights also computes features, so nothing else
would show the error.
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

# Keys with which a configuration declares quantised weights; libraries have used both.
_QUANTISATION = ("quantization_config", "compression_config")
# Names of data types in safetensors.
_WHOLE_NUMBERS = ("BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")
_EIGHT_BITS = ("F8_", "F4", "F6_")
# Last parts of the names of tensors that only quantised weights have.
_PACKED = ("qweight", "qzeros", "weight_packed", "SCB", "absmax", "quant_map")
# Names of the scale of a weight, beside the weight or in the same module.
_SCALES = ("{name}_scale", "{name}_scale_inv", "{module}.scale_weight", "{module}.scale")

# Parameters that are used only for training.
_UNUSED = ("mask_token", "masked_spec_embed", "num_batches_tracked")


_CROSS_ATTENTION = ("cross", "encoder_attn", "encdec", "EncDec", "enc_dec")


def read_config(path: Path) -> dict[str, Any]:
    """Read the ``config.json`` of a checkpoint.

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
    """Quantisation method in brackets, empty without a name; ``None`` if it is not quantised."""
    towers = [value for value in config.values() if isinstance(value, Mapping)]
    for part in (config, *towers):
        for name in _QUANTISATION:
            if settings := part.get(name):
                method = settings.get("quant_method") if isinstance(settings, Mapping) else None
                return f" ({method})" if isinstance(method, str) else ""
    return None


def require_no_pointers(path: Path) -> None:
    """Refuse a folder that holds git-lfs pointers instead of the files that are read.

    Raises:
        ExtractionError: There is a pointer. The message names the first one.
    """
    suffixes = (".json", ".txt", ".model", ".spm", ".safetensors")
    for file in sorted(path.glob("*")):
        if file.suffix in suffixes and is_lfs_pointer(file):
            raise ExtractionError(f"{file.name} {LFS_POINTER}")


@dataclass(frozen=True, slots=True)
class Weights:
    """The content of the headers of the safetensors files; the weights themselves are not read.

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
    """Read the headers of the safetensors files of a checkpoint.

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

    Such weights have the usual names and shapes. Without the declaration, a library would use their
    integers, or their 8-bit values without the scale, as the weights.

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
        listed = f"only {', '.join(others)}, which can run code when opened" if others else "none"
        raise ExtractionError(f"no {WEIGHTS} in the folder (weights found: {listed})")
    try:
        return tuple(path / name for name in shard_names((path / WEIGHTS_INDEX).read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise ExtractionError(f"{WEIGHTS_INDEX} {error}") from error


def require_shapes(
    actual: Mapping[str, Iterable[int]], expected: Mapping[str, Iterable[int]]
) -> None:
    """Compare shapes by name.

    Args:
        actual: name -> shape in the file.
        expected: name -> shape in the architecture that ``config.json`` describes.

    Raises:
        ExtractionError: Names the first tensor whose shapes differ.
    """
    for name in sorted(actual.keys() & expected.keys()):
        if tuple(actual[name]) != tuple(expected[name]):
            raise ExtractionError(
                f"{name} has shape {list(actual[name])}, the architecture in {CONFIG} "
                f"needs {list(expected[name])}"
            )


def require_complete(missing: Iterable[str]) -> None:
    """Refuse a network whose body has random weights.

    Args:
        missing: Names of weights that the checkpoint lacks, without poolers and classifiers.

    Raises:
        ExtractionError: A weight is missing. The message names some of them.
    """
    names = sorted(name for name in missing if not name.endswith(_UNUSED))
    if not names:
        return
    first_names = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    raise ExtractionError(
        f"the checkpoint does not fill {first_names}{more}: the network would be partly random"
    )


def require_used(network: torch.nn.Module, unused: Iterable[str]) -> None:
    """Refuse a network that is smaller than the one to which the weights belong.

    Unused heads and towers are allowed. Unused weights of the network itself are not: a further
    layer, a bias of a layer without bias, or a part of a block. They show that ``config.json``
    describes another network, which would still compute features.

    Args:
        network: The network that runs.
        unused: Names of the weights in the checkpoint that the network does not have.

    Raises:
        ExtractionError: Unused weights belong to the network. The message names some of them.
    """
    names = sorted(name for name in unused if _is_left_out_of(network, name))
    if not names:
        return
    first_names = ", ".join(names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    raise ExtractionError(
        f"{CONFIG} describes a network that leaves out {first_names}{more}, which the weights "
        "hold: they do not belong together"
    )


def _is_left_out_of(network: torch.nn.Module, name: str) -> bool:
    from torch import nn

    *path, leaf = name.split(".")
    if leaf not in ("weight", "bias") or any(part in name for part in _CROSS_ATTENTION):
        return False  # buffers of older versions, and cross-attention of a decoder
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
    """Number of parameters; shared ones count once."""
    return sum(parameter.numel() for parameter in model.parameters())
