"""How the server is told to end: by Ctrl-C, SIGTERM, or a terminal that closes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def until_ended() -> Iterator[None]:
    """Leave the block at the first of these signals, so that its clean-up runs.

    A signal that this process was started to ignore, as with ``nohup``, stays ignored. Signals
    after the first do not interrupt the clean-up. For the main thread only.
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
