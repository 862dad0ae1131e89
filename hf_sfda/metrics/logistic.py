"""Multinomial logistic regression: the solver behind the logistic probe and fine-tuning."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize
from torch import Tensor


def fit_logistic(
    X: Tensor,
    y: Tensor,
    n_classes: int,
    penalty: float,
    length: float,
    start: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], int]:
    r"""Minimise the penalised log-loss by L-BFGS.

    .. math::
        -\frac1n \sum_i \log \mathrm{softmax}(x_i W / \ell + b)_{y_i}
        + \frac{\lambda}{2} \|W\|^2

    Args:
        X: (N, D) float64.
        y: (N,) int64 in ``0..C-1``.
        n_classes: C.
        penalty: lambda; the intercept b is not penalised.
        length: l, by which features are divided, so that lambda has no unit.
        start: (D + 1) * C numbers to begin with, W row by row and then b.

    Returns:
        Weights and intercepts in the layout of ``start``, and the number of steps taken.
    """
    width = X.shape[1]
    hot = torch.nn.functional.one_hot(y, n_classes).to(X)

    def loss(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        theta = torch.from_numpy(parameters).to(X.device).view(width + 1, n_classes)
        W = theta[:width]
        log_P = torch.log_softmax(torch.addmm(theta[width], X, W, alpha=1 / length), dim=1)
        value = -(log_P * hot).sum() / len(X) + 0.5 * penalty * W.square().sum()
        slope = log_P.exp_().sub_(hot).div_(len(X))
        gradient = torch.cat(
            [(X.T @ slope).div_(length).add_(W, alpha=penalty), slope.sum(0)[None]]
        )
        return float(value), gradient.flatten().cpu().numpy()

    solution = minimize(loss, start, jac=True, method="L-BFGS-B", options=_OPTIONS)
    return solution.x, int(solution.nit)


_OPTIONS = {"maxiter": 500, "gtol": 1e-5, "ftol": 1e-12, "maxcor": 10}


def logistic_log_probabilities(
    X: Tensor, parameters: npt.NDArray[np.float64], y: Tensor, n_classes: int, length: float
) -> Tensor:
    """Log-probabilities under a fitted model.

    Args:
        X: (N, D) float64.
        parameters: What :func:`fit_logistic` returned.
        y: Labels of the training samples.
        n_classes: C.
        length: As in the fit.

    Returns:
        (N, C); minus infinity for classes that training has not seen.
    """
    theta = torch.from_numpy(parameters).to(X.device).view(-1, n_classes)
    logits = torch.addmm(theta[-1], X, theta[:-1], alpha=1 / length)
    unseen = torch.bincount(y, minlength=n_classes) == 0
    return torch.log_softmax(logits.masked_fill(unseen, -math.inf), dim=1)
