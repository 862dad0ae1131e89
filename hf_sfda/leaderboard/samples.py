"""What a leaderboard keeps of each measurement, sample by sample: models compared without features.

A results dataset keeps scores. A leaderboard also keeps what every sample contributed to them,
since it ranks the whole pool anew at each update; so two of its models can be compared on any
machine, with nothing downloaded but two small files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hf_sfda.compare import (
    Comparison,
    beside_ranking,
    check_comparable,
    compare_samples,
    ranked_pair,
)
from hf_sfda.errors import PublishError
from hf_sfda.finished import config_of, same_target
from hf_sfda.leaderboard.record import load_scored, record_path
from hf_sfda.leaderboard.state import LOG_FILE, Event, parse_log
from hf_sfda.publish.access import Repo, find_head, read_file
from hf_sfda.publish.leaderboards import time_of
from hf_sfda.publish.rows import Row
from hf_sfda.ranking import FloatArray, Scored
from hf_sfda.types import ModelRow, Ranking, Target

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def kept_samples(api: HfApi, repo: Repo, run: str, model: str, revision: str) -> Scored | None:
    """The measurement behind a published row.

    Args:
        api: The client.
        repo: The results dataset.
        run: Digest of the run, as the row has it.
        model: Hub id.
        revision: Its commit, as the row has it.

    Returns:
        What was measured; ``None`` where the repository keeps none, as a results dataset that is
        no leaderboard.

    Raises:
        PublishError: The Hub cannot be asked, or what it keeps is damaged.
    """
    head = find_head(api, repo)
    return _kept(api, repo, head, _log(api, repo, head), run, model, revision) if head else None


def compare_kept(
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
    """Compare two models of a board by the measurements that its leaderboard keeps.

    Args:
        api: The client.
        repo: The leaderboard.
        ranking: A board's, from :meth:`hf_sfda.publish.leaderboards.Leaderboard.ranking`.
        rows: Of the results dataset; they say which run measured a model.
        first: Model id as in the ranking.
        second: Another one.
        metric: What to compare; by default what the board is ranked by.
        target: What was ranked on, where it can be had. Without it nothing is known of classes,
            and all samples are one stratum.
        top: How many samples to name that favour either model.

    Returns:
        The comparison; ``None`` where the repository keeps no measurement of one of the two, or
        not what samples contribute to this metric.

    Raises:
        ConfigError: A model is not ranked here, or both are the same.
        MetricError: The metric looks at no features.
        TargetError: The target is not the one that was ranked.
        PublishError: The Hub cannot be asked, or what it keeps is damaged.
    """
    metric = metric or ranking.metric
    pair = ranked_pair(ranking, first, second)
    check_comparable(metric)
    if target is not None:
        same_target(ranking, target=target)
    head = find_head(api, repo)
    log = _log(api, repo, head) if head else []
    if head is None or not log:
        return None
    rows = list(rows)
    kept = []
    for row in pair:
        run = _run_of(row, ranking, rows)
        scored = run and _kept(api, repo, head, log, run, row.model_id, str(row.revision))
        if not scored or metric not in scored.scores:
            return None
        kept.append(scored)
    units = [_shares(scored, metric, ranking.metric) for scored in kept]
    if units[0] is None or units[1] is None:
        return None
    by_sample = all(scored.scores[metric].per_sample is not None for scored in kept)
    return _compared(ranking, pair, kept, (units[0], units[1]), metric, target, top, by_sample)


def _compared(
    ranking: Ranking,
    pair: tuple[ModelRow, ModelRow],
    kept: Sequence[Scored],
    units: tuple[FloatArray, FloatArray],
    metric: str,
    target: Target | None,
    top: int,
    by_sample: bool,
) -> Comparison:
    n_samples, config = int(ranking.dataset["n_samples"]), config_of(ranking)
    if by_sample and {len(one) for one in units} != {n_samples}:
        raise PublishError(
            f"The measurements of {pair[0].model_id} and {pair[1].model_id} are not of the "
            f"{n_samples:,} samples that the board says. Remove them from the repository; the next "
            "update measures these models again."
        )
    known = target if by_sample else None
    comparison = compare_samples(
        units[0],
        units[1],
        known.labels if known else None,
        known.class_names if known else (),
        sample_ids=known.sample_ids if known else None,
        names=(pair[0].model_id, pair[1].model_id),
        metric=metric,
        values=(kept[0].scores[metric].value, kept[1].scores[metric].value),
        resamples=config.resamples,
        confidence=config.confidence,
        seed=config.seed,
        top=top,
    )
    warnings = comparison.warnings
    if by_sample and target is None:
        warnings = (
            f"The labels of {ranking.dataset['id']} could not be read here, so nothing is said of "
            "classes and samples, and the interval is that of a sample drawn without regard to "
            "class, which is mostly a little wider.",
            *warnings,
        )
    comparison = replace(comparison, n_samples=n_samples, warnings=warnings)
    return beside_ranking(comparison, pair, ranking)


def _log(api: HfApi, repo: Repo, head: str) -> list[Event]:
    content = read_file(api, repo, LOG_FILE, head)
    return [] if content is None else parse_log(content, repo)


def _kept(
    api: HfApi, repo: Repo, head: str, log: Sequence[Event], run: str, model: str, revision: str
) -> Scored | None:
    event = next((event for event in log if event["run"] == run), None)
    if event is None:
        return None
    path = record_path(event["pool"], model, revision, ok=True)
    content = read_file(api, repo, path, head)
    return None if content is None else load_scored(content, f"{path} of {repo.id}")


def _run_of(row: ModelRow, ranking: Ranking, rows: Iterable[Row]) -> str | None:
    """The newest run with this measurement."""
    same = [
        one
        for one in rows
        if one["model"] == row.model_id
        and one["model_revision"] == row.revision
        and one["status"] == "ok"
        and one["dataset_fingerprint"] == ranking.dataset["fingerprint"]
        and one["config_fingerprint"] == ranking.config.get("fingerprint")
    ]
    return str(max(same, key=time_of)["run"]) if same else None


def _shares(scored: Scored, metric: str, ranked_by: str) -> FloatArray | None:
    """(N,) contributions, or (G,) pseudo-values, which are kept of the board's own metric only."""
    shares = scored.scores[metric].per_sample
    return scored.units if shares is None and metric == ranked_by else shares
