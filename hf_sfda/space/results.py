"""The results dataset of the Space: read at most once a minute, and cached for Hub outages.

Only the first visitor waits for the Hub. Later visitors see the cached results; stale results are
refreshed in the background.
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
from hf_sfda.hub.access import Repo, find_head, is_repo_id
from hf_sfda.publish.finetuning_rows import dump_finetuning, read_finetuning
from hf_sfda.publish.leaderboards import Leaderboard, make_leaderboards
from hf_sfda.publish.results_dataset import load_results
from hf_sfda.publish.row_files import Row
from hf_sfda.publish.rows import dump_rows, read_results
from hf_sfda.publish.track_record import TrackRecord, track_record
from hf_sfda.space.settings import MAX_AGE


@dataclass(frozen=True)
class Snapshot:
    """The content of a results dataset at one time.

    Attributes:
        repo: The results dataset.
        sha: The commit that was read; ``None`` if it was never read.
        rows: All scores.
        finetuning: All rows about fine-tuning.
        leaderboards: The leaderboards made from the rows.
        record: How good the first picks of the leaderboards were; ``None`` if it is unknown.
        read_at: Last time at which this commit was the newest; ``None`` if it was never read.
        problem: Why the last read failed; then the other attributes are older.
    """

    repo: Repo
    sha: str | None = None
    rows: tuple[Row, ...] = ()
    finetuning: tuple[Row, ...] = ()
    leaderboards: tuple[Leaderboard, ...] = ()
    record: TrackRecord | None = None
    read_at: datetime | None = None
    problem: str | None = None

    def leaderboard(self, name: str | None) -> Leaderboard | None:
        """The leaderboard of this name, or else the first one; ``None`` if there are none."""
        named = [
            leaderboard
            for leaderboard in self.leaderboards
            if leaderboard_name(leaderboard) == name
        ]
        return next(iter([*named, *self.leaderboards]), None)


def leaderboard_name(leaderboard: Leaderboard) -> str:
    """The name of a leaderboard in menus and links: ``org/name:config @split``."""
    about = leaderboard.about
    config = f":{about['dataset_config']}" if about["dataset_config"] else ""
    split = f" @{about['dataset_split']}" if about["dataset_split"] not in (None, "train") else ""
    return f"{about['dataset']}{config}{split}"


def modality_of(leaderboard: Leaderboard) -> str:
    """The modality of a leaderboard, ``images``, ``texts`` or ``sounds``, from its task."""
    modality = str(leaderboard.about["task"]).partition("-")[0]
    return {"image": "images", "audio": "sounds"}.get(modality, "texts")


class Results:
    """Reads a results dataset and caches it.

    Args:
        repo_id: ``OWNER/NAME`` of the dataset.
        token: A token that may read it. It is used for nothing else.
        folder: Folder for a copy of the rows, which survives a restart; ``None`` for no copy.
        max_age: Seconds after which the dataset is read again.
        clock: Returns the time in seconds; replaced in tests.
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
        if not is_repo_id(repo_id):
            raise ConfigError(
                f"The results dataset is given as {repo_id!r}; give OWNER/NAME, such as me/results."
            )
        self.repo = Repo(repo_id, "dataset")
        self.api = hub_api(token)
        self._file = folder and folder / f"{repo_id.replace('/', '--')}.parquet"
        self._max_age, self._clock = max_age, clock
        self._latest: Snapshot | None = None
        self._last_read = 0.0
        self._lock = threading.Lock()  # held while reading from the Hub

    def snapshot(self) -> Snapshot:
        """The latest snapshot. Only the first call waits for the Hub."""
        if self._latest is None:
            with self._lock:
                if self._latest is None:
                    self._refresh()
        elif self._clock() - self._last_read > self._max_age and self._lock.acquire(blocking=False):
            threading.Thread(target=self._refresh_and_release, daemon=True).start()
        latest = self._latest
        assert latest is not None
        return latest

    def refresh(self) -> Snapshot:
        """Read the dataset now and return the new snapshot."""
        with self._lock:
            self._refresh()
        return self.snapshot()

    def _refresh_and_release(self) -> None:
        try:
            self._refresh()
        finally:
            self._lock.release()

    def _refresh(self) -> None:
        before = self._latest or self._from_disk()
        try:
            self._latest = self._read(before)
        except SfdaError as error:
            self._latest = replace(before, problem=bounded(str(error)))
        self._last_read = self._clock()

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
        rows, finetuning = load_results(self.api, self.repo, sha)
        snapshot = _snapshot(self.repo, sha, rows, finetuning, now)
        self._to_disk(snapshot)
        return snapshot

    def _from_disk(self) -> Snapshot:
        if self._file is None or not self._file.is_file():
            return Snapshot(self.repo)
        try:
            about = read_json_file(self._file.with_suffix(".json"))
            rows = read_results(self._file, self._file.name)
            finetuning = read_finetuning(self._finetuning_file, self._finetuning_file.name)
            read_at = datetime.fromisoformat(about["at"])
            return _snapshot(self.repo, about["sha"], rows, finetuning, read_at)
        except (SfdaError, OSError, ValueError, KeyError, TypeError):
            return Snapshot(self.repo)  # ignore a damaged copy

    @property
    def _finetuning_file(self) -> Path:
        assert self._file is not None
        return self._file.with_suffix(".finetuning")

    def _to_disk(self, snapshot: Snapshot) -> None:
        if self._file is None or snapshot.read_at is None:
            return
        about = {"sha": snapshot.sha, "at": snapshot.read_at.isoformat()}
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._file, dump_rows(snapshot.rows))
            write_atomically(self._finetuning_file, dump_finetuning(snapshot.finetuning))
            write_atomically(self._file.with_suffix(".json"), json.dumps(about).encode())
        except OSError:
            return  # the copy is only needed during outages, so a full disk is not an error


def _snapshot(
    repo: Repo, sha: str, rows: list[Row], finetuning: list[Row], read_at: datetime
) -> Snapshot:
    return Snapshot(
        repo,
        sha,
        tuple(rows),
        tuple(finetuning),
        tuple(make_leaderboards(rows, finetuning)),
        track_record(rows, finetuning),
        read_at,
    )
