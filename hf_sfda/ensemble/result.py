"""The result of an ensemble selection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hf_sfda.ensemble.posteriors import Pooling
from hf_sfda.ensemble.search import Criterion


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of the held-out predictions of one model or one set.

    Attributes:
        probability: Mean probability of the true class.
        log_likelihood: Mean log-probability of the true class.
        accuracy: Share of samples whose most probable class is the true one.
    """

    probability: float
    log_likelihood: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Step:
    """The best set of one size.

    Attributes:
        models: The members of the set.
        added: The members that the previous set does not have.
        quality: Quality of the combined posterior, on the samples used for the selection.
        apparent_gain: Gain in the criterion over the best single model, on the same samples. It is
            biased upwards.
        gain: Gain on samples that were not used for the selection. It is the gain of selecting up
            to this many models; some folds may select other models than this set.
        interval: (low, high) of ``gain``.
    """

    models: tuple[str, ...]
    added: tuple[str, ...]
    quality: Quality
    apparent_gain: float
    gain: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class RejectedSet:
    """The next larger set, which was not selected because it is no better.

    Attributes:
        models: The members of the set.
        quality: Quality of the combined posterior.
    """

    models: tuple[str, ...]
    quality: Quality


@dataclass(frozen=True, slots=True)
class PaperScore:
    """The paper's scores of one candidate, see :mod:`hf_sfda.ensemble.complementarity`.

    Attributes:
        sfda: T_SFDA; ``None`` if unknown, because the candidate was given as posteriors.
        complementarity: T_com among all candidates.
        combined: T_ens, which the paper sorts by; ``None`` if ``sfda`` is ``None``.
    """

    sfda: float | None
    complementarity: float
    combined: float | None


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The selected ensemble, and how it was selected.

    Attributes:
        models: The selected models; only the best single model if no pair is better.
        steps: The best single model, the best pair, and so on up to the selected set.
        refused: The next larger set, which is no better; ``None`` if the search ended because the
            size was reached or no candidate was left.
        singles: The quality of every candidate alone.
        error_correlation: (M, M) Pearson correlation of the candidates' errors (0 or 1 per sample),
            in the order of ``singles``; NaN if a candidate is always right or always wrong.
        paper: The paper's score of every candidate.
        criterion: The quality that the selection maximizes.
        pooling: How posteriors are combined.
        confidence: Level of the intervals.
        size: The largest number of models to select.
        n_samples: N.
        warnings: Reasons to be careful with this result.
    """

    models: tuple[str, ...]
    steps: tuple[Step, ...]
    refused: RejectedSet | None
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
        """The ``size`` best models by the paper's score; empty if a score is unknown."""
        scores = {
            name: score.combined for name, score in self.paper.items() if score.combined is not None
        }
        if len(scores) < len(self.paper):
            return ()
        return tuple(sorted(scores, key=lambda name: (-scores[name], name))[: self.size])

    @property
    def summary(self) -> str:
        """The result as one sentence."""
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
        """The ensemble as a JSON document."""
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
