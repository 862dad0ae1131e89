"""From candidates to an ensemble: pure functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from hf_sfda.ensemble import gain
from hf_sfda.ensemble.complementarity import (
    Layout,
    complementarity,
    fisher_space,
    paper_score,
)
from hf_sfda.ensemble.member import Member, as_members
from hf_sfda.ensemble.pool import Pool, Pooling
from hf_sfda.ensemble.result import Ensemble, PaperScore, Quality, Refused, Step
from hf_sfda.ensemble.search import Criterion, Path, search
from hf_sfda.errors import ConfigError
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.types import IntArray

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
    layout: Layout = "rows",
    weight: float = 0.5,
) -> Ensemble:
    """Choose models that are better together than the best one alone.

    Every candidate predicts each sample by a cross-fitted Fisher discriminant (the first stage of
    ``sfda_cv``), calibrated by one temperature. The best single model, the best of all pairs, then
    one model more at a time are chosen by the held-out quality of their combined posterior, for as
    long as it rises. The gain over the best single model is measured on samples that had no part in
    choosing either.

    The criterion is the mean probability of the true class, as for ``sfda_cv``: it is bounded, so a
    few samples cannot decide alone. It is strict, too: where members disagree the pool is less sure
    than each of them, so it must be right more often to break even. The log-likelihood, which
    rewards that doubt where it is due, decides between equals and is there as an option. Posteriors
    are pooled geometrically, because an average of probabilities never gains by mean probability.

    What is predicted are linear discriminants on frozen features, not fine-tuned networks: take a
    gain as a lead for which checkpoints to fine-tune together, not as a promise.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(200) % 4
    >>> bits = np.stack([y % 2, y // 2], axis=1) * 3 + rng.normal(size=(200, 2))
    >>> chosen = select_ensemble({"low bit": bits[:, :1], "high bit": bits[:, 1:]}, y)
    >>> sorted(chosen.models), chosen.steps[1].interval[0] > 0
    (['high bit', 'low bit'], True)

    Args:
        candidates: name -> (N, D) features, or a :class:`~hf_sfda.ensemble.Member` where posteriors
            are at hand.
        labels: (N,) ints or strings.
        size: The most models to choose.
        criterion: ``probability`` or ``log_likelihood``.
        pooling: ``geometric`` or ``arithmetic``; the latter only with ``log_likelihood``.
        folds: K, of the posteriors and of the choice.
        resamples: Bootstrap resamples behind the intervals.
        confidence: Level of the intervals.
        seed: Of folds and resamples.
        layout: How the paper's matrix is laid out, see
            :func:`~hf_sfda.ensemble.complementarity.complementarity`.
        weight: r of the paper's score.

    Raises:
        ConfigError: An option holds a value that is not allowed.
        MetricError: Fewer than two candidates, features that cannot be scored, or posteriors that
            do not fit the labels.
    """
    _check(size, criterion, pooling, layout, weight, confidence)
    labels = np.asarray(labels)
    members = as_members(candidates, labels, folds=folds, seed=seed)
    y = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    names = list(members)

    fold = stratified_folds(y, min(folds, len(y)), seed)
    pool = Pool(
        [member.log_posteriors for member in members.values()], y, gain.juries_of(fold), pooling
    )
    found, *without_fold = [
        search(pool, jury, size, criterion) for jury in range(2 + int(fold.max()))
    ]
    gains = gain.crossfitted_gains(pool, fold, without_fold, len(found.sets), criterion)
    limits = gain.intervals(gains, y, n_resamples=resamples, confidence=confidence, seed=seed)
    chosen = [tuple(names[m] for m in some) for some in found.sets]
    singles = _singles(pool, names)
    # The first one as it stands in the table of singles, to the last bit.
    qualities = [singles[chosen[0][0]], *(_quality(pool, some) for some in found.sets[1:])]
    best = getattr(qualities[0], criterion)
    steps = tuple(
        Step(
            models=chosen[s],
            added=tuple(name for name in chosen[s] if s == 0 or name not in chosen[s - 1]),
            quality=qualities[s],
            apparent_gain=getattr(qualities[s], criterion) - best,
            gain=float(gains[s].mean()),
            interval=(float(limits[s, 0]), float(limits[s, 1])),
        )
        for s in range(len(chosen))
    )
    return Ensemble(
        models=chosen[-1],
        steps=steps,
        refused=_refused(pool, names, found),
        singles=singles,
        error_correlation=_error_correlation(pool),
        paper=_paper_scores(members, y, layout, weight),
        criterion=criterion,
        pooling=pooling,
        confidence=confidence,
        size=size,
        n_samples=len(y),
    )


def _check(
    size: int, criterion: str, pooling: str, layout: str, weight: float, confidence: float
) -> None:
    if size < 1:
        raise ConfigError(f"size is {size}; an ensemble has at least 1 model.")
    options = (("criterion", criterion, Criterion), ("pooling", pooling, Pooling))
    for name, value, allowed in (*options, ("layout", layout, Layout)):
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


def _quality(pool: Pool, members: tuple[int, ...]) -> Quality:
    true = pool.true_probability(members)
    guess = pool.posterior(members).argmax(1)
    return Quality(
        probability=float(true.mean()),
        log_likelihood=float(np.log(true).mean()),
        accuracy=float((guess == pool.labels).double().mean()),
    )


def _singles(pool: Pool, names: list[str]) -> dict[str, Quality]:
    verdicts, hits = pool.judge(()), pool.hits()
    return {
        name: Quality(
            probability=float(verdicts.probability[m, 0]),
            log_likelihood=float(verdicts.log_likelihood[m, 0]),
            accuracy=float(hits[m].mean()),
        )
        for m, name in enumerate(names)
    }


def _refused(pool: Pool, names: list[str], found: Path) -> Refused | None:
    if found.refused is None:
        return None
    return Refused(tuple(names[m] for m in found.refused), _quality(pool, found.refused))


def _error_correlation(pool: Pool) -> FloatArray:
    """(M, M) correlation of the candidates' mistakes; NaN where one never errs, or always."""
    wrong = (~pool.hits()).astype(np.float64)
    centred = wrong - wrong.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    length[length == 0] = np.nan
    correlation: FloatArray = centred @ centred.T / np.outer(length, length)
    return correlation


def _paper_scores(
    members: Mapping[str, Member], labels: IntArray, layout: Layout, weight: float
) -> dict[str, PaperScore]:
    spaces = [fisher_space(member.log_posteriors, labels) for member in members.values()]
    scores = {}
    for (name, member), share in zip(
        members.items(), complementarity(spaces, layout).tolist(), strict=True
    ):
        combined = None if member.sfda is None else paper_score(member.sfda, share, weight)
        scores[name] = PaperScore(member.sfda, share, combined)
    return scores
