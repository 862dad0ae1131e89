"""The files of a run directory, each replaced as a whole or not at all."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import StoreError
from hf_sfda.files import write_atomically
from hf_sfda.foreign import visible_json
from hf_sfda.types import Ranking, flat_row

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"hf_sfda"
"""Key in the parquet file's metadata that holds the document without its rows."""

_TYPES = {
    "model_id": "string",
    "revision": "string",
    "status": "string",
    "reason": "string",
    "rank": "int64",
    "tie_group": "int64",
    "rank_low": "int64",
    "rank_high": "int64",
    "p_best": "float64",
    "noise_floor": "float64",
    "params": "int64",
    "feature_dim": "int64",
    "download_bytes": "int64",
    "samples_per_second": "float64",
    "license": "string",
    "downloads": "int64",
    "library": "string",
    "feature_key": "string",
    "warnings": "string",
}
"""Said, not inferred: a column that happens to be empty in one run must keep its type, so that
the files of several runs can be read as one table."""


_FORMULA = "=+-@\t\r"
"""A spreadsheet takes a cell that begins with one of these for something to compute."""


def save_ranking(ranking: Ranking, directory: str | Path) -> Path:
    """Write ``ranking.json``, ``.parquet``, ``.csv``, ``config.yaml`` and ``report.html``.

    Args:
        ranking: What to write.
        directory: Made if it does not exist.

    Returns:
        The directory.

    Raises:
        StoreError: The disk is full, or the place may not be written to. Files that were there
            before are whole, and either old or new.
    """
    from hf_sfda.report.html import render_html

    directory = Path(directory)
    # From the most valuable to the largest: a disk that fills up should cost the picture first.
    contents: dict[str, Callable[[], bytes]] = {
        "ranking.json": lambda: to_json(ranking),
        "config.yaml": lambda: to_yaml(ranking),
        "ranking.csv": lambda: to_csv(ranking),
        "ranking.parquet": lambda: to_parquet(ranking),
        "report.html": lambda: render_html(ranking).encode(),
    }
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(_explain(error, directory)) from error
    for name, content in contents.items():
        data = content()
        try:
            write_atomically(directory / name, data)
        except OSError as error:
            raise StoreError(_explain(error, directory / name, len(data))) from error
    return directory


def to_json(ranking: Ranking) -> bytes:
    """``ranking.json``. JSON knows no NaN; a score that is not a number becomes ``null``."""
    document = to_document(ranking)
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    return visible_json(text).encode() + b"\n"


def to_document(ranking: Ranking) -> dict[str, Any]:
    """What ``ranking.json`` holds, as plain values."""
    document: dict[str, Any] = _without_nan(ranking.to_dict())
    return document


def to_yaml(ranking: Ranking) -> bytes:
    """``config.yaml``, fit for ``hf-sfda rank --config``."""
    import yaml

    text: str = yaml.safe_dump(dict(ranking.config), sort_keys=False, allow_unicode=True)
    return text.encode()


def to_csv(ranking: Ranking) -> bytes:
    """``ranking.csv``: one line a candidate.

    A text that a spreadsheet would run as a formula begins with an apostrophe; numbers stay
    numbers.
    """
    import pyarrow as pa
    import pyarrow.csv

    table = to_arrow(ranking)
    for index, column in enumerate(table.schema):
        if pa.types.is_string(column.type):
            texts = [_no_formula(text) for text in table.column(index).to_pylist()]
            table = table.set_column(index, column, pa.array(texts, column.type))
    buffer = BytesIO()
    pyarrow.csv.write_csv(table, buffer)
    return buffer.getvalue()


def to_parquet(ranking: Ranking) -> bytes:
    """``ranking.parquet``: one row a candidate, and how the ranking was got in the metadata."""
    import pyarrow.parquet

    buffer = BytesIO()
    pyarrow.parquet.write_table(to_arrow(ranking), buffer)
    return buffer.getvalue()


def to_arrow(ranking: Ranking) -> pa.Table:
    """One row a candidate; every column has the same type in every run."""
    import pyarrow as pa

    rows = [flat_row(row) for row in ranking.rows]
    metrics = dict.fromkeys(key for row in rows for key in row if key not in _TYPES)
    document = to_document(ranking)
    del document["rows"]
    schema = pa.schema(
        [(name, pa.type_for_alias(kind)) for name, kind in _TYPES.items()]
        + [(name, pa.float64()) for name in metrics],
        metadata={METADATA_KEY: visible_json(json.dumps(document, ensure_ascii=False)).encode()},
    )
    return pa.Table.from_pylist([_without_nan(row) for row in rows], schema=schema)


def _no_formula(text: str | None) -> str | None:
    return f"'{text}" if text and text[0] in _FORMULA else text


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _explain(error: OSError, path: Path, size: int | None = None) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        needed = f" ({size / 1e6:.1f} MB needed)" if size else ""
        return (
            f"No space left on the disk while writing {path}{needed}. Free some space or choose "
            "another folder with --out, and run again: features are kept and nothing is computed "
            "twice."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to write {path}. Choose another folder with --out."
    return f"Cannot write {path}: {error.strerror or error}. Choose another folder with --out."
