"""Read a label column as the values of a regression."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from hf_sfda.dataset.labels import reasons
from hf_sfda.dataset.sample import FEWEST, allocate, choose, draw_by_class
from hf_sfda.errors import TargetError
from hf_sfda.foreign import listing
from hf_sfda.format import cut
from hf_sfda.tasks import strata_of
from hf_sfda.types import IntArray, LabelKind

NO_VALUE = "no value"
INFINITE = "infinite value"
FEWEST_VALUES = 10
"""Fewest samples of a regression: with fewer there is nothing to hold out."""


@dataclass(frozen=True, eq=False)
class Values:
    """The values of a regression.

    Attributes:
        array: (N,) float64; NaN where a row cannot be used.
        notes: Warnings about the labels.
    """

    array: npt.NDArray[np.float64]
    notes: tuple[str, ...] = ()

    kind: ClassVar[LabelKind] = "regression"
    names: ClassVar[tuple[str, ...]] = ()

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """(N,) whether a row has a value."""
        usable: npt.NDArray[np.bool_] = np.isfinite(self.array)
        return usable

    def take(self, rows: IntArray) -> Values:
        """The values of these rows."""
        return replace(self, array=self.array[rows])

    def restricted(self, left_out: Counter[str], place: str) -> Values:
        """The same values, if a regression is possible on them.

        Raises:
            TargetError: Too few values, or all but one are equal.
        """
        values = self.array[self.usable]
        if len(values) < FEWEST_VALUES:
            raise TargetError(
                f"{place} has {len(values):,} usable values{reasons(left_out)}. A regression needs "
                f"{FEWEST_VALUES} or more: pass another column with --label-column, or another "
                "split with --split."
            )
        distinct, counts = np.unique(values, return_counts=True)
        if len(values) - counts.max() < FEWEST:
            raise TargetError(
                f"{place} has {len(values):,} usable values, and {counts.max():,} of them are "
                f"{distinct[counts.argmax()]:g}, so there is nothing to predict: {FEWEST} or more "
                "must differ. Pass another column with --label-column."
            )
        return self

    def check_size(self, samples: int) -> None:
        """Refuse a sample that is too small.

        Raises:
            TargetError: It has fewer than :data:`FEWEST_VALUES` rows.
        """
        if samples < FEWEST_VALUES:
            raise TargetError(
                f"A sample of {samples:,} is too small for a regression; pass --samples "
                f"{FEWEST_VALUES} or more."
            )

    def draw(self, samples: int, seed: int, sizes: IntArray | None) -> IntArray:
        """Choose rows, stratified by quantiles of the values."""
        rows = np.flatnonzero(self.usable)
        strata = strata_of(self.array[rows])
        if sizes is not None:
            return draw_by_class(strata, rows, sizes, samples, seed)
        return rows[choose(strata, allocate(np.bincount(strata), samples), seed)]

    def texts(self) -> list[list[str]]:
        """The value of each row, for the fingerprint."""
        return [[float(value).hex()] for value in self.array]


def read_values(values: Sequence[Any], column: str, left_out: Counter[str]) -> Values:
    """Read the values of a regression. Missing and infinite ones are counted.

    Raises:
        TargetError: They are not numbers.
    """
    types = {type(value).__name__ for value in values if not _is_number(value)}
    if types == {"str"} and (texts := [str(value) for value in values if value]):
        raise TargetError(_not_numbers(texts, column))
    if types:
        raise TargetError(
            f"The label column {column!r} holds values of type {listing(sorted(types))}; a "
            "regression needs numbers. Pass another column with --label-column, or leave out "
            "--task regression."
        )
    array = np.array([np.nan if value is None else float(value) for value in values])
    if missing := int(np.isnan(array).sum()):
        left_out[NO_VALUE] += missing
    if infinite := int(np.isinf(array).sum()):
        left_out[INFINITE] += infinite
    return Values(np.where(np.isfinite(array), array, np.nan))


def _not_numbers(texts: Sequence[str], column: str) -> str:
    """Why a column of texts holds no values: what the first text is that is no number."""
    others = [text for text in texts if not _reads_as_number(text)]
    what = (
        f"{len(others):,} of {len(texts):,} are not numbers, such as {cut(others[0], 40)!r}"
        if others
        else f"numbers stored as texts, such as {cut(texts[0], 40)!r}"
    )
    return (
        f"The label column {column!r} holds texts ({what}); a regression needs numbers. Remove "
        "units and separators of thousands, write decimals with a point, and leave missing values "
        "empty. Or pass another column with --label-column, or leave out --task regression."
    )


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (Real, Decimal)) and not isinstance(value, bool))
