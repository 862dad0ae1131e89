"""Select an ensemble among the models of a finished run, from the features that the run stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_sfda.config import RankConfig
from hf_sfda.ensemble.posteriors import Member, member_of
from hf_sfda.ensemble.select import Ensemble, select_ensemble
from hf_sfda.errors import ConfigError, MetricError, StoreError
from hf_sfda.names import distinct_names, find_model, identity
from hf_sfda.ranking.layers import layer_features
from hf_sfda.ranking.runs import RESTORE, config_of, load_ranked_target, read_ranking
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from hf_sfda.tasks import has_classes, kind_of_task
from hf_sfda.types import ModelRow, Ranking, Target


def select_for_run(
    directory: str | Path,
    *,
    models: Sequence[str] = (),
    size: int = 3,
    session: Session | None = None,
    **options: Any,
) -> Ensemble:
    """Select an ensemble among the ranked models of a run directory.

    Args:
        directory: The directory that ``hf-sfda rank`` wrote.
        models: Select only among these models, named as in :func:`~hf_sfda.names.find_model`; by
            default among all ranked models.
        size: The largest number of models to select.
        session: Token, feature store and progress.
        options: More options of :func:`select_for_ranking`.

    Raises:
        ConfigError: This is not a run directory, or an option is not allowed.
        TargetError: The samples cannot be loaded, or are not those of the run.
        StoreError: The features of fewer than two models are stored here.
        MetricError: Fewer than two models were ranked.
    """
    ranking = read_ranking(directory)
    if models:
        chosen = {identity(find_model(ranking, name)) for name in models}
        rows = tuple(row for row in ranking.rows if identity(row) in chosen)
        ranking = replace(ranking, rows=rows)
    return select_for_ranking(ranking, size=size, session=session, **options)


def select_for_ranking(
    ranking: Ranking,
    *,
    size: int = 3,
    session: Session | None = None,
    target: Target | None = None,
    **options: Any,
) -> Ensemble:
    """Select an ensemble among the ranked models of a ranking.

    A ranking does not contain the labels. So the samples are loaded again, at the revision that was
    ranked, and must have the same fingerprint. No model is downloaded or run.

    Args:
        ranking: The ranking; its rows have the keys of the stored features.
        size: The largest number of models to select.
        session: Token, feature store and progress.
        target: The ranked samples, if the caller has them; otherwise they are loaded again.
        options: ``criterion``, ``pooling`` and ``weight`` of
            :func:`~hf_sfda.ensemble.select_ensemble`. Folds, resamples, confidence and seed are
            those of the run.

    Raises:
        ConfigError: An option is not allowed, or samples do not have one class each.
        TargetError: The samples cannot be loaded, or are not those that were ranked.
        StoreError: The features of fewer than two models are stored here.
        MetricError: Fewer than two models were ranked.
    """
    config = config_of(ranking)
    if not has_classes(kind_of_task(task := ranking.dataset.get("task"))):
        raise ConfigError(
            f"This run is about {task}. An ensemble is selected by class probabilities, so it "
            "needs one class a sample."
        )
    if len(ranking.ranked) < 2:
        raise MetricError(
            f"The ranking on {config.dataset} has {len(ranking.ranked)} ranked models; an ensemble "
            "needs at least 2."
        )
    session = session or Session()
    target = load_ranked_target(ranking, session, target=target)
    members, lost = _members(ranking, target, config, session)
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
    ranking: Ranking, target: Target, config: RankConfig, session: Session
) -> tuple[dict[str, Member], list[str]]:
    """Make the members, with the features of one model in memory at a time.

    Returns:
        name -> member, and the models whose features are not stored here.
    """
    members: dict[str, Member] = {}
    lost: list[str] = []
    with session.progress.task("score", "", total=len(ranking.ranked), unit="models") as advance:
        for row, name in _named(ranking):
            member = _member(row, target, config, session.feature_store)
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
    X = layer_features(features, target.labels, config.layers)
    sfda = row.scores.get("sfda_cv")
    return member_of(X, target.labels, folds=config.folds, seed=config.seed, sfda=sfda)


def _warnings(
    ensemble: Ensemble, ranking: Ranking, members: dict[str, Member], lost: list[str]
) -> list[str]:
    warnings = []
    if lost:
        warnings.append(
            f"{len(lost)} ranked models were left out, because their features are no longer "
            f"stored: {', '.join(lost)}."
        )
    first = next(name for _, name in _named(ranking) if name in members)
    best = ensemble.steps[0].models[0]
    if best != first:
        warnings.append(
            f"The best single model here is {best}, while {first} leads the ranking: here models "
            f"are compared by their {ensemble.criterion.replace('_', '-')} before self-challenge, "
            f"there by {ranking.metric}."
        )
    return warnings
