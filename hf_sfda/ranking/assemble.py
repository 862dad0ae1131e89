"""From features to rows: score each candidate, order them, and measure how sure the order is.

Pure functions of arrays: they neither read files nor know where the features were extracted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hf_sfda.config import RankConfig
from hf_sfda.errors import MetricError
from hf_sfda.metrics import Metric, get_metric
from hf_sfda.ranking.layers import layer_features
from hf_sfda.scoring import (
    make_problem,
    permuted_scores,
    rescaled_across_candidates,
    score_problem,
    score_problem_by_all,
    scores_without_groups,
)
from hf_sfda.tasks import (
    kind_of_labels,
    scored_labels,
    strata_of,
    task_name,
)
from hf_sfda.types import (
    Candidate,
    Features,
    IntArray,
    LabelArray,
    ModelRow,
    RowWarning,
    Score,
)
from hf_sfda.uncertainty import (
    Uncertainty,
    agreement_with,
    coverage_warnings,
    degrees_of_freedom,
    diagnose,
    diagnose_row,
    find_calibration,
    group_jackknife,
    noise_floor,
    one_stratum,
    paired_bootstrap,
    percentile_intervals,
    predict_accuracies,
    summarise,
)

if TYPE_CHECKING:
    from hf_sfda.metrics.problem import Problem

AnyFloats = npt.NDArray[np.floating[Any]]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """A candidate with its scores, and what its row in the ranking needs beside them.

    Attributes:
        candidate: The checkpoint.
        scores: metric -> score; metrics that do not apply to this candidate are absent.
        contributions: (N,) or (G,) float64 whose mean is the score of the chosen metric: one value
            a sample, or a jackknife pseudo-value a group of samples. The bootstrap resamples them.
            ``None`` for baselines.
        floor: The chosen metric on shuffled labels; ``None`` if not measured.
        feature_dim: Width D of the scored features.
        params: Number of parameters.
        samples_per_second: Throughput of the extraction.
        feature_key: Where the features are stored.
        warnings: What the metrics warned of, and why a metric has no score.
    """

    candidate: Candidate
    scores: Mapping[str, Score]
    contributions: FloatArray | None
    floor: float | None
    feature_dim: int
    params: int | None
    samples_per_second: float | None
    feature_key: str | None = None
    warnings: tuple[RowWarning, ...] = ()


def score_candidate(
    candidate: Candidate,
    features: Features,
    labels: LabelArray,
    config: RankConfig,
    *,
    feature_key: str | None = None,
) -> Scored:
    """Compute all metrics of one candidate, and what its intervals and noise floor need.

    Args:
        candidate: The checkpoint.
        features: Of N samples.
        labels: Of the target, of any kind.
        config: Metrics, layers, seed, permutations.
        feature_key: Passed on to the row.

    Raises:
        MetricError: The metric to sort by cannot be computed. Other metrics that fail are left
            out and named in :attr:`Scored.warnings`.
    """
    X = layer_features(features, labels, config.layers)
    problem = _problem_of(features, X, labels, config)
    options = _options(config, *config.metrics)
    outcomes = score_problem_by_all(
        problem, config.metrics, candidate=candidate, declared=True, **options
    )
    failed = {name: error for name, error in outcomes.items() if isinstance(error, MetricError)}
    if config.metric in failed:
        raise failed.pop(config.metric)
    scores = {name: score for name, score in outcomes.items() if isinstance(score, Score)}
    chosen, metric = scores[config.metric], get_metric(config.metric)
    return Scored(
        candidate=candidate,
        scores=scores,
        contributions=_contributions(
            metric, chosen, problem, X, labels, features.source_logits, config
        ),
        floor=_floor(metric, problem, config),
        feature_dim=X.shape[1],
        params=candidate.params or features.params,
        samples_per_second=features.samples_per_second,
        feature_key=feature_key,
        warnings=(
            *(RowWarning(name, f"{name}: {error}") for name, error in failed.items()),
            *(RowWarning(config.metric, text) for text in chosen.warnings),
        ),
    )


def rescore(
    features: Features, labels: LabelArray, metric: str, config: RankConfig
) -> tuple[Score, FloatArray | None]:
    """One metric of a candidate, computed as :func:`score_candidate` does.

    Args:
        features: Of N samples.
        labels: Of the target, of any kind.
        metric: Any metric of features; the run need not have computed it.
        config: Layers, folds, seed.

    Returns:
        The score, and its :attr:`Scored.contributions`.

    Raises:
        MetricError: The metric cannot be computed.
    """
    X, logits = layer_features(features, labels, config.layers), features.source_logits
    problem = _problem_of(features, X, labels, config)
    score = score_problem(problem, metric, **_options(config, metric))
    return score, _contributions(get_metric(metric), score, problem, X, labels, logits, config)


def contributions_of(features: Features, labels: LabelArray, config: RankConfig) -> FloatArray:
    """The contributions of single samples to the chosen metric, on a sample of any size.

    Args:
        features: Of N samples.
        labels: Of the N samples.
        config: Metric, layers, folds, seed.

    Returns:
        (N,) float64 whose mean is the score.

    Raises:
        MetricError: The metric cannot be computed, or has no such contributions.
    """
    X = layer_features(features, labels, config.layers)
    problem = _problem_of(features, X, labels, config, min_class_size=1)
    score = score_problem(problem, config.metric, **_options(config, config.metric))
    if score.per_sample is None:
        raise MetricError(f"{config.metric} has no score of single samples.")
    return score.per_sample


def score_subsets(
    features: Features, labels: LabelArray, subsets: Sequence[IntArray], config: RankConfig
) -> FloatArray:
    """The chosen metric of a candidate on parts of the sample, computed anew on each part.

    Args:
        features: Of N samples.
        labels: Of the target, of any kind.
        subsets: K arrays of positions.
        config: Metric, layers, folds, seed.

    Returns:
        (K,) float64; NaN where the metric cannot be computed on a part.
    """
    options = _options(config, config.metric)

    def score(indices: IntArray) -> float:
        part, own = features_of(features, indices), _labels_of_part(labels, indices)
        X = layer_features(part, own, config.layers)
        try:
            # A small part may hold one sample of a class: min_class_size=1.
            problem = _problem_of(part, X, own, config, min_class_size=1)
            return score_problem(problem, config.metric, **options).value
        except MetricError:
            return math.nan

    return np.array([score(indices) for indices in subsets])


def assemble(
    scored: Sequence[Scored],
    labels: LabelArray,
    class_names: Sequence[str],
    config: RankConfig,
    task: str | None = None,
) -> tuple[list[ModelRow], dict[str, float], list[str]]:
    """Order the candidates, with intervals, ties, agreement between metrics, and warnings.

    Args:
        scored: Every candidate that has the chosen metric.
        labels: (N,) of the target.
        class_names: (C,) of the target.
        config: Metric, resamples, confidence, seed.
        task: Of the target; by default one on images with labels of this kind.

    Returns:
        The rows, best first; the weighted tau of every other metric with the chosen one; and
        warnings about the run as a whole.
    """
    if not scored:
        return [], {}, []
    kind = kind_of_labels(labels)
    task = task or task_name("image", kind)
    scored = _rescaled(scored)
    names = sorted({name for model in scored for name in model.scores})
    table = {
        name: [model.scores[name].value if name in model.scores else math.nan for model in scored]
        for name in names
    }
    uncertainty = _uncertainty(scored, np.array(table[config.metric]), labels, config, task)
    intervals = _intervals(scored, labels, config)
    order = sorted(range(len(scored)), key=lambda index: uncertainty[index].rank)
    n_classes = 2 if kind == "multi-label" else len(class_names)  # each label against the rest
    rows = [_row(scored[i], uncertainty[i], intervals[i], config, n_classes) for i in order]
    rows = [_with_hazards(row, config.metric, len(labels), n_classes) for row in rows]
    agreement = agreement_with(config.metric, table)
    warnings = diagnose(
        rows,
        metric=config.metric,
        n_samples=len(labels),
        n_classes=n_classes,
        class_counts=_class_counts(labels, class_names),
        agreement=agreement,
    )
    warnings += coverage_warnings(config.to_dict(), task, len(labels), len(np.unique(labels)))
    return rows, agreement, warnings


def _class_counts(labels: LabelArray, class_names: Sequence[str]) -> dict[str, int]:
    """Class -> samples of it; label -> samples that have it; nothing for a regression."""
    kind = kind_of_labels(labels)
    if kind == "regression":
        return {}
    counts = labels.sum(0) if kind == "multi-label" else np.bincount(labels)
    return dict(zip(class_names, counts.tolist(), strict=True))


def features_of(features: Features, indices: IntArray) -> Features:
    """The features of some samples."""
    logits = features.source_logits
    return replace(
        features,
        layers={name: layer[indices] for name, layer in features.layers.items()},
        measured={name: layer[indices] for name, layer in features.measured.items()},
        source_logits=None if logits is None else logits[indices],
    )


def _problem_of(
    features: Features,
    X: AnyFloats,
    labels: LabelArray,
    config: RankConfig,
    min_class_size: int = 2,
) -> Problem:
    """The problem that the metrics of a run score.

    Args:
        features: Of N samples.
        X: (N, D) their layers as scored, from :func:`hf_sfda.ranking.layers.layer_features`.
        labels: Of the target, of any kind.
        config: Layers and seed.
        min_class_size: As in :func:`hf_sfda.scoring.make_problem`.
    """
    measured = None
    if features.measured:
        again = replace(features, layers=features.measured, measured={}, source_logits=None)
        of_layers = layer_features(again, labels, config.layers)
        measured = _problem_of(again, of_layers, labels, config, min_class_size)
    several = config.layers == "all" and len(features.layers) > 1
    last = features.last if several else None
    logits = features.source_logits
    return make_problem(
        X,
        scored_labels(labels),
        logits,
        seed=config.seed,
        min_class_size=min_class_size,
        last=last,
        measured=measured,
    )


def _rescaled(scored: Sequence[Scored]) -> list[Scored]:
    """Give metrics that compare candidates with each other their final values."""
    final = [dict(model.scores) for model in scored]
    for name in {name for scores in final for name in scores}:
        having = [scores for scores in final if name in scores]
        values = rescaled_across_candidates(name, [scores[name] for scores in having])
        for scores, value in zip(having, values, strict=True):
            scores[name] = value
    return [replace(model, scores=scores) for model, scores in zip(scored, final, strict=True)]


def _contributions(
    metric: Metric,
    chosen: Score,
    problem: Problem,
    X: AnyFloats,
    labels: LabelArray,
    source_logits: AnyFloats | None,
    config: RankConfig,
) -> FloatArray | None:
    """What the bootstrap resamples for this metric, see :class:`Scored`."""
    if not metric.scores_samples:
        return None
    if chosen.per_sample is not None:
        return chosen.per_sample
    options = _options(config, metric.name)

    def score_part(indices: IntArray) -> float:
        logits = None if source_logits is None else source_logits[indices]
        # Leaving a group out may leave a class of two with one sample: min_class_size=1.
        part = make_problem(
            X[indices],
            scored_labels(_labels_of_part(labels, indices)),
            logits,
            seed=config.seed,
            min_class_size=1,
        )
        return score_problem(part, metric.name, **options).value

    def without_groups(groups: IntArray) -> FloatArray:
        targets = None
        if problem.kind == "regression":  # values are standardised over the samples of each part
            targets = np.zeros((int(groups.max()) + 1, len(labels)))
            for g, target in enumerate(targets):
                target[groups != g] = scored_labels(labels[groups != g])
        return scores_without_groups(problem, metric.name, groups, targets, **options)

    return group_jackknife(
        score_part,
        strata_of(labels),
        seed=config.seed,
        everything=chosen.value,
        without_groups=without_groups if metric.without_groups else None,
    )


def _labels_of_part(labels: LabelArray, indices: IntArray) -> LabelArray:
    """The labels of some samples. Of several labels those that differ there: a rare one may be
    missing in a part.
    """
    part = labels[indices]
    return part[:, np.ptp(part, axis=0) > 0] if part.ndim == 2 else part


def _floor(metric: Metric, problem: Problem, config: RankConfig) -> float | None:
    if not (metric.scores_samples and metric.supervised and config.permutations):
        return None
    options = _options(config, metric.name)
    permuted = permuted_scores(problem, metric.name, n_permutations=config.permutations, **options)
    return noise_floor(permuted)


def _options(config: RankConfig, *names: str) -> dict[str, int]:
    """Settings of the run that at least one of these metrics takes."""
    taken = {key for name in names for key in signature(get_metric(name).function).parameters}
    return {"folds": config.folds} if "folds" in taken else {}


def _uncertainty(
    scored: Sequence[Scored],
    values: FloatArray,
    labels: LabelArray,
    config: RankConfig,
    task: str,
) -> list[Uncertainty]:
    contributions = [model.contributions for model in scored if model.contributions is not None]
    if len(contributions) < len(scored):  # a baseline has nothing to resample
        return summarise(values, values[None, :], config.confidence)
    matrix = np.stack(contributions)  # (M, N), or (M, G) pseudo-values
    strata = strata_of(labels) if matrix.shape[1] == len(labels) else one_stratum(matrix)
    resampled = paired_bootstrap(
        matrix, strata, n_resamples=config.resamples, seed=config.seed
    )  # (B, M)
    return summarise(
        values,
        resampled,
        config.confidence,
        degrees_of_freedom=degrees_of_freedom(strata),
        predicted=_predicted(values, resampled, labels, config, task),
    )


def _predicted(
    values: FloatArray,
    resampled: FloatArray,
    labels: LabelArray,
    config: RankConfig,
    task: str,
) -> FloatArray | None:
    """(B, M) draws of fine-tuned accuracies; ``None`` if the score is not calibrated."""
    calibration = find_calibration(config.to_dict(), task)
    if calibration is None:
        return None
    if calibration.not_covered(len(labels), len(np.unique(labels))):
        calibration = calibration.widened()
    return predict_accuracies(calibration, values, resampled, seed=config.seed)


def _intervals(
    scored: Sequence[Scored], labels: LabelArray, config: RankConfig
) -> list[dict[str, tuple[float, float]]]:
    """For each candidate: metric -> interval, of the metrics beside the chosen one that are means
    over samples.
    """
    strata = strata_of(labels)
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
            strata,
            n_resamples=config.resamples,
            seed=config.seed,
        )
        limits = percentile_intervals(
            resampled, config.confidence, degrees_of_freedom=degrees_of_freedom(strata)
        )
        for (index, _), (low, high) in zip(having, limits, strict=True):
            intervals[index][name] = (float(low), float(high))
    return intervals


def _row(
    scored: Scored,
    uncertainty: Uncertainty,
    intervals: Mapping[str, tuple[float, float]],
    config: RankConfig,
    n_classes: int,
) -> ModelRow:
    resampled = scored.contributions is not None
    chosen = {config.metric: uncertainty.interval} if resampled else {}
    limits = {
        name: _possible(name, interval, scored.scores[name].value, n_classes)
        for name, interval in {**chosen, **intervals}.items()
    }
    return ModelRow.of(
        scored.candidate,
        "ok",
        rank=uncertainty.rank,
        tie_group=uncertainty.tie_group,
        scores={name: score.value for name, score in scored.scores.items()},
        intervals=limits,
        rank_interval=uncertainty.rank_interval if resampled else None,
        p_best=uncertainty.p_best if resampled else None,
        expected_regret=uncertainty.expected_regret,
        noise_floor=scored.floor,
        params=scored.params,
        feature_dim=scored.feature_dim,
        samples_per_second=scored.samples_per_second,
        feature_key=scored.feature_key,
        warnings=scored.warnings,
    )


def _possible(
    metric: str, interval: tuple[float, float], value: float, n_classes: int
) -> tuple[float, float]:
    """An interval without values above the highest possible one. With few samples, intervals are
    widened (Student's t), and an accuracy near 1 would have one to 1.02.
    """
    maximum = get_metric(metric).maximum_for(n_classes)
    low, high = interval
    if maximum is None:
        return interval
    highest = max(maximum, value)  # which rounding may have moved above it
    return min(low, highest), min(high, highest)


def _with_hazards(row: ModelRow, metric: str, n_samples: int, n_classes: int) -> ModelRow:
    hazards = diagnose_row(row, metric=metric, n_samples=n_samples, n_classes=n_classes)
    return replace(row, warnings=(*hazards, *row.warnings))
