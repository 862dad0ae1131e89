"""Convert a label column to class numbers and class names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hf_sfda.errors import TargetError
from hf_sfda.types import IntArray

MISSING = -1

HIDDEN = (-1, -100)
"""Numbers that stand for a hidden label: -1 by a convention of the Hub, -100 by one of torch."""


def hidden_number(numbers: Collection[int]) -> int | None:
    """The number in a label column that stands for "no label", or ``None``.

    It is -1 or -100, if no other number is negative. If the only values are -1 and 1, then -1 is a
    class, because some binary datasets use this coding. ``-2, -1, 0, 1, 2`` is a scale.

    Example:
        >>> [hidden_number(n) for n in ({-1, 0, 1}, {-1, 1}, {-2, -1, 0}, {0, -100})]
        [-1, None, None, -100]
    """
    negative = [number for number in numbers if number < 0]
    if len(negative) != 1 or set(numbers) == {-1, 1}:
        return None
    return negative[0] if negative[0] in HIDDEN else None


@dataclass(frozen=True, eq=False)
class Encoded:
    """Class numbers and class names.

    Attributes:
        codes: (N,) int64 in ``0..C-1``, or :data:`MISSING`.
        names: C names, in the order that the dataset declares, otherwise sorted.
        hidden: The number that was read as "no label", if there is one. ``None`` for a declared
            ``ClassLabel``.
    """

    codes: IntArray
    names: tuple[str, ...]
    hidden: int | None = None

    def keep(self, classes: IntArray) -> Encoded:
        """Keep and renumber these classes; rows of other classes become :data:`MISSING`."""
        number = np.full(len(self.names) + 1, MISSING, dtype=np.int64)  # index -1: MISSING
        number[classes] = np.arange(len(classes))
        return Encoded(number[self.codes], tuple(self.names[c] for c in classes), self.hidden)

    def counts(self) -> IntArray:
        """(C,) number of rows per class."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))


def encode(values: Sequence[Any], declared: Sequence[str] | None, column: str) -> Encoded:
    """Number the classes of a label column.

    A label is missing if it is ``None``, an empty string, NaN, or the number that
    :func:`hidden_number` returns.

    Args:
        values: (N,) ints, strings, bools, or floats that are whole numbers with missing values.
        declared: Names of a ``ClassLabel`` feature; the values are indices into them.
        column: Name of the column, for messages.

    Raises:
        TargetError: The labels are not classes but fractions, lists or other types.
    """
    if declared is not None:
        codes = [v if v is not None and v >= 0 else MISSING for v in values]
        return Encoded(np.array(codes, dtype=np.int64), tuple(declared))
    present = [v for v in values if v is not None]
    if present and all(isinstance(v, float) for v in present):
        values, present = _whole(values, column)
    if all(isinstance(v, str) for v in present):
        values = [v if v and v.strip() else None for v in values]
        return _number(values, sorted({v for v in values if v is not None}))
    if all(isinstance(v, bool) for v in present):
        return _number(values, [False, True])
    if all(isinstance(v, int) for v in present):
        classes = set(present)
        if (hidden := hidden_number(classes)) is not None:
            values, classes = [None if v == hidden else v for v in values], classes - {hidden}
        return replace(_number(values, sorted(classes)), hidden=hidden)
    types = sorted({type(v).__name__ for v in present})
    type_names = " and ".join(types)
    raise TargetError(
        f"The label column {column!r} holds values of type {type_names}; labels must be class "
        "names or numbers, one per row. Pass another column with --label-column."
    )


def _number(values: Sequence[Any], classes: Sequence[Any]) -> Encoded:
    number = {value: i for i, value in enumerate(classes)}
    codes = [MISSING if value is None else number[value] for value in values]
    return Encoded(np.array(codes, dtype=np.int64), tuple(str(value) for value in classes))


def _whole(values: Sequence[Any], column: str) -> tuple[list[int | None], list[int]]:
    """Convert floats back to ints. CSV readers convert ints to floats if values are missing.

    Raises:
        TargetError: The values are fractions, or floats without a missing value (regression).
    """
    gaps = [value is None or value != value for value in values]
    whole = all(gap or float(value).is_integer() for gap, value in zip(gaps, values, strict=True))
    if not whole or not any(gaps):
        what = "whole numbers stored as floats" if whole else "fractional numbers"
        raise TargetError(
            f"The label column {column!r} holds {what}; regression is not supported "
            "yet. Pass a column with classes as --label-column, or store them as integers."
        )
    numbers = [None if gap else int(value) for gap, value in zip(gaps, values, strict=True)]
    return numbers, [number for number in numbers if number is not None]
