"""Update a leaderboard: measure new and changed candidates, rank the whole pool, make one commit.

A crash before the commit leaves the repository unchanged; the features stay in the local store. The
commit depends only on the state of the repository, the snapshots of the datasets and the new
measurements. So if somebody else commits first, it is built again from the new state.

The status of a leaderboard says what the next update would do.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.hub import cached_model, hub_api
from hf_sfda.hub.access import Repo, read_files, who_am_i
from hf_sfda.hub.changes import FileChange, StepResult
from hf_sfda.hub.commit import Commit
from hf_sfda.hub.plan import Plan, Step
from hf_sfda.leaderboard.candidates import (
    DatasetSnapshot,
    DatasetUpdate,
    Decision,
    decide_for,
    plan_datasets,
    take_snapshot,
)
from hf_sfda.leaderboard.state import (
    LOG_FILE,
    Event,
    Measurement,
    PublishedStatus,
    State,
    dump_failure,
    dump_scored,
    load_failure,
    load_scored,
    measurements_in,
    open_leaderboard,
    read_state,
    record_path,
)
from hf_sfda.publish.finetuning_rows import finetuning_rows
from hf_sfda.publish.results_dataset import missing, results_card, run_files
from hf_sfda.publish.row_files import Row
from hf_sfda.publish.rows import Run, make_run
from hf_sfda.secrets import redact
from hf_sfda.session import Session
from hf_sfda.types import ModelRow, Ranking
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class UpdateStep(Step):
    """Measure candidates on all datasets of a leaderboard, then make one commit.

    Attributes:
        state: The state of the leaderboard that the plan was made on.
        updates: One update per dataset with changes.
        session: A token with write access, the feature store and the progress.
    """

    state: State
    updates: tuple[DatasetUpdate, ...]
    session: Session

    def where(self) -> str:
        """The repository and the number of candidates, as one line of a plan."""
        n = sum(len(update.measure) for update in self.updates)
        candidates = "1 candidate" if n == 1 else f"{n} candidates"
        return f"{self.state.repo}: measure {candidates}, then one commit to main"

    def diff(self) -> str:
        """The models that the update adds, measures again or removes."""
        lines: list[str] = []
        for update in self.updates:
            lines += _lines(update, self.state.published(update.snapshot.folder))
        return "\n".join(lines) + "\n"

    def execute(self, api: HfApi) -> StepResult:
        """Measure, rank and commit.

        Raises:
            PublishError: The Hub refuses or fails, or others committed first in every attempt.
        """
        fresh: dict[str, bytes] = {}
        for update in self.updates:
            fresh |= _measure(update, self.session)
        snapshots = [update.snapshot for update in self.updates]
        commit = build_commit(api, self.state, snapshots, fresh)
        if commit is None:
            return StepResult(f"{self.state.repo}: nothing is left to write", self.state.repo.url)
        rebuild = partial(self._rebuild_commit, fresh=fresh)
        return replace(commit, rebuild=rebuild).execute(api)

    def _rebuild_commit(self, api: HfApi, fresh: Mapping[str, bytes]) -> Commit | None:
        """Build the commit on top of somebody else's, with the measurements of this update."""
        state = read_state(api, self.state.repo)
        if state.settings != self.state.settings:
            raise PublishError(
                f"leaderboard.yaml of {state.repo.id} was changed during this update. "
                "Nothing was written; run the same command again (features are reused)."
            )
        # The other writer may have added models that did not exist at our scan.
        me, token = who_am_i(api), self.session.token
        configs = [update.snapshot.config for update in self.updates]
        snapshots = [take_snapshot(api, me, state, config, token) for config in configs]
        return build_commit(api, state, snapshots, fresh)


