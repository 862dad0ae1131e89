"""Which axis of a map holds the channels: networks give (B, C, H, W) or (B, H, W, C)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import ExtractionError

if TYPE_CHECKING:
    import torch

# Factor by which one reading must fit the shape of the image better than the other. Padding and
# rounding change the aspect ratio of a map by less.
_CLEAR = 1.4


def channels_first(
    activations: Sequence[torch.Tensor],
    image: Sequence[int],
    widths: Collection[int],
    *,
    convolutional: bool,
) -> list[torch.Tensor]:
    """Bring maps to (B, C, H, W); everything else stays as it is.

    A map has the aspect ratio of the image. Where both readings of a shape have it, the widths that
    the configuration states decide, then the other maps of the same network. A network of
    convolutions for which nothing decides has its channels first, as torch's convolutions demand.

    Args:
        activations: Of one network, all in the same layout.
        image: Height and width of the input.
        widths: Numbers of channels that the configuration states.
        convolutional: Most parameters of the network are kernels.

    Raises:
        ExtractionError: Nothing decides.
    """
    shapes = [tuple(a.shape[1:]) for a in activations if a.ndim == 4]
    if not shapes:
        return list(activations)
    votes = [
        vote for vote in (_channels_last(s, image, widths) for s in shapes) if vote is not None
    ]
    if not votes and not convolutional:
        raise ExtractionError(
            f"gives activations of shape {list(shapes[0])} an image, and nothing tells which axis "
            "holds the channels"
        )
    if 2 * sum(votes) <= len(votes):
        return list(activations)
    return [a.permute(0, 3, 1, 2) if a.ndim == 4 else a for a in activations]


def _channels_last(
    shape: tuple[int, ...], image: Sequence[int], widths: Collection[int]
) -> bool | None:
    first, middle, last = shape
    aspect = math.log(image[0] / image[1])
    error_first = abs(math.log(middle / last) - aspect)
    error_last = abs(math.log(first / middle) - aspect)
    if abs(error_first - error_last) > math.log(_CLEAR):
        return error_last < error_first
    if (first in widths) != (last in widths):
        return last in widths
    if error_first != error_last:
        return error_last < error_first
    return None


def stated_widths(config: Any) -> frozenset[int]:
    """Every number in a configuration, which is where widths of layers come from."""
    return frozenset(_integers(config.to_dict().values()))


def _integers(values: Iterable[Any]) -> Iterable[int]:
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool):
            yield value
        elif isinstance(value, list | tuple):
            yield from _integers(value)
