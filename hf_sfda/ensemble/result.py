"""The answer: which models, what they gain, and the evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hf_sfda.ensemble.pool import Pooling
from hf_sfda.ensemble.search import Criterion


@dataclass(frozen=True, slots=True)
class Quality:
    """How well one model or one set predicts samples that it was not fitted on.

    Attributes:
        probability: Mean probability of the true class.
        log_likelihood: Mean of its logarithm.
        accuracy: Share of samples whose most probable class is the true one.
    """

    probability: float
    log_likelihood: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Step:
    """The best set of one size.

    Attributes:
        models: Its members.
        added: Those that the set before it did not have.
        quality: Of the combined posterior, on the samples that chose the set.
        apparent_gain: In the criterion, over the best single model, on those same samples.
        gain: The same on samples that had no part in the choice: the figure to believe. It belongs
            to the procedure "choose up to that many", which may choose otherwise in some folds.
        interval: (low, high) of ``gain``.
    """

    models: tuple[str, ...]
    added: tuple[str, ...]
    quality: Quality
    apparent_gain: float
    gain: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Refused:
    """The set that would have come next, and is no better than the one before it."""

    models: tuple[str, ...]
    quality: Quality


@dataclass(frozen=True, slots=True)
class PaperScore:
    """The paper's figures for one candidate, see :mod:`hf_sfda.ensemble.complementarity`.

    Attributes:
        sfda: T_SFDA; ``None`` where only posteriors were given.
        complementarity: T_com among all candidates.
        combined: T_ens, what the paper sorts by; ``None`` where ``sfda`` is.
    """

    sfda: float | None
    complementarity: float
    combined: float | None


@dataclass(frozen=True, eq=False)
class Ensemble:
    """What was chosen and why.

    Attributes:
        models: The chosen ones; a single name if nothing helps.
        steps: The best single model, the best pair, ... up to the chosen set.
        refused: Why it ends there; ``None`` if the size was reached or no candidate was left.
        singles: Every candidate by itself.
        error_correlation: (M, M) Pearson correlation of the candidates' mistakes (0 or 1 a sample),
            in the order of ``singles``; NaN where a candidate makes none, or nothing else.
        paper: The paper's score of every candidate.
        criterion: What "better" means.
        pooling: How posteriors are combined.
        confidence: Of the intervals.
        size: The most that were to be chosen.
        n_samples: N.
        warnings: What to know before trusting it.
    """

    models: tuple[str, ...]
    steps: tuple[Step, ...]
    refused: Refused | None
    singles: Mapping[str, Quality]
    error_correlation: npt.NDArray[np.float64]
    paper: Mapping[str, PaperScore]
    criterion: Criterion
    pooling: Pooling
    confidence: float
    size: int
    n_samples: int
    warnings: tuple[str, ...] = ()

    @property
    def paper_choice(self) -> tuple[str, ...]:
        """The ``size`` best by the paper's score; empty where that is not known."""
        scores = {
            name: score.combined for name, score in self.paper.items() if score.combined is not None
        }
        if len(scores) < len(self.paper):
            return ()
        return tuple(sorted(scores, key=lambda name: (-scores[name], name))[: self.size])

    @property
    def summary(self) -> str:
        """The answer in words."""
        best, last = self.steps[0], self.steps[-1]
        alone = f"{best.models[0]} ({self._figure(best.quality)})"
        unit = f"held-out {self.criterion.replace('_', '-')}"
        if len(self.models) == 1:
            if self.refused is None:
                return f"Only one model was asked for; the best by {unit} is {alone}."
            return (
                f"No pair beats the best single model, {alone}: the best pair, "
                f"{' + '.join(self.refused.models)}, has a {unit} of "
                f"{self._figure(self.refused.quality)}."
            )
        low, high = last.interval
        together = f"{' + '.join(self.models)} ({self._figure(last.quality)})"
        gain = (
            f"on samples that had no part in the choice the gain in {unit} is {last.gain:+.4f} "
            f"({low:+.4f} to {high:+.4f} at {self.confidence:.0%})"
        )
        if low > 0:
            return f"{together} beats the best single model, {alone}: {gain}."
        if high < 0:
            return (
                f"{together} looks better than the best single model, {alone}, and is not: {gain}."
            )
        return f"{together} cannot be told apart from the best single model, {alone}: {gain}."

    def _figure(self, quality: Quality) -> str:
        return f"{getattr(quality, self.criterion):.4f}"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {
            "models": list(self.models),
            "summary": self.summary,
            "criterion": self.criterion,
            "pooling": self.pooling,
            "confidence": self.confidence,
            "size": self.size,
            "n_samples": self.n_samples,
            "steps": [_plain(asdict(step)) for step in self.steps],
            "refused": None if self.refused is None else _plain(asdict(self.refused)),
            "singles": {name: asdict(single) for name, single in self.singles.items()},
            "error_correlation": {
                "models": list(self.singles),
                "matrix": [
                    [None if math.isnan(value) else value for value in row]
                    for row in self.error_correlation.tolist()
                ],
            },
            "paper": {
                "choice": list(self.paper_choice),
                "scores": {name: asdict(score) for name, score in self.paper.items()},
            },
            "warnings": list(self.warnings),
        }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in values.items()
    }
