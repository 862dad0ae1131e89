"""Batch norms: find them, and measure their statistics on other data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Run = Callable[[], None]
"""Runs some samples through the network once, without gradients."""


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch norms that keep running statistics."""
    return [m for m in module.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


@torch.no_grad()
def restore_folded_norms(module: nn.Module, run: Run) -> int:
    """Give batch norms that were folded into their convolutions real statistics.

    A converter that folds batch norms leaves mean 0 and variance 1 behind, and a bias. Trained as
    it is, such a network has no normalisation at all. Here mean and variance of what enters are
    measured, and weight and bias changed so that the function stays the same.

    Returns:
        Number of batch norms that were restored.
    """
    folded = [norm for norm in batch_norms(module) if _is_folded(norm)]
    moments = {norm: _Moments() for norm in folded}
    hooks = [
        norm.register_forward_pre_hook(lambda n, inputs: moments[n].add(inputs[0]))
        for norm in folded
    ]
    try:
        if folded:
            run()
    finally:
        for hook in hooks:
            hook.remove()
    for norm, moment in moments.items():
        if moment.count:
            set_statistics(norm, moment.mean, moment.variance)
    return sum(moment.count > 0 for moment in moments.values())


@torch.no_grad()
def set_statistics(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Change the running statistics of a batch norm, and its weight and bias with them, so that in
    evaluation mode it computes the same function.

    Args:
        norm: A batch norm with weight and bias.
        mean: (C,) new running mean.
        variance: (C,) new running variance.
    """
    old_mean, old_variance = _statistics(norm)
    slope = norm.weight.double() / (old_variance.double() + norm.eps).sqrt()
    norm.bias.add_((slope * (mean.double() - old_mean.double())).to(norm.bias))
    norm.weight.copy_(slope * (variance.double() + norm.eps).sqrt())
    old_mean.copy_(mean)
    old_variance.copy_(variance)


@torch.no_grad()
def reestimate_norms(module: nn.Module, run: Run) -> int:
    """Measure the statistics of all batch norms on the target, as a plain average over batches.

    The statistics of a checkpoint describe what it was trained on. For other data the layer's
    outputs are not normalised, and training would spend its first steps on that (Li et al., 2016,
    arXiv:1603.04779). But channels that hardly vary on the target are blown up: of drawings on
    white, the published statistics are often better (benchmarks/zoo/README.md), so the caller
    compares. What enters a layer depends on the layers before it, so every batch is
    normalised by its own statistics while they are measured.

    Returns:
        Number of batch norms.
    """
    layers = batch_norms(module)
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
        layer.train()
    try:
        run()
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
            layer.eval()
    return len(layers)


def statistics(module: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Copies of the running mean and variance of every batch norm."""
    pairs = [_statistics(norm) for norm in batch_norms(module)]
    return [(mean.clone(), variance.clone()) for mean, variance in pairs]


def set_back(module: nn.Module, saved: list[tuple[Tensor, Tensor]]) -> None:
    """Undo :func:`reestimate_norms` with what :func:`statistics` returned before it."""
    for norm, (mean, variance) in zip(batch_norms(module), saved, strict=True):
        own_mean, own_variance = _statistics(norm)
        own_mean.copy_(mean)
        own_variance.copy_(variance)


def _is_folded(norm: _BatchNorm) -> bool:
    """Mean 0 and variance 1 but a trained bias: what folding leaves behind.

    A network that was never trained has no bias either; its norms are only measured again.
    """
    if not norm.affine:
        return False
    mean, variance = _statistics(norm)
    identity = not mean.any() and bool(((variance + norm.eps - 1).abs() < 1e-3).all())
    return identity and bool(norm.bias.any())


def _statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


class _Moments:
    """Mean and variance of channels, added up batch by batch in float64."""

    def __init__(self) -> None:
        self.count = 0
        self._sum: Tensor | float = 0.0
        self._squares: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        """Add a batch, (B, C, ...)."""
        flat = values.detach().transpose(0, 1).flatten(1).double()  # (C, n)
        self.count += flat.shape[1]
        self._sum = self._sum + flat.sum(1)
        self._squares = self._squares + flat.square().sum(1)

    @property
    def mean(self) -> Tensor:
        """(C,)."""
        return torch.as_tensor(self._sum) / self.count

    @property
    def variance(self) -> Tensor:
        """(C,) without Bessel's correction."""
        return (torch.as_tensor(self._squares) / self.count - self.mean.square()).clamp_min(0)
