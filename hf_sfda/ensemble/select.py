"""Select an ensemble from the candidates' features or posteriors: pure functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from hf_sfda.ensemble.complementarity import complementarity, fisher_space, paper_score
from hf_sfda.ensemble.posteriors import CandidatePosteriors, Member, Pooling, as_members
from hf_sfda.ensemble.search import (
    Criterion,
    Path,
    crossfitted_gains,
    fold_weights,
    gain_intervals,
    search,
)
from hf_sfda.errors import ConfigError
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.types import IntArray


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


FloatArray = npt.NDArray[np.float64]


def select_ensemble(
    candidates: Mapping[str, Any],
    labels: Any,
    *,
    size: int = 3,
    criterion: Criterion = "probability",
    pooling: Pooling = "geometric",
    folds: int = 5,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    weight: float = 0.5,
) -> Ensemble:
    """Select models whose combined prediction is better than that of the best single model.

    Each candidate predicts all samples with a cross-fitted Fisher discriminant (the first stage of
    ``sfda_cv``), calibrated by one temperature. The search selects the best single model, then the
    best of all pairs, then adds one model at a time while the held-out quality of the combined
    posterior rises. The gain over the best single model is measured on samples that were not used
    to select the set or the single model.

    The default criterion is the mean probability of the true class, as in ``sfda_cv``. It is
    bounded, so a few samples cannot dominate it. It is also strict: where the members disagree, the
    combined posterior is less confident than each of them, so it must be right more often to be
    equally good. The log-likelihood, which rewards justified uncertainty, is an option, and it
    breaks ties. The default pooling is geometric, because averaged probabilities can never improve
    the mean probability.

    The predictions are those of linear discriminants on frozen features, not of fine-tuned models.
    A gain suggests which checkpoints to fine-tune and combine; it does not guarantee the same gain
    after fine-tuning.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(200) % 4
    >>> bits = np.stack([y % 2, y // 2], axis=1) * 3 + rng.normal(size=(200, 2))
    >>> ensemble = select_ensemble({"low bit": bits[:, :1], "high bit": bits[:, 1:]}, y)
    >>> sorted(ensemble.models), ensemble.steps[1].interval[0] > 0
    (['high bit', 'low bit'], True)

    Args:
        candidates: name -> (N, D) features, or a :class:`~hf_sfda.ensemble.Member` made from
            posteriors.
        labels: (N,) ints or strings.
        size: The largest number of models to select.
        criterion: ``probability`` or ``log_likelihood``.
        pooling: ``geometric`` or ``arithmetic``; the latter only with ``log_likelihood``.
        folds: K, for the posteriors and for the selection.
        resamples: Number of bootstrap resamples.
        confidence: Level of the intervals.
        seed: Random seed of folds and bootstrap.
        weight: r of the paper's score.

    Raises:
        ConfigError: The value of an option is not allowed.
        MetricError: There are fewer than two candidates, features cannot be scored, or posteriors
            do not match the labels.
    """
    _check(size, criterion, pooling, weight, confidence)
    labels = np.asarray(labels)
    members = as_members(candidates, labels, folds=folds, seed=seed)
    y = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    names = list(members)

    fold = stratified_folds(y, min(folds, len(y)), seed)
    posteriors = CandidatePosteriors(
        [member.log_posteriors for member in members.values()], y, fold_weights(fold), pooling
    )
    path, *paths_without_fold = [
        search(posteriors, subset, size, criterion) for subset in range(2 + int(fold.max()))
    ]
    gains = crossfitted_gains(posteriors, fold, paths_without_fold, len(path.sets), criterion)
    limits = gain_intervals(gains, y, n_resamples=resamples, confidence=confidence, seed=seed)
    sets = [tuple(names[m] for m in members) for members in path.sets]
    singles = _singles(posteriors, names)
    # The first quality comes from ``singles``, so that both are equal to the last bit.
    qualities = [singles[sets[0][0]], *(_quality(posteriors, s) for s in path.sets[1:])]
    best = getattr(qualities[0], criterion)
    steps = tuple(
        Step(
            models=sets[s],
            added=tuple(name for name in sets[s] if s == 0 or name not in sets[s - 1]),
            quality=qualities[s],
            apparent_gain=getattr(qualities[s], criterion) - best,
            gain=float(gains[s].mean()),
            interval=(float(limits[s, 0]), float(limits[s, 1])),
        )
        for s in range(len(sets))
    )
    return Ensemble(
        models=sets[-1],
        steps=steps,
        refused=_refused(posteriors, names, path),
        singles=singles,
        error_correlation=_error_correlation(posteriors),
        paper=_paper_scores(members, y, weight),
        criterion=criterion,
        pooling=pooling,
        confidence=confidence,
        size=size,
        n_samples=len(y),
    )


def _check(size: int, criterion: str, pooling: str, weight: float, confidence: float) -> None:
    if size < 1:
        raise ConfigError(f"size is {size}; an ensemble has at least 1 model.")
    options = (("criterion", criterion, Criterion), ("pooling", pooling, Pooling))
    for name, value, allowed in options:
        if value not in get_args(allowed):
            raise ConfigError(f"{name} is {value!r}; allowed are {', '.join(get_args(allowed))}.")
    if pooling == "arithmetic" and criterion == "probability":
        raise ConfigError(
            "An average of probabilities never has a higher mean probability than the best of its "
            "members. Use criterion='log_likelihood' with pooling='arithmetic'."
        )
    if not 0 <= weight <= 1:
        raise ConfigError(f"weight is {weight}; it must lie in [0, 1].")
    if not 0.5 <= confidence < 1:
        raise ConfigError(f"confidence is {confidence}; it must lie in [0.5, 1).")


def _quality(posteriors: CandidatePosteriors, members: tuple[int, ...]) -> Quality:
    true = posteriors.true_probability(members)
    guess = posteriors.posterior(members).argmax(1)
    return Quality(
        probability=float(true.mean()),
        log_likelihood=float(np.log(true).mean()),
        accuracy=float((guess == posteriors.labels).double().mean()),
    )


def _singles(posteriors: CandidatePosteriors, names: list[str]) -> dict[str, Quality]:
    scores, hits = posteriors.score_extensions(()), posteriors.hits()
    return {
        name: Quality(
            probability=float(scores.probability[m, 0]),
            log_likelihood=float(scores.log_likelihood[m, 0]),
            accuracy=float(hits[m].mean()),
        )
        for m, name in enumerate(names)
    }


def _refused(posteriors: CandidatePosteriors, names: list[str], path: Path) -> RejectedSet | None:
    if path.refused is None:
        return None
    return RejectedSet(tuple(names[m] for m in path.refused), _quality(posteriors, path.refused))


def _error_correlation(posteriors: CandidatePosteriors) -> FloatArray:
    """(M, M) correlation of the candidates' errors; NaN if one is always right or always wrong."""
    wrong = (~posteriors.hits()).astype(np.float64)
    centred = wrong - wrong.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    length[length == 0] = np.nan
    correlation: FloatArray = centred @ centred.T / np.outer(length, length)
    return correlation


def _paper_scores(
    members: Mapping[str, Member], labels: IntArray, weight: float
) -> dict[str, PaperScore]:
    spaces = [fisher_space(member.log_posteriors, labels) for member in members.values()]
    scores = {}
    for (name, member), share in zip(
        members.items(), complementarity(spaces).tolist(), strict=True
    ):
        combined = None if member.sfda is None else paper_score(member.sfda, share, weight)
        scores[name] = PaperScore(member.sfda, share, combined)
    return scores
