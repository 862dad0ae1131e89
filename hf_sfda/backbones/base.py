"""What every backbone offers, and nothing about how."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch

EXTRACTOR_VERSION = 2
"""Part of every feature key. Raise it whenever layers, pooling or preprocessing change what comes
out, so that features of different rules are never ranked against each other."""


class Outputs(NamedTuple):
    """One batch, pooled.

    Attributes:
        layers: name -> (B, D_s) float32, in the order of depth; ends with ``"last"``.
        logits: (B, C_source) float32 of the checkpoint's own classifier, or ``None``.
        pooling: The rule behind ``"last"``, in words; the same for every batch.
    """

    layers: dict[str, torch.Tensor]
    logits: torch.Tensor | None
    pooling: str


class Backbone(Protocol):
    """An open checkpoint, ready to run.

    Attributes:
        module: The network that :meth:`forward` runs. Fine-tuning puts it in training mode and
            optimises its parameters; gradients flow through :meth:`forward`.
        params: Parameters of the part that runs.
        model_class: The class that was loaded, for provenance.
        preprocessing: What prepares the inputs, for provenance.
        collate: Raw samples -> tensors on the CPU, keyed by argument name. It is a part of its own
            because it travels to preprocessing workers, where the model must not follow.
    """

    module: torch.nn.Module
    params: int
    model_class: str
    preprocessing: str
    collate: Callable[[Sequence[Any]], dict[str, torch.Tensor]]

    def costs(self, samples: Sequence[Any]) -> list[int]:
        """What each sample costs in a batch: tokens for a text, 0 for an image (all alike)."""
        ...

    def groups(self, samples: Sequence[Any]) -> list[Hashable] | None:
        """The group of each sample; samples of different groups must not share a batch.

        ``None`` if any samples may share one.
        """
        ...

    def forward(self, batch: Mapping[str, torch.Tensor]) -> Outputs:
        """Run one batch that lies on the model's device."""
        ...


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How a checkpoint is to be opened.

    Attributes:
        device: Where the model runs.
        dtype: Of weights and activations.
        max_length: Tokens kept of a text; a model whose positions end earlier keeps fewer.
    """

    device: torch.device
    dtype: torch.dtype
    max_length: int