def plan_update(repo_id: str, session: Session | None = None) -> Plan:
    """Plan an update; measure and write nothing.

    Args:
        repo_id: The results dataset with the ``leaderboard.yaml``.
        session: A token with write access, the feature store, and the progress of the execution.

    Raises:
        PublishError: There is no leaderboard, the token may not write, or a request fails.
        ConfigError: ``leaderboard.yaml`` is invalid.
        TargetError: None of the datasets can be loaded.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise PublishError("An update is one process; run it without a launcher.")
    session = session or Session()
    api, me, state = open_leaderboard(repo_id, session.token)
    updates, warnings = plan_datasets(api, me, state, session.token)
    needed = tuple(
        update
        for update in updates
        if update.measure or update.decision.statuses != state.published(update.snapshot.folder)
    )
    up_to_date = tuple(
        f"{update.snapshot.config.dataset} is up to date ({len(update.decision.pool)} models"
        + (f", {update.later} over the budget)" if update.later else ")")
        for update in updates
        if update not in needed
    )
    steps = (UpdateStep(state, needed, session),) if needed else ()
    return Plan(None, me.name, steps, up_to_date, tuple(warnings), f"Update leaderboard {repo_id}")


def leaderboard_status(repo_id: str, token: str | None = None) -> dict[str, Any]:
    """Report the status of a leaderboard; write nothing.

    Args:
        repo_id: The results dataset.
        token: Hub token.

    Returns:
        A JSON document: the repository, and for each dataset the ranked pool, the candidates
        without a score and why, the candidates to measure, and the time of the last update.

    Raises:
        PublishError: There is no leaderboard, or a request fails.
        ConfigError: ``leaderboard.yaml`` is invalid.
        TargetError: None of the datasets can be loaded.
    """
    api = hub_api(token)
    state = read_state(api, Repo(repo_id, "dataset"))
    updates, warnings = plan_datasets(api, who_am_i(api), state, token)
    return {
        "leaderboard": repo_id,
        "revision": state.head,
        "datasets": [_dataset(state, update) for update in updates],
        "updates": len({event.get("time") for event in state.events}),
        "warnings": warnings,
    }


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


def _measure(update: DatasetUpdate, session: Session) -> dict[str, bytes]:
    """Measure the candidates of one dataset; return the records as path -> content."""
    from hf_sfda.pipeline import measure

    if not update.measure:
        return {}
    snapshot = update.snapshot
    scored, failed = measure(update.measure, snapshot.target, snapshot.config, session)
    records: dict[str, bytes] = {}
    for model in scored:
        candidate = model.candidate
        path = record_path(snapshot.folder, candidate.model_id, str(candidate.revision), ok=True)
        records[path] = dump_scored(model)
    candidates = {candidate.model_id: candidate for candidate in update.measure}
    for row in failed:
        if cached_model(candidates[row.model_id]) is None:
            # The download failed, so the checkpoint itself may work: do not record a failure.
            logger.warning("%s is left for the next update: %s", row.model_id, row.reason)
            continue
        path = record_path(snapshot.folder, row.model_id, str(row.revision), ok=False)
        records[path] = dump_failure(row)
    return records


def _lines(update: DatasetUpdate, published: frozenset[PublishedStatus]) -> list[str]:
    """The diff of one dataset: a line with ``+`` or ``-`` for each model that changes."""
    decision, before = update.decision, {model: sha for model, sha, _ in published}
    names = {candidate.model_id for candidate in update.measure}
    dataset = update.snapshot.config.dataset
    lines = [f"{dataset}: {len(decision.pool)} measured, {update.later} for later"]
    lines += [f"+ {c.model_id} @ {_short(c.revision)}" for c in decision.new if c.model_id in names]
    for candidate in decision.changed:
        if candidate.model_id in names:
            old = before.get(candidate.model_id)
            lines.append(
                f"+ {candidate.model_id} @ {_short(candidate.revision)} (was {_short(old)})"
            )
    remaining = {model for model, _, _ in decision.statuses} | names
    outdated = published - decision.statuses
    lines += [
        f"- {candidate.model_id}: {candidate.skip}"
        for candidate in decision.excluded
        if (candidate.model_id, candidate.revision, candidate.status) not in published
    ]
    lines += [f"- {model}" for model, _, _ in sorted(outdated, key=str) if model not in remaining]
    published_models = {model for model, _, status in published if status == "ok"}
    restored = {m.model for m in decision.pool} - published_models
    lines += [f"+ {model} (measured before)" for model in sorted(restored) if published]
    return lines


def _short(sha: Any) -> str:
    return str(sha or "?")[:7]


def _rank(
    api: HfApi,
    state: State,
    snapshot: DatasetSnapshot,
    decision: Decision,
    fresh: Mapping[str, bytes],
) -> Ranking:
    """Rank the whole pool from its measurements, with ties and intervals."""
    from hf_sfda.pipeline import make_ranking
    from hf_sfda.ranking.assemble import assemble

    pool = (*decision.pool, *decision.failed)
    stored = [m.path for m in pool if m.path in state.paths]
    records = {**fresh, **read_files(api, state.repo, stored, state.head)}
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


def _dataset(state: State, update: DatasetUpdate) -> dict[str, Any]:
    snapshot, decision = update.snapshot, update.decision
    event = state.last_event(snapshot.folder)
    run = event["run"] if event else None
    rows: list[Row] = [
        row for row in state.rows if row["run"] == run and row["metric"] == row["ranked_by"]
    ]
    ranked = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: row["rank"])
    return {
        "dataset": snapshot.config.dataset,
        "revision": snapshot.target.revision,
        "metric": snapshot.config.metric,
        "last_update": event.get("time") if event else None,
        "pool": [
            {
                "model": row["model"],
                "revision": row["model_revision"],
                "rank": row["rank"],
                "tie_group": row["tie_group"],
                "value": row["value"],
            }
            for row in ranked
        ],
        "without_score": {row["model"]: row["reason"] for row in rows if row["status"] != "ok"},
        "changed": [candidate.model_id for candidate in decision.changed],
        "new": [candidate.model_id for candidate in decision.new],
        "next_update_measures": [candidate.model_id for candidate in update.measure],
    }
