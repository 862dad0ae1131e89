"""Reads whole columns of a split, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hf_sfda.dataset.remote import RemoteSplit

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


def column_reader(data: Dataset | RemoteSplit) -> Callable[[str], pa.ChunkedArray]:
    """A function that reads the column of a name: the values of all rows, not decoded.

    ``Dataset.select_columns`` copies the description of every column: called once for each of 784
    columns it took 27 seconds. A table on disk is mapped, so that all of its columns cost nothing;
    but rows that are picked by indices would be copied with all of their columns.
    """
    if isinstance(data, RemoteSplit) or data._indices is not None:
        return lambda name: data.select_columns([name]).with_format("arrow")[:][name]
    table = data.with_format("arrow")[:]
    return lambda name: table[name]
