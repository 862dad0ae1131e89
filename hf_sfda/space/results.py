"""A results dataset as the Space shows it: read at most once a minute, kept while the Hub is down.

A visitor never waits for the Hub but the first one: whoever comes after sees what is there, and
what is old is read again behind their back.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from hf_sfda.errors import ConfigError, PublishError, SfdaError
from hf_sfda.files import write_atomically
from hf_sfda.foreign import bounded, read_json_file
from hf_sfda.hub import hub_api
from hf_sfda.publish.access import Repo, find_head
from hf_sfda.publish.leaderboards import Leaderboard, make_leaderboards
from hf_sfda.publish.results_dataset import load_rows
from hf_sfda.publish.rows import Row, dump_rows, read_results

MAX_AGE = 60.0
"""Seconds after which results are read again; an update is seen within about a minute."""


@dataclass(frozen=True)
class Snapshot:
    """What is known of a results dataset.

    Attributes:
        repo: Where it lives.
        sha: The commit that was read; ``None`` if nothing was.
        rows: All of them.
        boards: Made of the rows.
        read_at: When that commit was known to be the newest; ``None`` if nothing was read.
        problem: Why it could not be read just now; then the rest is what was read before.
    """

    repo: Repo
    sha: str | None = None
    rows: tuple[Row, ...] = ()
    boards: tuple[Leaderboard, ...] = ()
    read_at: datetime | None = None
    problem: str | None = None

    def board(self, name: str | None) -> Leaderboard | None:
        """The board of that name, else the first one, if there is any."""
        named = [board for board in self.boards if board_name(board) == name]
        return next(iter([*named, *self.boards]), None)


def board_name(board: Leaderboard) -> str:
    """How a board is called in menus and links: ``org/name:config @split``."""
    about = board.about
    config = f":{about['dataset_config']}" if about["dataset_config"] else ""
    split = f" @{about['dataset_split']}" if about["dataset_split"] not in (None, "train") else ""
    return f"{about['dataset']}{config}{split}"


def modality_of(board: Leaderboard) -> str:
    """``images`` or ``texts``, as the task says."""
    return "images" if "image" in str(board.about["task"]) else "texts"


class Results:
    """A results dataset that is read again when it has become old.

    Args:
        repo_id: ``OWNER/NAME`` of the dataset.
        token: Of whoever may read it; no visitor ever sees or uses it.
        folder: Where the last good rows are kept over a restart; ``None`` keeps them in memory.
        max_age: Seconds.
        clock: For the tests.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        token: str | None = None,
        folder: Path | None = None,
        max_age: float = MAX_AGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        repo_id = repo_id.removeprefix("datasets/")
        if repo_id.count("/") != 1 or not all(repo_id.split("/")):
            raise ConfigError(
                f"The results dataset is given as {repo_id!r}; give OWNER/NAME, such as me/results."
            )
        self.repo = Repo(repo_id, "dataset")
        self.api = hub_api(token)
        self._file = folder and folder / f"{repo_id.replace('/', '--')}.parquet"
        self._max_age, self._clock = max_age, clock
        self._known: Snapshot | None = None
        self._asked = 0.0
        self._lock = threading.Lock()  # held while the Hub is asked

    def snapshot(self) -> Snapshot:
        """What is known; the first call reads it, later ones never wait."""
        if self._known is None:
            with self._lock:
                if self._known is None:
                    self._refresh()
        elif self._clock() - self._asked > self._max_age and self._lock.acquire(blocking=False):
            threading.Thread(target=self._refresh_and_release, daemon=True).start()
        known = self._known
        assert known is not None
        return known

    def refresh(self) -> Snapshot:
        """Read it now."""
        with self._lock:
            self._refresh()
        return self.snapshot()

    def _refresh_and_release(self) -> None:
        try:
            self._refresh()
        finally:
            self._lock.release()

    def _refresh(self) -> None:
        before = self._known or self._from_disk()
        try:
            self._known = self._read(before)
        except SfdaError as error:
            self._known = replace(before, problem=bounded(str(error)))
        self._asked = self._clock()

    def _read(self, before: Snapshot) -> Snapshot:
        sha = find_head(self.api, self.repo)
        now = datetime.now(UTC)
        if sha is None:
            raise PublishError(
                f"There is no dataset {self.repo.id}, or this Space may not read it. Publish to it "
                f"with `hf-sfda publish RUN --to {self.repo.id}`, or set HF_TOKEN if it is private."
            )
        if sha == before.sha:
            return replace(before, read_at=now, problem=None)
        snapshot = _snapshot(self.repo, sha, load_rows(self.api, self.repo, sha), now)
        self._to_disk(snapshot)
        return snapshot

    def _from_disk(self) -> Snapshot:
        if self._file is None or not self._file.is_file():
            return Snapshot(self.repo)
        try:
            about = read_json_file(self._file.with_suffix(".json"))
            rows = read_results(self._file, self._file.name)
            return _snapshot(self.repo, about["sha"], rows, datetime.fromisoformat(about["at"]))
        except (SfdaError, OSError, ValueError, KeyError, TypeError):
            return Snapshot(self.repo)  # a copy that cannot be read is no copy

    def _to_disk(self, snapshot: Snapshot) -> None:
        if self._file is None or snapshot.read_at is None:
            return
        about = {"sha": snapshot.sha, "at": snapshot.read_at.isoformat()}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, dump_rows(snapshot.rows))
            write_atomically(self._file.with_suffix(".json"), json.dumps(about).encode())
        except OSError:
            return  # the copy is for bad days; a full disk must not make one of this


def _snapshot(repo: Repo, sha: str, rows: list[Row], read_at: datetime) -> Snapshot:
    return Snapshot(repo, sha, tuple(rows), tuple(make_leaderboards(rows)), read_at)
