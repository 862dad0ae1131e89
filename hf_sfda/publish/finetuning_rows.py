"""Rows about fine-tuning in a results dataset: what was predicted, and what was measured.

They are in files and a configuration of their own, so that readers of the scores do not see them.
There are two kinds of row:

``predicted``
    One per ranked model of a run whose score is calibrated: how many points of accuracy the model
    is expected to stay behind the best of the run.
``measured``
    One per fine-tuned model of a run and setting: what it reached, how it was measured, and what
    the run had predicted.

Models of several labels a sample or of values are measured by F1 or R². Their rows are in a folder
of their own with four more columns, which older versions of hf-sfda do not see. In memory all rows
have all columns; ``measure`` is null for an accuracy.

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
from hf_sfda.publish.rows import schema as scores_schema
from hf_sfda.types import Finetuned, Measurement, ModelRow

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "finetuning"
"""The folder of predictions and accuracies in a results dataset, and the name of their
configuration."""

OTHER_FOLDER = "finetuning-other"
"""The same for what is measured by F1 or R²."""

_VERSIONS = {FOLDER: 2, OTHER_FOLDER: 3}
"""The schema version that last changed the rows of a folder."""

_DIGITS = 16
_ROUNDING = 1e-6

# What a row shares with the row of scores of the same model and run.
_OF_RUN = (
    "run", "created_at", "model", "model_revision", "model_source", "dataset", "dataset_revision",
    "dataset_config", "dataset_split", "dataset_fingerprint", "task", "n_classes", "ranked_by",
    "config_fingerprint",
)  # fmt: skip
_OF_PLACE = ("rank", "rank_low", "rank_high", "p_best")

# Columns that hold the field of a Measurement with the same name.
_SAME_NAMES = ("learning_rate", "epoch", "samples_trained", "seconds", "device")
_SIZES = ("n_train", "n_validation", "n_test")
_NEEDED = ("id", "model", "dataset", "dataset_fingerprint", "low", "high", *_SAME_NAMES)
_OF_ACCURACY = ("accuracy", "probe_accuracy", "correct")
_OF_OTHERS = ("measure", "value", "probe_value", "per_sample")


@cache
def schema(folder: str = OTHER_FOLDER) -> pa.Schema:
    """The columns of the files of a folder."""
    import pyarrow as pa

    text, number, integer = pa.string(), pa.float64(), pa.int64()
    scores = scores_schema()
    others = {"measure": text, "value": number, "probe_value": number}
    return pa.schema(
        {
            "id": text,
            "kind": text,
            # the run that predicted, as in the rows of scores
            **{name: scores.field(name).type for name in _OF_RUN},
            # what it predicted; expected_regret in points of accuracy, null if not calibrated
            "candidates": integer,
            **{name: scores.field(name).type for name in _OF_PLACE},
            "expected_regret": number,
            # what was measured; null in rows of the kind "predicted"
            "measured_at": pa.timestamp("ms", tz="UTC"),
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
            # F1 or R² and its value on each test sample; only where it is no accuracy
            **({} if folder == FOLDER else {**others, "per_sample": pa.list_(number)}),
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
            :func:`hf_sfda.ranking.measurements.measured_times`.
    """
    mine = [s for s in settings if s.ranked == run.ranking.dataset["fingerprint"]]
    rows: list[Row] = []
    for model in run.ranking.ranked:
        predicted = _predicted(run, model)
        if predicted["expected_regret"] is not None:
            rows.append(_row("predicted", predicted))
        for finetuned in mine:
            if (measurement := finetuned.of(model)) is not None:
                row = _row("measured", {**predicted, **_measured(measurement, finetuned)})
                time = (times or {}).get((measurement.model_id, measurement.value))
                rows.append({**row, "measured_at": time})
    return rows


def folder_of(row: Mapping[str, Any]) -> str:
    """The folder of a row."""
    return OTHER_FOLDER if row["measure"] else FOLDER


