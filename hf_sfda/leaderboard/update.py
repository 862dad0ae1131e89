"""One update: measure what is new or changed, rank the whole pool, commit once.

Right whatever happens: a crash before the commit leaves the repository as it was (and the features
in the local store); the commit is pinned to the commit that was read, and whoever loses a race
merges what it measured with what the winner wrote.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hf_sfda import __version__
from hf_sfda.errors import PublishError, TargetError
from hf_sfda.hub import cached_model, hub_api, redact
from hf_sfda.leaderboard.decide import Decision, Standing, afford, decide
from hf_sfda.leaderboard.record import (
    Known,
    dump_failure,
    dump_scored,
    known_in,
    load_failure,
    load_scored,
    record_path,
)
from hf_sfda.leaderboard.state import LOG_FILE, Event, State, read_records, read_state
from hf_sfda.leaderboard.survey import Survey, check_hub_target, make_survey
from hf_sfda.publish import Done, FileChange, Plan
from hf_sfda.publish.access import Repo, who_am_i
from hf_sfda.publish.commit import Commit, MovedError
from hf_sfda.publish.results_dataset import check_target, results_card, shown_rows
from hf_sfda.publish.rows import Row, Run, make_run
from hf_sfda.types import Candidate, Ranking

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

    def carry_out(self, api: HfApi) -> Done:
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
                return Done(f"{state.repo}: nothing is left to write", state.repo.url)
            try:
                return commit.carry_out(api)
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
    api = hub_api(token)
    me = who_am_i(api)
    repo = Repo(repo_id, "dataset")
    check_target(api, me, repo)
    state = read_state(api, repo)
    works, warnings = survey_all(api, state, token)
    doing = tuple(
        work
        for work in works
        if work.measure or work.decision.standings != state.published(work.survey.folder)
    )
    settled = tuple(
        f"{work.survey.config.dataset} is up to date ({len(work.decision.pool)} models"
        + (f", {work.later} over the budget)" if work.later else ")")
        for work in works
        if work not in doing
    )
    steps = (UpdateStep(state, doing, token, store, progress),) if doing else ()
    return Plan(None, me.name, steps, settled, tuple(warnings), f"Update leaderboard {repo_id}")


def survey_all(api: HfApi, state: State, token: str | None) -> tuple[list[Work], list[str]]:
    """The work on every dataset, and a warning for each that cannot be had today.

    Raises:
        TargetError: None can be had.
    """
    from hf_sfda.pipeline import check_metrics

    me = who_am_i(api)
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
        decision = _decide(state, survey, known_in(state.paths))
        measure: tuple[Candidate, ...] = ()
        if not empty:
            measure, left = afford(decision.pending, rest)
            rest, empty = left or budget, left is None
        works.append(Work(survey, decision, measure))
    if not works:
        raise TargetError(" ".join(warnings))
    return works, warnings


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
        decision = _decide(state, survey, known)
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
    files = [FileChange(run.path, None, run.parquet(), shown=shown_rows(run)) for run in runs]
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


def _decide(state: State, survey: Survey, known: Sequence[Known]) -> Decision:
    return decide(
        survey.candidates,
        [one for one in known if one.folder == survey.folder],
        state.published(survey.folder),
        named=bool(state.settings.models),
    )


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
