"""Children of the tests that must not depend on how the tests were started."""

from __future__ import annotations

import sys
from pathlib import Path

_RESET = """
import os, signal, sys
ignored, *command = sys.argv[1:]
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGCHLD"):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
if int(ignored):
    signal.signal(int(ignored), signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
os.execv(command[0], command)
"""


def with_default_signals(command: list[str | Path], ignored: int | None = None) -> list[str]:
    """The command, started as from a terminal: no signal is ignored or blocked, but for one.

    A test runner in the background of a shell ignores SIGINT, and its children inherit that. The
    process keeps its id, since the command takes the place of this small program.
    """
    return [sys.executable, "-I", "-S", "-c", _RESET, str(ignored or 0), *map(str, command)]
