"""Convert a ranking to flat rows, the format of the results dataset.

There is one row per (candidate, metric). A candidate that was skipped or failed has one row, with
the reason and without a value. Rows are written once and never changed, so each row contains all
that a reader needs to understand it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.config import NOT_IN_FINGERPRINT, with_current_names
from hf_sfda.errors import PublishError
from hf_sfda.publish.names import is_local_model, public_dataset, public_model, slug
from hf_sfda.publish.row_files import Row, dump_file, is_json_object, read_file, was_changed
from hf_sfda.secrets import redact
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = "data"
"""The folder of the files with scores in a results dataset."""

_VERSION = 1
"""The schema version that last changed the scores. It is part of every run's digest."""

SAME_NAMES = (
    "status", "feature_dim", "feature_key", "params", "download_bytes", "license", "downloads",
)  # fmt: skip
"""Columns that hold the field of a :class:`~hf_sfda.types.ModelRow` with the same name."""

# Settings without an effect on a single score: paths, the machine, and the other candidates.
_NOT_SCORING = {*NOT_IN_FINGERPRINT, "dataset", "models", "fingerprint"}


@cache
def schema() -> pa.Schema:
    """The columns of the results dataset."""
    import pyarrow as pa

    text, number, integer = pa.string(), pa.float64(), pa.int64()
    return pa.schema(
        {
            "run": text,
            "created_at": pa.timestamp("ms", tz="UTC"),
            # the model
            "model": text,
            "model_revision": text,
            "model_source": text,
            "status": text,
            "reason": text,
            # the samples
            "dataset": text,
            "dataset_revision": text,
            "dataset_config": text,
            "dataset_split": text,
            "dataset_fingerprint": text,
            "task": text,
            "n": integer,
            "n_classes": integer,
            # the score
            "metric": text,
            "value": number,
            "low": number,
            "high": number,
            "confidence": number,
            # the place by the metric that sorts; set only if metric == ranked_by
            "ranked_by": text,
            "rank": integer,
            "rank_low": integer,
            "rank_high": integer,
            "tie_group": integer,
            "p_best": number,
            "noise_floor": number,
            # how the score was computed
            "extractor": text,
            "view": text,
            "feature_dim": integer,
            "feature_key": text,
            "seed": integer,
            "config_fingerprint": text,
            "config": text,
            "tool_version": text,
            "versions": text,
            "warnings": text,
            # the model's cost
            "params": integer,
            "download_bytes": integer,
            "samples_per_second": number,
            "license": text,
            "downloads": integer,
        }
    )


@dataclass(frozen=True)
class Run:
    """One run as rows of the results dataset.

    Attributes:
        digest: Hash of the content; the same run always has the same digest.
        path: Path of the file in the results dataset. It contains the digest, so no other run has
            the same path.
        rows: One dictionary per row, with the columns of :func:`schema`.
        ranking: The ranking that the rows were made from.
    """

    digest: str
    path: str
    rows: tuple[Row, ...]
    ranking: Ranking

    def parquet(self) -> bytes:
        """The content of the parquet file."""
        return dump_rows(self.rows)


def make_run(ranking: Ranking) -> Run:
    """Convert a ranking to rows, and name their file by a digest.

    The digest is a hash of the values, not of the parquet bytes, because those also depend on the
    version of pyarrow.

    Raises:
        PublishError: The ranking has no rows.
    """
    if not ranking.rows:
        raise PublishError("The ranking holds no candidates, so there is nothing to publish.")
    rows = result_rows(ranking)
    content = json.dumps([_VERSION, rows], sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    dataset = public_dataset(ranking.dataset)
    folder = slug(dataset, ranking.dataset.get("config"))
    return Run(
        digest=digest,
        path=f"{FOLDER}/{folder}/{digest}.parquet",
        rows=tuple({"run": digest, **row} for row in rows),
        ranking=ranking,
    )


def result_rows(ranking: Ranking) -> list[Row]:
    """One row per candidate and metric, without the column ``run``; the sorting metric first."""
    shared = _shared(ranking)
    rows: list[Row] = []
    for row in ranking.rows:
        candidate = {**shared, **_candidate(row)}
        others = [name for name in row.scores if name != ranking.metric]
        rows += [
            {**candidate, **_measured(row, metric, ranking.metric)}
            for metric in (ranking.metric, *others)
        ]
    return rows


def dump_rows(rows: Iterable[Row]) -> bytes:
    """The rows as a parquet file, to be read with :func:`read_results`."""
    return dump_file(rows, schema(), _VERSION)


def read_results(path: Path, name: str) -> list[Row]:
    """Read the rows of one file of scores.

    Args:
        path: The file.
        name: The file's name in error messages.

    Raises:
        PublishError: hf-sfda did not write the file, or a newer version did.
    """
    rows = read_file(path, name, schema())
    # Leaderboards are made from these JSON texts later.
    texts = {row["config"] or "" for row in rows} | {row["versions"] or "{}" for row in rows}
    if not all(map(is_json_object, texts)):
        raise was_changed(name, "holds settings that are not a JSON object")
    return rows


def _shared(ranking: Ranking) -> Row:
    config, dataset = ranking.config, ranking.dataset
    scoring = {key: value for key, value in config.items() if key not in _NOT_SCORING}
    return {
        "created_at": ranking.created_at or None,
        "dataset": public_dataset(dataset),
        "dataset_revision": dataset.get("revision"),
        "dataset_config": dataset.get("config"),
        "dataset_split": dataset.get("split"),
        "dataset_fingerprint": dataset.get("fingerprint"),
        "task": dataset.get("task"),
        "n": dataset.get("n_samples"),
        "n_classes": dataset.get("n_classes"),
        "confidence": config.get("confidence"),
        "ranked_by": ranking.metric,
        "view": with_current_names(config).get("layers"),
        "seed": config.get("seed"),
        "config_fingerprint": config.get("fingerprint"),
        "config": json.dumps(scoring, sort_keys=True),
        "tool_version": ranking.tool_version,
        "versions": json.dumps(dict(ranking.versions), sort_keys=True),
    }


def _candidate(row: ModelRow) -> Row:
    def publishable(text: str | None) -> str | None:
        # A folder's name identifies the model; its path must not be published.
        home = str(Path.home())
        return text and redact(text.replace(row.model_id, public_model(row)).replace(home, "~"))

    return {
        "model": public_model(row),
        "model_revision": row.revision,
        "model_source": "local" if is_local_model(row) else "hub",
        "reason": publishable(row.reason),
        "extractor": row.library,
        "warnings": publishable("; ".join(map(str, row.warnings))) or None,
        "samples_per_second": finite(row.samples_per_second),
        **{name: getattr(row, name) for name in SAME_NAMES},
    }


def _measured(row: ModelRow, metric: str, ranked_by: str) -> Row:
    low, high = row.intervals.get(metric, (None, None))
    sorts = metric == ranked_by
    rank_low, rank_high = (row.rank_interval if sorts else None) or (None, None)
    return {
        "metric": metric,
        "value": finite(row.scores.get(metric)),
        "low": finite(low),
        "high": finite(high),
        "rank": row.rank if sorts else None,
        "rank_low": rank_low,
        "rank_high": rank_high,
        "tie_group": row.tie_group if sorts else None,
        "p_best": finite(row.p_best) if sorts else None,
        "noise_floor": finite(row.noise_floor) if sorts else None,
    }


def finite(value: float | None) -> float | None:
    """The number, or ``None`` if it is not finite."""
    return None if value is None or not math.isfinite(value) else float(value)
