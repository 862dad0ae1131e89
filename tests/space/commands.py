"""Runs commands of ours one after the other, for a server with a Hub of its own.

The endpoint of the Hub is read when a library is imported, so this is a process of its own.
It reads one JSON list of arguments a line, and answers with one JSON object: ``stdout`` and
``error``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.command import run_command


def main(folder: Path) -> None:
    """Run what stdin asks for in ``folder``, until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a command prints past Python is no answer
    for line in sys.stdin:
        answer: dict[str, str | None] = {"stdout": None, "error": None}
        try:
            answer["stdout"], _ = run_command(*json.loads(line), cwd=folder)
        except BaseException as error:  # also SystemExit: the test says what it was
            answer["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
