"""A ranking as flat rows, the form in which results are kept for ever.

One row per (candidate, metric); a candidate that was skipped or failed has one row with the reason
and no value. Rows are written once and never changed, so every one carries all that is needed to
read it alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.foreign import ForeignError, clean, clean_all, read_json
from hf_sfda.hub import redact
from hf_sfda.publish.names import is_local_model, public_dataset, public_model, slug
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
"""Version of the columns. Raise it when the meaning of one changes or one is removed."""

_VERSION_KEY = b"hf_sfda.schema_version"

# Where a run was done and who else took part decide nothing about what a score means.
_UNSAID = {
    "dataset", "models", "out", "batch_size", "workers", "work", "top", "max_params", "fingerprint",
}  # fmt: skip

Row = dict[str, Any]


@cache
def schema() -> pa.Schema:
    """The columns of the results dataset."""
    import pyarrow as pa

    text, number, whole = pa.string(), pa.float64(), pa.int64()
    return pa.schema(
        {
            "run": text,
            "created_at": pa.timestamp("ms", tz="UTC"),
            # who
            "model": text,
            "model_revision": text,
            "model_source": text,
            "status": text,
            "reason": text,
            # on what
            "dataset": text,
            "dataset_revision": text,
            "dataset_config": text,
            "dataset_split": text,
            "dataset_fingerprint": text,
            "task": text,
            "n": whole,
            "n_classes": whole,
            # how good
            "metric": text,
            "value": number,
            "low": number,
            "high": number,
            "confidence": number,
            # place by the metric that sorts; set only where metric == ranked_by
            "ranked_by": text,
            "rank": whole,
            "rank_low": whole,
            "rank_high": whole,
            "tie_group": whole,
            "p_best": number,
            "noise_floor": number,
            # how it was got
            "extractor": text,
            "view": text,
            "feature_dim": whole,
            "feature_key": text,
            "seed": whole,
            "config_fingerprint": text,
            "config": text,
            "tool_version": text,
            "versions": text,
            "warnings": text,
            # what it costs
            "params": whole,
            "download_bytes": whole,
            "samples_per_second": number,
            "license": text,
            "downloads": whole,
        },
        metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
    )


@dataclass(frozen=True)
class Run:
    """One run, ready to be added to a results dataset.

    Attributes:
        digest: Of the content; the same run always has the same one.
        path: File in the results dataset, named by the digest, so that nobody else writes it.
        rows: As :func:`schema` says.
        ranking: What the rows were made of, with names fit to be published.
    """

    digest: str
    path: str
    rows: tuple[Row, ...]
    ranking: Ranking

    def parquet(self) -> bytes:
        """The content of the file."""
        return dump_rows(self.rows)

    def row_number(self, model_id: str) -> int:
        """Position in the file of a model's row with the metric that sorts."""
        return next(i for i, row in enumerate(self.rows) if row["model"] == model_id)


