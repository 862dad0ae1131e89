"""Store one measurement as one file, without loss: all that the ranking needs of a candidate."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hf_sfda.backbones import EXTRACTOR_VERSION
from hf_sfda.config import RankConfig
from hf_sfda.errors import PublishError
from hf_sfda.foreign import read_json
from hf_sfda.metrics import list_metrics
from hf_sfda.publish.names import slug
from hf_sfda.ranking import Scored
from hf_sfda.secrets import redact
from hf_sfda.types import Candidate, ModelRow, Score, Target, read_warnings
from hf_sfda.versions import __version__

RECORD_SCHEMA = 1
"""Version of the record files. It is part of the pool's name, so raising it starts new pools."""

ROOT = "leaderboard"
_KEY = "hf_sfda"
_CONTRIBUTIONS = "units"
_PATH = re.compile(
    rf"{ROOT}/(?P<folder>[^/]+/[0-9a-f]{{16}})/(?P<model>[^/]+--[^/]+)/(?P<sha>[0-9a-f]{{40}})"
    r"\.(?P<kind>safetensors|json)"
)


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
        raise PublishError(
            f"{name} is damaged ({type(error).__name__}). Remove it from the repository; the next "
            "update measures that model again."
        ) from error


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
        raise PublishError(
            f"{name} is damaged ({type(error).__name__}). Remove it from the repository; the next "
            "update tries that model again."
        ) from error


def _metadata(content: bytes) -> dict[str, str]:
    """The metadata in a safetensors header, which ``safetensors.numpy.load`` does not return."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = read_json(content[8 : 8 + length])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
