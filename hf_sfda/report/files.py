"""Write the files of a run directory. Each file is replaced atomically."""

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
from hf_sfda.format import megabytes
from hf_sfda.types import Ranking

if TYPE_CHECKING:
    import pyarrow as pa

METADATA_KEY = b"hf_sfda"
"""Key in the parquet file's metadata; its value is the JSON document without the rows."""

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
"""The columns' types. They are fixed and not inferred from the values: a column that is empty in
one run must have the same type as in other runs, so that their files can be read as one table."""

_FORMULA = "=+-@\t\r"
"""A spreadsheet evaluates a cell as a formula if it starts with one of these characters."""


def save_ranking(ranking: Ranking, directory: str | Path) -> Path:
    """Write ``ranking.json``, ``.parquet``, ``.csv``, ``config.yaml`` and ``report.html``.

    Args:
        ranking: The ranking to write.
        directory: The run directory; created if it does not exist.

    Returns:
        The directory.

    Raises:
        StoreError: The disk is full, or the directory is not writable. Each file that existed
            before then has either its old or its new content.
    """
    from hf_sfda.report.html import render_html

    directory = Path(directory)
    # The most important file first and the largest last, in case the disk fills up.
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
    """The content of ``ranking.json``. JSON has no NaN, so such a score becomes ``null``."""
    document = to_document(ranking)
    text = json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False)
    return visible_json(text).encode() + b"\n"


def to_document(ranking: Ranking) -> dict[str, Any]:
    """The document of ``ranking.json`` as a dictionary."""
    document: dict[str, Any] = _without_nan(ranking.to_dict())
    return document


def to_yaml(ranking: Ranking) -> bytes:
    """The content of ``config.yaml``, an input for ``hf-sfda rank --config``."""
    import yaml

    text: str = yaml.safe_dump(dict(ranking.config), sort_keys=False, allow_unicode=True)
    return text.encode()


def to_csv(ranking: Ranking) -> bytes:
    """The content of ``ranking.csv``, one line per candidate.

    A text that a spreadsheet would evaluate as a formula gets an apostrophe in front. Numbers do
    not change.
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
    """The content of ``ranking.parquet``: one row per candidate, all else in the metadata."""
    import pyarrow.parquet

    buffer = BytesIO()
    pyarrow.parquet.write_table(to_arrow(ranking), buffer)
    return buffer.getvalue()


def to_arrow(ranking: Ranking) -> pa.Table:
    """The ranking as a table, one row per candidate; a column has the same type in every run."""
    import pyarrow as pa

    rows = ranking.flat_rows()
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
        needed = f" ({megabytes(size)} MB needed)" if size else ""
        return (
            f"No space left on the disk while writing {path}{needed}. Free some space or choose "
            "another folder with --out, and run again: features are kept and nothing is computed "
            "twice."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to write {path}. Choose another folder with --out."
    return f"Cannot write {path}: {error.strerror or error}. Choose another folder with --out."
