"""One update: measure what is new or changed, rank the whole pool, commit once.

Right whatever happens: a crash before the commit leaves the repository as it was (and the features
in the local store); the commit is pinned to the commit that was read, and whoever loses a race
merges what it measured with what the winner wrote.
"""

from __future__ import annotations

import logging
import os
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError, TargetError
from hf_sfda.foreign import bounded
from hf_sfda.hub import cached_model, hub_api
from hf_sfda.leaderboard.compose import compose, decide_on
from hf_sfda.leaderboard.decide import Decision, Standing, afford
from hf_sfda.leaderboard.record import dump_failure, dump_scored, record_path
from hf_sfda.leaderboard.state import State, read_state
from hf_sfda.leaderboard.survey import Survey, check_hub_target, make_survey
from hf_sfda.publish import FileChange, Plan, StepResult
from hf_sfda.publish.access import Account, Repo, who_am_i
from hf_sfda.publish.commit import MovedError
from hf_sfda.publish.results_dataset import check_results_repo
from hf_sfda.types import Candidate

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from hf_sfda.progress import Progress
    from hf_sfda.store import FeatureStore

logger = logging.getLogger(__name__)

_TRIES = 20
_LONGEST_PAUSE = 5.0  # seconds


@dataclass(frozen=True, eq=False)
class Work:
    """What is to be done on one dataset."""

    survey: Survey
    decision: Decision
    measure: tuple[Candidate, ...]

    @property
    def later(self) -> int:
        """How many wait for the next update."""
        return len(self.decision.pending) - len(self.measure)


@dataclass(frozen=True, eq=False)
class UpdateStep:
    """All datasets of a leaderboard, in one commit.

    Attributes:
        state: What the plan was made on.
        works: One a dataset that can be measured.
    """

    state: State
    works: tuple[Work, ...]
    token: str | None = field(default=None, repr=False)
    store: FeatureStore | None = None
    progress: Progress | None = None

    @property
    def files(self) -> tuple[FileChange, ...]:
        """Not known before the models have run."""
        return ()

    def where(self) -> str:
        """For a plan."""
        n = sum(len(work.measure) for work in self.works)
        candidates = "1 candidate" if n == 1 else f"{n} candidates"
        return f"{self.state.repo}: measure {candidates}, then one commit to main"

    def diff(self) -> str:
        """Who comes, who changes, who leaves."""
        lines: list[str] = []
        for work in self.works:
            lines += _lines(work, self.state.published(work.survey.folder))
        return "\n".join(lines) + "\n"

    def execute(self, api: HfApi) -> StepResult:
        """Measure, rank and commit.

        Raises:
            PublishError: The Hub refuses or fails, or others write without end.
        """
        fresh: dict[str, bytes] = {}
        for work in self.works:
            fresh |= _measure(work, self.token, self.store, self.progress)
        state, surveys = self.state, [work.survey for work in self.works]
        for attempt in range(_TRIES):
            commit = compose(api, state, surveys, fresh)
            if commit is None:
                return StepResult(f"{state.repo}: nothing is left to write", state.repo.url)
            try:
                return commit.execute(api)
            except MovedError:
                # Writers must not stay in step with each other.
                time.sleep(random.uniform(0, min(0.1 * 2**attempt, _LONGEST_PAUSE)))
                state = read_state(api, state.repo)
                if state.settings != self.state.settings:
                    raise PublishError(
                        f"leaderboard.yaml of {state.repo.id} was changed during this update. "
                        "Nothing was written; run the same command again (features are reused)."
                    ) from None
                # The winner may know of models that came after our scan.
                me = who_am_i(api)
                surveys = [
                    make_survey(api, me, state, survey.config, self.token) for survey in surveys
                ]
        raise PublishError(
            f"{state.repo} changed {_TRIES} times while this update was about to be written. "
            "Nothing was written; run the same command again later (features are reused)."
        )


