"""A backbone with a classification head, and the logistic regression that the head starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from hf_sfda.metrics.logistic import fit_logistic, logistic_log_probabilities

if TYPE_CHECKING:
    from hf_sfda.backbones import Backbone

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Strengths of the logistic regression that the validation part chooses from, strongest first."""

SMALLEST_SPREAD = 0.1
"""Floor of a feature's standard deviation, relative to the root mean square over all features.
Without it, a feature that hardly varies on the training part would be blown up."""


class Head(nn.Module):
    """Standardise with fixed numbers, then a linear layer: (B, D) -> (B, C) logits."""

    mean: Tensor
    spread: Tensor

    def __init__(self, mean: Tensor, spread: Tensor, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("spread", spread.float())
        self.linear = nn.Linear(len(mean), n_classes)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) float32 -> (B, C)."""
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
        """Inputs on the device -> (B, C) logits, float32."""
        logits: Tensor = self.head(last_features(self._backbone, batch))
        return logits


def last_features(backbone: Backbone, batch: Mapping[str, Tensor]) -> Tensor:
    """(B, D) float32 features that a classification head sits on."""
    return backbone.forward(batch).layers["last"]


@dataclass(frozen=True, eq=False)
class Probe:
    """A logistic regression fitted on the training part.

    Attributes:
        head: The same function as a torch module, on the CPU.
        penalty: The strength that the validation part chose.
        validation_accuracy: Accuracy there.
    """

    head: Head
    penalty: float
    validation_accuracy: float


def fit_probe(
    train: Tensor, labels: Tensor, validation: Tensor, validation_labels: Tensor, n_classes: int
) -> Probe:
    """Fit on the training part; the validation part chooses the penalty.

    The best accuracy wins; of equal ones the best log-likelihood.

    Args:
        train: (N, D) float32 features.
        labels: (N,) int64.
        validation: (M, D) float32 features.
        validation_labels: (M,) int64.
        n_classes: C.
    """
    X = train.double()
    mean, spread = X.mean(0), X.std(0, correction=0)
    floor = SMALLEST_SPREAD * float(spread.square().mean().sqrt())
    spread = spread.clamp_min(floor or 1.0)
    X = (X - mean) / spread
    Z = (validation.double() - mean) / spread
    length = float(X.square().sum(1).mean()) ** 0.5 or 1.0
    start = np.zeros((X.shape[1] + 1) * n_classes)
    best: tuple[float, float] | None = None
    for penalty in PENALTIES:
        start, _ = fit_logistic(X, labels, n_classes, penalty, length, start)
        log_P = logistic_log_probabilities(Z, start, labels, n_classes, length)
        accuracy = float((log_P.argmax(1) == validation_labels).double().mean())
        likelihood = float(log_P.gather(1, validation_labels[:, None]).clamp_min(-30).mean())
        if best is None or (accuracy, likelihood) > best:
            best, chosen, theta = (accuracy, likelihood), penalty, start
    assert best is not None
    head = Head(mean, spread, n_classes)
    weights = torch.from_numpy(theta).view(-1, n_classes)
    with torch.no_grad():
        head.linear.weight.copy_(weights[:-1].T / length)
        head.linear.bias.copy_(weights[-1])
    return Probe(head, chosen, best[0])
