"""Labels of any kind as class numbers and class names."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hf_sfda.errors import TargetError
from hf_sfda.types import IntArray

MISSING = -1

HIDDEN = (-1, -100)
"""What stands for a label that is not given away: by the Hub's convention, and by torch's."""


def hidden_number(numbers: Collection[int]) -> int | None:
    """Which of the numbers in a label column stands for "no label", if one does.

    It is -1 or -100 where no other number is negative. Only where -1 and 1 are the sole values,
    -1 is a class: some people write yes and no so. ``-2, -1, 0, 1, 2`` is a scale.

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
    """Class numbers and what they mean.

    Attributes:
        codes: (N,) int64 in ``0..C-1``, or :data:`MISSING`.
        names: C names: in the order the dataset declares, else sorted.
        hidden: The number that was read as "no label", if it was not declared so.
    """

    codes: IntArray
    names: tuple[str, ...]
    hidden: int | None = None

    def keep(self, classes: IntArray) -> Encoded:
        """Only these classes, renumbered in their order; rows of others are :data:`MISSING`."""
        number = np.full(len(self.names) + 1, MISSING, dtype=np.int64)  # the last one: MISSING
        number[classes] = np.arange(len(classes))
        return Encoded(number[self.codes], tuple(self.names[c] for c in classes), self.hidden)

    def counts(self) -> IntArray:
        """(C,) rows a class."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))


def encode(values: Sequence[Any], declared: Sequence[str] | None, column: str) -> Encoded:
    """Number the classes of a label column.

    A label is missing where it is ``None``, an empty string, NaN, or the number that
    :func:`hidden_number` finds.

    Args:
        values: (N,) ints, strings, bools, or floats that are whole numbers with gaps.
        declared: Names of a ``ClassLabel`` feature; the values are numbers into it.
        column: Its name, for messages.

    Raises:
        TargetError: Labels that are not classes: fractions, lists, other types.
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
        kinds = set(present)
        if (hidden := hidden_number(kinds)) is not None:
            values, kinds = [None if v == hidden else v for v in values], kinds - {hidden}
        return replace(_number(values, sorted(kinds)), hidden=hidden)
    types = sorted({type(v).__name__ for v in present})
    kind = " and ".join(types) if len(types) > 1 else types[0]
    raise TargetError(
        f"The label column {column!r} holds values of type {kind}; labels must be class names "
        "or numbers, one a row. Pass another one with --label-column."
    )


def _number(values: Sequence[Any], kinds: Sequence[Any]) -> Encoded:
    number = {kind: i for i, kind in enumerate(kinds)}
    codes = [MISSING if value is None else number[value] for value in values]
    return Encoded(np.array(codes, dtype=np.int64), tuple(str(kind) for kind in kinds))


def _whole(values: Sequence[Any], column: str) -> tuple[list[int | None], list[int]]:
    """Floats back to ints where gaps are what made them floats, as CSV readers do.

    Raises:
        TargetError: They are measurements.
    """
    gaps = [value is None or value != value for value in values]
    whole = all(gap or float(value).is_integer() for gap, value in zip(gaps, values, strict=True))
    if not whole or not any(gaps):
        what = "whole numbers stored as floats" if whole else "fractional numbers"
        raise TargetError(
            f"The label column {column!r} holds {what}: regression is not supported "
            "yet. Pass a column with classes as --label-column, or store them as integers."
        )
    numbers = [None if gap else int(value) for gap, value in zip(gaps, values, strict=True)]
    return numbers, [number for number in numbers if number is not None]
