"""Rows about fine-tuning in a results dataset: what was predicted, and what was measured.

They are in files and a configuration of their own, so that readers of the scores do not see them.
There are two kinds of row:

``predicted``
    One per ranked model of a run whose score is calibrated: how many points of accuracy the model
    is expected to stay behind the best of the run.
``measured``
    One per fine-tuned model of a run and setting: its accuracy, how it was measured, and what the
    run had predicted.

Rows are written once and never changed. The id of a row is a hash of its content without
``measured_at``, which is null if the journal of the run is lost. So the same row is never added
twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.foreign import read_json
from hf_sfda.publish.names import slug
from hf_sfda.publish.row_files import Row, dump_file, is_json_object, read_file, was_changed
from hf_sfda.publish.rows import Run, finite
from hf_sfda.types import Finetuned, Measurement, ModelRow

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "finetuning"
"""The folder of these files in a results dataset, and the name of their configuration."""

_VERSION = 2
"""The schema version that last changed these rows."""

_DIGITS = 16
_ROUNDING = 1e-6

# What a row shares with the row of scores of the same model and run.
_SHARED = (
    "run",
    "created_at",
    "model",
    "model_revision",
    "model_source",
    "dataset",
    "dataset_revision",
    "dataset_config",
    "dataset_split",
    "dataset_fingerprint",
    "task",
    "n_classes",
    "ranked_by",
    "config_fingerprint",
    "rank",
    "rank_low",
    "rank_high",
    "p_best",
)
_SIZES = ("n_train", "n_validation", "n_test")
_NEEDED = (
    "id",
    "model",
    "dataset",
    "dataset_fingerprint",
    "accuracy",
    "low",
    "high",
    "probe_accuracy",
    "learning_rate",
    "epoch",
    "samples_trained",
    "seconds",
    "device",
    "correct",
)


@cache
def schema() -> pa.Schema:
    """The columns of these files."""
    import pyarrow as pa

    text, number, integer = pa.string(), pa.float64(), pa.int64()
    moment = pa.timestamp("ms", tz="UTC")
    return pa.schema(
        {
            "id": text,
            "kind": text,
            # the run that predicted, as in the rows of scores
            "run": text,
            "created_at": moment,
            "model": text,
            "model_revision": text,
            "model_source": text,
            "dataset": text,
            "dataset_revision": text,
            "dataset_config": text,
            "dataset_split": text,
            "dataset_fingerprint": text,
            "task": text,
            "n_classes": integer,
            "ranked_by": text,
            "config_fingerprint": text,
            # what it predicted; expected_regret in points of accuracy, null if not calibrated
            "candidates": integer,
            "rank": integer,
            "rank_low": integer,
            "rank_high": integer,
            "p_best": number,
            "expected_regret": number,
            # what was measured; null in rows of the kind "predicted"
            "measured_at": moment,
            "accuracy": number,
            "low": number,
            "high": number,
            "n_test": integer,
            "correct": text,
            "probe_accuracy": number,
            "learning_rate": number,
            "epoch": integer,
            "samples_trained": integer,
            "seconds": number,
            "device": text,
            "versions": text,
            # how: accuracies with the same settings_fingerprint can be compared
            "settings_fingerprint": text,
            "recipe_version": text,
            "recipe": text,
            "parts": text,
        }
    )


def finetuning_rows(
    run: Run,
    settings: Sequence[Finetuned] = (),
    times: Mapping[tuple[str, float], str] | None = None,
) -> list[Row]:
    """The rows of one run.

    Args:
        run: The run.
        settings: What was measured in its run directory. Measurements on other samples, and of
            models that the run did not rank, are left out.
        times: (model, accuracy) -> time of the measurement, see
            :func:`hf_sfda.measurements.measured_times`.
    """
    mine = [s for s in settings if s.ranked == run.ranking.dataset["fingerprint"]]
    rows: list[Row] = []
    for model in run.ranking.ranked:
        predicted = _predicted(run, model)
        if predicted["expected_regret"] is not None:
            rows.append(_row("predicted", predicted))
        for one in mine:
            if (measurement := one.of(model)) is not None:
                row = _row("measured", {**predicted, **_measured(measurement, one)})
                time = (times or {}).get((measurement.model_id, measurement.accuracy))
                rows.append({**row, "measured_at": time})
    return rows


def path_of(rows: Sequence[Row]) -> str:
    """The path of a file with these rows of one run: rows that differ have another path."""
    digest = _hash([row["id"] for row in rows])
    return f"{FOLDER}/{slug(rows[0]['dataset'], rows[0]['dataset_config'])}/{digest}.parquet"


def dump_finetuning(rows: Iterable[Row]) -> bytes:
    """The rows as a parquet file, to be read with :func:`read_finetuning`."""
    return dump_file(rows, schema(), _VERSION)


def read_finetuning(path: Path, name: str) -> list[Row]:
    """Read the rows of one file.

    Args:
        path: The file.
        name: The file's name in error messages.

    Raises:
        PublishError: hf-sfda did not write the file, or a newer version did.
    """
    rows = read_file(path, name, schema())
    if not all(map(_is_ours, rows)):
        raise was_changed(name, "holds a row that is no prediction and no measurement")
    return rows


def measurement_of(row: Mapping[str, Any]) -> Measurement:
    """The measurement in a row of the kind ``measured``."""
    return Measurement(
        model_id=row["model"],
        revision=row["model_revision"],
        accuracy=row["accuracy"],
        interval=(row["low"], row["high"]),
        probe_accuracy=row["probe_accuracy"],
        learning_rate=row["learning_rate"],
        epoch=row["epoch"],
        samples_trained=row["samples_trained"],
        seconds=row["seconds"],
        device=row["device"],
        correct=row["correct"],
        versions=read_json(row["versions"]),
    )


def finetuned_of(rows: Sequence[Row]) -> Finetuned | None:
    """Comparable rows of the kind ``measured`` as one setting; ``None`` if there are no rows."""
    if not rows:
        return None
    about = rows[0]
    return Finetuned(
        ranked=about["dataset_fingerprint"],
        data=read_json(about["parts"]),
        recipe=read_json(about["recipe"]),
        measurements=tuple(map(measurement_of, rows)),
    )


def _row(kind: str, values: Row) -> Row:
    row = {**dict.fromkeys(schema().names), "kind": kind, **values}
    return {**row, "id": _hash(row)}


def _predicted(run: Run, model: ModelRow) -> Row:
    # Names are not unique, if two local models are in folders of the same name; ranks are.
    scores = next(row for row in run.rows if row["rank"] == model.rank)
    return {
        **{name: scores[name] for name in _SHARED},
        "candidates": len(run.ranking.ranked),
        "expected_regret": finite(model.expected_regret),
    }


def _measured(measurement: Measurement, settings: Finetuned) -> Row:
    low, high = measurement.interval
    version = ".".join(str(measurement.versions.get("hf-sfda", "")).split(".")[:2])
    recipe, parts = _json(settings.recipe), _json(settings.data)
    return {
        "accuracy": measurement.accuracy,
        "low": low,
        "high": high,
        "n_test": measurement.n_test,
        "correct": measurement.correct,
        "probe_accuracy": measurement.probe_accuracy,
        "learning_rate": measurement.learning_rate,
        "epoch": measurement.epoch,
        "samples_trained": measurement.samples_trained,
        "seconds": measurement.seconds,
        "device": measurement.device,
        "versions": _json(measurement.versions),
        "settings_fingerprint": _settings_fingerprint(settings.ranked, parts, recipe, version),
        "recipe_version": version,
        "recipe": recipe,
        "parts": parts,
    }


def _settings_fingerprint(samples: str, parts: str, recipe: str, version: str) -> str:
    """A minor version of hf-sfda may train otherwise, so it is part of the settings."""
    return _hash([samples, parts, recipe, version])


def _is_ours(row: Row) -> bool:
    """Whether a row holds what the functions that read it need."""
    if row["kind"] == "predicted":
        return True
    texts = [row[name] or "" for name in ("parts", "recipe", "versions")]
    if row["kind"] != "measured" or not all(map(is_json_object, texts)):
        return False
    if any(row[name] is None for name in _NEEDED):
        return False
    parts, recipe = read_json(texts[0]), read_json(texts[1])
    fingerprint = _settings_fingerprint(
        row["dataset_fingerprint"], texts[0], texts[1], row["recipe_version"] or ""
    )
    right, n = row["correct"].count("1"), len(row["correct"])
    return (
        row["settings_fingerprint"] == fingerprint
        and "seed" in recipe
        and "test" in parts
        and all(isinstance(parts.get(name), int) for name in _SIZES)
        and n == parts["n_test"] == row["n_test"] > 0
        and n == right + row["correct"].count("0")
        and abs(row["accuracy"] - right / n) < _ROUNDING
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True)


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
