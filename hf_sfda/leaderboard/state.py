"""What the repository of a leaderboard holds: settings, log, rows, and measurements.

One measurement is one file. It holds, without loss, all that the ranking needs of a candidate.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda.backbones import EXTRACTOR_VERSION
from hf_sfda.config import RankConfig
from hf_sfda.errors import PublishError
from hf_sfda.foreign import read_json
from hf_sfda.hub import hub_api
from hf_sfda.hub.access import (
    Account,
    Repo,
    find_head,
    list_files,
    read_file,
    who_am_i,
)
from hf_sfda.leaderboard.settings import SETTINGS_FILE, Settings, parse_settings
from hf_sfda.metrics import list_metrics
from hf_sfda.publish.names import slug
from hf_sfda.publish.results_dataset import check_results_repo, load_results
from hf_sfda.publish.row_files import Row
from hf_sfda.ranking.assemble import Scored
from hf_sfda.secrets import redact
from hf_sfda.types import Candidate, ModelRow, Score, Target, read_warnings
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

RECORD_SCHEMA = 1
"""Version of the record files. It is part of the pool's name, so raising it starts new pools."""

LOG_FILE = "leaderboard/log.jsonl"
ROOT = "leaderboard"
_KEY = "hf_sfda"
_CONTRIBUTIONS = "units"
_PATH = re.compile(
    rf"{ROOT}/(?P<folder>[^/]+/[0-9a-f]{{16}})/(?P<model>[^/]+--[^/]+)/(?P<sha>[0-9a-f]{{40}})"
    r"\.(?P<kind>safetensors|json)"
)

Event = dict[str, Any]
"""A line of the log, see :func:`hf_sfda.leaderboard.update.log_event`."""

PublishedStatus = tuple[str, str | None, str]
"""(model, commit, status) of a candidate in a published ranking."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The path of a measurement in the repository, taken apart.

    Attributes:
        folder: The pool's folder, ``<dataset>/<pool>``.
        model: The model's Hub id.
        sha: The model's commit.
        ok: Whether the file has scores; if not, it has the reason of the failure.
        path: The path in the repository.
    """

    folder: str
    model: str
    sha: str
    ok: bool
    path: str


def pool_folder(target: Target, config: RankConfig) -> str:
    """The folder of a pool: measurements with the same samples, settings and code version.

    Only scores of the same pool are comparable. A new minor version of hf-sfda starts a new pool,
    because its scores may differ; a patch release does not.
    """
    code = [RECORD_SCHEMA, EXTRACTOR_VERSION, __version__.split(".")[:2]]
    text = json.dumps([*code, target.fingerprint, config.fingerprint()])
    pool = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{dataset_folder(config)}/{pool}"


def dataset_folder(config: RankConfig) -> str:
    """The folder that contains all pools of a dataset."""
    return slug(config.dataset.replace(":", "/"), config.split)


def record_path(folder: str, model: str, sha: str, *, ok: bool) -> str:
    """The path of a measurement. A Hub id contains no ``--``, so the path can be parsed again."""
    suffix = "safetensors" if ok else "json"
    return f"{ROOT}/{folder}/{model.replace('/', '--')}/{sha}.{suffix}"


def read_path(path: str) -> Measurement | None:
    """Parse the path of a measurement; ``None`` if the path is not one."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    model = match["model"].replace("--", "/", 1)
    return Measurement(match["folder"], model, match["sha"], match["kind"] == "safetensors", path)


def measurements_in(paths: Iterable[str]) -> list[Measurement]:
    """The measurements among the files of a repository."""
    return [parsed for path in paths if (parsed := read_path(path)) is not None]


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


def open_leaderboard(repo_id: str, token: str | None) -> tuple[HfApi, Account, State]:
    """Read a leaderboard that we may write to.

    Args:
        repo_id: The results dataset with the ``leaderboard.yaml``.
        token: Hub token with write access; ``None`` uses the current login.

    Raises:
        PublishError: There is no leaderboard, or the token may not write there.
        ConfigError: Its ``leaderboard.yaml`` is invalid.
    """
    api, repo = hub_api(token), Repo(repo_id, "dataset")
    me = who_am_i(api)
    check_results_repo(api, me, repo)
    return api, me, read_state(api, repo)


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


def dump_scored(scored: Scored) -> bytes:
    """Write a measurement as safetensors: arrays as float64, all else as JSON in the header."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {
        f"per_sample.{name}": score.per_sample
        for name, score in scored.scores.items()
        if score.per_sample is not None
    }
    if scored.contributions is not None:
        arrays[_CONTRIBUTIONS] = scored.contributions
    about = {
        "candidate": asdict(scored.candidate) | {"path": None},
        "scores": {
            name: {"value": s.value, "details": dict(s.details), "warnings": list(s.warnings)}
            for name, s in scored.scores.items()
        },
        "floor": scored.floor,
        "feature_dim": scored.feature_dim,
        "params": scored.params,
        "samples_per_second": scored.samples_per_second,
        "feature_key": scored.feature_key,
        "warnings": [warning.text for warning in scored.warnings],
        "warning_metrics": [warning.metric for warning in scored.warnings],
    }
    text = redact(json.dumps(about, sort_keys=True, default=float))
    # safetensors writes the memory as it is, so make each array contiguous and little-endian.
    arrays = {name: np.ascontiguousarray(a, dtype="<f8") for name, a in arrays.items()}
    return bytes(save(arrays, metadata={_KEY: text}))


def load_scored(content: bytes, name: str) -> Scored:
    """Read a measurement that :func:`dump_scored` wrote.

    Args:
        content: Content of the file.
        name: The file's name in error messages.

    Raises:
        PublishError: The file is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(content)
        about = read_json(_metadata(content)[_KEY])
        scores = {
            metric: Score(
                metric=metric,
                value=values["value"],
                per_sample=arrays.get(f"per_sample.{metric}"),
                details=values["details"],
                warnings=tuple(values["warnings"]),
            )
            for metric, values in about.pop("scores").items()
        }
        warnings = read_warnings(
            about.pop("warnings"),
            about.pop("warning_metrics", None),
            [metric.name for metric in list_metrics()],
        )
        candidate = Candidate(**about.pop("candidate"))
        return Scored(
            candidate=candidate,
            scores=scores,
            contributions=arrays.get(_CONTRIBUTIONS),
            warnings=warnings,
            **about,
        )
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(name, error, "measures") from error


def dump_failure(row: ModelRow) -> bytes:
    """Write why a checkpoint could not be measured; later updates do not try this commit again."""
    row_dict: dict[str, Any] = asdict(row)
    failure = {
        key: row_dict[key] for key in ("model_id", "revision", "status", "reason", "library")
    }
    return redact(json.dumps(failure, ensure_ascii=False, sort_keys=True)).encode()


def load_failure(content: bytes, name: str) -> ModelRow:
    """Read a failure that :func:`dump_failure` wrote.

    Args:
        content: Content of the file.
        name: The file's name in error messages.

    Raises:
        PublishError: The file is damaged.
    """
    try:
        return ModelRow(**read_json(content))
    except (ValueError, TypeError) as error:
        raise _damaged(name, error, "tries") from error


def _damaged(name: str, error: Exception, does: str) -> PublishError:
    return PublishError(
        f"{name} is damaged ({type(error).__name__}). Remove it from the repository; the next "
        f"update {does} that model again."
    )


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata in a safetensors header, which ``safetensors.numpy.load`` does not return."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = read_json(content[8 : 8 + length])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
