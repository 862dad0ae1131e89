"""From features to rows: score every candidate, order them, say how sure the order is.

Pure functions of arrays; who extracted the features, and where, does not matter here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt

from hf_sfda.config import RankConfig
from hf_sfda.metrics import Metric, get_metric
from hf_sfda.scoring import pooled, score, score_all, score_permuted
from hf_sfda.types import Candidate, Features, IntArray, ModelRow, Score
from hf_sfda.uncertainty import (
    Uncertainty,
    agreement_with,
    degrees_of_freedom,
    diagnose,
    diagnose_row,
    group_jackknife,
    noise_floor,
    one_stratum,
    paired_bootstrap,
    percentile_intervals,
    summarise,
)
from hf_sfda.views import view_features

AnyFloats = npt.NDArray[np.floating[Any]]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """One candidate with everything its row needs.

    Attributes:
        candidate: Who.
        scores: metric -> score; metrics that do not apply to this candidate are absent.
        units: (N,) or (G,) contributions to the chosen metric whose mean is its value: per sample,
            or jackknife pseudo-values per group of samples; ``None`` for baselines.
        floor: The chosen metric on shuffled labels; ``None`` if not measured.
        feature_dim: Width of the scored view.
        feature_key: Where the features are stored.
    """

    candidate: Candidate
    scores: Mapping[str, Score]
    contributions: FloatArray | None
    floor: float | None
    feature_dim: int
    params: int | None
    samples_per_second: float | None
    feature_key: str | None = None
    warnings: tuple[str, ...] = ()


def score_candidate(
    candidate: Candidate,
    features: Features,
    labels: IntArray,
    config: RankConfig,
    *,
    feature_key: str | None = None,
) -> Scored:
    """Compute all metrics of one candidate, and what the error bars need.

    Args:
        candidate: Who made the features.
        features: Of N samples.
        labels: (N,) in ``0..C-1``.
        config: Metrics, view, seed, permutations.
        feature_key: Passed on to the row.

    Raises:
        MetricError: The metric to sort by cannot be computed. Other metrics that fail are left
            out and named in :attr:`Scored.warnings`.
    """
    X = view_features(features, labels, config.view)
    scores: dict[str, Score] = {}
    warnings: list[str] = []
    outcomes = score_all(
        X,
        labels,
        config.metrics,
        candidate=candidate,
        source_logits=features.source_logits,
        seed=config.seed,
        **_options(config, *config.metrics),
    )
    for name, outcome in outcomes.items():
        if isinstance(outcome, Score):
            scores[name] = outcome
        elif name == config.metric:
            raise outcome
        else:
            warnings.append(f"{name}: {outcome}")
    chosen = scores[config.metric]
    warnings += chosen.warnings
    metric = get_metric(config.metric)
    return Scored(
        candidate=candidate,
        scores=scores,
        contributions=_units(metric, chosen, X, labels, features.source_logits, config),
        floor=_floor(metric, X, labels, features.source_logits, config),
        feature_dim=X.shape[1],
        params=candidate.params or features.params,
        samples_per_second=features.samples_per_second,
        feature_key=feature_key,
        warnings=tuple(warnings),
    )


def rescore(
    features: Features, labels: IntArray, metric: str, config: RankConfig
) -> tuple[Score, FloatArray | None]:
    """One metric of a candidate as :func:`score_candidate` computes it, and what is resampled.

    Args:
        features: Of N samples.
        labels: (N,) in ``0..C-1``.
        metric: Any metric that looks at features, whether or not the run sorted by it.
        config: View, folds, seed.

    Returns:
        The score, and :attr:`Scored.contributions` of this metric.

    Raises:
        MetricError: It cannot be computed.
    """
    X = view_features(features, labels, config.view)
    logits = features.source_logits
    found = score(
        X, labels, metric, source_logits=logits, seed=config.seed, **_options(config, metric)
    )
    return found, _units(get_metric(metric), found, X, labels, logits, config)


def assemble(
    scored: Sequence[Scored], labels: IntArray, class_names: Sequence[str], config: RankConfig
) -> tuple[list[ModelRow], dict[str, float], list[str]]:
    """Order the candidates and say what the order is worth.

    Args:
        scored: Every candidate that has the chosen metric.
        labels: (N,) of the target.
        class_names: (C,) of the target.
        config: Metric, resamples, confidence, seed.

    Returns:
        The rows, best first; the weighted tau of every other metric with the chosen one; and
        warnings about the run as a whole.
    """
    if not scored:
        return [], {}, []
    scored = _pool(scored)
    known = sorted({name for one in scored for name in one.scores})
    table = {
        name: [one.scores[name].value if name in one.scores else math.nan for one in scored]
        for name in known
    }
    certainty = _certainty(scored, np.array(table[config.metric]), labels, config)
    intervals = _intervals(scored, labels, config)
    order = sorted(range(len(scored)), key=lambda index: certainty[index].rank)
    counts = dict(
        zip(class_names, np.bincount(labels, minlength=len(class_names)).tolist(), strict=True)
    )
    rows = [_row(scored[i], certainty[i], intervals[i], config) for i in order]
    rows = [_with_hazards(row, config.metric, len(labels), len(class_names)) for row in rows]
    agreement = agreement_with(config.metric, table)
    warnings = diagnose(rows, metric=config.metric, class_counts=counts, agreement=agreement)
    return rows, agreement, warnings


def _pool(scored: Sequence[Scored]) -> list[Scored]:
    """Give metrics that compare candidates with each other their final values."""
    final = [dict(one.scores) for one in scored]
    for name in {name for scores in final for name in scores if get_metric(name).pool is not None}:
        having = [scores for scores in final if name in scores]
        for scores, value in zip(
            having, pooled(name, [scores[name] for scores in having]), strict=True
        ):
            scores[name] = value
    return [replace(one, scores=scores) for one, scores in zip(scored, final, strict=True)]


def _units(
    metric: Metric,
    chosen: Score,
    X: AnyFloats,
    labels: IntArray,
    source_logits: AnyFloats | None,
    config: RankConfig,
) -> FloatArray | None:
    """What the bootstrap resamples for this metric; nothing where no sample has a share in it."""
    if metric.needs == "candidate" or metric.pool is not None:
        return None
    if chosen.per_sample is not None:
        return chosen.per_sample
    options = _options(config, metric.name)

    def rescored(indices: IntArray) -> float:
        logits = None if source_logits is None else source_logits[indices]
        return score(
            X[indices],
            labels[indices],
            metric.name,
            source_logits=logits,
            seed=config.seed,
            min_class_size=1,  # leaving a group out may leave a class of two with one
            **options,
        ).value

    return group_jackknife(rescored, labels, seed=config.seed)


def _floor(
    metric: Metric,
    X: AnyFloats,
    labels: IntArray,
    source_logits: AnyFloats | None,
    config: RankConfig,
) -> float | None:
    if metric.needs == "candidate" or metric.pool is not None or not metric.supervised:
        return None
    if not config.permutations:
        return None
    permuted = score_permuted(
        X,
        labels,
        metric.name,
        n_permutations=config.permutations,
        source_logits=source_logits,
        seed=config.seed,
        **_options(config, metric.name),
    )
    return noise_floor(permuted)


def _options(config: RankConfig, *names: str) -> dict[str, int]:
    """Settings that at least one of these metrics understands."""
    understood = {key for name in names for key in signature(get_metric(name).function).parameters}
    return {"folds": config.folds} if "folds" in understood else {}


def _certainty(
    scored: Sequence[Scored], values: FloatArray, labels: IntArray, config: RankConfig
) -> list[Uncertainty]:
    contributions = [one.contributions for one in scored if one.contributions is not None]
    if len(contributions) < len(scored):  # a baseline: one number a model, and nothing to resample
        return summarise(values, values[None, :], config.confidence)
    matrix = np.stack(contributions)  # (M, N), or (M, G) pseudo-values
    strata = labels if matrix.shape[1] == len(labels) else one_stratum(matrix)
    resampled = paired_bootstrap(
        matrix, strata, n_resamples=config.resamples, seed=config.seed
    )  # (B, M)
    freedom = degrees_of_freedom(strata)
    return summarise(values, resampled, config.confidence, degrees_of_freedom=freedom)


def _intervals(
    scored: Sequence[Scored], labels: IntArray, config: RankConfig
) -> list[dict[str, tuple[float, float]]]:
    """Intervals of the metrics beside the chosen one that are means over samples."""
    found: list[dict[str, tuple[float, float]]] = [{} for _ in scored]
    for name in config.metrics:
        having = [
            (index, sample)
            for index, one in enumerate(scored)
            if name in one.scores and (sample := one.scores[name].per_sample) is not None
        ]
        if name == config.metric or not having:
            continue
        resampled = paired_bootstrap(
            np.stack([sample for _, sample in having]),
            labels,
            n_resamples=config.resamples,
            seed=config.seed,
        )
        limits = percentile_intervals(
            resampled, config.confidence, degrees_of_freedom=degrees_of_freedom(labels)
        )
        for (index, _), (low, high) in zip(having, limits, strict=True):
            found[index][name] = (float(low), float(high))
    return found


def _row(
    one: Scored,
    certainty: Uncertainty,
    intervals: Mapping[str, tuple[float, float]],
    config: RankConfig,
) -> ModelRow:
    candidate, resampled = one.candidate, one.contributions is not None
    chosen = {config.metric: certainty.interval} if resampled else {}
    return ModelRow(
        model_id=candidate.model_id,
        revision=candidate.revision,
        status="ok",
        rank=certainty.rank,
        tie_group=certainty.tie_group,
        scores={name: score.value for name, score in one.scores.items()},
        intervals={**chosen, **intervals},
        rank_interval=certainty.rank_interval if resampled else None,
        p_best=certainty.p_best if resampled else None,
        noise_floor=one.floor,
        params=one.params,
        feature_dim=one.feature_dim,
        download_bytes=candidate.download_bytes,
        samples_per_second=one.samples_per_second,
        license=candidate.license,
        downloads=candidate.downloads,
        library=candidate.library,
        feature_key=one.feature_key,
        warnings=one.warnings,
    )


def _with_hazards(row: ModelRow, metric: str, n_samples: int, n_classes: int) -> ModelRow:
    hazards = diagnose_row(row, metric=metric, n_samples=n_samples, n_classes=n_classes)
    return replace(row, warnings=(*hazards, *row.warnings))
