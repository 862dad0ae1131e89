"""The commit of an update: all that is known of each pool, ranked as a whole.

It follows from the repository as it is now, the surveys and the fresh measurements, and from
nothing else; whoever loses a race composes it again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hf_sfda import __version__
from hf_sfda.hub import redact
from hf_sfda.leaderboard.decide import Decision, decide
from hf_sfda.leaderboard.record import Known, known_in, load_failure, load_scored
from hf_sfda.leaderboard.state import LOG_FILE, Event, State, read_records
from hf_sfda.leaderboard.survey import Survey
from hf_sfda.publish import FileChange
from hf_sfda.publish.commit import Commit
from hf_sfda.publish.results_dataset import preview_rows, results_card
from hf_sfda.publish.rows import Row, Run, make_run
from hf_sfda.types import Ranking

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def compose(
    api: HfApi, state: State, surveys: Sequence[Survey], fresh: Mapping[str, bytes]
) -> Commit | None:
    """The commit that brings a repository up to date, or ``None`` if it is.

    Args:
        api: The client.
        state: The repository as it is now.
        surveys: The datasets.
        fresh: Measurements of this update, by path.
    """
    known = known_in({*state.paths, *fresh})
    runs: list[Run] = []
    events: list[Event] = []
    for survey in surveys:
        decision = decide_on(state, survey, known)
        standings = decision.standings
        if not standings or standings == state.published(survey.folder):
            continue
        ranking = _rank(api, state, survey, decision, fresh)
        run = make_run(ranking)
        runs.append(run)
        written = [one for one in known if one.path in fresh and one.path not in state.paths]
        events.append(event_of(survey, decision, run, written))
    if not runs:
        return None
    rows: list[Row] = [*state.rows, *(row for run in runs for row in run.rows)]
    log = state.log + b"".join(json.dumps(event).encode() + b"\n" for event in events)
    files = [FileChange(run.path, None, run.parquet(), preview=preview_rows(run)) for run in runs]
    files += [
        FileChange(path, None, content)
        for path, content in sorted(fresh.items())
        if path not in state.paths
    ]
    files.append(FileChange(LOG_FILE, state.log or None, log))
    card = results_card(state.repo, state.readme, rows)
    if card != state.readme:
        files.append(FileChange("README.md", state.readme, card))
    n = sum(len(event["measured"]) for event in events)
    return Commit(
        repo=state.repo,
        parent=state.head,
        files=tuple(files),
        message=f"Update the leaderboard: {n} measured",
        description=f"Written by hf-sfda {__version__}. What was done stands in {LOG_FILE}.",
    )


def decide_on(state: State, survey: Survey, known: Sequence[Known]) -> Decision:
    """The decision about a survey, given all measurements there are."""
    return decide(
        survey.candidates,
        [one for one in known if one.folder == survey.folder],
        state.published(survey.folder),
        named=bool(state.settings.models),
    )


def event_of(survey: Survey, decision: Decision, run: Run, measured: Sequence[Known]) -> Event:
    """The line of the log about one dataset of an update."""
    reasons = {row.model_id: row.reason for row in run.ranking.rows if row.status != "ok"}
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "tool_version": __version__,
        "dataset": survey.config.dataset,
        "dataset_revision": survey.target.revision,
        "pool": survey.folder,
        "run": run.digest,
        "measured": [
            {"model": one.model, "revision": one.sha, "status": "ok" if one.ok else "failed"}
            for one in measured
            if one.folder == survey.folder
        ],
        "ranked": len(decision.pool),
        "without_score": {model: redact(reason or "") for model, reason in reasons.items()},
        "pending": [candidate.model_id for candidate in decision.pending],
    }


def _rank(
    api: HfApi, state: State, survey: Survey, decision: Decision, fresh: Mapping[str, bytes]
) -> Ranking:
    """Ranks, ties and intervals over the whole pool, out of the measurements alone."""
    from hf_sfda.pipeline import make_ranking, not_ranked
    from hf_sfda.ranking import assemble

    there = [one for one in (*decision.pool, *decision.failed) if one.path in state.paths]
    records = {**fresh, **read_records(api, state, there)}
    target, config = survey.target, survey.config
    scored = [load_scored(records[one.path], one.path) for one in decision.pool]
    rows, agreement, warnings = assemble(scored, target.labels, target.class_names, config)
    rows += [load_failure(records[one.path], one.path) for one in decision.failed]
    rows += [not_ranked(one, one.status, one.skip) for one in decision.out]
    ranking = make_ranking(config, target, rows, agreement=agreement, warnings=warnings)
    return replace(ranking, created_at=_after(state.rows, ranking.created_at))


def _after(rows: Sequence[Row], now: str) -> str:
    """A time later than every row's: the newest ranking counts, and no two clocks are the same."""
    moments = [row["created_at"] for row in rows if row["created_at"] is not None]
    if not moments:
        return now
    latest: datetime = max(moments) + timedelta(seconds=1)
    return max(datetime.fromisoformat(now), latest).isoformat(timespec="seconds")
