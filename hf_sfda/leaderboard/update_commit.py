"""Build the commit of an update: rank all measurements of each pool and write the result.

The commit depends only on the state of the repository, the snapshots of the datasets and the new
measurements. If somebody else commits first, it is built again from the new state.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hf_sfda.hub.changes import FileChange
from hf_sfda.hub.commit import Commit
from hf_sfda.leaderboard.decide import Decision, decide
from hf_sfda.leaderboard.record import Measurement, load_failure, load_scored, measurements_in
from hf_sfda.leaderboard.snapshot import DatasetSnapshot
from hf_sfda.leaderboard.state import LOG_FILE, Event, State, read_records
from hf_sfda.publish.finetuning_rows import finetuning_rows
from hf_sfda.publish.results_dataset import missing, results_card, run_files
from hf_sfda.publish.row_files import Row
from hf_sfda.publish.rows import Run, make_run
from hf_sfda.secrets import redact
from hf_sfda.types import ModelRow, Ranking
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def build_commit(
    api: HfApi, state: State, snapshots: Sequence[DatasetSnapshot], fresh: Mapping[str, bytes]
) -> Commit | None:
    """Build the commit that updates a leaderboard, or return ``None`` if it is up to date.

    Args:
        api: The Hub client.
        state: The leaderboard as it is now.
        snapshots: The datasets.
        fresh: The new measurements: path -> content.
    """
    measurements = measurements_in({*state.paths, *fresh})
    runs: list[Run] = []
    events: list[Event] = []
    for snapshot in snapshots:
        decision = decide_for(state, snapshot, measurements)
        statuses = decision.statuses
        if not statuses or statuses == state.published(snapshot.folder):
            continue
        ranking = _rank(api, state, snapshot, decision, fresh)
        run = make_run(ranking)
        runs.append(run)
        new = [m for m in measurements if m.path in fresh and m.path not in state.paths]
        events.append(log_event(snapshot, decision, run, new))
    if not runs:
        return None
    rows: list[Row] = [*state.rows, *(row for run in runs for row in run.rows)]
    finetuning = list(state.finetuning)
    files: list[FileChange] = []
    for run in runs:
        predicted = missing(finetuning_rows(run), finetuning)
        files += run_files(run, state.paths, predicted)
        finetuning += predicted
    log = state.log + b"".join(json.dumps(event).encode() + b"\n" for event in events)
    files += [
        FileChange(path, None, content)
        for path, content in sorted(fresh.items())
        if path not in state.paths
    ]
    files.append(FileChange(LOG_FILE, state.log or None, log))
    card = results_card(state.repo, state.readme, rows, finetuning)
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


def decide_for(
    state: State, snapshot: DatasetSnapshot, measurements: Sequence[Measurement]
) -> Decision:
    """Call :func:`decide` for one dataset of a leaderboard.

    Args:
        state: The leaderboard.
        snapshot: The dataset.
        measurements: All measurements, of all pools.
    """
    return decide(
        snapshot.candidates,
        [m for m in measurements if m.folder == snapshot.folder],
        state.published(snapshot.folder),
        named=bool(state.settings.models),
    )


def log_event(
    snapshot: DatasetSnapshot, decision: Decision, run: Run, measured: Sequence[Measurement]
) -> Event:
    """The log's line about one dataset of an update."""
    reasons = {row.model_id: row.reason for row in run.ranking.rows if row.status != "ok"}
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "tool_version": __version__,
        "dataset": snapshot.config.dataset,
        "dataset_revision": snapshot.target.revision,
        "pool": snapshot.folder,
        "run": run.digest,
        "measured": [
            {"model": m.model, "revision": m.sha, "status": "ok" if m.ok else "failed"}
            for m in measured
            if m.folder == snapshot.folder
        ],
        "ranked": len(decision.pool),
        "without_score": {model: redact(reason or "") for model, reason in reasons.items()},
        "pending": [candidate.model_id for candidate in decision.pending],
    }


def _rank(
    api: HfApi,
    state: State,
    snapshot: DatasetSnapshot,
    decision: Decision,
    fresh: Mapping[str, bytes],
) -> Ranking:
    """Rank the whole pool from its measurements, with ties and intervals."""
    from hf_sfda.pipeline import make_ranking
    from hf_sfda.ranking import assemble

    stored = [m for m in (*decision.pool, *decision.failed) if m.path in state.paths]
    records = {**fresh, **read_records(api, state, stored)}
    target, config = snapshot.target, snapshot.config
    scored = [load_scored(records[m.path], m.path) for m in decision.pool]
    rows, agreement, warnings = assemble(
        scored, target.labels, target.class_names, config, target.task
    )
    rows += [load_failure(records[m.path], m.path) for m in decision.failed]
    rows += [ModelRow.of(c, c.status, reason=c.skip) for c in decision.excluded]
    ranking = make_ranking(config, target, rows, agreement=agreement, warnings=warnings)
    return replace(ranking, created_at=_after(state.rows, ranking.created_at))


def _after(rows: Sequence[Row], now: str) -> str:
    """The time ``now``, or a second after the newest row if the clock of another machine is ahead.

    Readers take the newest ranking of a pool, so a new ranking must have the latest time.
    """
    times = [row["created_at"] for row in rows if row["created_at"] is not None]
    if not times:
        return now
    latest: datetime = max(times) + timedelta(seconds=1)
    return max(datetime.fromisoformat(now), latest).isoformat(timespec="seconds")
