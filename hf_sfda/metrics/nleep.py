"""NLEEP: LEEP for networks without a head, by a Gaussian mixture in its place."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from hf_sfda.errors import MetricError
from hf_sfda.metrics import register_metric
from hf_sfda.metrics.leep import expected_log_probability
from hf_sfda.metrics.pca import principal_components
from hf_sfda.metrics.problem import Problem
from hf_sfda.types import Score

_MAX_PER_CLASS = 5
_SAMPLES_PER_COMPONENT = 20
_RIDGE = 1e-6


@register_metric(
    "nleep",
    summary="LEEP over the components of a Gaussian mixture (slow)",
    tasks=frozenset({"single-label", "token"}),
    cost="N D^2 + 10 D^3 + 100 N K d^2 at K components",
    reference="Li et al., CVPR 2021, arXiv:2011.11200",
    invariant_to=frozenset({"translation", "rotation"}),
    width_sensitive=True,
)
def nleep(
    problem: Problem,
    *,
    components_per_class: int | None = None,
    variance: float = 0.8,
    covariance: str = "full",
) -> Score:
    """LEEP over the components of a Gaussian mixture (slow).

    Principal components up to 80% of the variance, a mixture of K Gaussians, and LEEP with the
    responsibilities in place of source classes. ``per_sample`` holds the log-probabilities;
    ``details["mean_probability"]`` is the form without logarithm that the SFDA repository reports.

    Traps: expectation-maximisation finds a local optimum that depends on the seed and the order of
    the samples; published implementations disagree on K, on the logarithm and on the seed.

    Args:
        problem: What to score.
        components_per_class: K / C. ``None`` takes 5, as published, or fewer, so that every
            component has 20 samples on average.
        variance: Share of variance the principal components must exceed.
        covariance: Of a component: ``full``, as published, or ``diag``, which is faster and asks
            for fewer samples.

    Raises:
        MetricError: scikit-learn is missing, or an option is out of range.
    """
    n, n_classes = len(problem), problem.n_classes
    if components_per_class is None:
        fitting = n // (_SAMPLES_PER_COMPONENT * n_classes)
        components_per_class = min(_MAX_PER_CLASS, max(1, fitting))
    if components_per_class < 1 or not 0 < variance < 1 or covariance not in ("full", "diag"):
        raise MetricError(
            f"components_per_class is {components_per_class}, variance {variance} and covariance "
            f"{covariance!r}; they must be at least 1, inside (0, 1), and full or diag."
        )
    K = min(n, components_per_class * n_classes)
    geometry, seed = problem.geometry, problem.seed
    mixture = geometry.cached(
        ("nleep", K, variance, covariance, seed),
        lambda: _fit(principal_components(geometry, variance), K, covariance, seed),
    )
    score = expected_log_probability("nleep", mixture.responsibilities, problem)
    details = {
        **score.details,
        "components": float(K),
        "dimensions": float(mixture.dimensions),
        "converged": float(mixture.converged),
    }
    return Score("nleep", score.value, score.per_sample, details)


class _Mixture(NamedTuple):
    """(N, K) responsibilities, dimensions of the space, and whether the fit converged."""

    responsibilities: Tensor
    dimensions: int
    converged: bool


def _fit(Z: Tensor, n_components: int, covariance: str, seed: int) -> _Mixture:
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.mixture import GaussianMixture
    except ImportError as error:
        raise MetricError("the mixture needs scikit-learn: pip install scikit-learn") from error
    spread = float(Z.var(0, correction=0).mean())
    mixture = GaussianMixture(
        n_components,
        covariance_type=covariance,
        reg_covar=_RIDGE * (spread or 1.0),  # in units of the features, unlike the default
        random_state=seed,
    )
    array = Z.cpu().numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        responsibilities = mixture.fit(array).predict_proba(array)
    theta = torch.from_numpy(responsibilities).to(Z.device)
    return _Mixture(theta, Z.shape[1], bool(mixture.converged_))
