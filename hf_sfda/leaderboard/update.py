"""Update a leaderboard: measure new and changed candidates, rank the whole pool, make one commit.

A crash before the commit leaves the repository unchanged; the features stay in the local store. If
somebody else commits first, the update reads the new state, adds its measurements and tries again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import ConfigError, PublishError, TargetError
from hf_sfda.foreign import bounded
from hf_sfda.hub import cached_model, hub_api
from hf_sfda.hub.access import Account, Repo, who_am_i
from hf_sfda.hub.changes import FileChange, StepResult
from hf_sfda.hub.commit import Commit
from hf_sfda.hub.plan import Plan
from hf_sfda.leaderboard.decide import Decision, PublishedStatus, within_budget
from hf_sfda.leaderboard.record import dump_failure, dump_scored, record_path
from hf_sfda.leaderboard.settings import Budget
from hf_sfda.leaderboard.snapshot import DatasetSnapshot, check_hub_target, take_snapshot
from hf_sfda.leaderboard.state import State, read_state
from hf_sfda.leaderboard.update_commit import build_commit, decide_for
from hf_sfda.publish.results_dataset import check_results_repo
from hf_sfda.types import Candidate

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from hf_sfda.progress import Progress
    from hf_sfda.store import FeatureStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DatasetUpdate:
    """The part of an update that concerns one dataset.

    Attributes:
        snapshot: The dataset's current samples and candidates.
        decision: What to do with the candidates.
        measure: The candidates that this update measures: the pending ones within the budget.
    """

    snapshot: DatasetSnapshot
    decision: Decision
    measure: tuple[Candidate, ...]

    @property
    def later(self) -> int:
        """Number of pending candidates that wait for the next update."""
        return len(self.decision.pending) - len(self.measure)


@dataclass(frozen=True, eq=False)
class UpdateStep:
    """Measure candidates on all datasets of a leaderboard, then make one commit.

    Attributes:
        state: The state of the leaderboard that the plan was made on.
        updates: One update per dataset with changes.
        token: Hub token with write access.
        store: The store of extracted features; ``None`` uses the default store.
        progress: Receives the progress of the measurements.
    """

    state: State
    updates: tuple[DatasetUpdate, ...]
    token: str | None = field(default=None, repr=False)
    store: FeatureStore | None = None
    progress: Progress | None = None

    @property
    def files(self) -> tuple[FileChange, ...]:
        """Always empty: the files are unknown until the models have run."""
        return ()

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
            fresh |= _measure(update, self.token, self.store, self.progress)
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
        me = who_am_i(api)
        configs = [update.snapshot.config for update in self.updates]
        snapshots = [take_snapshot(api, me, state, config, self.token) for config in configs]
        return build_commit(api, state, snapshots, fresh)


def plan_update(
    repo_id: str,
    *,
    token: str | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Plan an update; measure and write nothing.

    Args:
        repo_id: The results dataset with the ``leaderboard.yaml``.
        token: Hub token with write access.
        store: The store of extracted features; ``None`` uses the default store.
        progress: Receives the progress when the plan is executed.

    Raises:
        PublishError: There is no leaderboard, the token may not write, or a request fails.
        ConfigError: ``leaderboard.yaml`` is invalid.
        TargetError: None of the datasets can be loaded.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise PublishError("An update is one process; run it without a launcher.")
    api = hub_api(token)
    me = who_am_i(api)
    repo = Repo(repo_id, "dataset")
    check_results_repo(api, me, repo)
    state = read_state(api, repo)
    updates, warnings = plan_datasets(api, me, state, token)
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
    steps = (UpdateStep(state, needed, token, store, progress),) if needed else ()
    return Plan(None, me.name, steps, up_to_date, tuple(warnings), f"Update leaderboard {repo_id}")


def plan_datasets(
    api: HfApi, me: Account, state: State, token: str | None
) -> tuple[list[DatasetUpdate], list[str]]:
    """Plan the update of every dataset, within the budget.

    Returns:
        The updates, and a warning for each dataset that cannot be loaded.

    Raises:
        TargetError: None of the datasets can be loaded.
    """
    from hf_sfda.pipeline import check_metrics

    updates: list[DatasetUpdate] = []
    warnings: list[str] = []
    budget: Budget | None = state.settings.budget
    for config in state.settings.targets:
        check_metrics(config)
        try:
            snapshot = take_snapshot(api, me, state, config, token)
        except (ConfigError, TargetError) as error:
            if len(state.settings.targets) == 1:
                raise
            warnings.append(f"{config.dataset} is left as it is: {error}")
            continue
        check_hub_target(snapshot.target)
        decision = decide_for(state, snapshot, state.measurements)
        measure: tuple[Candidate, ...] = ()
        if budget is not None:
            measure, budget = within_budget(decision.pending, budget)
        updates.append(DatasetUpdate(snapshot, decision, measure))
    if not updates:
        raise TargetError(bounded(" ".join(warnings)))
    return updates, warnings


def _measure(
    update: DatasetUpdate, token: str | None, store: FeatureStore | None, progress: Progress | None
) -> dict[str, bytes]:
    """Measure the candidates of one dataset; return the records as path -> content."""
    from hf_sfda.pipeline import measure

    if not update.measure:
        return {}
    snapshot = update.snapshot
    scored, failed = measure(
        update.measure,
        snapshot.target,
        snapshot.config,
        store=store,
        token=token,
        progress=progress,
    )
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
