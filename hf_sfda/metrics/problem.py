"""The input of a metric: the features of one checkpoint and the labels of one target.

The two are separate so that many scores are cheap. :class:`Geometry` holds what depends on the
features alone (row-space coordinates, the Gram matrix, its spectrum). It is computed once for all
metrics and all shuffles of the labels. :class:`Problem` adds the labels. Both act as immutable:
cached values are computed on first use and never change, so metrics are pure functions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import linalg
from hf_sfda.tasks import has_classes
from hf_sfda.types import LabelKind

Result = TypeVar("Result")


class Spectrum(NamedTuple):
    """Eigenvalues (r,), ascending and not negative, and eigenvectors (r, r) in columns."""

    values: Tensor
    vectors: Tensor


def _spectrum(S: Tensor) -> Spectrum:
    values, vectors = torch.linalg.eigh(S)
    return Spectrum(values.clamp(min=0), vectors)


def _cached(cache: dict[Hashable, Any], key: Hashable, compute: Callable[[], Result]) -> Result:
    if key not in cache:
        cache[key] = compute()
    value: Result = cache[key]
    return value


@dataclass(frozen=True, eq=False)
class Geometry:
    """Features, and what is computed from them without labels.

    Attributes:
        raw: (N, D) finite, of any real dtype, as passed in. Never written to.
    """

    raw: Tensor
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return self.raw.shape[0]

    @property
    def width(self) -> int:
        """D, also after a rotation into fewer coordinates."""
        return self.raw.shape[1]

    @property
    def is_rotated(self) -> bool:
        """Whether there are fewer samples than dimensions, and so a smaller basis."""
        return len(self) < self.width

    def cached(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """A value that a metric derives from the features alone, computed on first use.

        Args:
            key: Names the metric and every option that the value depends on, the seed included.
            compute: A function of these features and of the values in ``key`` only.
        """
        return _cached(self._cache, key, compute)

    @cached_property
    def features(self) -> Tensor:
        """(N, D) float64, in the coordinates of ``raw``."""
        return self.raw.double()

    @cached_property
    def coordinates(self) -> Tensor:
        """(N, r) features in an orthonormal basis of their row space, r = min(N, D).

        Exact for every metric that is invariant to rotation, and turns its N D^2 into N^2 D when
        there are fewer samples than dimensions. With N >= D these are the features themselves.
        """
        if not self.is_rotated:
            return self.features
        # X' = Q R, so that X = R' Q': the rows of R' are the samples in the basis Q.
        R: Tensor = torch.linalg.qr(self.features.T, mode="r").R
        return R.T.contiguous()

    @cached_property
    def row_sums(self) -> Tensor:
        """(N,) sums over dimensions, before any rotation (the released SFDA starts from them)."""
        return self.raw.sum(1, dtype=torch.float64)

    @cached_property
    def mean(self) -> Tensor:
        """(r,) mean of the coordinates."""
        if self.is_rotated:
            return self.coordinates.mean(0)
        return self.raw.mean(0, dtype=torch.float64)

    @cached_property
    def centred(self) -> Tensor:
        """(N, r) coordinates less their mean."""
        return self.rows(None)

    def rows(self, order: Tensor | None) -> Tensor:
        """(N, r) centred coordinates in another order: a new tensor, which is not cached."""
        X = self.coordinates if self.is_rotated else self.raw
        if order is not None and X.dtype == torch.float64:
            return X[order].sub_(self.mean)
        # Mixed dtypes promote inside the subtraction: single precision needs no copy in double.
        return (X if order is None else X[order]) - self.mean

    @cached_property
    def scatter(self) -> Tensor:
        """(r, r) centred Gram matrix, N times the (biased) total covariance."""
        return linalg.gram(self.centred)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Eigen-decomposition of :attr:`scatter`."""
        return _spectrum(self.scatter)

    @cached_property
    def raw_spectrum(self) -> Spectrum:
        """Eigen-decomposition of the Gram matrix without centring."""
        return _spectrum(self.scatter + len(self) * torch.outer(self.mean, self.mean))

    @cached_property
    def squared_norms(self) -> Tensor:
        """(N,) squared lengths of the centred samples."""
        lengths: Tensor = torch.linalg.vector_norm(self.centred, dim=1)
        return lengths.square()


