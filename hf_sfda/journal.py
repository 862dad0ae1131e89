"""``journal.jsonl`` in the run directory: what happened when, one line an event."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hf_sfda.errors import StoreError
from hf_sfda.foreign import visible_json
from hf_sfda.hub import redact


def prepare_directory(directory: Path | None) -> None:
    """Make the run directory and see that it can be written, before any work is done.

    Raises:
        StoreError: It cannot.
    """
    if directory is None:
        return
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "journal.jsonl").touch()
    except OSError as error:
        raise StoreError(
            f"Cannot write the run directory {directory}: {error.strerror or error}. "
            "Choose another one with --out."
        ) from error


class Journal:
    """Appends events, a line at a time, so that a killed run leaves a readable file.

    Args:
        directory: The run directory, already made; ``None`` keeps no journal.
    """

    def __init__(self, directory: Path | None) -> None:
        self._path = directory / "journal.jsonl" if directory else None

    def write(self, event: str, **facts: Any) -> None:
        """Append one event. A full disk silences the journal; it does not end the run."""
        if self._path is None:
            return
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **facts}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(visible_json(redact(json.dumps(line, ensure_ascii=False))) + "\n")
        except OSError:
            self._path = None
