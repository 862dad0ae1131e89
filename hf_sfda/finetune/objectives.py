"""What training optimises and what a network is measured by, for each kind of label.

| labels | output of the network | loss | measure |
|---|---|---|---|
| single-label, token | one logit a class | cross-entropy, smoothed | accuracy |
| multi-label | one logit a label | binary cross-entropy, mean over the labels | F1 |
| regression | one value, standardised | squared error | R² |

Every measure is a mean over the samples, so networks can be compared sample by sample:

- accuracy: 1 where the most probable class is right, else 0.
- F1: the F1 of the labels that a sample has and those that are predicted (probability above 1/2);
  1 where both are empty. Its mean is ``f1_score(average="samples", zero_division=1)`` of
  scikit-learn.
- R²: 1 minus the squared error, relative to the variance of the values in the same part. Its mean
  is ``r2_score`` of scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hf_sfda.errors import FinetuneError
from hf_sfda.metrics.logistic import fit_logistic, fit_sigmoid, logistic_log_probabilities
from hf_sfda.tasks import kind_of_labels
from hf_sfda.types import LabelArray, Measure, Target
from hf_sfda.uncertainty import bootstrap_mean, bootstrap_r2, wilson

PENALTIES = (1e-1, 1e-2, 1e-3, 1e-4)
"""Strengths of the regression that the head starts from, strongest first. The validation part
chooses."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A linear model of standardised features, by one penalty.

    Attributes:
        penalty: The penalty.
        weight: (K, D) float64.
        bias: (K,) float64.
        outputs: (M, K) float64, of the validation part.
    """

    penalty: float
    weight: Tensor
    bias: Tensor
    outputs: Tensor


class Objective(Protocol):
    """How a network is trained and measured on one kind of label."""

    @property
    def measure(self) -> Measure:
        """What a network is measured by."""
        ...

    @property
    def n_outputs(self) -> int:
        """K, the width of the head."""
        ...

    def encode(self, labels: LabelArray) -> Tensor:
        """The labels of some samples as the other methods take them; the first axis stays."""
        ...

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The training loss of a batch, summed over its samples."""
        ...

    def normalised(self, outputs: Tensor) -> Tensor:
        """(N, K) float64: log-probabilities, or standardised values."""
        ...

    def validation_loss(self, normalised: Tensor, labels: Tensor) -> float:
        """The mean loss without smoothing."""
        ...

    def per_sample(self, normalised: Tensor, labels: Tensor) -> Tensor:
        """(N,) float64: the measure on each sample of a part. The mean is the measure."""
        ...

    def interval(self, per_sample: Tensor, labels: Tensor) -> tuple[float, float]:
        """The 95% interval of the measure; it covers the sampling of the part."""
        ...

    def fits(self, X: Tensor, labels: Tensor, Z: Tensor, length: float) -> list[Fit]:
        """Linear models of the features, one a penalty.

        Args:
            X: (N, D) float64 features of the training part, standardised.
            labels: Encoded labels.
            Z: (M, D) float64 features of the validation part.
            length: Root mean square length of the rows of ``X``. Features are divided by it, so
                that a penalty means the same for any number of features.
        """
        ...

    def unscale(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """The head (K, D), (K,) whose outputs are logits, or values in the unit of the labels.

        Raises:
            FinetuneError: The values do not fit the numbers of a head.
        """
        ...

    def as_trained(self, outputs: Tensor) -> Tensor:
        """(N, K) outputs of the head of :meth:`unscale` -> outputs of the head that was trained."""
        ...


class _Logits:
    """What the kinds of label share whose outputs are logits."""

    def unscale(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        return weight, bias

    def as_trained(self, outputs: Tensor) -> Tensor:
        return outputs


@dataclass(frozen=True)
class _SingleLabel(_Logits):
    """One class a sample; labels are encoded as (N,) int64."""

    n_outputs: int
    smoothing: float
    measure: Measure = "accuracy"

    def encode(self, labels: LabelArray) -> Tensor:
        return torch.from_numpy(labels)

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            outputs, labels, label_smoothing=self.smoothing, reduction="sum"
        )

    def normalised(self, outputs: Tensor) -> Tensor:
        return torch.log_softmax(outputs.double(), dim=1)

    def validation_loss(self, normalised: Tensor, labels: Tensor) -> float:
        return float(functional.nll_loss(normalised, labels))

    def per_sample(self, normalised: Tensor, labels: Tensor) -> Tensor:
        return (normalised.argmax(1) == labels).double()

    def interval(self, per_sample: Tensor, labels: Tensor) -> tuple[float, float]:
        return wilson(float(per_sample.mean()), len(per_sample))

    def fits(self, X: Tensor, labels: Tensor, Z: Tensor, length: float) -> list[Fit]:
        start = np.zeros((X.shape[1] + 1) * self.n_outputs)
        fits = []
        for penalty in PENALTIES:
            start, _ = fit_logistic(X, labels, self.n_outputs, penalty, length, start)
            log_P = logistic_log_probabilities(Z, start, labels, self.n_outputs, length)
            theta = torch.from_numpy(start).view(-1, self.n_outputs)
            fits.append(Fit(penalty, theta[:-1].T / length, theta[-1], log_P))
        return fits


@dataclass(frozen=True)
class _MultiLabel(_Logits):
    """Any number of labels a sample; labels are encoded as (N, K) float64 zeros and ones.

    ``normalised`` are the log-probabilities that a sample has each label.
    """

    n_outputs: int
    measure: Measure = "F1"

    def encode(self, labels: LabelArray) -> Tensor:
        return torch.from_numpy(labels).double()

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        wanted = labels.to(outputs.dtype)
        total = functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="sum")
        return total / self.n_outputs

    def normalised(self, outputs: Tensor) -> Tensor:
        return functional.logsigmoid(outputs.double())

    def validation_loss(self, normalised: Tensor, labels: Tensor) -> float:
        absent = torch.log1p(-normalised.exp().clamp_max(1 - 1e-12))
        return float(-(labels * normalised + (1 - labels) * absent).mean())

    def per_sample(self, normalised: Tensor, labels: Tensor) -> Tensor:
        predicted = (normalised > np.log(0.5)).double()
        total = predicted.sum(1) + labels.sum(1)
        both = (predicted * labels).sum(1)
        return torch.where(total > 0, 2 * both / total.clamp_min(1), 1.0)

    def interval(self, per_sample: Tensor, labels: Tensor) -> tuple[float, float]:
        return bootstrap_mean(per_sample.numpy())

    def fits(self, X: Tensor, labels: Tensor, Z: Tensor, length: float) -> list[Fit]:
        start = np.zeros((X.shape[1] + 1) * self.n_outputs)
        fits = []
        for penalty in PENALTIES:
            start = fit_sigmoid(X, labels, penalty, length, start)
            theta = torch.from_numpy(start).view(-1, self.n_outputs)
            weight, bias = theta[:-1].T / length, theta[-1]
            fits.append(Fit(penalty, weight, bias, functional.linear(Z, weight, bias)))
        return fits


