"""``journal.jsonl`` in the run directory: what happened when, one line an event."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hf_sfda.errors import ConfigError, StoreError
from hf_sfda.foreign import ForeignError, clean_all, read_json, read_json_file, visible_json
from hf_sfda.hub import redact

_JOURNAL = "journal.jsonl"


def prepare_directory(directory: Path | None, dataset: str | None = None) -> None:
    """Make the run directory and see that it can be written, before any work is done.

    Args:
        directory: The run directory; ``None`` does nothing.
        dataset: What is ranked on, for :func:`refuse_other_dataset`.

    Raises:
        ConfigError: It belongs to a run on another dataset.
        StoreError: It cannot be written.
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
    """See that a run directory is new, or holds a run on this dataset.

    Two datasets in one directory would overwrite each other, and `hf-sfda publish` would publish
    the wrong one.

    Raises:
        ConfigError: It holds a run on another dataset.
    """
    other = _dataset_in(directory)
    if other is None or other == clean_all(dataset) or _same_place(other, dataset):
        return
    raise ConfigError(
        f"{directory} holds a run on {other}, and this one is on {dataset}. Choose another "
        "directory with --out, or move that one away."
    )


def _dataset_in(directory: Path) -> str | None:
    """What a run directory was ranked on; ``None`` if that is not known, as in a new one."""
    try:
        ranking = read_json_file(directory / "ranking.json")
        return str(ranking["config"]["dataset"])
    except (OSError, ForeignError, KeyError, TypeError):
        pass  # no finished run: the journal knows whether one has begun
    try:
        lines = (directory / _JOURNAL).read_bytes().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            event = read_json(line)
            if event["event"] == "target":
                return str(event["id"])
        except (ForeignError, KeyError, TypeError):
            continue  # a process was killed in the middle of this line
    return None


def _same_place(first: str, second: str) -> bool:
    """Whether two spellings lead to one file or folder of this machine."""
    try:
        return Path(first).samefile(Path(second))
    except (OSError, ValueError):  # one of them is no path here
        return False


class Journal:
    """Appends events, a line at a time, so that a killed run leaves a readable file.

    Args:
        directory: The run directory, already made; ``None`` keeps no journal.
    """

    def __init__(self, directory: Path | None) -> None:
        self._path = directory / _JOURNAL if directory else None
        self._checked = False

    def write(self, event: str, **facts: Any) -> None:
        """Append one event. A full disk silences the journal; it does not end the run."""
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
        """End the line that a process was killed in, so that it spoils no other one."""
        if self._path is None or self._checked:
            return
        self._checked = True
        with suppress(OSError), self._path.open("rb+") as file:
            file.seek(-1, os.SEEK_END)  # fails for an empty file
            if file.read() != b"\n":
                file.write(b"\n")
