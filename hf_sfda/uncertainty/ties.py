"""Which models do not differ significantly, at a level that holds for all comparisons at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hf_sfda.uncertainty.statistics import FloatArray, normal_tail, t_quantile

ROUNDING = 1e-12
"""Differences below this share of the largest score are rounding, not evidence."""

_CHUNK_BYTES = 32 * 2**20


def significant_differences(
    values: FloatArray,
    resampled: FloatArray,
    confidence: float,
    *,
    degrees_of_freedom: float = np.inf,
) -> npt.NDArray[np.bool_]:
    """Which pairs of models differ, by a single-step max-T test over all pairs.

    The difference of each pair is divided by its bootstrap standard error, and held against the
    distribution, over resamples, of the *largest* such ratio among all pairs (each centred on its
    own mean). So the chance that any equal pair is called different is 1 - confidence
    (Westfall & Young 1993; Romano & Wolf 2005). Using the joint distribution is what makes it
    sharper than Bonferroni: models scored on the same samples err together.

    The standard errors are estimates too. With few units, the smallest standard error among many
    pairs is far too small, so the critical value is carried from the normal to Student's
    t distribution at the same tail probability (twenty jackknife groups and twenty equal models:
    without it the family-wise error is 30% where 5% is promised).

    A pair whose difference is the same in every resample has no standard error: it differs if the
    difference is not zero.

    Args:
        values: (M,) scores.
        resampled: (B, M) scores on the same resamples.
        confidence: 0.95 for a family-wise error of 5%.
        degrees_of_freedom: Of the standard errors, see
            :func:`hf_sfda.uncertainty.degrees_of_freedom`.

    Returns:
        (M, M) symmetric, diagonal false. Time O(B M^2), memory bounded.
    """
    n_resamples, n_models = resampled.shape
    differ = np.zeros((n_models, n_models), dtype=bool)
    if n_models < 2:
        return differ
    first, second = np.triu_indices(n_models, k=1)
    smallest = ROUNDING * max(1.0, float(np.abs(values).max()))
    observed = values[first] - values[second]
    error = np.empty(len(first))
    largest = np.zeros(n_resamples)
    step = max(1, _CHUNK_BYTES // (8 * n_resamples))
    for start in range(0, len(first), step):
        part = slice(start, start + step)
        gaps = resampled[:, first[part]] - resampled[:, second[part]]  # (B, pairs)
        gaps -= gaps.mean(axis=0)
        error[part] = np.sqrt((gaps**2).sum(axis=0) / max(n_resamples - 1, 1))
        varies = error[part] > smallest
        if varies.any():
            ratios = np.abs(gaps[:, varies]) / error[part][varies]
            np.maximum(largest, ratios.max(axis=1), out=largest)
    critical = float(np.quantile(largest, confidence, method="higher"))
    critical = t_quantile(normal_tail(critical), degrees_of_freedom)
    fixed = error <= smallest
    significant = np.where(
        fixed, np.abs(observed) > smallest, np.abs(observed) > critical * np.where(fixed, 1, error)
    )
    differ[first, second] = significant
    return differ | differ.T


def tie_groups(
    values: FloatArray,
    resampled: FloatArray,
    confidence: float,
    *,
    degrees_of_freedom: float = np.inf,
) -> npt.NDArray[np.int64]:
    """Groups along the order: a model belongs to the group's first unless they differ.

    Going down the ranking, the first model leads group 1; the first model that differs
    significantly from it leads group 2, and so on. Groups are contiguous by construction. Members
    of neighbouring groups may not differ either ("does not differ" is not transitive). The first
    model of each group differs from the first model of the group before.

    Args:
        values: (M,) scores, higher is better.
        resampled: (B, M).
        confidence: Family-wise level.
        degrees_of_freedom: Of the standard errors.

    Returns:
        (M,) group numbers from 1, in the order of the input.
    """
    differ = significant_differences(
        values, resampled, confidence, degrees_of_freedom=degrees_of_freedom
    )
    return _groups(values, lambda leader, model: bool(differ[leader, model]))


def groups_by_probability(
    values: FloatArray, predicted: FloatArray, confidence: float
) -> npt.NDArray[np.int64]:
    """Groups along the order: a model belongs to the group's first unless that one is better with
    a probability of at least ``confidence``.

    The level holds for each comparison with the first of a group, not for all of them together.

    Args:
        values: (M,) scores, higher is better.
        predicted: (B, M) draws of fine-tuned accuracies.
        confidence: Probability that a difference needs.

    Returns:
        (M,) group numbers from 1, in the order of the input.
    """
    return _groups(
        values,
        lambda leader, model: bool(
            (predicted[:, leader] > predicted[:, model]).mean() >= confidence
        ),
    )


def _groups(values: FloatArray, differ: Callable[[int, int], bool]) -> npt.NDArray[np.int64]:
    """(M,) groups from 1: going down the order, a model that differs from the group's first leads
    the next one.
    """
    groups = np.zeros(len(values), dtype=np.int64)
    group, leader = 0, -1
    for model in np.argsort(-values, kind="stable"):
        if leader < 0 or differ(leader, model):
            group, leader = group + 1, model
        groups[model] = group
    return groups
