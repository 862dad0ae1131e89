"""From foreign weights to state dicts: pure functions that refuse whatever does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from hf_sfda.errors import SfdaError

if TYPE_CHECKING:
    import torch


class MappingError(SfdaError):
    """Weights that do not fit the architecture they are meant for."""


def by_order(
    foreign: Mapping[str, torch.Tensor], native: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Rename parameters that two implementations list in the same order.

    Every pair must agree in shape and in the last part of its name (``weight``,
    ``running_mean``, ...), which rules out a silent shift.

    Args:
        foreign: State dict to rename.
        native: State dict of the architecture; only its names and shapes are read.

    Returns:
        Names of ``native``, tensors of ``foreign``.

    Raises:
        MappingError: The counts, a shape or the end of a name differ.
    """
    if len(foreign) != len(native):
        raise MappingError(f"{len(foreign)} tensors given, the architecture has {len(native)}.")
    for (theirs, value), (ours, expected) in zip(foreign.items(), native.items(), strict=True):
        if value.shape != expected.shape or _last(theirs) != _last(ours):
            raise MappingError(
                f"{theirs} {tuple(value.shape)} does not fit {ours} {tuple(expected.shape)}."
            )
    return dict(zip(native, foreign.values(), strict=True))


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]
