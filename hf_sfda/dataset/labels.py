"""Convert a label column to class numbers and class names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hf_sfda.dataset.sample import FEWEST, allocate, choose, draw_by_class
from hf_sfda.errors import TargetError
from hf_sfda.foreign import listing
from hf_sfda.format import cut
from hf_sfda.types import IntArray, LabelKind

MISSING = -1
NO_LABEL = "no label"
RARE = "class with fewer than 2 samples"

_MISSING_NAMES = frozenset("NA N/A n/a #N/A <NA> NaN nan NaT NULL Null null None \\N".split())
"""Names that R, pandas, spreadsheets and databases write for a missing value. ``none`` is not among
them."""

_VALUE = re.compile(
    r"\s*[-+]?[$€£¥]?\s*(\d+([.,]\d+)?|\d{1,3}([.,]\d{3})+([.,]\d+)?)\s*[%$€£¥]?\s*", re.ASCII
)
_SIGN = re.compile(r"[,%$€£¥]")
"""Signs that a plain number does not have."""

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
        notes: Warnings about the labels.
    """

    codes: IntArray
    names: tuple[str, ...]
    hidden: int | None = None
    notes: tuple[str, ...] = ()

    kind: ClassVar[LabelKind] = "single-label"

    @property
    def array(self) -> IntArray:
        """The codes: the labels of a target."""
        return self.codes

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """(N,) whether a row has a class."""
        usable: npt.NDArray[np.bool_] = self.codes >= 0
        return usable

    def take(self, rows: IntArray) -> Encoded:
        """The classes of these rows."""
        return replace(self, codes=self.codes[rows])

    def keep(self, classes: IntArray) -> Encoded:
        """Keep and renumber these classes; rows of other classes become :data:`MISSING`."""
        number = np.full(len(self.names) + 1, MISSING, dtype=np.int64)  # index -1: MISSING
        number[classes] = np.arange(len(classes))
        names = tuple(self.names[c] for c in classes)
        return replace(self, codes=number[self.codes], names=names)

    def counts(self) -> IntArray:
        """(C,) number of rows per class."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))

    def restricted(self, left_out: Counter[str], place: str) -> Encoded:
        """Keep only classes with enough samples. Declared classes without rows are not counted.

        Raises:
            TargetError: Fewer than two classes remain.
        """
        counts = self.counts()
        if rare := int(counts[counts < FEWEST].sum()):
            left_out[RARE] += rare
        classes = np.flatnonzero(counts >= FEWEST)
        if len(classes) < 2:
            what = f"only one class ({self.names[classes[0]]})" if len(classes) else "no class"
            raise TargetError(
                f"{place} has {what} with at least {FEWEST} usable samples{reasons(left_out)}. "
                "Ranking needs two classes or more: pass another column with --label-column, or "
                "another split with --split."
            )
        return self.keep(classes)

    def check_size(self, samples: int) -> None:
        """Refuse a sample that is too small for the number of classes.

        Raises:
            TargetError: Some class would get fewer than :data:`FEWEST` samples.
        """
        needed = FEWEST * len(self.names)
        if samples < needed:
            raise TargetError(
                f"A sample of {samples:,} cannot hold {FEWEST} of each of {len(self.names):,} "
                f"classes; pass --samples {needed} or more."
            )

    def draw(self, samples: int, seed: int, sizes: IntArray | None) -> IntArray:
        """Choose rows, stratified by class."""
        if sizes is None:
            return choose(self.codes, allocate(self.counts(), samples), seed)
        rows = np.flatnonzero(self.usable)
        return draw_by_class(self.codes[rows], rows, sizes, samples, seed)

    def texts(self) -> list[list[str]]:
        """The class name of each row, for the fingerprint."""
        return [[self.names[code]] for code in self.codes]


def reasons(left_out: Counter[str]) -> str:
    """How many rows are left out, by reason, for the end of a clause."""
    return "".join(f"; {reason}: {count:,}" for reason, count in left_out.items())


def lists_in_texts(names: Sequence[str], column: str) -> tuple[str, ...]:
    """Warn if class names seem to be lists of several labels, written as texts.

    They are texts in brackets; or parts between separators, and either two names have the same
    parts in another order, or all parts of a name are names themselves. ``animals-nature`` and
    ``Paris, France`` are names.

    Example:
        >>> texts = ["cat,dog", "cat,cow"], ["cat,dog", "dog,cat"], ["cat", "dog", "cat,dog"]
        >>> [len(lists_in_texts(names, "label")) for names in texts]
        [0, 1, 1]
    """
    example = next((name for name in names if _is_bracketed(name)), None)
    if example is None or not all(map(_is_bracketed, names)):
        example = next((name for sep in ",;|/+" if (name := _joined(names, sep))), None)
    if example is None:
        return ()
    return (
        f"The labels in {column!r} seem to be lists of several labels, written as texts: "
        f"{cut(example, 60)!r} was read as one class. For several labels a sample, store lists in "
        "parquet or JSON lines, or a column of 0 and 1 for each label.",
    )


def numbers_in_texts(names: Sequence[str], column: str) -> tuple[str, ...]:
    """Warn if class names seem to be values, written as texts that are no plain numbers.

    They have a comma, a percent sign or a sign of a currency, and nothing else but a number.

    Example:
        >>> lists = ["0,5", "1"], ["10%", "€1,200.50"], ["1.0", "2"], ["1,5", "none"], ["1,2,3"]
        >>> [len(numbers_in_texts(names, "label")) for names in lists]
        [1, 1, 0, 0, 0]
    """
    example = next((name for name in names if _SIGN.search(name)), None)
    if example is None or not all(map(_VALUE.fullmatch, names)):
        return ()
    return (
        f"The labels in {column!r} seem to be values, written as texts: {cut(example, 60)!r} was "
        "read as a class. For a regression, store plain numbers, with a point for decimals, and "
        "pass --task regression.",
    )


def missing_in_texts(names: Sequence[str], column: str) -> tuple[str, ...]:
    """Warn if a class has a name with which programs write a missing value.

    Example:
        >>> [len(missing_in_texts(names, "y")) for names in (["NA", "a"], ["none", "a"])]
        [1, 0]
    """
    found = [name for name in names if name.strip() in _MISSING_NAMES]
    if not found:
        return ()
    are = "was read as a class" if len(found) == 1 else "were read as classes"
    return (
        f"In the label column {column!r}, {listing(map(repr, found), 5)} {are}. If this means "
        "that a label is missing, leave it empty.",
    )


def _is_bracketed(name: str) -> bool:
    return name[:1] + name.strip()[-1:] in ("[]", "{}", "()")


def _joined(names: Sequence[str], separator: str) -> str | None:
    """The first name that consists of other names, or of the parts of another name."""
    known = {name.strip() for name in names}
    seen: set[frozenset[str]] = set()
    for name in names:
        parts = frozenset(part.strip() for part in name.split(separator) if part.strip())
        if len(parts) > 1 and (parts in seen or parts <= known):
            return name
        seen.add(parts)
    return None


def encode(values: Sequence[Any], declared: Sequence[str] | None, column: str) -> Encoded:
    """Number the classes of a label column.

    A label is missing if it is ``None``, an empty string, NaN, or the number that
    :func:`hidden_number` returns.

    Args:
        values: (N,) ints, strings, bools, or floats that are whole numbers.
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
    type_names = " and ".join(sorted({type(v).__name__ for v in present}))
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
        TargetError: The values are fractions.
    """
    gaps = [value is None or value != value for value in values]
    if not all(gap or float(value).is_integer() for gap, value in zip(gaps, values, strict=True)):
        raise TargetError(
            f"The label column {column!r} holds fractional numbers, which are values of a "
            "regression and no classes: pass --task regression, or a column with classes as "
            "--label-column."
        )
    numbers = [None if gap else int(value) for gap, value in zip(gaps, values, strict=True)]
    return numbers, [number for number in numbers if number is not None]
