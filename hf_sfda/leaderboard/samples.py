"""Compare two models of a leaderboard sample by sample, without their features.

A results dataset has only scores. A leaderboard also stores the contribution of each sample to
them, because each update ranks the whole pool again. So two of its models can be compared on any
machine by downloading two small files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hf_sfda.compare import (
    Comparison,
    add_ranking_warnings,
    check_comparable,
    compare_samples,
    ranked_pair,
)
from hf_sfda.errors import PublishError
from hf_sfda.hub.access import Repo, find_head, read_file
from hf_sfda.leaderboard.state import LOG_FILE, Event, load_scored, parse_log, record_path
from hf_sfda.publish.row_files import Row, time_of
from hf_sfda.ranking.assemble import FloatArray, Scored
from hf_sfda.ranking.runs import config_of, load_ranked_target
from hf_sfda.tasks import has_classes, kind_of_task
from hf_sfda.types import ModelRow, Ranking, Target

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def compare_measured(
    api: HfApi,
    repo: Repo,
    ranking: Ranking,
    rows: Iterable[Row],
    first: str,
    second: str,
    *,
    metric: str | None = None,
    target: Target | None,
    top: int = 12,
) -> Comparison | None:
    """Compare two models of a leaderboard by its stored measurements.

    Args:
        api: The Hub client.
        repo: The leaderboard's repository.
        ranking: From :func:`hf_sfda.publish.leaderboards.to_ranking`.
        rows: All rows of the results dataset; they say which run measured a model.
        first: Model id as in the ranking.
        second: Another model id.
        metric: The metric to compare; by default the one that ranks the leaderboard.
        target: The ranked samples, if they can be loaded. Without them there are no results by
            class or by sample, and all samples form one stratum.
        top: How many samples to list that favour either model.

    Returns:
        The comparison; ``None`` if the repository has no measurement of one of the models, or no
        contributions to this metric.

    Raises:
        ConfigError: A model is not in the ranking, or both models are the same.
        MetricError: The metric does not use features.
        TargetError: ``target`` is not the sample that was ranked.
        PublishError: The request fails, or a stored file is damaged.
    """
    metric = metric or ranking.metric
    pair = ranked_pair(ranking, first, second)
    check_comparable(metric)
    if target is not None:
        load_ranked_target(ranking, target=target)
    head = find_head(api, repo)
    log = parse_log(read_file(api, repo, LOG_FILE, head) or b"", repo) if head else []
    if head is None or not log:
        return None
    rows = list(rows)
    measured = []
    for row in pair:
        run = _newest_run(row, ranking, rows)
        scored = run and _load(api, repo, head, log, run, row.model_id, str(row.revision))
        if not scored or metric not in scored.scores:
            return None
        measured.append(scored)
    own, other = (_contributions(scored, metric, ranking.metric) for scored in measured)
    if own is None or other is None:
        return None
    by_sample = all(scored.scores[metric].per_sample is not None for scored in measured)
    n_samples, config = int(ranking.dataset["n_samples"]), config_of(ranking)
    if by_sample and {len(own), len(other)} != {n_samples}:
        raise PublishError(
            f"The measurements of {pair[0].model_id} and {pair[1].model_id} are not of the "
            f"{n_samples:,} samples of this leaderboard. Remove them from the repository; the next "
            "update measures these models again."
        )
    by_class = by_sample and has_classes(kind_of_task(ranking.dataset.get("task")))
    labelled = target if by_class else None
    comparison = compare_samples(
        own,
        other,
        labelled.labels if labelled else None,
        labelled.class_names if labelled else (),
        sample_ids=labelled.sample_ids if labelled else None,
        names=(pair[0].model_id, pair[1].model_id),
        metric=metric,
        values=(measured[0].scores[metric].value, measured[1].scores[metric].value),
        resamples=config.resamples,
        confidence=config.confidence,
        seed=config.seed,
        top=top,
    )
    warnings = comparison.warnings
    if by_class and target is None:
        warnings = (
            f"The labels of {ranking.dataset['id']} could not be read here, so nothing is said of "
            "classes and samples, and the interval is that of a sample drawn without regard to "
            "class, which is mostly a little wider.",
            *warnings,
        )
    comparison = replace(comparison, n_samples=n_samples, warnings=warnings)
    return add_ranking_warnings(comparison, pair, ranking)


def _load(
    api: HfApi, repo: Repo, head: str, log: Sequence[Event], run: str, model: str, revision: str
) -> Scored | None:
    event = next((event for event in log if event["run"] == run), None)
    if event is None:
        return None
    path = record_path(event["pool"], model, revision, ok=True)
    content = read_file(api, repo, path, head)
    return None if content is None else load_scored(content, f"{path} of {repo.id}")


def _newest_run(row: ModelRow, ranking: Ranking, rows: Iterable[Row]) -> str | None:
    """The newest run that has this measurement, or ``None``."""
    matching = [
        published
        for published in rows
        if published["model"] == row.model_id
        and published["model_revision"] == row.revision
        and published["status"] == "ok"
        and published["dataset_fingerprint"] == ranking.dataset["fingerprint"]
        and published["config_fingerprint"] == ranking.config.get("fingerprint")
    ]
    return str(max(matching, key=time_of)["run"]) if matching else None


def _contributions(scored: Scored, metric: str, ranked_by: str) -> FloatArray | None:
    """The (N,) contributions of the samples to a metric, or (G,) jackknife pseudo-values.

    Pseudo-values are stored only for the metric that ranks the leaderboard.
    """
    per_sample = scored.scores[metric].per_sample
    return scored.contributions if per_sample is None and metric == ranked_by else per_sample
