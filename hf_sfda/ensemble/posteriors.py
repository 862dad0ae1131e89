"""The held-out posteriors of a candidate, of several together, and the scores of many sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics.posteriors import calibrated, log_posteriors
from hf_sfda.scoring import make_problem, score_problem
from hf_sfda.types import IntArray

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


Pooling = Literal["geometric", "arithmetic"]

_DOUBT = 1e-3
"""Each posterior is mixed with this share of the uniform distribution, so that one member that is
confident and wrong cannot overrule all others. Discriminants in many dimensions are often
overconfident."""

_IN_MEMORY = 2**21
"""Largest number of elements of a temporary array (16 MB)."""


class SubsetScores(NamedTuple):
    """The scores of many sets of candidates, each on J subsets of the samples.

    Attributes:
        probability: (..., J) mean probability of the true class.
        log_likelihood: (..., J) mean log-probability of the true class.
    """

    probability: FloatArray
    log_likelihood: FloatArray


class CandidatePosteriors:
    r"""The posteriors of all candidates on the same samples, and the scores of their combinations.

    ``geometric`` pooling averages log-probabilities and normalises,
    :math:`\log p = \frac1k \sum_m \log p_m + c` (the logarithmic opinion pool). ``arithmetic``
    pooling averages probabilities. It can never improve the mean probability of the true class: the
    mean of an average is the average of the means, and that is at most the best of them.

    Each set is scored on J subsets of the samples, given as weights. J subsets cost no more than
    one.

    With :math:`r = p^{1/k}`, the normaliser of a set of k candidates is
    :math:`\sum_c \prod_m r_{mc}`. For all pairs together this is one matrix product per sample, and
    it needs one exponential per model instead of one per pair.

    Args:
        log_posteriors: M arrays (N, C); minus infinity is allowed.
        labels: (N,) classes in ``0..C-1``.
        weights: (J, N) weights of the subsets; each row sums to one.
        pooling: How the members of a set are combined.
    """

    def __init__(
        self,
        log_posteriors: Sequence[FloatArray],
        labels: IntArray,
        weights: FloatArray,
        pooling: Pooling,
    ) -> None:
        n, n_classes = log_posteriors[0].shape
        self.pooling = pooling
        self.labels = torch.from_numpy(np.ascontiguousarray(labels))
        self._weights = torch.from_numpy(weights)
        self._logs = torch.empty(n, len(log_posteriors), n_classes, dtype=torch.float64)
        for m, log_P in enumerate(log_posteriors):
            P = torch.from_numpy(np.exp(log_P))
            self._logs[:, m] = P.mul_(1 - _DOUBT).add_(_DOUBT / n_classes).log_()
        # Cached, because searches on different subsets score the same sets.
        self.score_extensions = cache(self._score_extensions)
        self.score_pairs = cache(self._score_pairs)

    def __len__(self) -> int:
        return self._logs.shape[1]

    def _score_extensions(self, base: tuple[int, ...]) -> SubsetScores:
        """The (M, J) scores of ``base`` with each candidate added to it."""
        members, size = list(base), len(base) + 1

        def true_probability(logs: Tensor, y: Tensor) -> Tensor:  # (n, M, C), (n,) -> (n, M)
            if self.pooling == "arithmetic":
                true = _true(logs, y).exp_()
                return (true + true[:, members].sum(1, keepdim=True)).div_(size)
            added = (logs / size).exp_()
            shared = (logs[:, members].sum(1) / size).exp_()[:, None]  # (n, 1, C)
            return _true(added, y) * _true(shared, y) / (added @ shared.mT)[..., 0]

        return self._subset_scores(true_probability)

    def _score_pairs(self) -> SubsetScores:
        """The (M, M, J) scores of all pairs of candidates."""

        def true_probability(logs: Tensor, y: Tensor) -> Tensor:  # (n, M, C), (n,) -> (n, M, M)
            if self.pooling == "arithmetic":
                true = _true(logs, y).exp_()
                return (true[:, :, None] + true[:, None, :]).div_(2)
            roots = (logs / 2).exp_()
            true = _true(roots, y)
            return true[:, :, None] * true[:, None, :] / (roots @ roots.mT)

        return self._subset_scores(true_probability)

    def _subset_scores(self, true_probability: Callable[[Tensor, Tensor], Tensor]) -> SubsetScores:
        n, n_models, n_classes = self._logs.shape
        step = max(1, _IN_MEMORY // (n_models * max(n_models, n_classes)))
        means: list[Tensor] = []
        for start in range(0, n, step):
            rows = slice(start, start + step)
            p = true_probability(self._logs[rows], self.labels[rows])  # (n, ...)
            both = torch.stack([p, p.log()], dim=-1)
            part = torch.tensordot(both, self._weights[:, rows], dims=([0], [1]))  # (..., 2, J)
            means = [means[0].add_(part)] if means else [part]
        return SubsetScores(means[0][..., 0, :].numpy(), means[0][..., 1, :].numpy())

    def posterior(self, members: tuple[int, ...]) -> Tensor:
        """The (N, C) combined posterior of a set."""
        if self.pooling == "arithmetic":
            return torch.stack([self._logs[:, m].exp() for m in members]).mean(0)
        total = self._logs[:, members[0]].clone()
        for m in members[1:]:
            total += self._logs[:, m]
        return torch.softmax(total.div_(len(members)), dim=1)

    def true_probability(self, members: tuple[int, ...]) -> FloatArray:
        """The (N,) probability of the true class in the combined posterior of a set."""
        true = self.posterior(members).gather(1, self.labels[:, None])[:, 0]
        probability: FloatArray = true.numpy()
        return probability

    def hits(self) -> npt.NDArray[np.bool_]:
        """(M, N) booleans: whether a candidate's most probable class is the true one."""
        correct: npt.NDArray[np.bool_] = (self._logs.argmax(2).T == self.labels).numpy()
        return correct


def _true(values: Tensor, y: Tensor) -> Tensor:
    """Select the true class of each sample: (n, M, C) -> (n, M)."""
    return values.gather(2, y[:, None, None].expand(-1, values.shape[1], 1))[..., 0]
