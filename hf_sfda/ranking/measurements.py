"""``finetuned.json`` in the run directory: the measured accuracies of fine-tuned models.

The file holds every setting that was measured, the latest last, so that measurements on other
samples or by another recipe are never mixed and never lost.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from hf_sfda.errors import ConfigError, StoreError
from hf_sfda.files import write_atomically
from hf_sfda.foreign import read_json_file, visible_json
from hf_sfda.journal import read_events
from hf_sfda.types import Finetuned, Ranking

FILE = "finetuned.json"
_VERSION = 1

logger = logging.getLogger(__name__)


def read_measurements(directory: Path) -> list[Finetuned]:
    """All settings that were measured in a run directory, the latest last.

    Raises:
        ConfigError: The file cannot be read.
    """
    path = directory / FILE
    try:
        document = read_json_file(path)
        if document["schema_version"] != _VERSION:
            raise ValueError(f"its schema version is {document['schema_version']!r}")
        return [Finetuned.from_dict(settings) for settings in document["settings"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{path} is not what this version of hf-sfda writes ({error}). Move it away to measure "
            "again."
        ) from error


def write_measurements(directory: Path, finetuned: Finetuned) -> None:
    """Write the measurements of one setting; those of other settings stay in the file.

    Raises:
        ConfigError: The file is there and cannot be read.
        StoreError: The file cannot be written.
    """
    others = [s for s in read_measurements(directory) if not s.has_settings_of(finetuned)]
    document = {
        "schema_version": _VERSION,
        "settings": [settings.to_dict() for settings in (*others, finetuned)],
    }
    text = json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False)
    try:
        write_atomically(directory / FILE, visible_json(text).encode() + b"\n")
    except OSError as error:
        raise StoreError(
            f"Cannot write {directory / FILE}: {error.strerror or error}. Free some space or "
            "permit writing, and run the same command again."
        ) from error


def measured_times(directory: Path) -> dict[tuple[str, float], str]:
    """When models were measured, from the journal: (model, accuracy) -> UTC time, ISO 8601."""
    return {
        (str(event.get("model")), event["accuracy"]): str(event["time"])
        for event in read_events(directory, "finetuned")
        if isinstance(event.get("accuracy"), float) and _is_time(event.get("time"))
    }


def _is_time(text: object) -> bool:
    try:
        return isinstance(text, str) and datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def latest_of(settings: Sequence[Finetuned], ranking: Ranking) -> Finetuned | None:
    """The latest measurements on the samples of a ranking; ``None`` if there are none."""
    fingerprint = ranking.dataset["fingerprint"]
    mine = [s for s in settings if s.ranked == fingerprint and (s.measurements or s.rounds)]
    return mine[-1] if mine else None


def with_measurements(ranking: Ranking, directory: Path) -> Ranking:
    """A ranking with the measured accuracies of its run directory.

    Measurements on other samples are left aside. If the file cannot be read, a warning is logged:
    a run must not lose its ranking because of it.
    """
    try:
        return replace(ranking, finetuned=latest_of(read_measurements(directory), ranking))
    except ConfigError as error:
        logger.warning("%s", error)
        return ranking
