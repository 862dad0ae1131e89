"""What a job's process says: one JSON object a line, without secrets, ten a second a task."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import IO, Any

from hf_sfda.foreign import visible_json
from hf_sfda.hub import redact
from hf_sfda.progress import Advance, Kind
from hf_sfda.space.limits import show_bytes

Event = Mapping[str, Any]
Sink = Callable[[Event], None]

_EVERY = 0.1  # seconds between two events of a task


class DownloadLimitError(Exception):
    """More was downloaded than a job may; what the Hub said of the sizes was not true."""


def json_lines(file: IO[str]) -> Sink:
    """A sink that writes a line an event, whole, from whichever thread."""
    lock = threading.Lock()

    def write(event: Event) -> None:
        line = visible_json(redact(json.dumps(event, ensure_ascii=False)))
        with lock:
            file.write(line + "\n")
            file.flush()

    return write


class EventProgress:
    """Passes the stages' progress on as events.

    Args:
        sink: Where events go.
        limit: Bytes that may be downloaded; the plan has gone by what the Hub states, this counts.
        clock: Seconds, for tests.
    """

    def __init__(
        self, sink: Sink, *, limit: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sink = sink
        self._limit = limit
        self._clock = clock
        self._ids = count(1)
        self._fetched = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def task(self, kind: Kind, name: str, *, total: float | None, unit: str) -> Iterator[Advance]:
        """Events ``progress`` while it lasts, the last amount among them, and ``task_end``."""
        facts = {"task": next(self._ids), "kind": kind, "name": name}
        done, said = 0.0, self._clock()

        def tell() -> None:
            amounts = {"done": done, "total": total, "unit": unit}
            self._sink({"event": "progress", **facts, **amounts})

        def advance(amount: float) -> None:
            nonlocal done, said
            with self._lock:  # several threads fetch the files of one model
                done += amount
                now = self._clock()
                if due := now - said >= _EVERY:
                    said = now
            if kind == "download":
                self._count(amount)
            if due:
                tell()

        tell()
        try:
            yield advance
        finally:
            tell()
            self._sink({"event": "task_end", **facts})

    def _count(self, amount: float) -> None:
        with self._lock:
            self._fetched += amount
            over = self._limit is not None and self._fetched > self._limit
        if over and self._limit is not None:
            raise DownloadLimitError(f"the job has downloaded the {show_bytes(self._limit)} it may")
