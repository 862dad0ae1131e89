"""The interface of a backbone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

EXTRACTOR_VERSION = 3
"""Part of every feature key. Raise it whenever a change of layers, pooling or preprocessing changes
features, so that features from different versions are never ranked together."""


class Outputs(NamedTuple):
    """The pooled outputs of one batch.

    Attributes:
        layers: name -> (B, D_s) float32, in the order of depth; ends with ``"last"``.
        logits: (B, C_source) float32 of the classifier of the checkpoint, or ``None``.
        pooling: Name of the pooling rule of ``"last"``; the same for every batch.
    """

    layers: dict[str, torch.Tensor]
    logits: torch.Tensor | None
    pooling: str


class Backbone(Protocol):
    """An open checkpoint, ready to run.

    Attributes:
        module: The network that :meth:`forward` runs. Fine-tuning puts it in training mode and
            optimises its parameters; gradients flow through :meth:`forward`.
        params: Number of parameters of the part that runs.
        model_class: Name of the class that was loaded, for provenance.
        preprocessing: Description of the preprocessing, for provenance.
        collate: Raw samples -> tensors on the CPU, keyed by argument name. It is a separate object
            because it is sent to preprocessing workers, and the model must not be sent with it.
    """

    module: torch.nn.Module
    params: int
    model_class: str
    preprocessing: str
    collate: Callable[[Sequence[Any]], dict[str, torch.Tensor]]

    def costs(self, samples: Sequence[Any]) -> list[int]:
        """Cost of each sample: number of tokens of a text; 0 for images, which cost the same."""
        ...

    def groups(self, samples: Sequence[Any]) -> list[Hashable] | None:
        """The group of each sample; samples of different groups must not share a batch.

        ``None`` if any samples may share one.
        """
        ...

    def forward(self, batch: Mapping[str, torch.Tensor]) -> Outputs:
        """Run one batch, which must be on the device of the model."""
        ...


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """Options for opening a checkpoint.

    Attributes:
        device: Device of the model.
        dtype: Data type of weights and activations.
        max_length: Largest number of tokens of a text. A model with fewer positions uses fewer.
    """

    device: torch.device
    dtype: torch.dtype
    max_length: int