@dataclass(frozen=True)
class _Regression:
    """One value a sample, standardised; labels are encoded as (N, 1) float64.

    Attributes:
        centre: Mean of the values of the training part, in ``unit``.
        spread: Their standard deviation, in ``unit``.
        unit: 1; of values whose squares would be too large or too small, the largest.
    """

    centre: float
    spread: float
    unit: float = 1.0
    n_outputs: int = 1
    measure: Measure = "R²"

    def encode(self, labels: LabelArray) -> Tensor:
        return torch.from_numpy((labels / self.unit - self.centre) / self.spread)[:, None]

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return functional.mse_loss(outputs, labels.to(outputs.dtype), reduction="sum")

    def normalised(self, outputs: Tensor) -> Tensor:
        return outputs.double()

    def validation_loss(self, normalised: Tensor, labels: Tensor) -> float:
        return float(functional.mse_loss(normalised, labels))

    def per_sample(self, normalised: Tensor, labels: Tensor) -> Tensor:
        variance = labels.var(correction=0)
        return (1 - (normalised - labels).square() / variance)[:, 0]

    def interval(self, per_sample: Tensor, labels: Tensor) -> tuple[float, float]:
        return bootstrap_r2(per_sample.numpy(), labels[:, 0].numpy())

    def fits(self, X: Tensor, labels: Tensor, Z: Tensor, length: float) -> list[Fit]:
        """Ridge regression, through one decomposition of the smaller of the two Gram matrices."""
        U, S, Vh = torch.linalg.svd(X / length, full_matrices=False)
        mean = labels.mean(0)
        rotated = U.T @ (labels - mean) / len(X)
        fits = []
        for penalty in PENALTIES:
            shrunk = rotated * (S / (S.square() / len(X) + penalty))[:, None]
            weight = (Vh.T @ shrunk).T / length
            bias = mean - weight @ X.mean(0)
            fits.append(Fit(penalty, weight, bias, functional.linear(Z, weight, bias)))
        return fits

    def unscale(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        if self.unit != 1:
            raise FinetuneError(
                f"values as large as {self.unit:.3g} do not fit the 32 bits of a saved head; scale "
                "the labels"
            )
        return weight * self.spread, bias * self.spread + self.centre

    def as_trained(self, outputs: Tensor) -> Tensor:
        return (outputs - self.centre) / self.spread


def objective_of(target: Target, training_labels: LabelArray, smoothing: float) -> Objective:
    """The objective of a target.

    Args:
        target: The target.
        training_labels: Labels of the training part; a regression is standardised by them.
        smoothing: Of the labels, for one class a sample.
    """
    kind = kind_of_labels(target.labels)
    if kind == "multi-label":
        return _MultiLabel(target.n_classes)
    if kind == "regression":
        values = training_labels.astype(np.float64)
        largest = float(np.abs(values).max())
        unit = 1.0 if largest == 0 or 1e-30 < largest < 1e30 else largest
        values /= unit
        return _Regression(float(values.mean()), float(values.std()) or 1.0, unit)
    return single_label(target.n_classes, smoothing)


def single_label(n_classes: int, smoothing: float = 0.0) -> Objective:
    """The objective of one class a sample."""
    return _SingleLabel(n_classes, smoothing)