def path_of(rows: Sequence[Row]) -> str:
    """The path of a file with these rows of one run and folder: rows that differ have another
    path.
    """
    digest = _hash([row["id"] for row in rows])
    name = slug(rows[0]["dataset"], rows[0]["dataset_config"])
    return f"{folder_of(rows[0])}/{name}/{digest}.parquet"


def dump_finetuning(rows: Iterable[Row], folder: str = OTHER_FOLDER) -> bytes:
    """The rows as a parquet file, to be read with :func:`read_finetuning`.

    Args:
        rows: The rows; the columns of :data:`OTHER_FOLDER` hold rows of both folders.
        folder: The folder, which decides the columns.
    """
    names = schema(folder).names
    kept = ({name: row[name] for name in names} for row in rows)
    return dump_file(kept, schema(folder), _VERSIONS[folder])


def read_finetuning(path: Path, name: str, folder: str = OTHER_FOLDER) -> list[Row]:
    """Read the rows of one file.

    Args:
        path: The file.
        name: The file's name in error messages.
        folder: The folder that it was written for.

    Raises:
        PublishError: hf-sfda did not write the file, or a newer version did.
    """
    missing = dict.fromkeys(_OF_OTHERS)
    rows = [{**missing, **row} for row in read_file(path, name, schema(folder))]
    if not all(map(_is_ours, rows)):
        raise was_changed(name, "holds a row that is no prediction and no measurement")
    return rows


def measurement_of(row: Mapping[str, Any]) -> Measurement:
    """The measurement in a row of the kind ``measured``."""
    if row["measure"]:
        reached = {name: row[name] for name in _OF_OTHERS}
    else:
        reached = {
            "value": row["accuracy"],
            "probe_value": row["probe_accuracy"],
            "per_sample": map(int, row["correct"]),
        }
    return Measurement(
        model_id=row["model"],
        revision=row["model_revision"],
        interval=(row["low"], row["high"]),
        versions=read_json(row["versions"]),
        **{name: row[name] for name in _SAME_NAMES},
        **{**reached, "per_sample": tuple(reached["per_sample"])},
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
    return {**row, "id": _hash({name: row[name] for name in schema(folder_of(row)).names})}


def _predicted(run: Run, model: ModelRow) -> Row:
    # Names are not unique, if two local models are in folders of the same name; ranks are.
    scores = next(row for row in run.rows if row["rank"] == model.rank)
    return {
        **{name: scores[name] for name in (*_OF_RUN, *_OF_PLACE)},
        "candidates": len(run.ranking.ranked),
        "expected_regret": finite(model.expected_regret),
    }


def _measured(measurement: Measurement, settings: Finetuned) -> Row:
    low, high = measurement.interval
    version = ".".join(str(measurement.versions.get("hf-sfda", "")).split(".")[:2])
    recipe, parts = _json(settings.recipe), _json(settings.data)
    document = measurement.to_dict()
    names = _OF_ACCURACY if measurement.measure == "accuracy" else _OF_OTHERS
    return {
        **{name: document[name] for name in names},
        "low": low,
        "high": high,
        "n_test": measurement.n_test,
        **{name: getattr(measurement, name) for name in _SAME_NAMES},
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
    own = _OF_OTHERS if row["measure"] else _OF_ACCURACY
    if any(row[name] is None for name in (*_NEEDED, *own)):
        return False
    try:
        measurement = measurement_of(row)
    except (TypeError, ValueError):
        return False
    parts, recipe = read_json(texts[0]), read_json(texts[1])
    fingerprint = _settings_fingerprint(
        row["dataset_fingerprint"], texts[0], texts[1], row["recipe_version"] or ""
    )
    n = measurement.n_test
    return (
        row["settings_fingerprint"] == fingerprint
        and "seed" in recipe
        and "test" in parts
        and all(isinstance(parts.get(name), int) for name in _SIZES)
        and n == parts["n_test"] == row["n_test"] > 0
        and abs(measurement.value - sum(measurement.per_sample) / n) < _ROUNDING
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), sort_keys=True)


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
