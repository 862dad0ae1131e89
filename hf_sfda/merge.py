"""Merge finished runs on the same samples into one ranking; only stored features are needed.

The shards of a run that several machines shared are merged so, and runs with other candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError, MetricError
from hf_sfda.feature_dataset import features_warning
from hf_sfda.foreign import listing
from hf_sfda.pipeline import make_ranking
from hf_sfda.ranking.assemble import Scored, assemble, score_candidate
from hf_sfda.ranking.runs import RESTORE, config_of, load_ranked_target, read_ranking
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from hf_sfda.types import Candidate, ModelRow, Ranking, Target


def merge_runs(
    directories: Sequence[str | Path], session: Session | None = None
) -> tuple[Ranking, RankConfig]:
    """Rank the models of several runs together.

    Scores are computed again from the stored features, because intervals, ties and the probability
    of being best compare all models on the same resamples.

    Args:
        directories: The run directories.
        session: Token, feature store and progress.

    Returns:
        The ranking, with one row a model and revision. A model that is ranked in one run and failed
        in another is ranked. Second, the configuration with the models of all runs.

    Raises:
        ConfigError: A run cannot be read, or the runs have different samples or options.
        TargetError: The samples cannot be loaded again.
        StoreError: Features cannot be read.
    """
    rankings = [read_ranking(directory) for directory in directories]
    _require_same(directories, rankings)
    session = session or Session()
    store = session.feature_store
    target = load_ranked_target(rankings[0], session)
    config = _merged_config(rankings)
    rows = _rows(rankings)
    ranked = [row for row in rows if row.status == "ok"]
    scored, failed = [], [row for row in rows if row.status != "ok"]
    with session.progress.task("score", "", total=len(ranked), unit="models") as advance:
        for row in ranked:
            try:
                scored.append(_score(row, target, config, store))
            except MetricError as error:
                failed.append(ModelRow.of(_candidate(row), "failed", reason=str(error)))
            advance(1)
    ordered, agreement, warnings = assemble(scored, target.labels, target.class_names, config)
    sources = dict.fromkeys(ranking.config.get("features") for ranking in rankings)
    warnings += [features_warning(source) for source in sources if source]
    everything = [*ordered, *sorted(failed, key=lambda row: row.status != "failed")]
    ranking = make_ranking(config, target, everything, agreement=agreement, warnings=warnings)
    return ranking, config


def _require_same(directories: Sequence[str | Path], rankings: Sequence[Ranking]) -> None:
    first = rankings[0]
    for directory, ranking in zip(directories[1:], rankings[1:], strict=True):
        if ranking.dataset["fingerprint"] != first.dataset["fingerprint"]:
            raise ConfigError(
                f"{directory} was ranked on other samples than {directories[0]} "
                f"({ranking.dataset['id']}, {ranking.dataset['n_samples']:,} samples; "
                f"{first.dataset['id']}, {first.dataset['n_samples']:,} samples), so their scores "
                "cannot be compared. Rank one of them again."
            )
        if ranking.config["fingerprint"] != first.config["fingerprint"]:
            names = [
                name
                for name, value in ranking.config.items()
                if name != "fingerprint" and first.config.get(name) != value
            ]
            raise ConfigError(
                f"{directory} was ranked with other options than {directories[0]}: "
                f"{listing(names)}. Rank one of them again."
            )


def _merged_config(rankings: Sequence[Ranking]) -> RankConfig:
    configs = [config_of(ranking) for ranking in rankings]
    models = dict.fromkeys(model for config in configs for model in config.models)
    same = {
        field.name: values[0]
        for field in fields(RankConfig)
        for values in [[getattr(config, field.name) for config in configs]]
        if all(value == values[0] for value in values)
    }
    names = tuple(models) if all(config.models for config in configs) else ()
    same.update(dataset=configs[0].dataset, models=names, out=None, shards=1, shard=0)
    return RankConfig(**same)


def _rows(rankings: Sequence[Ranking]) -> list[ModelRow]:
    """One row a model and revision, a ranked one if there is any."""
    by_model: dict[tuple[str, str | None], ModelRow] = {}
    for row in (row for ranking in rankings for row in ranking.rows):
        name = (row.model_id, row.revision)
        if name not in by_model or (row.status == "ok" and by_model[name].status != "ok"):
            by_model[name] = row
    return list(by_model.values())


def _score(row: ModelRow, target: Target, config: RankConfig, store: FeatureStore) -> Scored:
    features = store.get_by_digest(row.feature_key or "")
    if features is None:
        raise ConfigError(f"The features of {row.model_id} are no longer stored. {RESTORE}")
    return score_candidate(
        _candidate(row), features, target.labels, config, feature_key=row.feature_key
    )


def _candidate(row: ModelRow) -> Candidate:
    return Candidate(
        row.model_id,
        source="local" if (row.revision or "").startswith("sha256:") else "hub",
        revision=row.revision,
        library=row.library,
        params=row.params,
        download_bytes=row.download_bytes,
        license=row.license,
        downloads=row.downloads,
    )
