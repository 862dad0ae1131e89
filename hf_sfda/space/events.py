"""The events of a job's process, and the state of a job that they add up to.

An event is one JSON object per line, without secrets. There are at most ten progress events per
second and task. The state is immutable, and :func:`apply` is pure.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import IO, Any, Literal

from hf_sfda.foreign import visible_json
from hf_sfda.format import show_bytes
from hf_sfda.progress import Advance, Kind
from hf_sfda.secrets import redact
from hf_sfda.types import Ranking

Event = Mapping[str, Any]
Sink = Callable[[Event], None]
Stage = Literal["queued", "starting", "target", "models", "scoring", "done", "failed", "cancelled"]
Phase = Literal["waiting", "downloading", "extracting", "scoring", "done", "failed", "skipped"]
_EVERY = 0.1  # seconds between two events of a task
_PHASES: Mapping[str, Phase] = {"download": "downloading", "extract": "extracting"}
_OVER: tuple[Phase, ...] = ("failed", "skipped")


TICK = 0.2
"""Seconds without an event after which :func:`drain` yields ``None``."""


class DownloadLimitError(Exception):
    """The job downloaded more than allowed; the sizes that the Hub stated were wrong."""


def json_lines(file: IO[str]) -> Sink:
    """A thread-safe sink that writes each event as one line to a file."""
    lock = threading.Lock()

    def write(event: Event) -> None:
        line = visible_json(redact(json.dumps(event, ensure_ascii=False)))
        with lock:
            file.write(line + "\n")
            file.flush()

    return write


def drain(events: queue.SimpleQueue[Event | None]) -> Iterator[Event | None]:
    """Yield the events of a queue until it holds ``None``; ``None`` after :data:`TICK` seconds."""
    while True:
        try:
            event = events.get(timeout=TICK)
        except queue.Empty:
            yield None
            continue
        if event is None:
            return
        yield event


class EventProgress:
    """Reports progress as events.

    Args:
        sink: Receives the events.
        limit: Largest number of bytes to download. The plan checks the sizes that the Hub states;
            this checks the bytes that arrive.
        clock: Returns the time in seconds; replaced in tests.
    """

    def __init__(
        self, sink: Sink, *, limit: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sink = sink
        self._limit = limit
        self._clock = clock
        self._ids = count(1)
        self._downloaded = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def task(self, kind: Kind, name: str, *, total: float | None, unit: str) -> Iterator[Advance]:
        """Send ``progress`` events during a task, one at its end, and then ``task_end``."""
        facts = {"task": next(self._ids), "kind": kind, "name": name}
        done, last_sent = 0.0, self._clock()

        def send() -> None:
            amounts = {"done": done, "total": total, "unit": unit}
            self._sink({"event": "progress", **facts, **amounts})

        def advance(amount: float) -> None:
            nonlocal done, last_sent
            with self._lock:  # several threads download the files of one model
                done += amount
                now = self._clock()
                if due := now - last_sent >= _EVERY:
                    last_sent = now
            if kind == "download":
                self._count(amount)
            if due:
                send()

        send()
        try:
            yield advance
        finally:
            send()
            self._sink({"event": "task_end", **facts})

    def _count(self, amount: float) -> None:
        with self._lock:
            self._downloaded += amount
            over = self._limit is not None and self._downloaded > self._limit
        if over and self._limit is not None:
            raise DownloadLimitError(f"the job has downloaded the {show_bytes(self._limit)} it may")


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


def _change(
    state: JobState, model: str, move: Callable[[CandidateState], CandidateState]
) -> JobState:
    candidates = tuple(
        move(c) if c.model == model and c.state not in _OVER else c for c in state.candidates
    )
    return replace(state, candidates=candidates)


_CHANGES: Mapping[str, Callable[[JobState, Event], JobState]] = {
    "log": lambda state, event: replace(state, log=(*state.log, str(event["text"]))),
    "stage": lambda state, event: replace(state, stage=event["stage"], done=0, total=None, unit=""),
    "candidates": _candidates,
    "progress": _progress,
    "extracted": _extracted,
    "ranked": _ranked,
    "failed": lambda state, event: replace(state, stage="failed", error=str(event["message"])),
    "cancelled": lambda state, event: replace(state, stage="cancelled", cancelled=True),
}
