"""Two models of a finished run, from the features that it stored."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from hf_sfda.compare.paired import compare_samples
from hf_sfda.compare.result import Comparison
from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError, MetricError, StoreError
from hf_sfda.finished import RESTORE, config_of, read_ranking, same_target
from hf_sfda.metrics import get_metric
from hf_sfda.names import find_model
from hf_sfda.progress import NoProgress, Progress
from hf_sfda.ranking import FloatArray, rescore
from hf_sfda.store import FeatureStore
from hf_sfda.types import Features, ModelRow, Ranking, Score, Target

_SAME = 1e-6
"""How far, relatively, a score may lie from the one in the ranking: another machine or another
version of a library rounds otherwise."""


def compare_for_run(
    directory: str | Path,
    first: str,
    second: str,
    *,
    metric: str | None = None,
    token: str | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
    top: int = 12,
) -> Comparison:
    """Compare two ranked models of a run directory.

    Args:
        directory: What ``hf-sfda rank`` wrote.
        first: As in :func:`compare_for_ranking`, and so are the others.
        second: A model.
        metric: What to compare.
        token: Hub token.
        store: Where the features are.
        progress: Listens.
        top: How many samples to name.

    Raises:
        ConfigError: This is no run directory; or as :func:`compare_for_ranking`.
        TargetError: As :func:`compare_for_ranking`.
        StoreError: As :func:`compare_for_ranking`.
        MetricError: As :func:`compare_for_ranking`.
    """
    ranking = read_ranking(directory)
    return compare_for_ranking(
        ranking, first, second, metric=metric, token=token, store=store, progress=progress, top=top
    )


def compare_for_ranking(
    ranking: Ranking,
    first: str,
    second: str,
    *,
    metric: str | None = None,
    token: str | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
    target: Target | None = None,
    top: int = 12,
) -> Comparison:
    """Compare two ranked models on the samples that both were ranked on.

    Their stored features are scored again, with the run's folds and seed, for what each sample
    contributes. No model is downloaded or run. A metric that is no mean over samples is compared
    by a jackknife over groups of samples, which tells of no classes and no samples.

    Args:
        ranking: Its rows say where their features are.
        first: Model id as in the ranking, or as :func:`~hf_sfda.names.find_model` takes it.
        second: Another one.
        metric: What to compare, whether or not the run computed it; by default what it ranked by.
        token: Hub token.
        store: Where the features are.
        progress: Listens.
        target: What was ranked on, for callers that have it; loaded if not given.
        top: How many samples to name that favour either model.

    Raises:
        ConfigError: A model is not ranked here, or both are the same.
        TargetError: The target is not the one that was ranked.
        StoreError: Features of one are gone.
        MetricError: The metric looks at no features, or cannot be computed.
    """
    metric = metric or ranking.metric
    rows = ranked_pair(ranking, first, second)
    check_comparable(metric)
    config = config_of(ranking)
    progress = progress or NoProgress()
    target = same_target(ranking, target=target, token=token, progress=progress)
    features = _stored(rows, target, store or FeatureStore())
    scores: list[Score] = []
    contributions: list[FloatArray] = []
    with progress.task("score", metric, total=2, unit="models") as advance:
        for of_model in features:
            score, shares = _shares(of_model, target, metric, config)
            scores.append(score)
            contributions.append(shares)
            advance(1)
    by_sample = all(score.per_sample is not None for score in scores)
    comparison = compare_samples(
        contributions[0],
        contributions[1],
        target.labels if by_sample else None,
        target.class_names,
        sample_ids=target.sample_ids,
        names=(rows[0].model_id, rows[1].model_id),
        metric=metric,
        values=(scores[0].value, scores[1].value),
        resamples=config.resamples,
        confidence=config.confidence,
        seed=config.seed,
        top=top,
    )
    comparison = replace(comparison, n_samples=len(target))
    return beside_ranking(comparison, rows, ranking)


def ranked_pair(ranking: Ranking, first: str, second: str) -> tuple[ModelRow, ModelRow]:
    """The rows of two models.

    Raises:
        ConfigError: One is not ranked here, or both are the same.
    """
    rows = find_model(ranking, first), find_model(ranking, second)
    if rows[0].model_id == rows[1].model_id:
        raise ConfigError(f"Both models are {rows[0].model_id}; give two different ones.")
    return rows


def check_comparable(metric: str) -> None:
    """See that samples have a share in a metric.

    Raises:
        MetricError: They have none, or there is no such metric.
    """
    entry = get_metric(metric)
    if entry.needs == "candidate":
        raise MetricError(
            f"{metric} looks at no features, so no sample has a share in it. Read it from the "
            "ranking, or compare by another metric."
        )
    if entry.pool is not None:
        raise MetricError(
            f"{metric} compares all candidates of a run with each other, so two alone have none. "
            "Compare by another metric."
        )


def beside_ranking(
    comparison: Comparison, rows: tuple[ModelRow, ModelRow], ranking: Ranking
) -> Comparison:
    """With a warning wherever it says something else than the ranking that the pair comes from."""
    metric = comparison.metric
    warnings = [
        f"{row.model_id} has a {metric} of {value:.6g} here and of {row.scores[metric]:.6g} in the "
        "ranking: it was scored by another version, or on another kind of machine."
        for row, value in zip(rows, comparison.values, strict=True)
        if metric in row.scores
        and not math.isclose(value, row.scores[metric], rel_tol=_SAME, abs_tol=_SAME**2)
    ]
    tied = rows[0].tie_group is not None and rows[0].tie_group == rows[1].tie_group
    if comparison.better is not None and tied and metric == ranking.metric:
        warnings.append(
            "The ranking lets these two share a place: its ties hold for all pairs of its models "
            "together, this interval for this pair alone. If you picked the pair out of many, "
            "trust the tie."
        )
    return replace(comparison, warnings=(*warnings, *comparison.warnings))


def _stored(
    rows: tuple[ModelRow, ModelRow], target: Target, store: FeatureStore
) -> tuple[Features, Features]:
    found = [store.get_by_digest(row.feature_key) if row.feature_key else None for row in rows]
    whole = [one for one in found if one is not None and len(one) == len(target)]
    if len(whole) < len(rows):
        lost = [
            row.model_id
            for row, one in zip(rows, found, strict=True)
            if one is None or len(one) != len(target)
        ]
        raise StoreError(
            f"The features of {' and '.join(lost)} are not stored here, or no longer. {RESTORE}"
        )
    return whole[0], whole[1]


def _shares(
    features: Features, target: Target, metric: str, config: RankConfig
) -> tuple[Score, FloatArray]:
    score, contributions = rescore(features, target.labels, metric, config)
    if contributions is None:  # check_comparable has refused all that have none
        raise MetricError(f"{metric} gave nothing to resample.")
    return score, contributions
