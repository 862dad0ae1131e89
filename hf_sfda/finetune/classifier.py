"""A backbone with a linear head, and the regression that the head starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from hf_sfda.finetune.objectives import Objective

if TYPE_CHECKING:
    from hf_sfda.backbones import Backbone

LOWEST_OUTPUT = -30.0
"""Floor of the log-probabilities that penalties are compared by: a class that training has not seen
has the probability 0, which would make every loss infinite."""

SMALLEST_SPREAD = 0.1
"""Floor of a feature's standard deviation, relative to the root mean square over all features.
Without it, a feature that hardly varies on the training part would be blown up."""


class Head(nn.Module):
    """Standardise with fixed numbers, then a linear layer: (B, D) -> (B, K)."""

    mean: Tensor
    spread: Tensor

    def __init__(self, mean: Tensor, spread: Tensor, n_outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("spread", spread.float())
        self.linear = nn.Linear(len(mean), n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) float32 -> (B, K)."""
        logits: Tensor = self.linear((features - self.mean) / self.spread)
        return logits


class Classifier(nn.Module):
    """The network of a backbone and its head, as one module to optimise and to save."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.network = backbone.module
        self.head = head
        self._backbone = backbone

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Inputs on the device -> (B, K) outputs, float32."""
        logits: Tensor = self.head(last_features(self._backbone, batch))
        return logits


def last_features(backbone: Backbone, batch: Mapping[str, Tensor]) -> Tensor:
    """(B, D) float32 features that the head sits on."""
    return backbone.forward(batch).layers["last"]


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear model of the features, fitted on the training part.

    Attributes:
        head: The same function as a torch module, on the CPU.
        penalty: The strength that the validation part chose.
        validation_value: The measure of the objective on the validation part.
    """

    head: Head
    penalty: float
    validation_value: float


def fit_probe(
    objective: Objective,
    train: Tensor,
    labels: Tensor,
    validation: Tensor,
    validation_labels: Tensor,
) -> Probe:
    """Fit on the training part; the validation part chooses the penalty.

    The best value of the measure wins; of equal ones the smallest loss.

    Args:
        objective: What the network is measured by.
        train: (N, D) float32 features.
        labels: (N, ...) encoded by the objective.
        validation: (M, D) float32 features.
        validation_labels: (M, ...) encoded by the objective.
    """
    X = train.double()
    mean, spread = X.mean(0), X.std(0, correction=0)
    floor = SMALLEST_SPREAD * float(spread.square().mean().sqrt())
    spread = spread.clamp_min(floor or 1.0)
    X = (X - mean) / spread
    Z = (validation.double() - mean) / spread
    length = float(X.square().sum(1).mean()) ** 0.5 or 1.0
    best: tuple[float, float] | None = None
    for fit in objective.fits(X, labels, Z, length):
        normalised = objective.normalised(fit.outputs).clamp_min(LOWEST_OUTPUT)
        value = float(objective.per_sample(normalised, validation_labels).mean())
        quality = value, -objective.validation_loss(normalised, validation_labels)
        if best is None or quality > best:
            best, chosen = quality, fit
    assert best is not None
    head = Head(mean, spread, objective.n_outputs)
    with torch.no_grad():
        head.linear.weight.copy_(chosen.weight)
        head.linear.bias.copy_(chosen.bias)
    return Probe(head, chosen.penalty, best[0])
