"""``journal.jsonl`` in the run directory: the events of a run, one JSON object per line."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hf_sfda.errors import ConfigError, StoreError
from hf_sfda.foreign import ForeignError, clean_all, read_json, read_json_file, visible_json
from hf_sfda.secrets import redact

_JOURNAL = "journal.jsonl"


def prepare_directory(directory: Path | None, dataset: str | None = None) -> None:
    """Create the run directory and check that it is writable, before any work is done.

    Args:
        directory: The run directory; ``None`` does nothing.
        dataset: The dataset of the run, for :func:`refuse_other_dataset`.

    Raises:
        ConfigError: The directory contains a run on another dataset.
        StoreError: The directory is not writable.
    """
    if directory is None:
        return
    if dataset is not None:
        refuse_other_dataset(directory, dataset)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / _JOURNAL).touch()
    except OSError as error:
        raise StoreError(
            f"Cannot write the run directory {directory}: {error.strerror or error}. "
            "Choose another one with --out."
        ) from error


def refuse_other_dataset(directory: Path, dataset: str) -> None:
    """Check that a run directory is new or contains a run on this dataset.

    Otherwise two runs would overwrite each other's files, and `hf-sfda publish` could publish the
    wrong one.

    Raises:
        ConfigError: The directory contains a run on another dataset.
    """
    other = _dataset_in(directory)
    if other is None or other == clean_all(dataset) or _is_same_path(other, dataset):
        return
    raise ConfigError(
        f"{directory} holds a run on {other}, and this one is on {dataset}. Choose another "
        "directory with --out, or move that one away."
    )


def _dataset_in(directory: Path) -> str | None:
    """The dataset of a run directory; ``None`` if unknown, for example in a new directory."""
    try:
        ranking = read_json_file(directory / "ranking.json")
        return str(ranking["config"]["dataset"])
    except (OSError, ForeignError, KeyError, TypeError):
        pass  # there is no finished run, but the journal may show one that has started
    targets = [event["id"] for event in read_events(directory, "target") if "id" in event]
    return str(targets[-1]) if targets else None


def read_events(directory: Path, name: str) -> list[dict[str, Any]]:
    """The events of one name, oldest first; empty if there is no journal."""
    try:
        lines = (directory / _JOURNAL).read_bytes().splitlines()
    except OSError:
        return []
    events = []
    for line in lines:
        try:
            event = read_json(line)
            if event["event"] == name:
                events.append(event)
        except (ForeignError, KeyError, TypeError):
            continue  # a partial line of a killed process
    return events


def _is_same_path(first: str, second: str) -> bool:
    """Whether two paths refer to the same file or folder of this machine."""
    try:
        return Path(first).samefile(Path(second))
    except (OSError, ValueError):  # one of them is not an existing path
        return False


class Journal:
    """Appends events line by line, so that a killed run leaves a readable file.

    Args:
        directory: The existing run directory; ``None`` for no journal.
    """

    def __init__(self, directory: Path | None) -> None:
        self._path = directory / _JOURNAL if directory else None
        self._checked = False

    def write(self, event: str, **facts: Any) -> None:
        """Append one event. If writing fails, the journal stops but the run continues."""
        if self._path is None:
            return
        self._end_broken_line()
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), "event": event, **facts}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(visible_json(redact(json.dumps(line, ensure_ascii=False))) + "\n")
        except OSError:
            self._path = None

    def _end_broken_line(self) -> None:
        """Add the missing line break after a partial line, which a killed process has left."""
        if self._path is None or self._checked:
            return
        self._checked = True
        with suppress(OSError), self._path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)  # fails for an empty file
            if file.read() != b"\n":
                file.write(b"\n")
