"""Logistic regression, of classes and of labels: the solver of the probe and of fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Callable

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
    hot = torch.nn.functional.one_hot(y, n_classes).to(X)

    def log_loss(logits: Tensor) -> tuple[Tensor, Tensor]:
        log_P = torch.log_softmax(logits, dim=1)
        return -(log_P * hot).sum(), log_P.exp_().sub_(hot)

    return _minimise(X, n_classes, penalty, length, start, log_loss)


def fit_sigmoid(
    X: Tensor, Y: Tensor, penalty: float, length: float, start: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    r"""Logistic regression of each of several labels, all at once.

    .. math::
        -\frac1n \sum_{ik} \left( Y_{ik} \log \sigma(z_{ik})
        + (1 - Y_{ik}) \log (1 - \sigma(z_{ik})) \right) + \frac{\lambda}{2} \|W\|^2,
        \quad z_i = x_i W / \ell + b

    Args:
        X: (N, D) float64.
        Y: (N, K) float64 zeros and ones.
        penalty: As in :func:`fit_logistic`.
        length: As in :func:`fit_logistic`.
        start: (D + 1) * K numbers to begin with.

    Returns:
        Weights and intercepts in the layout of ``start``.
    """

    def log_loss(logits: Tensor) -> tuple[Tensor, Tensor]:
        loss = torch.nn.functional.softplus(logits) - Y * logits
        return loss.sum(), torch.sigmoid(logits).sub_(Y)

    return _minimise(X, Y.shape[1], penalty, length, start, log_loss)[0]


def _minimise(
    X: Tensor,
    n_outputs: int,
    penalty: float,
    length: float,
    start: npt.NDArray[np.float64],
    log_loss: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> tuple[npt.NDArray[np.float64], int]:
    """Minimise a penalised loss of logits; ``log_loss`` gives its sum and its slope (N, K)."""
    width = X.shape[1]

    def loss(parameters: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        theta = torch.from_numpy(parameters).to(X.device).view(width + 1, n_outputs)
        W = theta[:width]
        total, slope = log_loss(torch.addmm(theta[width], X, W, alpha=1 / length))
        value = total / len(X) + 0.5 * penalty * W.square().sum()
        slope = slope.div_(len(X))
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