def plan_update(
    repo_id: str,
    *,
    token: str | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Find out what an update has to do; measures and writes nothing.

    Args:
        repo_id: The results dataset with the ``leaderboard.yaml``.
        token: Hub token with write access.
        store: Where features are kept.
        progress: Listens to the stages, later.

    Raises:
        PublishError: There is no leaderboard, it may not be written, or the Hub is ill.
        ConfigError: ``leaderboard.yaml`` is not in order.
        TargetError: None of the datasets can be had.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise PublishError("An update is one process; run it without a launcher.")
    api = hub_api(token)
    me = who_am_i(api)
    repo = Repo(repo_id, "dataset")
    check_results_repo(api, me, repo)
    state = read_state(api, repo)
    works, warnings = survey_all(api, me, state, token)
    doing = tuple(
        work
        for work in works
        if work.measure or work.decision.standings != state.published(work.survey.folder)
    )
    up_to_date = tuple(
        f"{work.survey.config.dataset} is up to date ({len(work.decision.pool)} models"
        + (f", {work.later} over the budget)" if work.later else ")")
        for work in works
        if work not in doing
    )
    steps = (UpdateStep(state, doing, token, store, progress),) if doing else ()
    return Plan(None, me.name, steps, up_to_date, tuple(warnings), f"Update leaderboard {repo_id}")


def survey_all(
    api: HfApi, me: Account, state: State, token: str | None
) -> tuple[list[Work], list[str]]:
    """The work on every dataset, and a warning for each that cannot be had today.

    Raises:
        TargetError: None can be had.
    """
    from hf_sfda.pipeline import check_metrics

    works: list[Work] = []
    warnings: list[str] = []
    budget = rest = state.settings.budget
    empty = False
    for config in state.settings.targets:
        check_metrics(config)
        try:
            survey = make_survey(api, me, state, config, token)
        except TargetError as error:
            if len(state.settings.targets) == 1:
                raise
            warnings.append(f"{config.dataset} is left as it is: {error}")
            continue
        check_hub_target(survey.target)
        decision = decide_on(state, survey, state.known)
        measure: tuple[Candidate, ...] = ()
        if not empty:
            measure, left = afford(decision.pending, rest)
            rest, empty = left or budget, left is None
        works.append(Work(survey, decision, measure))
    if not works:
        raise TargetError(bounded(" ".join(warnings)))
    return works, warnings


def _measure(
    work: Work, token: str | None, store: FeatureStore | None, progress: Progress | None
) -> dict[str, bytes]:
    """Run the candidates; path -> content of a record each."""
    from hf_sfda.pipeline import measure

    if not work.measure:
        return {}
    survey = work.survey
    scored, failed = measure(
        work.measure, survey.target, survey.config, store=store, token=token, progress=progress
    )
    records: dict[str, bytes] = {}
    for one in scored:
        path = record_path(
            survey.folder, one.candidate.model_id, str(one.candidate.revision), ok=True
        )
        records[path] = dump_scored(one)
    candidates = {candidate.model_id: candidate for candidate in work.measure}
    for row in failed:
        if cached_model(candidates[row.model_id]) is None:
            # Its files never arrived: that says nothing about the checkpoint.
            logger.warning("%s is left for the next update: %s", row.model_id, row.reason)
            continue
        path = record_path(survey.folder, row.model_id, str(row.revision), ok=False)
        records[path] = dump_failure(row)
    return records


def _lines(work: Work, published: frozenset[Standing]) -> list[str]:
    decision, before = work.decision, {model: sha for model, sha, _ in published}
    names = {candidate.model_id for candidate in work.measure}
    lines = [f"{work.survey.config.dataset}: {len(decision.pool)} measured, {work.later} for later"]
    lines += [f"+ {c.model_id} @ {_short(c.revision)}" for c in decision.new if c.model_id in names]
    for candidate in decision.changed:
        if candidate.model_id in names:
            old = before.get(candidate.model_id)
            lines.append(
                f"+ {candidate.model_id} @ {_short(candidate.revision)} (was {_short(old)})"
            )
    stay = {model for model, _, _ in decision.standings} | names
    standings = published - decision.standings
    lines += [
        f"- {candidate.model_id}: {candidate.skip}"
        for candidate in decision.out
        if (candidate.model_id, candidate.revision, candidate.status) not in published
    ]
    lines += [f"- {model}" for model, _, _ in sorted(standings, key=str) if model not in stay]
    back = {one.model for one in decision.pool} - {m for m, _, s in published if s == "ok"}
    lines += [f"+ {model} (measured before)" for model in sorted(back) if published]
    return lines


def _short(sha: Any) -> str:
    return str(sha or "?")[:7]
