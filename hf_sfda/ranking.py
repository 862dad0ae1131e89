"""Score candidates from their features, rank them, and estimate the uncertainty of the order.

All functions are pure functions of arrays.
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
    """A scored candidate, with all values of its row.

    Attributes:
        candidate: The candidate.
        scores: metric -> score; metrics that do not apply to this candidate are missing.
        contributions: Contributions to the ranking's metric, whose mean is its value: (N,) of the
            samples, or (G,) jackknife pseudo-values of groups of samples; ``None`` for baselines.
        floor: The noise floor, the score with shuffled labels; ``None`` if not computed.
        feature_dim: Number of dimensions D of the scored features.
        params: Number of parameters, if known.
        samples_per_second: Throughput of the extraction, if measured.
        feature_key: Key of the stored features.
        warnings: Warnings of the metrics about this candidate.
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
    """Compute all metrics of one candidate, its noise floor and the inputs of its intervals.

    Args:
        candidate: The candidate.
        features: Its features of N samples.
        labels: (N,) classes in ``0..C-1``.
        config: Metrics, layers, seed and permutations.
        feature_key: Key of the stored features, for the row.

    Raises:
        MetricError: The metric to sort by cannot be computed. If another metric fails, it is
            missing in the result and :attr:`Scored.warnings` says why.
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
        contributions=_contributions(metric, chosen, X, labels, features.source_logits, config),
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
    """Compute one metric of a candidate in the same way as :func:`score_candidate`.

    Args:
        features: The candidate's features of N samples.
        labels: (N,) classes in ``0..C-1``.
        metric: Any metric that uses features.
        config: Layers, folds and seed.

    Returns:
        The score, and the contributions to it, see :attr:`Scored.contributions`.

    Raises:
        MetricError: The metric cannot be computed.
    """
    X = view_features(features, labels, config.view)
    logits = features.source_logits
    result = score(
        X, labels, metric, source_logits=logits, seed=config.seed, **_options(config, metric)
    )
    return result, _contributions(get_metric(metric), result, X, labels, logits, config)


def assemble(
    scored: Sequence[Scored], labels: IntArray, class_names: Sequence[str], config: RankConfig
) -> tuple[list[ModelRow], dict[str, float], list[str]]:
    """Rank the candidates, with ties, intervals and warnings.

    Args:
        scored: The candidates; all of them have the ranking's metric.
        labels: (N,) labels of the target.
        class_names: (C,) class names of the target.
        config: Metric, resamples, confidence and seed.

    Returns:
        The rows, best first; the weighted tau between the ranking's metric and each other metric;
        and the warnings about the run as a whole.
    """
    if not scored:
        return [], {}, []
    scored = _with_pooled_scores(scored)
    names = sorted({name for model in scored for name in model.scores})
    table = {
        name: [model.scores[name].value if name in model.scores else math.nan for model in scored]
        for name in names
    }
    uncertainty = _uncertainty(scored, np.array(table[config.metric]), labels, config)
    intervals = _intervals(scored, labels, config)
    order = sorted(range(len(scored)), key=lambda index: uncertainty[index].rank)
    counts = dict(
        zip(class_names, np.bincount(labels, minlength=len(class_names)).tolist(), strict=True)
    )
    rows = [_row(scored[i], uncertainty[i], intervals[i], config) for i in order]
    rows = [_with_hazards(row, config.metric, len(labels), len(class_names)) for row in rows]
    agreement = agreement_with(config.metric, table)
    warnings = diagnose(rows, metric=config.metric, class_counts=counts, agreement=agreement)
    return rows, agreement, warnings


def _with_pooled_scores(scored: Sequence[Scored]) -> list[Scored]:
    """Compute the final values of metrics that compare the candidates with each other."""
    final = [dict(model.scores) for model in scored]
    for name in {name for scores in final for name in scores if get_metric(name).pool is not None}:
        having = [scores for scores in final if name in scores]
        for scores, value in zip(
            having, pooled(name, [scores[name] for scores in having]), strict=True
        ):
            scores[name] = value
    return [replace(model, scores=scores) for model, scores in zip(scored, final, strict=True)]


def _contributions(
    metric: Metric,
    chosen: Score,
    X: AnyFloats,
    labels: IntArray,
    source_logits: AnyFloats | None,
    config: RankConfig,
) -> FloatArray | None:
    """The contributions that the bootstrap resamples; ``None`` if the metric has none.

    A metric that is not a mean over samples gets jackknife pseudo-values.
    """
    if metric.needs == "candidate" or metric.pool is not None:
        return None
    if chosen.per_sample is not None:
        return chosen.per_sample
    options = _options(config, metric.name)

    def score_subset(indices: IntArray) -> float:
        logits = None if source_logits is None else source_logits[indices]
        return score(
            X[indices],
            labels[indices],
            metric.name,
            source_logits=logits,
            seed=config.seed,
            min_class_size=1,  # without one group, a class of two samples may have only one
            **options,
        ).value

    return group_jackknife(score_subset, labels, seed=config.seed)


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
    """The options of the configuration that at least one of these metrics has."""
    accepted = {key for name in names for key in signature(get_metric(name).function).parameters}
    return {"folds": config.folds} if "folds" in accepted else {}


def _uncertainty(
    scored: Sequence[Scored], values: FloatArray, labels: IntArray, config: RankConfig
) -> list[Uncertainty]:
    contributions = [m.contributions for m in scored if m.contributions is not None]
    if len(contributions) < len(scored):  # a baseline has one number per model, nothing to resample
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
    """The intervals of the other metrics that are means over samples, for each candidate."""
    intervals: list[dict[str, tuple[float, float]]] = [{} for _ in scored]
    for name in config.metrics:
        having = [
            (index, sample)
            for index, model in enumerate(scored)
            if name in model.scores and (sample := model.scores[name].per_sample) is not None
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
            intervals[index][name] = (float(low), float(high))
    return intervals


def _row(
    model: Scored,
    uncertainty: Uncertainty,
    intervals: Mapping[str, tuple[float, float]],
    config: RankConfig,
) -> ModelRow:
    candidate, resampled = model.candidate, model.contributions is not None
    chosen = {config.metric: uncertainty.interval} if resampled else {}
    return ModelRow(
        model_id=candidate.model_id,
        revision=candidate.revision,
        status="ok",
        rank=uncertainty.rank,
        tie_group=uncertainty.tie_group,
        scores={name: score.value for name, score in model.scores.items()},
        intervals={**chosen, **intervals},
        rank_interval=uncertainty.rank_interval if resampled else None,
        p_best=uncertainty.p_best if resampled else None,
        noise_floor=model.floor,
        params=model.params,
        feature_dim=model.feature_dim,
        download_bytes=candidate.download_bytes,
        samples_per_second=model.samples_per_second,
        license=candidate.license,
        downloads=candidate.downloads,
        library=candidate.library,
        feature_key=model.feature_key,
        warnings=model.warnings,
    )


def _with_hazards(row: ModelRow, metric: str, n_samples: int, n_classes: int) -> ModelRow:
    hazards = diagnose_row(row, metric=metric, n_samples=n_samples, n_classes=n_classes)
    return replace(row, warnings=(*hazards, *row.warnings))
