"""End the server on Ctrl-C, SIGTERM or when the terminal closes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def until_ended() -> Iterator[None]:
    """Leave the block at the first of these signals, so that its cleanup runs.

    A signal that the process ignores already, for example after ``nohup``, stays ignored. Later
    signals do not interrupt the cleanup. Use it in the main thread only.
    """
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    handled = [number for number in _SIGNALS if before[number] != signal.SIG_IGN]

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in handled:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in handled:
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number in handled:
            signal.signal(number, before[number])
