"""Ensembles for the directory of a finished run: what was ranked, from the features it stored."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_sfda.config import RankConfig
from hf_sfda.ensemble.member import Member, member_of
from hf_sfda.ensemble.result import Ensemble
from hf_sfda.ensemble.select import select_ensemble
from hf_sfda.errors import ConfigError, MetricError, StoreError, TargetError
from hf_sfda.progress import NoProgress, Progress
from hf_sfda.store import FeatureStore
from hf_sfda.target import target_of
from hf_sfda.types import ModelRow, Ranking, Target
from hf_sfda.views import view_features


def select_for_run(
    directory: str | Path,
    *,
    size: int = 3,
    token: str | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Ensemble:
    """Choose an ensemble among the ranked models of a run.

    The labels are not part of a run directory: the target is loaded again, at the revision that was
    ranked, and must have the same fingerprint. No model is downloaded or run.

    Args:
        directory: What ``hf-sfda rank`` wrote.
        size: The most models to choose.
        token: Hub token.
        store: Where the features are.
        progress: Listens.
        options: ``criterion``, ``pooling``, ``layout`` and ``weight`` of
            :func:`~hf_sfda.ensemble.select_ensemble`; folds, resamples, confidence and seed are the
            run's own.

    Raises:
        ConfigError: This is no run directory, or an option is not allowed.
        TargetError: The target is not the one that was ranked.
        StoreError: The features of fewer than two models are left.
        MetricError: The run has fewer than two ranked models, or no single-label target.
    """
    ranking = read_ranking(Path(directory))
    values = {key: value for key, value in ranking.config.items() if key != "fingerprint"}
    config = RankConfig.from_dict(values)
    if len(ranking.ranked) < 2:
        raise MetricError(
            f"{directory} has {len(ranking.ranked)} ranked models; an ensemble needs at least 2."
        )
    progress = progress or NoProgress()
    target = _same_target(ranking, config, token, progress)
    members, lost = _members(ranking, target, config, store or FeatureStore(), progress)
    if len(members) < 2:
        raise StoreError(
            f"The features of {len(lost)} of {len(ranking.ranked)} ranked models are no longer "
            f"stored. Run `hf-sfda rank --config {Path(directory) / 'config.yaml'}` again; it "
            "extracts what is missing."
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


def read_ranking(directory: Path) -> Ranking:
    """Read ``ranking.json`` of a run directory.

    Raises:
        ConfigError: It is missing or is none.
    """
    path = directory / "ranking.json"
    try:
        return Ranking.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(
            f"Cannot read {path}: {error.strerror}. Give the directory that `hf-sfda rank` wrote, "
            "such as runs/NAME."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a ranking: {error}") from error


def _same_target(
    ranking: Ranking, config: RankConfig, token: str | None, progress: Progress
) -> Target:
    # The commit that was ranked, not what the branch holds today.
    revision = ranking.dataset.get("revision") or config.revision
    target = target_of(config.replace(revision=revision), token=token, progress=progress)
    if target.fingerprint != ranking.dataset["fingerprint"]:
        raise TargetError(
            f"{config.dataset} is no longer what was ranked (fingerprint "
            f"{ranking.dataset['fingerprint'][:12]} then, {target.fingerprint[:12]} now), so its "
            "labels do not belong to the stored features. Run `hf-sfda rank` again."
        )
    return target


def _members(
    ranking: Ranking, target: Target, config: RankConfig, store: FeatureStore, progress: Progress
) -> tuple[dict[str, Member], list[str]]:
    """Members by model, and the models whose features are gone; one model in memory at a time."""
    members: dict[str, Member] = {}
    lost: list[str] = []
    with progress.task("score", "", total=len(ranking.ranked), unit="models") as advance:
        for row in ranking.ranked:
            member = _member(row, target, config, store)
            if member is None:
                lost.append(row.model_id)
            else:
                members[row.model_id] = member
            advance(1)
    return members, lost


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
    first = next(row.model_id for row in ranking.ranked if row.model_id in members)
    best = ensemble.steps[0].models[0]
    if best != first:
        warnings.append(
            f"The best single model here is {best}, while {first} leads the ranking: here a model "
            f"is judged by its {ensemble.criterion.replace('_', '-')} before self-challenge, there "
            f"by {ranking.metric}."
        )
    return warnings
