"""Failures on purpose: wrong statuses, cut bodies, delays, dropped connections."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["ACTIONS", "RATE_LIMITED", "Fault", "Faults"]

ACTIONS = {
    "status": "answer `status` with `headers` at once; nothing is done",
    "cut": "do it, promise the whole body, send half of it, close the connection",
    "half": "do it, send half of the body and say that it is all",
    "corrupt": "do it, send a body of the right length with wrong bytes",
    "replace": "do it, send `content` instead of the body",
    "trickle": "do it, send the body a byte every `seconds`",
    "reset": "do it, send half of the body and reset the connection",
    "redirect": "send the client to the address it asked for",
    "call": "call `function`, then do it",
    "delay": "wait `seconds`, then do it",
    "drop": "close the connection without an answer; nothing is done",
    "lose": "do it, then close the connection without an answer",
}

RATE_LIMITED = {
    "RateLimit": '"api";r=0;t=0',
    "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
}


@dataclass
class Fault:
    """One kind of failure and how often it still has to happen."""

    method: str | None
    pattern: re.Pattern[str]
    action: str
    status: int
    headers: dict[str, str]
    seconds: float
    times: int | None
    skip: int
    content: bytes = b""
    function: Callable[[], object] | None = None
    hits: int = 0

    def take(self, method: str, path: str) -> bool:
        """Whether this request is hit; counts it."""
        if self.method not in (None, method) or not self.pattern.search(path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


@dataclass
class Faults:
    """The failures in force; the first one that matches a request hits it."""

    active: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self,
        *,
        path_regex: str = "",
        method: str | None = None,
        action: str = "status",
        status: int = 503,
        headers: dict[str, str] | None = None,
        seconds: float = 0.0,
        times: int | None = 1,
        skip: int = 0,
        content: bytes = b"",
        function: Callable[[], object] | None = None,
    ) -> Fault:
        """Let requests fail.

        Args:
            path_regex: Searched in the decoded path (without query).
            method: Only this HTTP method; any by default. A HEAD is not a GET here.
            action: One of ``ACTIONS``.
            status: The status for ``action="status"``.
            headers: Headers of that answer; a 429 gets the Hub's rate limit headers by itself.
            seconds: The wait of ``action="delay"``.
            times: How many requests fail; ``None`` is all of them.
            skip: How many matching requests go well before that.
            content: The body of ``action="replace"``.
            function: What ``action="call"`` calls.

        Returns:
            The fault; its ``hits`` tells how often it happened.
        """
        if action not in ACTIONS:
            raise ValueError(f"Unknown action {action!r}; allowed: {', '.join(ACTIONS)}.")
        if headers is None:
            headers = dict(RATE_LIMITED) if status == 429 else {}
        pattern = re.compile(path_regex)
        fault = Fault(
            method, pattern, action, status, headers, seconds, times, skip, content, function
        )
        with self._lock:
            self.active.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self.active.clear()

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that hits this request, if any."""
        with self._lock:
            return next((fault for fault in self.active if fault.take(method, path)), None)
