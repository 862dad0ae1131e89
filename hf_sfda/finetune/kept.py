"""The best fine-tuned network of a run, kept in its folder ``model`` with a note of what it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from hf_sfda.errors import ConfigError
from hf_sfda.finetune.export import Exported
from hf_sfda.foreign import read_json_file
from hf_sfda.types import Finetuned, Measurement, ModelRow, Ranking

FOLDER = "model"
NOTE = "hf-sfda.json"
"""Name of the note in the folder. It is not part of the model."""


@dataclass(frozen=True)
class Kept:
    """What is in the folder.

    Attributes:
        model_id: The checkpoint that was fine-tuned.
        revision: Its commit, or the hash of its folder.
        measured: Hash of its measurement and the settings of that.
        exported: How it was saved.
    """

    model_id: str
    revision: str | None
    measured: str
    exported: Exported

    def is_of(self, finetuned: Finetuned, measurement: Measurement) -> bool:
        """Whether these are the weights that this measurement is about."""
        return self.measured == _digest(finetuned, measurement)


def kept_folder(directory: Path) -> Path:
    """Where a run directory keeps the network."""
    return directory / FOLDER


def read_kept(directory: Path) -> Kept | None:
    """What a run directory keeps; ``None`` if nothing.

    Raises:
        ConfigError: The note cannot be read.
    """
    path = kept_folder(directory) / NOTE
    try:
        note = read_json_file(path)
        return Kept(**{**note, "exported": Exported(**note["exported"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is not what this version of hf-sfda writes ({error}). Move the folder away to "
            "train the model again."
        ) from error


def find_winner(ranking: Ranking, finetuned: Finetuned) -> ModelRow | None:
    """The measured model with the highest value, of equal ones the first of the ranking."""
    pairs = [(row, m) for row in ranking.ranked if (m := finetuned.of(row))]
    return max(pairs, key=lambda pair: pair[1].value)[0] if pairs else None


def is_winner_kept(directory: Path, ranking: Ranking, finetuned: Finetuned) -> bool:
    """Whether the folder holds the best model, with the weights that were measured last."""
    row, kept = find_winner(ranking, finetuned), read_kept(directory)
    measurement = finetuned.of(row) if row else None
    return bool(kept and measurement and kept.is_of(finetuned, measurement))


def keep(
    directory: Path,
    saved: Path,
    finetuned: Finetuned,
    measurement: Measurement,
    exported: Exported,
) -> None:
    """Put a saved network in the place of the one that was kept.

    A kill in between leaves either none or a whole one: the folder is renamed.

    Args:
        directory: The run directory.
        saved: Folder of the saved network, on the same disk; it is moved.
        finetuned: The settings of the measurement.
        measurement: What was measured with these weights.
        exported: How it was saved.

    Raises:
        ConfigError: The place is taken by something else.
        OSError: The folder cannot be written.
    """
    kept = Kept(
        measurement.model_id, measurement.revision, _digest(finetuned, measurement), exported
    )
    (saved / NOTE).write_text(json.dumps(asdict(kept), indent=1), encoding="utf-8")
    place = kept_folder(directory)
    require_ours(directory)
    old = saved.with_name(f"{saved.name}.old")
    shutil.rmtree(old, ignore_errors=True)  # left by a kill
    if place.exists():  # a kill while files are deleted must not leave half a folder in the place
        place.rename(old)
    saved.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def require_ours(directory: Path) -> None:
    """Check that the folder is free or was written by this module.

    Raises:
        ConfigError: It holds something else.
    """
    place = kept_folder(directory)
    if place.exists() and not (place / NOTE).is_file():
        raise ConfigError(f"{place} is there and was not written by hf-sfda. Move it away.")


def _digest(finetuned: Finetuned, measurement: Measurement) -> str:
    settings = [finetuned.ranked, dict(finetuned.data), dict(finetuned.recipe)]
    text = json.dumps([settings, measurement.to_dict()], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
