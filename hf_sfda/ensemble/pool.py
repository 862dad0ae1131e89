"""Combining posteriors, and judging many combinations at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hf_sfda.types import IntArray

FloatArray = npt.NDArray[np.float64]
Pooling = Literal["geometric", "arithmetic"]

_DOUBT = 1e-3
"""Share of every posterior that is spread over all classes, so that one member that is sure and
wrong cannot overrule all others. Discriminants in many dimensions are often sure."""

_IN_MEMORY = 2**21
"""Numbers a temporary may hold (16 MB)."""


class Verdicts(NamedTuple):
    """What J juries say of many sets.

    Attributes:
        probability: (..., J) mean probability of the true class.
        log_likelihood: (..., J) mean of its logarithm.
    """

    probability: FloatArray
    log_likelihood: FloatArray


class Pool:
    r"""The posteriors of all candidates, on the same samples.

    ``geometric`` averages logarithms and normalises, :math:`\log p = \frac1k \sum_m \log p_m + c`
    (the logarithmic opinion pool); ``arithmetic`` averages probabilities. Averaged probabilities
    cannot gain by mean probability: the mean over samples of an average of models *is* the average
    of the models' means, never above the best of them.

    A jury is a set of samples, given as weights. Judging by several at once costs what one costs.

    With :math:`r = p^{1/k}` the normaliser of a set of k is :math:`\sum_c \prod_m r_{mc}`: for all
    pairs of a sample one matrix product, and one exponential a model instead of one a pair.

    Args:
        log_posteriors: M arrays (N, C); minus infinity is allowed.
        labels: (N,) in ``0..C-1``.
        juries: (J, N) weights; each row adds up to one.
        pooling: How members are combined.
    """

    def __init__(
        self,
        log_posteriors: Sequence[FloatArray],
        labels: IntArray,
        juries: FloatArray,
        pooling: Pooling,
    ) -> None:
        n, n_classes = log_posteriors[0].shape
        self.pooling = pooling
        self.labels = torch.from_numpy(np.ascontiguousarray(labels))
        self._juries = torch.from_numpy(juries)
        self._logs = torch.empty(n, len(log_posteriors), n_classes, dtype=torch.float64)
        for m, log_P in enumerate(log_posteriors):
            P = torch.from_numpy(np.exp(log_P))
            self._logs[:, m] = P.mul_(1 - _DOUBT).add_(_DOUBT / n_classes).log_()
        # Juries that agree on a set share the work on it.
        self.judge = cache(self._judge)
        self.judge_pairs = cache(self._judge_pairs)

    def __len__(self) -> int:
        return self._logs.shape[1]

    def _judge(self, base: tuple[int, ...]) -> Verdicts:
        """(M, J) verdicts on ``base`` with each candidate added to it."""
        members, size = list(base), len(base) + 1

        def true_probability(logs: Tensor, y: Tensor) -> Tensor:  # (n, M, C), (n,) -> (n, M)
            if self.pooling == "arithmetic":
                true = _true(logs, y).exp_()
                return (true + true[:, members].sum(1, keepdim=True)).div_(size)
            each = (logs / size).exp_()
            shared = (logs[:, members].sum(1) / size).exp_()[:, None]  # (n, 1, C)
            return _true(each, y) * _true(shared, y) / (each @ shared.mT)[..., 0]

        return self._verdicts(true_probability)

    def _judge_pairs(self) -> Verdicts:
        """(M, M, J) verdicts on every two candidates."""

        def true_probability(logs: Tensor, y: Tensor) -> Tensor:  # (n, M, C), (n,) -> (n, M, M)
            if self.pooling == "arithmetic":
                true = _true(logs, y).exp_()
                return (true[:, :, None] + true[:, None, :]).div_(2)
            roots = (logs / 2).exp_()
            true = _true(roots, y)
            return true[:, :, None] * true[:, None, :] / (roots @ roots.mT)

        return self._verdicts(true_probability)

    def _verdicts(self, true_probability: Callable[[Tensor, Tensor], Tensor]) -> Verdicts:
        n, n_models, n_classes = self._logs.shape
        step = max(1, _IN_MEMORY // (n_models * max(n_models, n_classes)))
        means: list[Tensor] = []
        for start in range(0, n, step):
            rows = slice(start, start + step)
            p = true_probability(self._logs[rows], self.labels[rows])  # (n, ...)
            both = torch.stack([p, p.log()], dim=-1)
            part = torch.tensordot(both, self._juries[:, rows], dims=([0], [1]))  # (..., 2, J)
            means = [means[0].add_(part)] if means else [part]
        return Verdicts(means[0][..., 0, :].numpy(), means[0][..., 1, :].numpy())

    def posterior(self, members: tuple[int, ...]) -> Tensor:
        """(N, C) combined posterior of a set."""
        if self.pooling == "arithmetic":
            return torch.stack([self._logs[:, m].exp() for m in members]).mean(0)
        total = self._logs[:, members[0]].clone()
        for m in members[1:]:
            total += self._logs[:, m]
        return torch.softmax(total.div_(len(members)), dim=1)

    def true_probability(self, members: tuple[int, ...]) -> FloatArray:
        """(N,) probability of the true class by a set."""
        true = self.posterior(members).gather(1, self.labels[:, None])[:, 0]
        probability: FloatArray = true.numpy()
        return probability

    def hits(self) -> npt.NDArray[np.bool_]:
        """(M, N) whether each candidate's most probable class is the true one."""
        right: npt.NDArray[np.bool_] = (self._logs.argmax(2).T == self.labels).numpy()
        return right


def _true(values: Tensor, y: Tensor) -> Tensor:
    """(n, M) entries of (n, M, C) at the true class of each sample."""
    return values.gather(2, y[:, None, None].expand(-1, values.shape[1], 1))[..., 0]
