"""A backbone with a linear head: the regression that the head starts from, and what the network
needs before its weights can be trained, a sane input scale and frozen norms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hf_sfda.backbones.norms import Run, batch_norms
from hf_sfda.finetune.objectives import Objective

if TYPE_CHECKING:
    from hf_sfda.backbones import Backbone

LOWEST_OUTPUT = -30.0
"""Floor of the log-probabilities that penalties are compared by: a class that training has not seen
has the probability 0, which would make every loss infinite."""

SMALLEST_SPREAD = 0.1
"""Floor of a feature's standard deviation, relative to the root mean square over all features.
Without it, a feature that hardly varies on the training part would be blown up."""


class Head(nn.Module):
    """Standardise with fixed numbers, then a linear layer: (B, D) -> (B, K)."""

    mean: Tensor
    spread: Tensor

    def __init__(self, mean: Tensor, spread: Tensor, n_outputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("spread", spread.float())
        self.linear = nn.Linear(len(mean), n_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) float32 -> (B, K)."""
        logits: Tensor = self.linear((features - self.mean) / self.spread)
        return logits


class Classifier(nn.Module):
    """The network of a backbone and its head, as one module to optimise and to save."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        super().__init__()
        self.network = backbone.module
        self.head = head
        self._backbone = backbone

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Inputs on the device -> (B, K) outputs, float32."""
        logits: Tensor = self.head(last_features(self._backbone, batch))
        return logits


def last_features(backbone: Backbone, batch: Mapping[str, Tensor]) -> Tensor:
    """(B, D) float32 features that the head sits on."""
    return backbone.forward(batch).layers["last"]


@dataclass(frozen=True, eq=False)
class Probe:
    """A linear model of the features, fitted on the training part.

    Attributes:
        head: The same function as a torch module, on the CPU.
        penalty: The strength that the validation part chose.
        validation_value: The measure of the objective on the validation part.
    """

    head: Head
    penalty: float
    validation_value: float


def fit_probe(
    objective: Objective,
    train: Tensor,
    labels: Tensor,
    validation: Tensor,
    validation_labels: Tensor,
) -> Probe:
    """Fit on the training part; the validation part chooses the penalty.

    The best value of the measure wins; of equal ones the smallest loss.

    Args:
        objective: What the network is measured by.
        train: (N, D) float32 features.
        labels: (N, ...) encoded by the objective.
        validation: (M, D) float32 features.
        validation_labels: (M, ...) encoded by the objective.
    """
    X = train.double()
    mean, spread = X.mean(0), X.std(0, correction=0)
    floor = SMALLEST_SPREAD * float(spread.square().mean().sqrt())
    spread = spread.clamp_min(floor or 1.0)
    X = (X - mean) / spread
    Z = (validation.double() - mean) / spread
    length = float(X.square().sum(1).mean()) ** 0.5 or 1.0
    best: tuple[float, float] | None = None
    for fit in objective.fits(X, labels, Z, length):
        normalised = objective.normalised(fit.outputs).clamp_min(LOWEST_OUTPUT)
        value = float(objective.per_sample(normalised, validation_labels).mean())
        quality = value, -objective.validation_loss(normalised, validation_labels)
        if best is None or quality > best:
            best, chosen = quality, fit
    assert best is not None
    head = Head(mean, spread, objective.n_outputs)
    with torch.no_grad():
        head.linear.weight.copy_(chosen.weight)
        head.linear.bias.copy_(chosen.bias)
    return Probe(head, chosen.penalty, best[0])


LARGEST_INPUT = 8.0
"""Spread of the inputs beyond which their scale is folded into the first layer. Normalised pixels
have a spread near 1, pixels in 0..255 one of about 70."""


@torch.no_grad()
def fold_input_scale(module: nn.Module, images: Tensor, scale: float, run: Run) -> bool:
    """Multiply the weight of the first layer by ``scale``; inputs must be divided by it.

    The function stays the same. It matters because Adam moves every weight by about the learning
    rate: weights that read pixels in 0..255 are some 70 times smaller than usual, and the first
    steps would destroy them.

    Args:
        module: The network.
        images: (B, C, H, W) what ``run`` feeds.
        scale: Spread of the inputs.
        run: Feeds the network with ``images``.

    Returns:
        Whether a first layer was found: the only convolution or linear layer that receives the
        images themselves. The inputs are not divided here.
    """
    readers: list[nn.Module] = []

    def look(layer: nn.Module, arguments: tuple[object, ...]) -> None:
        entering = arguments[0]
        if not isinstance(entering, Tensor) or entering.shape != images.shape:
            return
        if torch.equal(entering, images.to(entering)):
            readers.append(layer)

    layers = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    if len(set(readers)) != 1:
        return False
    weight = readers[0].weight
    assert isinstance(weight, Tensor)
    weight.mul_(scale)
    return True


def switch_off_masking(module: nn.Module) -> None:
    """Switch off the random masks of speech models (SpecAugment, arXiv:1904.08779) in training.

    Their length is made for long recordings: a sound of a few tenths of a second is shorter than
    one mask, and the model then fails. No other family augments inside the network either.
    """
    for part in module.modules():
        config: Any = getattr(part, "config", None)
        if getattr(config, "apply_spec_augment", False):
            config.apply_spec_augment = False


@contextmanager
def training_mode(module: nn.Module) -> Iterator[None]:
    """Training mode (dropout and the like are on) with frozen statistics in the batch norms."""
    module.train()
    for layer in batch_norms(module):
        layer.eval()
    try:
        yield
    finally:
        module.eval()
