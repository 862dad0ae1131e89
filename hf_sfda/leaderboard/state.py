"""The state of a leaderboard's repository at one commit: settings, log, rows, measurements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.foreign import read_json
from hf_sfda.hub.access import Repo, download_files, find_head, list_files, read_file
from hf_sfda.leaderboard.decide import PublishedStatus
from hf_sfda.leaderboard.record import Measurement, measurements_in
from hf_sfda.leaderboard.settings import SETTINGS_FILE, Settings, parse_settings
from hf_sfda.publish.results_dataset import load_results
from hf_sfda.publish.row_files import Row

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LOG_FILE = "leaderboard/log.jsonl"

Event = dict[str, Any]
"""A line of the log, see :func:`hf_sfda.leaderboard.update_commit.log_event`."""


@dataclass(frozen=True)
class State:
    """A leaderboard at a commit.

    Attributes:
        repo: The results dataset.
        head: The commit.
        paths: The paths of all files.
        settings: The parsed ``leaderboard.yaml``.
        log: The content of the log, oldest line first; empty before the first update.
        readme: The card.
        rows: All published scores.
        finetuning: All published rows about fine-tuning.
    """

    repo: Repo
    head: str
    paths: tuple[str, ...]
    settings: Settings
    log: bytes
    readme: bytes | None
    rows: tuple[Row, ...]
    finetuning: tuple[Row, ...] = ()

    @property
    def measurements(self) -> list[Measurement]:
        """All measurements, of all pools."""
        return measurements_in(self.paths)

    @property
    def events(self) -> list[Event]:
        """The parsed lines of the log."""
        return parse_log(self.log, self.repo)

    def last_event(self, folder: str) -> Event | None:
        """The newest line of the log about a pool, or ``None``."""
        return next((e for e in reversed(self.events) if e["pool"] == folder), None)

    def published(self, folder: str) -> frozenset[PublishedStatus]:
        """The statuses in the newest published ranking of a pool; empty if there is none."""
        event = self.last_event(folder)
        run = event["run"] if event else None
        return frozenset(
            (row["model"], row["model_revision"], row["status"])
            for row in self.rows
            if run is not None and row["run"] == run
        )


def read_state(api: HfApi, repo: Repo) -> State:
    """Read a leaderboard at its newest commit.

    Raises:
        PublishError: The repository does not exist, is not a leaderboard, or cannot be read.
        ConfigError: Its ``leaderboard.yaml`` is invalid.
    """
    head = find_head(api, repo)
    paths = tuple(list_files(api, repo, head)) if head else ()
    if head is None or SETTINGS_FILE not in paths:
        problem = "does not exist" if head is None else f"holds no {SETTINGS_FILE}"
        raise PublishError(
            f"{repo} {problem}. Make a leaderboard first: "
            f"hf-sfda leaderboard init {repo.id} --dataset ORG/NAME"
        )
    settings = parse_settings(
        read_file(api, repo, SETTINGS_FILE, head) or b"", f"{SETTINGS_FILE} of {repo.id}"
    )
    rows, finetuning = load_results(api, repo, head, paths)
    return State(
        repo=repo,
        head=head,
        paths=paths,
        settings=settings,
        log=(read_file(api, repo, LOG_FILE, head) or b"") if LOG_FILE in paths else b"",
        readme=read_file(api, repo, "README.md", head) if "README.md" in paths else None,
        rows=tuple(rows),
        finetuning=tuple(finetuning),
    )


def read_records(api: HfApi, state: State, measurements: list[Measurement]) -> dict[str, bytes]:
    """Download measurements; return path -> content.

    Raises:
        PublishError: The request fails.
    """
    if not measurements:
        return {}
    folder = download_files(api, state.repo, [m.path for m in measurements], state.head)
    return {m.path: (folder / m.path).read_bytes() for m in measurements}


def parse_log(content: bytes, repo: Repo) -> list[Event]:
    """Parse the lines of a log.

    Raises:
        PublishError: A line is not JSON or lacks a required key.
    """
    events: list[Event] = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            event = read_json(line)
            events.append(event | {"pool": event["pool"], "run": event["run"]})
        except (ValueError, KeyError, TypeError) as error:
            raise PublishError(
                f"Line {number} of {LOG_FILE} in {repo} is not what hf-sfda writes. Repair or "
                "remove that line; nothing was changed."
            ) from error
    return events