@dataclass(frozen=True, eq=False)
class Problem:
    """Features with labels, ready to be scored.

    Attributes:
        geometry: The features.
        targets: (N,) int64 classes in ``0..C-1`` for single-label and token problems, (N,) float64
            values for regression, (N, T) float64 zeros and ones for multi-label.
        n_outputs: C classes, 1 for regression, T labels for multi-label.
        kind: What the labels are.
        source_log_probs: (N, C_source) float64 log-probabilities of the checkpoint's own head.
        seed: Seed for metrics that draw folds or initial values.
        last: The features of the last layer alone, if ``geometry`` holds those of several layers.
        measured: The same problem with the features that the network computes after its batch
            norms were measured on the target; ``None`` if it has none or they were not measured.
    """

    geometry: Geometry
    targets: Tensor
    n_outputs: int
    kind: LabelKind = "single-label"
    source_log_probs: Tensor | None = None
    seed: int = 0
    last: Geometry | None = None
    measured: Problem | None = None
    _cache: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.geometry)

    def cached(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """A value that several metrics share, computed on first use; it may depend on the labels.

        Problems with other labels or features start with an empty cache.

        Args:
            key: Names the metric and every option that the value depends on.
            compute: A function of this problem and of the values in ``key`` only.
        """
        return _cached(self._cache, key, compute)

    @property
    def features(self) -> Tensor:
        """(N, D) float64 features. Never write to them."""
        return self.geometry.features

    @property
    def labels(self) -> Tensor:
        """(N,) int64 classes in ``0..C-1``, every one of them present.

        Raises:
            MetricError: The targets are no classes.
        """
        if not has_classes(self.kind):
            raise MetricError(f"A {self.kind} problem has targets, no classes.")
        return self.targets

    @property
    def required_source_log_probs(self) -> Tensor:
        """(N, C_source) log-probabilities of the checkpoint's head.

        Raises:
            MetricError: There is no head.
        """
        if self.source_log_probs is None:
            raise MetricError("There is no source head.")
        return self.source_log_probs

    @property
    def n_classes(self) -> int:
        """C."""
        return self.n_outputs

    @cached_property
    def one_hot(self) -> Tensor:
        """(N, T) float64 targets in columns: one-hot classes, labels, or the single value."""
        if has_classes(self.kind):
            eye = torch.eye(self.n_classes, dtype=torch.float64, device=self.targets.device)
            return eye[self.targets]
        return self.targets.reshape(len(self), -1)

    @cached_property
    def counts(self) -> Tensor:
        """(C,) float64 class sizes."""
        return torch.bincount(self.labels, minlength=self.n_classes).double()

    @cached_property
    def class_means(self) -> Tensor:
        """(C, r) class means of the centred coordinates."""
        sums = linalg.group_sums(self.geometry.centred, self.labels, self.n_classes)
        return sums / self.counts[:, None]

    @cached_property
    def within(self) -> Tensor:
        """(r, r) within-class scatter, N times the pooled (biased) covariance."""
        weighted = self.class_means * self.counts[:, None]
        return self.geometry.scatter - weighted.T @ self.class_means

    def with_classes(self, labels: Tensor, n_classes: int) -> Problem:
        """The same features with these classes as targets."""
        measured = self.measured
        if measured is not None:
            measured = measured.with_classes(labels, n_classes)
        return Problem(
            self.geometry, labels, n_classes, seed=self.seed, last=self.last, measured=measured
        )

    def relabelled(self, targets: Tensor) -> Problem:
        """The same features with other targets of the same kind; the geometry is shared."""
        measured = None if self.measured is None else self.measured.relabelled(targets)
        return replace(self, targets=targets, measured=measured)
