"""One measurement as one file: everything that ranking needs of a candidate, to the last bit."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hf_sfda import __version__
from hf_sfda.backbones import EXTRACTOR_VERSION
from hf_sfda.config import RankConfig
from hf_sfda.errors import PublishError
from hf_sfda.foreign import read_json
from hf_sfda.hub import redact
from hf_sfda.publish.names import slug
from hf_sfda.ranking import Scored
from hf_sfda.types import Candidate, ModelRow, Score, Target

RECORD_SCHEMA = 1
"""Part of every pool's name: raising it starts new pools instead of misreading old records."""

ROOT = "leaderboard"
_KEY = "hf_sfda"
_UNITS = "units"
_PATH = re.compile(
    rf"{ROOT}/(?P<folder>[^/]+/[0-9a-f]{{16}})/(?P<model>[^/]+--[^/]+)/(?P<sha>[0-9a-f]{{40}})"
    r"\.(?P<kind>safetensors|json)"
)


@dataclass(frozen=True, slots=True)
class Known:
    """A measurement the repository holds.

    Attributes:
        folder: Of the pool, ``<dataset>/<pool>``.
        model: Hub id.
        sha: Its commit.
        ok: Whether it has scores; if not, the reason is in the file.
        path: In the repository.
    """

    folder: str
    model: str
    sha: str
    ok: bool
    path: str


def pool_folder(target: Target, config: RankConfig) -> str:
    """Names the pool in which scores may be compared: same samples, same settings, same code.

    A new minor version of hf-sfda starts a new pool, because a score may mean something else
    there; a patch release does not.
    """
    code = [RECORD_SCHEMA, EXTRACTOR_VERSION, __version__.split(".")[:2]]
    text = json.dumps([*code, target.fingerprint, config.fingerprint()])
    pool = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{dataset_folder(config)}/{pool}"


def dataset_folder(config: RankConfig) -> str:
    """The folder of all pools of a dataset, whichever samples and settings."""
    return slug(config.dataset.replace(":", "/"), config.split)


def record_path(folder: str, model: str, sha: str, *, ok: bool) -> str:
    """Where a measurement is kept. Hub ids hold no ``--``, so the id can be read back."""
    suffix = "safetensors" if ok else "json"
    return f"{ROOT}/{folder}/{model.replace('/', '--')}/{sha}.{suffix}"


def read_path(path: str) -> Known | None:
    """What a path says, or ``None`` if it is no measurement."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    model = match["model"].replace("--", "/", 1)
    return Known(match["folder"], model, match["sha"], match["kind"] == "safetensors", path)


def known_in(paths: Iterable[str]) -> list[Known]:
    """The measurements among the files of a repository."""
    return [known for path in paths if (known := read_path(path)) is not None]


def dump_scored(scored: Scored) -> bytes:
    """A measurement as safetensors: numbers of samples as float64, the rest as JSON beside them."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {
        f"per_sample.{name}": score.per_sample
        for name, score in scored.scores.items()
        if score.per_sample is not None
    }
    if scored.contributions is not None:
        arrays[_UNITS] = scored.contributions
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
        "warnings": list(scored.warnings),
    }
    text = redact(json.dumps(about, sort_keys=True, default=float))
    # A view or another byte order would be written as it lies in memory.
    whole = {name: np.ascontiguousarray(a, dtype="<f8") for name, a in arrays.items()}
    return bytes(save(whole, metadata={_KEY: text}))


def load_scored(content: bytes, name: str) -> Scored:
    """Read back what :func:`dump_scored` wrote.

    Args:
        content: The file.
        name: What to call it in messages.

    Raises:
        PublishError: It is damaged.
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
        warnings = tuple(about.pop("warnings"))
        candidate = Candidate(**about.pop("candidate"))
        return Scored(
            candidate=candidate,
            scores=scores,
            contributions=arrays.get(_UNITS),
            warnings=warnings,
            **about,
        )
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PublishError(
            f"{name} is damaged ({type(error).__name__}). Remove it from the repository; the next "
            "update measures that model again."
        ) from error


def dump_failure(row: ModelRow) -> bytes:
    """Why a checkpoint could not be measured; the same one is not tried again."""
    facts: dict[str, Any] = asdict(row)
    kept = {key: facts[key] for key in ("model_id", "revision", "status", "reason", "library")}
    return redact(json.dumps(kept, ensure_ascii=False, sort_keys=True)).encode()


def load_failure(content: bytes, name: str) -> ModelRow:
    """Read back what :func:`dump_failure` wrote.

    Raises:
        PublishError: It is damaged.
    """
    try:
        return ModelRow(**read_json(content))
    except (ValueError, TypeError) as error:
        raise PublishError(
            f"{name} is damaged ({type(error).__name__}). Remove it from the repository; the next "
            "update tries that model again."
        ) from error


def _metadata(content: bytes) -> dict[str, str]:
    """The text part of a safetensors header, which ``safetensors.numpy.load`` leaves out."""
    length = int.from_bytes(content[:8], "little")
    header: dict[str, Any] = read_json(content[8 : 8 + length])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
