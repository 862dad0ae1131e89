"""Import what every run needs in a thread, while the dataset is read.

Reading waits for the network and for the disk; torch and accelerate take seconds of processor time.
Whoever needs a library imports it as usual, and Python makes it wait for the thread. If the import
fails in the thread, it is tried again there, so the error appears where it always did.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import os
import sys
import threading
from contextlib import suppress

_LIBRARIES = ("torch", "accelerate")
"""Needed by every run. transformers is not: a run with stored features opens no checkpoint."""

_thread: threading.Thread | None = None


def import_ahead() -> None:
    """Begin the imports in a thread, once a process; do nothing if torch is imported already."""
    global _thread
    if _thread is None and "torch" not in sys.modules:
        _thread = threading.Thread(target=_import_libraries, name="hf-sfda imports")
        _thread.start()


def leave_at_once_if_importing(code: int) -> None:
    """End this process with an exit code if the imports are under way; otherwise return.

    Python waits for its threads before it ends, and a library cannot be interrupted while it is
    imported. A user who has mistyped the name of a dataset should not wait for torch.

    Args:
        code: The exit code.
    """
    if _thread is None or not _thread.is_alive():
        return
    atexit._run_exitfuncs()  # os._exit does not call them
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _import_libraries() -> None:
    for name in _LIBRARIES:
        try:
            importlib.import_module(name)
        except BaseException:  # an exception would be printed by the thread
            logging.getLogger(__name__).debug("importing %s ahead failed", name, exc_info=True)
            return
