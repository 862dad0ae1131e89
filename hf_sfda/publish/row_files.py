"""The parquet files of a results dataset: each has a schema version, which is checked on reading.

A results dataset has files of several kinds, each kind in a folder of its own. A file has the
version that last changed its kind. So an older hf-sfda still reads the kinds that it knows, and
never sees the others.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.foreign import ForeignError, clean, clean_all, read_json
from hf_sfda.secrets import redact

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 3
"""The newest version that this hf-sfda knows. Raise it when the meaning of a column changes, when a
column is removed, or when a kind of row is added.

1: scores (:mod:`hf_sfda.publish.rows`).
2: also fine-tuning (:mod:`hf_sfda.publish.finetuning_rows`).
3: also fine-tuning that is measured by F1 or R².
"""

_VERSION_KEY = b"hf_sfda.schema_version"

Row = dict[str, Any]

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


def dump_file(rows: Iterable[Row], schema: pa.Schema, version: int) -> bytes:
    """Rows as a parquet file, to be read with :func:`read_file`.

    Args:
        rows: The rows. Times are ISO 8601 texts or ``datetime``; without a time zone they are UTC.
        schema: The columns.
        version: The schema version of this kind of file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    typed_rows = [{**row, **{name: _parse_time(row[name]) for name in times}} for row in rows]
    marked = schema.with_metadata({_VERSION_KEY: str(version).encode()})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(typed_rows, schema=marked), sink, compression="zstd")
    return sink.getvalue()


def read_file(path: Path, name: str, schema: pa.Schema) -> list[Row]:
    """Read the rows of one file of a results dataset.

    Args:
        path: The file.
        name: The file's name in error messages.
        schema: The columns of its kind.

    Raises:
        PublishError: hf-sfda did not write the file, or a newer version did.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # ParquetFile reads this one file; read_table would turn folder names into columns.
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
            f"{name} was not written by hf-sfda, so this is not a results dataset. "
            "Publish to a repository of its own: --to YOU/results"
        )
    if int(version) > SCHEMA_VERSION:
        raise PublishError(
            f"{name} has schema version {version}; this hf-sfda knows up to {SCHEMA_VERSION}. "
            "Upgrade hf-sfda to read or extend this results dataset; nothing was changed."
        )
    try:
        rows: list[Row] = table.cast(schema).to_pylist()
    except (ValueError, pa.ArrowException) as error:  # wrong column names raise ValueError
        raise was_changed(name, f"does not have the columns of schema version {version}") from error
    return [clean_all(row) for row in rows]


def was_changed(name: str, problem: str) -> PublishError:
    """The error for a file of ours that does not hold what we write."""
    return PublishError(
        f"{name} {problem}: somebody changed it. "
        "Put it back as it was, or remove it from the repository; nothing was changed."
    )


def is_json_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        return isinstance(read_json(text), dict)
    except ForeignError:
        return False


def moment_of(row: Mapping[str, Any], column: str = "created_at") -> datetime:
    """The time in a column; the earliest time of all if it is unknown."""
    return _parse_time(row[column]) or _LONG_AGO


def time_of(row: Mapping[str, Any], column: str = "created_at") -> str:
    """The UTC time in a column, in ISO 8601; empty if it is unknown."""
    moment = _parse_time(row[column])
    return moment.isoformat(timespec="seconds") if moment else ""


def split_of(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """The dataset, its configuration and its split; rows with the same have one leaderboard."""
    return row["dataset"], row["dataset_config"] or "", row["dataset_split"] or ""


def _parse_time(value: str | datetime | None) -> datetime | None:
    """The time in UTC; a time without a time zone is UTC."""
    if value is None:
        return None
    time = datetime.fromisoformat(value) if isinstance(value, str) else value
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
