"""The events of a job's process: one JSON object per line, without secrets.

There are at most ten progress events per second and task.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import IO, Any

from hf_sfda.foreign import visible_json
from hf_sfda.format import show_bytes
from hf_sfda.progress import Advance, Kind
from hf_sfda.secrets import redact

Event = Mapping[str, Any]
Sink = Callable[[Event], None]

_EVERY = 0.1  # seconds between two events of a task


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
