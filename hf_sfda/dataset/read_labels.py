"""Decide of which kind the labels of a dataset are, and read them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda.dataset.features import holds_strings, item_feature
from hf_sfda.dataset.labels import (
    NO_LABEL,
    Encoded,
    encode,
    lists_in_texts,
    missing_in_texts,
    numbers_in_texts,
)
from hf_sfda.dataset.remote import RemoteSplit
from hf_sfda.dataset.tags import Tags, read_indicators, read_lists
from hf_sfda.dataset.values import Values, read_values
from hf_sfda.dataset.words import list_lengths
from hf_sfda.errors import TargetError
from hf_sfda.types import LabelKind

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset


Labels = Encoded | Tags | Values
"""Labels of one kind, with the same methods. Rows that cannot be used are marked, so that places do
not shift; ``draw`` takes the sizes of the row groups where all rows must lie in few of them."""


def read_labels(
    data: Dataset, names: Sequence[str], task: LabelKind | None, left_out: Counter[str]
) -> tuple[Labels, str]:
    """Read the labels, and decide of which kind they are unless the user said so.

    Args:
        data: The split.
        names: The label column, or several of them.
        task: The kind that the user asked for; ``None`` infers it.
        left_out: Reason -> number of rows; rows without a label are added.

    Returns:
        The labels, and why they are of this kind; empty for single-label or if ``task`` is given.

    Raises:
        TargetError: The column cannot be read as the kind that was asked for, or it is unclear of
            which kind it is.
    """
    from datasets import ClassLabel

    read_column = column_reader(data)
    if len(names) > 1:
        together = ", ".join(names)
        _refuse(task, "multi-label", f"{together} are several columns")
        read = {name: read_column(name).to_pylist() for name in names}
        reason = "" if task else f"{len(names)} label columns are given"
        return read_indicators(read, left_out, together), reason
    (column,) = names
    feature, values = data.features[column], read_column(column).to_pylist()
    if (item := item_feature(feature)) is not None:
        _refuse(task, "multi-label", f"The label column {column!r} holds lists")
        if task is None:
            _refuse_labels_of_words(data, column)
        declared = item.names if isinstance(item, ClassLabel) else None
        reason = "" if task else f"{column!r} holds lists"
        return read_lists(values, declared, column, left_out), reason
    if task == "multi-label":
        raise TargetError(
            f"The label column {column!r} holds one value a row; multi-label needs a column of "
            "lists, or several columns of 0 and 1: --label-column first,second. Leave out "
            "--task multi-label for one class a row."
        )
    if isinstance(feature, ClassLabel):
        _refuse(task, "single-label", f"The label column {column!r} holds classes")
        return _classes(values, feature.names, column, left_out), ""
    if task == "regression":
        return read_values(values, column, left_out), ""
    if task is None and (is_fractional := _fractional(values)) is not None:
        if is_fractional:
            return read_values(values, column, left_out), f"{column!r} holds fractional numbers"
        raise TargetError(
            f"The label column {column!r} holds whole numbers stored as floats: are they classes "
            "or values? Pass --task single-label or --task regression."
        )
    return _classes(values, None, column, left_out), ""


def _refuse_labels_of_words(data: Dataset, column: str) -> None:
    """Refuse to guess about lists that run beside the words of another column, if the user named
    a column of texts as the input.

    Raises:
        TargetError: There is such a column.
    """
    read_column = column_reader(data)
    lengths = list_lengths(read_column(column))
    if lengths.max(initial=0) < 2:
        return
    for name, feature in data.features.items():
        if name == column or not holds_strings(item_feature(feature)):
            continue
        if np.array_equal(list_lengths(read_column(name)), lengths):
            raise TargetError(
                f"The label column {column!r} holds one tag for each word of {name!r}. Pass --task "
                f"token --input-column {name} to rank by the tags of single words, or --task "
                "multi-label to read which tags a text has, whatever the word."
            )


def _refuse(task: LabelKind | None, kind: LabelKind, what: str) -> None:
    if task not in (None, kind):
        raise TargetError(
            f"{what}, which cannot be read as {task}. Pass --task {kind}, or another column with "
            "--label-column."
        )


def _classes(
    values: Sequence[Any], declared: Sequence[str] | None, column: str, left_out: Counter[str]
) -> Labels:
    labels = encode(values, declared, column)
    if missing := int((~labels.usable).sum()):
        left_out[NO_LABEL] += missing
    if labels.hidden is None:
        names = labels.names if declared is None else ()
        numbers = numbers_in_texts(names, column)
        notes = numbers or lists_in_texts(labels.names, column)
        return replace(labels, notes=(*notes, *missing_in_texts(names, column)))
    note = (
        f"{missing:,} rows have the label {labels.hidden} in {column!r} or no label and are left "
        f"out: {labels.hidden} was read as a hidden label. If it is a class, store the labels as "
        "names."
    )
    return replace(labels, notes=(note,))


def _fractional(values: Sequence[Any]) -> bool | None:
    """Whether numbers are values of a regression. ``None`` if they may be classes: no floats, or
    whole numbers with gaps, which tables store as floats.
    """
    present = [value for value in values if value is not None]
    if not present or not all(isinstance(value, (float, Decimal)) for value in present):
        return None
    finite = [value for value in present if value == value and abs(value) != float("inf")]
    if any(value % 1 != 0 for value in finite) or (
        len(finite) < len(present) and any(abs(value) == float("inf") for value in present)
    ):
        return True
    return None if len(finite) < len(values) else False


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
