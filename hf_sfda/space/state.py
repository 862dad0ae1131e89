"""The progress of a job as an immutable state, and the pure function that applies an event."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from hf_sfda.space.events import Event
from hf_sfda.types import Ranking

Stage = Literal["queued", "starting", "target", "models", "scoring", "done", "failed", "cancelled"]
Phase = Literal["waiting", "downloading", "extracting", "scoring", "done", "failed", "skipped"]

_PHASES: Mapping[str, Phase] = {"download": "downloading", "extract": "extracting"}
_OVER: tuple[Phase, ...] = ("failed", "skipped")


@dataclass(frozen=True)
class CandidateState:
    """The progress of one candidate.

    Attributes:
        model: Hub id.
        state: Its current phase; ``scoring`` as soon as its features are stored.
        done: Amount that is done in this phase.
        total: Total amount of this phase; ``None`` if unknown.
        unit: Unit of the amounts: ``B`` for downloads; ``img``, ``texts`` or ``sounds`` otherwise.
        reason: Why it failed or was skipped.
        params: Number of parameters, if known.
        download_bytes: Size of its weights, if known.
        run: Whether it is ranked according to the plan.
    """

    model: str
    state: Phase = "waiting"
    done: float = 0
    total: float | None = None
    unit: str = ""
    reason: str | None = None
    params: int | None = None
    download_bytes: int | None = None
    run: bool = True


@dataclass(frozen=True)
class JobState:
    """The progress of a job.

    Attributes:
        stage: The current stage, or how the job ended.
        log: Messages for the visitor, oldest first.
        candidates: The candidates, in the order in which they run.
        done: Amount that is done in the stages ``target`` (rows) and ``scoring`` (models).
        total: Total amount of the stage; ``None`` if unknown.
        unit: Unit of the amounts.
        seconds: Time since the job started.
        ranking: The result, if the job succeeded.
        error: Why the job failed, as a message for the visitor.
        cancelled: Whether the visitor cancelled the job.
    """

    stage: Stage = "starting"
    log: tuple[str, ...] = ()
    candidates: tuple[CandidateState, ...] = ()
    done: float = 0
    total: float | None = None
    unit: str = ""
    seconds: float = 0.0
    ranking: Ranking | None = None
    error: str | None = None
    cancelled: bool = False

    @property
    def over(self) -> bool:
        """Whether the job has ended."""
        return self.stage in ("done", "failed", "cancelled")


def apply(state: JobState, event: Event) -> JobState:
    """Return the state after an event; unknown events change nothing.

    Args:
        state: The state before the event.
        event: An event of the job's process.
    """
    change = _CHANGES.get(str(event.get("event")))
    return change(state, event) if change and not state.over else state


def _log(state: JobState, event: Event) -> JobState:
    return replace(state, log=(*state.log, str(event["text"])))


def _stage(state: JobState, event: Event) -> JobState:
    return replace(state, stage=event["stage"], done=0, total=None, unit="")


def _candidates(state: JobState, event: Event) -> JobState:
    rows = tuple(
        CandidateState(
            model=row["model"],
            state="waiting" if row["skip"] is None else row["status"],
            reason=row["skip"],
            params=row["params"],
            download_bytes=row["download_bytes"],
            run=row["skip"] is None,
        )
        for row in event["rows"]
    )
    return replace(state, stage="models", candidates=rows, done=0, total=None, unit="")


def _progress(state: JobState, event: Event) -> JobState:
    amounts = {key: event[key] for key in ("done", "total", "unit")}
    if event["kind"] == "dataset":
        return replace(state, stage="target", **amounts)
    if event["kind"] == "score":
        return _scored(replace(state, stage="scoring", **amounts))

    if event["kind"] == "download" and event["total"] is not None:
        # The stated total does not include the small files, so `done` can become larger.
        amounts["total"] = max(event["total"], event["done"])

    def move(candidate: CandidateState) -> CandidateState:
        return replace(candidate, state=_PHASES[event["kind"]], **amounts)

    return _change(replace(state, stage="models"), str(event["name"]), move)


def _scored(state: JobState) -> JobState:
    """Mark the first ``done`` models as done: models are scored in their order."""
    rows, left = [], state.done
    for candidate in state.candidates:
        if candidate.run:
            left -= 1
            if left >= 0 and candidate.state != "failed":
                candidate = replace(candidate, state="done")
        rows.append(candidate)
    return replace(state, candidates=tuple(rows))


def _extracted(state: JobState, event: Event) -> JobState:
    reason = event["reason"]

    def move(candidate: CandidateState) -> CandidateState:
        return replace(candidate, state="failed" if reason else "scoring", reason=reason)

    return _change(state, str(event["model"]), move)


def _ranked(state: JobState, event: Event) -> JobState:
    ranking = Ranking.from_dict(event["ranking"])
    phases: Mapping[str, Phase] = {"ok": "done", "failed": "failed", "skipped": "skipped"}
    rows = {row.model_id: row for row in ranking.rows}
    candidates = tuple(
        replace(c, state=phases[rows[c.model].status], reason=rows[c.model].reason)
        if c.model in rows
        else c
        for c in state.candidates
    )
    return replace(state, stage="done", ranking=ranking, candidates=candidates)


def _failed(state: JobState, event: Event) -> JobState:
    return replace(state, stage="failed", error=str(event["message"]))


def _cancelled(state: JobState, event: Event) -> JobState:
    return replace(state, stage="cancelled", cancelled=True)


def _change(
    state: JobState, model: str, move: Callable[[CandidateState], CandidateState]
) -> JobState:
    candidates = tuple(
        move(c) if c.model == model and c.state not in _OVER else c for c in state.candidates
    )
    return replace(state, candidates=candidates)


_CHANGES: Mapping[str, Callable[[JobState, Event], JobState]] = {
    "log": _log,
    "stage": _stage,
    "candidates": _candidates,
    "progress": _progress,
    "extracted": _extracted,
    "ranked": _ranked,
    "failed": _failed,
    "cancelled": _cancelled,
}
