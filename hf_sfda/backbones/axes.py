"""Find the channel axis of a feature map: networks return (B, C, H, W) or (B, H, W, C)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import ExtractionError

if TYPE_CHECKING:
    import torch

# One layout must fit the aspect ratio of the image better than the other by this factor. Padding
# and rounding change the aspect ratio of a map by less.
_CLEAR = 1.4


def channels_first(
    activations: Sequence[torch.Tensor],
    image: Sequence[int],
    widths: Collection[int],
    *,
    convolutional: bool,
) -> list[torch.Tensor]:
    """Permute maps to (B, C, H, W); other activations stay as they are.

    A map has the aspect ratio of the image. If both layouts of a shape have it, the widths in the
    configuration decide, and then the other maps of the same network. If this is not enough, a
    convolutional network has its channels first, as the convolutions of torch require.

    Args:
        activations: Activations of one network, all in the same layout.
        image: Height and width of the input.
        widths: Numbers of channels in the configuration.
        convolutional: Whether most parameters of the network are convolution kernels.

    Raises:
        ExtractionError: The layout cannot be determined.
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
    """All integers in a configuration. The widths of the layers are among them."""
    return frozenset(_integers(config.to_dict().values()))


def _integers(values: Iterable[Any]) -> Iterable[int]:
    for value in values:
        if isinstance(value, int) and not isinstance(value, bool):
            yield value
        elif isinstance(value, list | tuple):
            yield from _integers(value)
