"""Read label columns of which each row may have several: lists of names, or columns of 0 and 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hf_sfda.dataset.labels import HIDDEN, NO_LABEL, hidden_number, reasons
from hf_sfda.dataset.sample import FEWEST, choose_tagged, draw_by_tags
from hf_sfda.errors import TargetError
from hf_sfda.foreign import listing
from hf_sfda.format import cut
from hf_sfda.types import IntArray, LabelKind

EMPTY_LIST = "empty list of labels"


@dataclass(frozen=True, eq=False)
class Tags:
    """Which labels each row has.

    Attributes:
        array: (N, T) int64 zeros and ones; -1 in every column of a row that cannot be used.
        names: (T,) names of the labels.
        notes: Warnings about the labels.
    """

    array: IntArray
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()

    kind: ClassVar[LabelKind] = "multi-label"

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """(N,) whether it is known which labels a row has."""
        usable: npt.NDArray[np.bool_] = self.array[:, 0] >= 0
        return usable

    def take(self, rows: IntArray) -> Tags:
        """The labels of these rows."""
        return replace(self, array=self.array[rows])

    def restricted(self, left_out: Counter[str], place: str) -> Tags:
        """Keep only labels that enough rows have, and enough rows lack.

        Raises:
            TargetError: Fewer than two labels remain.
        """
        known = self.array[self.usable]
        counts = known.sum(0)
        kept = np.flatnonzero((counts >= FEWEST) & (len(known) - counts >= FEWEST))
        if len(kept) < 2:
            raise TargetError(
                f"{place} has {len(kept)} labels that at least {FEWEST} usable samples have and "
                f"at least {FEWEST} lack{reasons(left_out)}. Multi-label needs two or more: pass "
                "other columns with --label-column, or another split with --split."
            )
        if len(kept) == len(self.names):
            return self
        lost = [name for i, name in enumerate(self.names) if i not in set(kept.tolist())]
        note = (
            f"{len(lost)} of {len(self.names)} labels are left out, since fewer than {FEWEST} "
            f"samples have them, or lack them: {listing(lost, 5)}."
        )
        names = tuple(self.names[i] for i in kept)
        return replace(self, array=self.array[:, kept], names=names, notes=(*self.notes, note))

    def check_size(self, samples: int) -> None:
        """Refuse a sample that is too small for the number of labels.

        Raises:
            TargetError: It cannot hold :data:`FEWEST` rows with and without each label.
        """
        needed = 2 * FEWEST * len(self.names)
        if samples < needed:
            raise TargetError(
                f"A sample of {samples:,} may not hold {FEWEST} with and {FEWEST} without each of "
                f"{len(self.names):,} labels; pass --samples {needed} or more."
            )

    def draw(self, samples: int, seed: int, sizes: IntArray | None) -> IntArray:
        """Choose rows, stratified by how many have each label."""
        rows = np.flatnonzero(self.usable)
        if sizes is not None:
            return draw_by_tags(self.array[rows], rows, sizes, samples, seed)
        return rows[choose_tagged(self.array[rows], samples, seed)]

    def texts(self) -> list[list[str]]:
        """The names of the labels of each row, for the fingerprint."""
        return [[self.names[i] for i in np.flatnonzero(row > 0)] for row in self.array]


def read_lists(
    values: Sequence[Sequence[Any] | None],
    declared: Sequence[str] | None,
    column: str,
    left_out: Counter[str],
) -> Tags:
    """Read a column with a list of labels in each row.

    Lists of equal length that hold only 0 and 1 are rows of a table with one column a label. A
    missing or empty list is counted: it may mean that nobody labelled the row.

    Args:
        values: (N,) lists of names, or of numbers.
        declared: Names of a ``ClassLabel`` feature; the values are indices into them.
        column: Name of the column, for messages.
        left_out: Reason -> number of rows; those without a label are added.

    Raises:
        TargetError: The lists hold something else than names or whole numbers.
    """
    present = [value for value in values if value is not None]
    if declared is None:
        _refuse_indicators_as_text(present, column)
    if declared is None and _are_indicators(present):
        width = len(present[0])
        rows = [[None] * width if value is None else list(value) for value in values]
        return _of_indicators(rows, [str(i) for i in range(width)], column, left_out)
    items = [[_whole(item) for item in value or () if not _is_missing(item)] for value in values]
    notes: tuple[str, ...] = ()
    if declared is not None:
        items = [[item for item in row if item >= 0] for row in items]
    elif (hidden := _hidden(items)) is not None:
        items = [[item for item in row if item != hidden] for row in items]
        notes = (
            f"{hidden} in the lists of {column!r} was read as a hidden label. If it is a class, "
            "store the labels as names.",
        )
    types = {type(item).__name__ for row in items for item in row}
    if types - {"int"} and types - {"str"}:
        raise TargetError(
            f"The lists in the label column {column!r} hold values of type "
            f"{listing(sorted(types))}; labels must be all names or all whole numbers. Pass "
            "another column with --label-column."
        )
    distinct = sorted({item for row in items for item in row})
    if declared is not None:
        if distinct and distinct[-1] >= len(declared):
            raise TargetError(
                f"The label column {column!r} holds the number {distinct[-1]}, and there are "
                f"{len(declared)} class names."
            )
        names, distinct = tuple(declared), list(range(len(declared)))
    else:
        names = tuple(map(str, distinct))
    place = {item: i for i, item in enumerate(distinct)}
    array = np.zeros((len(values), max(1, len(names))), dtype=np.int64)
    for i, (row, value) in enumerate(zip(items, values, strict=True)):
        if row:
            array[i, [place[item] for item in row]] = 1
        else:
            array[i] = -1
            left_out[NO_LABEL if value is None else EMPTY_LIST] += 1
    return Tags(array, names, notes)


def read_indicators(
    columns: Mapping[str, Sequence[Any]], left_out: Counter[str], column: str
) -> Tags:
    """Read several columns of 0 and 1, one a label. A row of zeros has none of the labels.

    Columns of -1 and 1 are read so, too: -1 is a hidden label only if there are zeros.

    Args:
        columns: Name of a label -> (N,) values.
        left_out: Reason -> number of rows; those with a missing or hidden value are added.
        column: The columns, for messages.

    Raises:
        TargetError: A column holds something else than 0 and 1.
    """
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    if {value for row in rows for value in row if not _is_missing(value)} != {-1, 1}:
        return _of_indicators(rows, list(columns), column, left_out)
    rows = [[0 if value == -1 else value for value in row] for row in rows]
    note = f"There is no 0 in the columns {cut(column, 100)}, so -1 was read as 0."
    return replace(_of_indicators(rows, list(columns), column, left_out), notes=(note,))


def _of_indicators(
    rows: Sequence[Sequence[Any]], names: Sequence[str], column: str, left_out: Counter[str]
) -> Tags:
    array = np.full((len(rows), len(names)), -1, dtype=np.int64)
    for i, row in enumerate(rows):
        if any(_is_missing(value) or value in HIDDEN for value in row):
            left_out[NO_LABEL] += 1
            continue
        for j, value in enumerate(row):
            if isinstance(value, str) or value not in (0, 1):
                text = f"the text {cut(value, 40)!r}" if isinstance(value, str) else repr(value)
                raise TargetError(
                    f"{names[j]!r} holds {text}; columns of several labels ({column}) must hold "
                    "only the numbers 0 and 1. Pass others with --label-column."
                )
            array[i, j] = int(value)
    return Tags(array, tuple(names))


def _are_indicators(lists: Sequence[Sequence[Any]]) -> bool:
    """Whether lists are rows of a table of 0 and 1, and not lists of labels called 0 and 1.

    A list of labels names none of them twice.
    """
    lengths = {len(value) for value in lists}
    if len(lengths) != 1 or lengths <= {0, 1}:
        return False
    numbers = all(
        isinstance(item, (bool, int, float)) and item in (0, 1) for row in lists for item in row
    )
    return numbers and any(len(set(row)) < len(row) for row in lists)


def _refuse_indicators_as_text(lists: Sequence[Sequence[Any]], column: str) -> None:
    """Refuse rows of a table of 0 and 1 that are stored as texts: they would be labels with these
    names.

    Raises:
        TargetError: All items are such texts, and the lists are as :func:`_are_indicators` wants.
    """
    texts = {item.strip().lower() for row in lists for item in row if isinstance(item, str)}
    if not texts or not (texts <= {"0", "1"} or texts <= {"true", "false"}):
        return
    numbers = [[str(item).strip().lower() in ("1", "true") for item in row] for row in lists]
    if _are_indicators(numbers):
        raise TargetError(
            f"The lists in the label column {column!r} hold the texts {listing(sorted(texts))}. If "
            "each place in a list stands for a label, store the numbers 0 and 1; if they are names "
            "of labels, no list may hold a name twice."
        )


def _whole(item: Any) -> Any:
    """Whole numbers that are stored as floats, as ints."""
    return int(item) if isinstance(item, float) and item.is_integer() else item


def _hidden(items: Sequence[Sequence[Any]]) -> int | None:
    numbers = {item for row in items for item in row}
    return hidden_number(numbers) if all(type(n) is int for n in numbers) else None


def _is_missing(value: Any) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())
