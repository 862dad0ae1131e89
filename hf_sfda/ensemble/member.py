"""Reduce a candidate's features to its held-out posteriors, which the ensemble selection needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hf_sfda.errors import MetricError
from hf_sfda.metrics.posteriors import calibrated, log_posteriors
from hf_sfda.scoring import make_problem, score_problem

FloatArray = npt.NDArray[np.float64]

_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Member:
    """One candidate for an ensemble.

    Attributes:
        log_posteriors: (N, C) log-probabilities predicted for held-out samples. Column c belongs to
            the c-th of the sorted distinct labels.
        sfda: The candidate's own ``sfda_cv`` score, for the paper's score; ``None`` if unknown.
    """

    log_posteriors: FloatArray
    sfda: float | None = None

    @classmethod
    def of_posteriors(cls, posteriors: Any, *, sfda: float | None = None) -> Member:
        """Make a member from held-out probabilities.

        Args:
            posteriors: (N, C) probabilities; each row sums to one.
            sfda: The candidate's own ``sfda_cv`` score, if known.

        Raises:
            MetricError: The values are not probabilities.
        """
        P = np.asarray(posteriors, dtype=np.float64)
        if P.ndim != 2 or P.shape[1] < 2:
            raise MetricError(f"Posteriors have shape {P.shape}; they must be (N, C), C > 1.")
        # Written as "not (a and b)", so that NaN is refused, too.
        if not (P.min() >= 0 and np.abs(P.sum(1) - 1).max() <= _SUM_TOLERANCE):
            raise MetricError("Posteriors must be at least 0 and add up to 1 in every row.")
        with np.errstate(divide="ignore"):
            return cls(np.log(P), sfda)


def member_of(
    features: Any,
    labels: Any,
    *,
    folds: int = 5,
    seed: int = 0,
    sfda: float | None = None,
) -> Member:
    """Compute a candidate's held-out posteriors from its features.

    Args:
        features: (N, D) array or tensor.
        labels: (N,) ints or strings.
        folds: K of the cross-fit.
        seed: Random seed of the folds. All members must have the same seed.
        sfda: The candidate's ``sfda_cv`` score, if known; otherwise it is computed.

    Raises:
        MetricError: The input cannot be scored, see :func:`hf_sfda.score`.
    """
    problem = make_problem(features, labels, seed=seed)
    if problem.kind != "single-label":
        raise MetricError(
            f"Ensembles are chosen for one class a sample, not for {problem.kind} labels."
        )
    if sfda is None:
        sfda = score_problem(problem, "sfda_cv", folds=folds).value
    log_P = log_posteriors(problem, folds=folds)
    return Member(calibrated(problem, log_P, folds=folds).cpu().numpy(), sfda)


def as_members(
    candidates: Mapping[str, Any], labels: Any, *, folds: int, seed: int
) -> dict[str, Member]:
    """Convert candidates to members, sorted by name so that their order has no effect.

    Args:
        candidates: name -> (N, D) features or a :class:`Member`.
        labels: (N,) labels.
        folds: K of the cross-fit.
        seed: Random seed of the folds.

    Raises:
        MetricError: There are fewer than two candidates, or one does not match the labels.
    """
    if len(candidates) < 2:
        raise MetricError(f"There are {len(candidates)} candidates; an ensemble needs at least 2.")
    n, n_classes = len(labels), len(np.unique(labels))
    members = {}
    for name in sorted(candidates):
        candidate = candidates[name]
        try:
            member = (
                candidate
                if isinstance(candidate, Member)
                else member_of(candidate, labels, folds=folds, seed=seed)
            )
        except MetricError as error:
            raise MetricError(f"{name}: {error}") from error
        if member.log_posteriors.shape != (n, n_classes):
            raise MetricError(
                f"{name}: posteriors have shape {member.log_posteriors.shape}; with these labels "
                f"they must be ({n}, {n_classes})."
            )
        members[name] = member
    return members
