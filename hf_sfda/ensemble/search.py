"""Forward selection: the best one, the best pair, then one more while it helps."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hf_sfda.ensemble.pool import Pool, Verdicts

Criterion = Literal["probability", "log_likelihood"]
FloatArray = npt.NDArray[np.float64]

_ROUNDING = 1e-9
"""Differences below this are rounding: the same model twice must not count as a gain."""


class Path(NamedTuple):
    """What one search found.

    Attributes:
        sets: The best single, the best pair, ...; each better than the one before.
        refused: The set that would have come next and is no better; ``None`` where the search ended
            for want of candidates or because the size was reached.
    """

    sets: tuple[tuple[int, ...], ...]
    refused: tuple[int, ...] | None


def search(pool: Pool, jury: int, size: int, criterion: Criterion) -> Path:
    """Choose up to ``size`` members by what one jury says of them.

    All pairs are tried, so "no pair helps" is meant literally, and two specialists are found
    although a generalist beats either alone. From three on the search is greedy. Equal values are
    decided by the other criterion, then by the order of the candidates.

    Cost: one product of N x M x C x M for all pairs, and N x M x C for each further member, both
    for all juries together.
    """
    singles = _values(pool.judge(()), jury, criterion)
    best, value = _best([(m,) for m in range(len(pool))], singles)
    sets = [best]
    while len(best) < min(size, len(pool)):
        candidates, values = (
            _pairs(pool, jury, criterion)
            if len(best) == 1
            else _extensions(pool, best, jury, criterion)
        )
        following, reached = _best(candidates, values)
        if reached <= value + _ROUNDING:
            return Path(tuple(sets), _in_order(following, singles))
        best, value = _in_order(following, singles), reached
        sets.append(best)
    return Path(tuple(sets), None)


def _pairs(pool: Pool, jury: int, criterion: Criterion) -> tuple[list[tuple[int, ...]], FloatArray]:
    upper = np.triu_indices(len(pool), 1)
    values = _values(pool.judge_pairs(), jury, criterion)[upper]
    return list(zip(*(index.tolist() for index in upper), strict=True)), values


def _extensions(
    pool: Pool, base: tuple[int, ...], jury: int, criterion: Criterion
) -> tuple[list[tuple[int, ...]], FloatArray]:
    others = [m for m in range(len(pool)) if m not in base]
    values = _values(pool.judge(tuple(sorted(base))), jury, criterion)
    return [(*base, m) for m in others], values[others]


def _values(verdicts: Verdicts, jury: int, criterion: Criterion) -> FloatArray:
    """(..., 2) the criterion and, to decide ties, the other one."""
    both = (verdicts.probability[..., jury], verdicts.log_likelihood[..., jury])
    return np.stack(both if criterion == "probability" else both[::-1], axis=-1)


def _best(candidates: list[tuple[int, ...]], values: FloatArray) -> tuple[tuple[int, ...], float]:
    tied = np.flatnonzero(values[:, 0] >= values[:, 0].max() - _ROUNDING)
    tied = tied[values[tied, 1] >= values[tied, 1].max() - _ROUNDING]
    winner = int(tied[0])
    return candidates[winner], float(values[winner, 0])


def _in_order(members: tuple[int, ...], singles: FloatArray) -> tuple[int, ...]:
    """A new pair with the better single first; later members stay behind."""
    if len(members) > 2:
        return members
    return tuple(sorted(members, key=lambda m: (-singles[m, 0], m)))
