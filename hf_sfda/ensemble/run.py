"""Ensembles for a finished run: what was ranked, from the features it stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_sfda.config import RankConfig
from hf_sfda.ensemble.member import Member, member_of
from hf_sfda.ensemble.result import Ensemble
from hf_sfda.ensemble.select import select_ensemble
from hf_sfda.errors import MetricError, StoreError
from hf_sfda.finished import RESTORE, config_of, read_ranking, same_target
from hf_sfda.names import distinct_names, find_model, identity
from hf_sfda.progress import NoProgress, Progress
from hf_sfda.store import FeatureStore
from hf_sfda.types import ModelRow, Ranking, Target
from hf_sfda.views import view_features


def select_for_run(
    directory: str | Path,
    *,
    models: Sequence[str] = (),
    size: int = 3,
    token: str | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Ensemble:
    """Choose an ensemble among the ranked models of a run directory.

    Args:
        directory: What ``hf-sfda rank`` wrote.
        models: Choose among these ranked models only, named as
            :func:`~hf_sfda.names.find_model` takes it; by default among all.
        size: As in :func:`select_for_ranking`, and so are the others.
        token: Hub token.
        store: Where the features are.
        progress: Listens.
        options: As in :func:`select_for_ranking`.

    Raises:
        ConfigError: This is no run directory, or an option is not allowed.
        TargetError: As :func:`select_for_ranking`.
        StoreError: As :func:`select_for_ranking`.
        MetricError: As :func:`select_for_ranking`.
    """
    ranking = read_ranking(directory)
    if models:
        chosen = {identity(find_model(ranking, name)) for name in models}
        rows = tuple(row for row in ranking.rows if identity(row) in chosen)
        ranking = replace(ranking, rows=rows)
    return select_for_ranking(
        ranking, size=size, token=token, store=store, progress=progress, **options
    )


def select_for_ranking(
    ranking: Ranking,
    *,
    size: int = 3,
    token: str | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
    target: Target | None = None,
    **options: Any,
) -> Ensemble:
    """Choose an ensemble among the ranked models of a ranking.

    The labels are not part of a ranking: the target is loaded again, at the revision that was
    ranked, and must have the same fingerprint. No model is downloaded or run.

    Args:
        ranking: Its rows say where their features are.
        size: The most models to choose.
        token: Hub token.
        store: Where the features are.
        progress: Listens.
        target: What was ranked on, for callers that have it; loaded if not given.
        options: ``criterion``, ``pooling``, ``layout`` and ``weight`` of
            :func:`~hf_sfda.ensemble.select_ensemble`; folds, resamples, confidence and seed are the
            run's own.

    Raises:
        ConfigError: An option is not allowed.
        TargetError: The target is not the one that was ranked.
        StoreError: The features of fewer than two models are left.
        MetricError: Fewer than two models were ranked, or on no single-label target.
    """
    config = config_of(ranking)
    if len(ranking.ranked) < 2:
        raise MetricError(
            f"The ranking on {config.dataset} has {len(ranking.ranked)} ranked models; an ensemble "
            "needs at least 2."
        )
    progress = progress or NoProgress()
    target = same_target(ranking, target=target, token=token, progress=progress)
    members, lost = _members(ranking, target, config, store or FeatureStore(), progress)
    if len(members) < 2:
        raise StoreError(
            f"The features of {len(lost)} of {len(ranking.ranked)} ranked models are not stored "
            f"here, or no longer. {RESTORE}"
        )
    ensemble = select_ensemble(
        members,
        target.labels,
        size=size,
        folds=config.folds,
        resamples=config.resamples,
        confidence=config.confidence,
        seed=config.seed,
        **options,
    )
    return replace(ensemble, warnings=tuple(_warnings(ensemble, ranking, members, lost)))


def _members(
    ranking: Ranking, target: Target, config: RankConfig, store: FeatureStore, progress: Progress
) -> tuple[dict[str, Member], list[str]]:
    """Members by name, and the models whose features are gone; one model in memory at a time."""
    members: dict[str, Member] = {}
    lost: list[str] = []
    with progress.task("score", "", total=len(ranking.ranked), unit="models") as advance:
        for row, name in _named(ranking):
            member = _member(row, target, config, store)
            if member is None:
                lost.append(name)
            else:
                members[name] = member
            advance(1)
    return members, lost


def _named(ranking: Ranking) -> list[tuple[ModelRow, str]]:
    """The ranked models with their names; revisions of one model have different ones."""
    return list(zip(ranking.ranked, distinct_names(ranking.ranked), strict=True))


def _member(
    row: ModelRow, target: Target, config: RankConfig, store: FeatureStore
) -> Member | None:
    features = store.get_by_digest(row.feature_key) if row.feature_key else None
    if features is None or len(features) != len(target):
        return None
    X = view_features(features, target.labels, config.view)
    known = row.scores.get("sfda_cv")
    return member_of(X, target.labels, folds=config.folds, seed=config.seed, sfda=known)


def _warnings(
    ensemble: Ensemble, ranking: Ranking, members: dict[str, Member], lost: list[str]
) -> list[str]:
    warnings = []
    if lost:
        warnings.append(
            f"{len(lost)} ranked models took no part, for their features are no longer stored: "
            f"{', '.join(lost)}."
        )
    first = next(name for _, name in _named(ranking) if name in members)
    best = ensemble.steps[0].models[0]
    if best != first:
        warnings.append(
            f"The best single model here is {best}, while {first} leads the ranking: here a model "
            f"is judged by its {ensemble.criterion.replace('_', '-')} before self-challenge, there "
            f"by {ranking.metric}."
        )
    return warnings