def make_run(ranking: Ranking) -> Run:
    """The rows of a ranking, and the name under which they are kept.

    The digest is taken over the values and not over the parquet bytes: those also depend on the
    version of the library that writes them.

    Raises:
        PublishError: The ranking holds no rows.
    """
    if not ranking.rows:
        raise PublishError("The ranking holds no candidates, so there is nothing to publish.")
    rows = result_rows(ranking)
    content = json.dumps([SCHEMA_VERSION, rows], sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    dataset = public_dataset(ranking.dataset)
    folder = slug(dataset, ranking.dataset.get("config"))
    return Run(
        digest=digest,
        path=f"data/{folder}/{digest}.parquet",
        rows=tuple({"run": digest, **row} for row in rows),
        ranking=ranking,
    )


def result_rows(ranking: Ranking) -> list[Row]:
    """One row per candidate and metric, the metric that sorts first; without ``run``."""
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
    """Rows as a parquet file that :func:`read_results` reads."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [{**row, "created_at": _moment(row["created_at"])} for row in rows]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(columns, schema=schema()), sink, compression="zstd")
    return sink.getvalue()


def read_results(path: Path, name: str) -> list[Row]:
    """The rows of one file of a results dataset.

    Args:
        path: The file.
        name: What to call it in messages.

    Raises:
        PublishError: It is not one of ours, or was written by a newer hf-sfda.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # One file, not a dataset of files: folder names must not turn into columns.
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        reason = clean(redact(str(error)).split("\n", 1)[0])
        raise PublishError(
            f"{name} cannot be read as parquet ({reason}). "
            "Remove it from the repository, or publish to another one."
        ) from error
    version = (table.schema.metadata or {}).get(_VERSION_KEY, b"").decode(errors="replace")
    if not (version.isascii() and version.isdigit()):
        raise PublishError(
            f"{name} was not written by hf-sfda, so this is no results dataset. "
            "Publish to a repository of its own: --to YOU/results"
        )
    if int(version) > SCHEMA_VERSION:
        raise PublishError(
            f"{name} has schema version {version}; this hf-sfda knows up to {SCHEMA_VERSION}. "
            "Upgrade hf-sfda to read or extend this results dataset; nothing was changed."
        )
    try:
        rows: list[Row] = table.cast(schema()).to_pylist()
    except (ValueError, pa.ArrowException) as error:  # names are compared by pyarrow's Python
        raise PublishError(
            f"{name} does not have the columns of schema version {version}: somebody changed it. "
            "Put it back as it was, or remove it from the repository; nothing was changed."
        ) from error
    rows = [clean_all(row) for row in rows]
    _check_documents(rows, name)
    return rows


def _check_documents(rows: Iterable[Row], name: str) -> None:
    """See that the columns which hold JSON hold objects: boards are made of them later.

    Raises:
        PublishError: One does not.
    """
    for text in {row["config"] or "" for row in rows} | {row["versions"] or "{}" for row in rows}:
        try:
            good = isinstance(read_json(text), dict)
        except ForeignError:
            good = False
        if not good:
            raise PublishError(
                f"{name} holds settings that are no JSON object: somebody changed it. "
                "Put it back as it was, or remove it from the repository; nothing was changed."
            )


def scoring_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what a score means; no paths, no machine."""
    return {key: value for key, value in config.items() if key not in _UNSAID}


def _shared(ranking: Ranking) -> Row:
    config, dataset = ranking.config, ranking.dataset
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
        "view": config.get("view"),
        "seed": config.get("seed"),
        "config_fingerprint": config.get("fingerprint"),
        "config": json.dumps(scoring_settings(config), sort_keys=True),
        "tool_version": ranking.tool_version,
        "versions": json.dumps(dict(ranking.versions), sort_keys=True),
    }


def _candidate(row: ModelRow) -> Row:
    local = is_local_model(row)

    def said(text: str | None) -> str | None:
        # A folder's name says who it is; where it lies is nobody's business.
        home = str(Path.home())
        return text and redact(text.replace(row.model_id, public_model(row)).replace(home, "~"))

    return {
        "model": public_model(row),
        "model_revision": row.revision,
        "model_source": "local" if local else "hub",
        "status": row.status,
        "reason": said(row.reason),
        "extractor": row.library,
        "feature_dim": row.feature_dim,
        "feature_key": row.feature_key,
        "warnings": said("; ".join(row.warnings)) or None,
        "params": row.params,
        "download_bytes": row.download_bytes,
        "samples_per_second": _finite(row.samples_per_second),
        "license": row.license,
        "downloads": row.downloads,
    }


def _measured(row: ModelRow, metric: str, ranked_by: str) -> Row:
    low, high = row.intervals.get(metric, (None, None))
    sorts = metric == ranked_by
    rank_low, rank_high = (row.rank_interval if sorts else None) or (None, None)
    return {
        "metric": metric,
        "value": _finite(row.scores.get(metric)),
        "low": _finite(low),
        "high": _finite(high),
        "rank": row.rank if sorts else None,
        "rank_low": rank_low,
        "rank_high": rank_high,
        "tie_group": row.tie_group if sorts else None,
        "p_best": _finite(row.p_best) if sorts else None,
        "noise_floor": _finite(row.noise_floor) if sorts else None,
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _moment(said: str | datetime | None) -> datetime | None:
    if said is None:
        return None
    moment = datetime.fromisoformat(said) if isinstance(said, str) else said
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
