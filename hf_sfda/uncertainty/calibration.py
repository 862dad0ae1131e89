"""From a score to fine-tuned accuracy: how far can the order be trusted?

Resampling the samples says how a score varies. It does not say how often a model with a higher
score fine-tunes worse. That was measured: ``benchmarks/zoo`` fine-tuned the same checkpoints on
eleven targets, and ``calibration.json`` has the errors that were left
(``python -m benchmarks.zoo.calibrate``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from hf_sfda.tasks import calibration_warning, has_benchmark
from hf_sfda.uncertainty.statistics import FloatArray

_EDGE = 0.002
"""Accuracies are kept this far from 0 and 1, where their logit is infinite."""

_WIDER = 1.5
"""Factor on the errors of a run that the benchmark does not cover. A guess: nothing was measured
there."""


@dataclass(frozen=True)
class Calibration:
    r"""How the fine-tuned accuracy of a model follows from its score.

    For model i on target t, with score :math:`s` and fine-tuned accuracy :math:`a` in (0, 1),

    .. math::
        \mathrm{logit}\, a_{ti} = \beta\, \mathrm{logit}\, s_{ti} + \alpha_t
        + \sigma_{t, h(i)}\, \varepsilon_{ti}

    where h(i) says whether the score is in the upper half of the target's scores: good checkpoints
    follow their score more closely than damaged and random ones.

    Attributes:
        slope: :math:`\beta`.
        offsets: (T,) :math:`\alpha_t` of the T targets.
        errors: (T, 2) standard deviations :math:`\sigma` in the upper and the lower half.
        classes: Smallest and largest number of classes of the targets.
        samples: Smallest number of samples that the targets were scored on.
        reliability: Predicted probability that one model is better than another, share of pairs in
            which it was, and number of pairs, bin by bin. Each target was predicted from the
            others.
    """

    slope: float
    offsets: tuple[float, ...]
    errors: tuple[tuple[float, float], ...]
    classes: tuple[int, int]
    samples: int
    reliability: tuple[tuple[float, float, int], ...] = ()

    def not_covered(self, n_samples: int, n_classes: int) -> str:
        """In what a run lies outside the targets of the benchmark, as a clause; else empty."""
        low, high = self.classes
        if n_classes > high:
            return f"{n_classes:,} classes, where the benchmark has {low} to {high}"
        if n_samples < self.samples:
            return f"{n_samples:,} samples, where the benchmark has {self.samples} or more"
        return ""

    def widened(self) -> Calibration:
        """The same with larger errors, for a run that the benchmark does not cover."""
        return replace(self, errors=tuple((_WIDER * a, _WIDER * b) for a, b in self.errors))


@cache
def _document() -> dict[str, Any]:
    text = files("hf_sfda.uncertainty").joinpath("calibration.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def find_calibration(config: Mapping[str, Any], task: str | None = None) -> Calibration | None:
    """The calibration of the score that orders a run.

    Args:
        config: Settings of the run: ``metric``, ``layers`` and ``batch_norms``. Runs of earlier
            versions have no ``batch_norms``; they were not calibrated.
        task: Task of the run, see :func:`hf_sfda.tasks.has_benchmark`.

    Returns:
        ``None`` if the benchmark has no such score.
    """
    if not has_benchmark(task):
        return None
    names = [config.get(name) for name in ("metric", "layers", "batch_norms")]
    entry = _document()["scores"].get("/".join(map(str, names)))
    return None if entry is None else from_plain(entry)


def coverage_warnings(
    config: Mapping[str, Any], task: str | None, n_samples: int, n_classes: int
) -> list[str]:
    """What to know about P(best) where the benchmark has no such task, or no such sample.

    Args:
        config: As in :func:`find_calibration`.
        task: As in :func:`find_calibration`.
        n_samples: Number of samples of the run.
        n_classes: Number of their classes.
    """
    if not has_benchmark(task):
        return calibration_warning(task)
    calibration = find_calibration(config, task)
    outside = calibration.not_covered(n_samples, n_classes) if calibration else ""
    if not outside:
        return []
    return [
        f"The run has {outside}. So P(best), ties and the expected regret allow for larger errors, "
        "by a factor that was not measured."
    ]


def from_plain(entry: Mapping[str, Any]) -> Calibration:
    """Read one entry of ``calibration.json``."""
    low, high = entry["classes"]
    return Calibration(
        slope=entry["slope"],
        offsets=tuple(entry["offsets"]),
        errors=tuple((upper, lower) for upper, lower in entry["errors"]),
        classes=(low, high),
        samples=entry["samples"],
        reliability=tuple((p, share, n) for p, share, n in entry["reliability"]),
    )


def fit_calibration(
    scores: Sequence[FloatArray],
    accuracies: Sequence[FloatArray],
    *,
    classes: Sequence[int],
    samples: Sequence[int],
) -> Calibration:
    """Measure :class:`Calibration` on targets with known fine-tuned accuracies.

    The slope is the least-squares one within targets; every target counts the same.

    Args:
        scores: One (M_t,) array a target, in (0, 1).
        accuracies: The fine-tuned accuracies of the same models.
        classes: Number of classes of each target.
        samples: Number of samples that each target was scored on.
    """
    x, y = [logit(s) for s in scores], [logit(a) for a in accuracies]
    covariances = [np.mean((u - u.mean()) * (v - v.mean())) for u, v in zip(x, y, strict=True)]
    slope = float(np.sum(covariances) / np.sum([u.var() for u in x]))
    offsets, errors = [], []
    for u, v in zip(x, y, strict=True):
        rest = v - slope * u
        offsets.append(float(rest.mean()))
        upper = _upper_half(u)
        errors.append((_spread(rest[upper]), _spread(rest[~upper])))
    return Calibration(
        slope, tuple(offsets), tuple(errors), (min(classes), max(classes)), min(samples)
    )


def predict_accuracies(
    calibration: Calibration, values: FloatArray, resampled: FloatArray, *, seed: int
) -> FloatArray:
    """Draw fine-tuned accuracies of the models of a run.

    Each draw takes one resample of the scores, and the offset and the errors of one target of the
    benchmark at random: nobody knows which of them the target of the run is like. Models whose
    scores are equal in all resamples are one checkpoint and get the same draws.

    Args:
        calibration: Of the score.
        values: (M,) scores.
        resampled: (B, M) scores on resampled samples.
        seed: Random seed.

    Returns:
        (B, M) accuracies in (0, 1).
    """
    rng = np.random.default_rng([seed, 2])
    targets = rng.integers(len(calibration.offsets), size=len(resampled))
    half = np.where(_upper_half(values), 0, 1)  # (M,)
    sigma = np.asarray(calibration.errors)[targets][:, half]  # (B, M)
    offset = np.asarray(calibration.offsets)[targets][:, None]
    # The same checkpoint under two names fine-tunes alike.
    distinct, inverse = np.unique(resampled, axis=1, return_inverse=True)
    noise = sigma * rng.standard_normal(distinct.shape)[:, inverse.reshape(-1)]
    predicted: FloatArray = _logistic(calibration.slope * logit(resampled) + offset + noise)
    return predicted


def expected_regrets(predicted: FloatArray) -> FloatArray:
    """(M,) accuracy that each model stays behind the best one, the mean over (B, M) draws."""
    regrets: FloatArray = (predicted.max(axis=1, keepdims=True) - predicted).mean(axis=0)
    return regrets


def logit(probability: FloatArray) -> FloatArray:
    """Log-odds of probabilities, which are kept a little away from 0 and 1."""
    p = np.clip(probability, _EDGE, 1 - _EDGE)
    odds: FloatArray = np.log(p / (1 - p))
    return odds


def _logistic(value: FloatArray) -> FloatArray:
    result: FloatArray = 1 / (1 + np.exp(-value))
    return result


def _upper_half(values: FloatArray) -> np.ndarray:
    """(M,) whether a score is among the ceil(M / 2) highest; equal scores are in the same half."""
    if not len(values):
        return np.zeros(0, dtype=bool)
    half: np.ndarray = values >= np.sort(values)[len(values) // 2]
    return half


def _spread(rest: FloatArray) -> float:
    return float(np.sqrt(np.square(rest - rest.mean()).sum() / (len(rest) - 1)))
