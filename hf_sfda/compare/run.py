"""Compare two models of a finished run, from the features that the run stored."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from hf_sfda.compare.paired import compare_samples
from hf_sfda.compare.result import Comparison
from hf_sfda.config import RankConfig, with_current_names
from hf_sfda.errors import ConfigError, MetricError, StoreError
from hf_sfda.metrics import get_metric
from hf_sfda.names import distinct_names, find_model, identity
from hf_sfda.ranking.assemble import FloatArray, rescore
from hf_sfda.ranking.runs import RESTORE, config_of, load_ranked_target, read_ranking
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from hf_sfda.tasks import has_classes
from hf_sfda.types import Features, ModelRow, Ranking, Score, Target
from hf_sfda.uncertainty import find_calibration

_SAME = 1e-6
"""Largest relative difference to the score in the ranking that counts as rounding. Other machines
and other library versions round differently."""


def compare_for_run(
    directory: str | Path,
    first: str,
    second: str,
    *,
    metric: str | None = None,
    session: Session | None = None,
    top: int = 12,
) -> Comparison:
    """Compare two ranked models of a run directory.

    Args:
        directory: The directory that ``hf-sfda rank`` wrote.
        first: Name of a model, see :func:`~hf_sfda.names.find_model`.
        second: Name of another model.
        metric: The metric to compare; by default the one that the run ranked by.
        session: Token, feature store and progress.
        top: How many samples to list that favour either model.

    Raises:
        ConfigError: This is not a run directory, a model is not ranked there, or both are the same.
        TargetError: The samples cannot be loaded, or are not those of the run.
        StoreError: The features of a model are not stored here.
        MetricError: The metric does not use features, or cannot be computed.
    """
    ranking = read_ranking(directory)
    return compare_for_ranking(ranking, first, second, metric=metric, session=session, top=top)


def compare_for_ranking(
    ranking: Ranking,
    first: str,
    second: str,
    *,
    metric: str | None = None,
    session: Session | None = None,
    target: Target | None = None,
    top: int = 12,
) -> Comparison:
    """Compare two ranked models on the samples that both were ranked on.

    The stored features are scored again, with the run's folds and seed, to get the contribution of
    each sample. No model is downloaded or run. A metric that is not a mean over samples is compared
    by a jackknife over groups of samples; then there are no results by class or by sample.

    Args:
        ranking: The ranking; its rows have the keys of the stored features.
        first: Name of a model, see :func:`~hf_sfda.names.find_model`.
        second: Name of another model.
        metric: The metric to compare; the run need not have computed it. By default the metric
            that the run ranked by.
        session: Token, feature store and progress.
        target: The ranked samples, if the caller has them; otherwise they are loaded again.
        top: How many samples to list that favour either model.

    Raises:
        ConfigError: A model is not in the ranking, or both are the same.
        TargetError: The samples cannot be loaded, or are not those that were ranked.
        StoreError: The features of a model are not stored here.
        MetricError: The metric does not use features, or cannot be computed.
    """
    metric = metric or ranking.metric
    rows = ranked_pair(ranking, first, second)
    check_comparable(metric)
    config = config_of(ranking)
    session = session or Session()
    target = load_ranked_target(ranking, session, target=target)
    features = _stored(rows, target, session.feature_store)
    names = distinct_names(rows)
    scores: list[Score] = []
    contributions: list[FloatArray] = []
    with session.progress.task("score", metric, total=2, unit="models") as advance:
        for model_features in features:
            score, model_contributions = _score(model_features, target, metric, config)
            scores.append(score)
            contributions.append(model_contributions)
            advance(1)
    by_sample = has_classes(target.label_kind) and all(
        score.per_sample is not None for score in scores
    )
    comparison = compare_samples(
        contributions[0],
        contributions[1],
        target.labels if by_sample else None,
        target.class_names,
        sample_ids=target.sample_ids,
        names=(names[0], names[1]),
        metric=metric,
        values=(scores[0].value, scores[1].value),
        resamples=config.resamples,
        confidence=config.confidence,
        seed=config.seed,
        top=top,
    )
    comparison = replace(comparison, n_samples=len(target))
    return add_ranking_warnings(comparison, rows, ranking)


def ranked_pair(ranking: Ranking, first: str, second: str) -> tuple[ModelRow, ModelRow]:
    """Find the rows of two models.

    Raises:
        ConfigError: A model is not in the ranking, or both are the same.
    """
    rows = find_model(ranking, first), find_model(ranking, second)
    if identity(rows[0]) == identity(rows[1]):
        raise ConfigError(f"Both models are {rows[0].model_id}; give two different ones.")
    return rows


def check_comparable(metric: str) -> None:
    """Check that samples contribute to a metric, so that two models can be compared by it.

    Raises:
        MetricError: The metric does not use features, compares all candidates of a run, or does
            not exist.
    """
    entry = get_metric(metric)
    if entry.needs == "candidate":
        raise MetricError(
            f"{metric} looks at no features, so no sample has a share in it. Read it from the "
            "ranking, or compare by another metric."
        )
    if entry.rescale_across_candidates is not None:
        raise MetricError(
            f"{metric} compares all candidates of a run with each other, so two alone have none. "
            "Compare by another metric."
        )


def add_ranking_warnings(
    comparison: Comparison, rows: tuple[ModelRow, ModelRow], ranking: Ranking
) -> Comparison:
    """Add a warning for each contradiction between a comparison and the ranking of the two models.

    Args:
        comparison: The comparison.
        rows: The rows of the two models in the ranking.
        ranking: The ranking.
    """
    metric = comparison.metric
    warnings = [
        f"{name} has a {metric} of {value:.6g} here and of {row.scores[metric]:.6g} in the "
        "ranking: it was scored by another version, or on another kind of machine."
        for name, row, value in zip(distinct_names(rows), rows, comparison.values, strict=True)
        if metric in row.scores
        and not math.isclose(value, row.scores[metric], rel_tol=_SAME, abs_tol=_SAME**2)
    ]
    tied = rows[0].tie_group is not None and rows[0].tie_group == rows[1].tie_group
    if comparison.better is not None and tied and metric == ranking.metric:
        calibrated = find_calibration(
            with_current_names(ranking.config), ranking.dataset.get("task")
        )
        reason = (
            "its ties are about accuracy after fine-tuning, this interval about the score alone. "
            "To choose what to fine-tune, trust the tie."
            if calibrated
            else "its ties hold for all pairs of its models together, this interval for this pair "
            "alone. If you picked the pair out of many, trust the tie."
        )
        warnings.append(f"The ranking lets these two share a place: {reason}")
    return replace(comparison, warnings=(*warnings, *comparison.warnings))


def _stored(
    rows: tuple[ModelRow, ModelRow], target: Target, store: FeatureStore
) -> tuple[Features, Features]:
    """Load the features of two models.

    Raises:
        StoreError: The features of a model are missing or have another number of samples.
    """
    stored: list[Features] = []
    missing: list[str] = []
    for row in rows:
        features = store.get_by_digest(row.feature_key) if row.feature_key else None
        if features is None or len(features) != len(target):
            missing.append(row.model_id)
        else:
            stored.append(features)
    if missing:
        raise StoreError(
            f"The features of {' and '.join(missing)} are not stored here, or no longer. {RESTORE}"
        )
    return stored[0], stored[1]


def _score(
    features: Features, target: Target, metric: str, config: RankConfig
) -> tuple[Score, FloatArray]:
    """The score of a model, and the contributions of the samples to it."""
    score, contributions = rescore(features, target.labels, metric, config)
    if contributions is None:  # check_comparable refuses all metrics without contributions
        raise MetricError(f"{metric} gave nothing to resample.")
    return score, contributions
