"""The training loop: one learning rate, from the fitted head to the best epoch.

Gradients are summed over micro-batches and over processes, so neither memory nor the number of
processes changes what is optimised. Progress is kept on disk, so that a killed fine-tuning resumes
where it was.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_sfda.config import FinetuneConfig
from hf_sfda.errors import StoppedError
from hf_sfda.files import write_atomically
from hf_sfda.finetune.batches import Inputs, Runner, augment
from hf_sfda.finetune.classifier import Classifier, training_mode
from hf_sfda.finetune.depthwise import FastDepthwise
from hf_sfda.finetune.objectives import Objective
from hf_sfda.finetune.result import Epoch, Trial
from hf_sfda.progress import Advance

State = dict[str, Tensor]

_FILE = "finetune.pt"

LARGEST_GRADIENT = 1.0
"""Norm to which gradients are clipped."""


@dataclass(eq=False)
class Progress:
    """A training run after some epochs: all that is needed to go on.

    Attributes:
        learning_rate: Peak of the schedule.
        curve: Epochs done; the first is epoch 0.
        best: Weights of the best epoch, on the CPU.
        weights: Weights after the last epoch, on the CPU.
        optimizer: State of the optimiser after the last epoch; ``None`` at epoch 0.
    """

    learning_rate: float
    curve: list[Epoch]
    best: State
    weights: State
    optimizer: dict[str, object] | None = None

    @property
    def trial(self) -> Trial:
        """The curve so far."""
        return Trial(self.learning_rate, tuple(self.curve))


def train(
    runner: Runner,
    classifier: Classifier,
    inputs: Inputs,
    validation: Inputs,
    objective: Objective,
    config: FinetuneConfig,
    progress: Progress,
    *,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
    advance: Advance = lambda amount: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> None:
    """Train until the validation part stops improving or the epochs are over.

    Args:
        runner: Device and processes.
        classifier: On the device; its weights are overwritten.
        inputs: The training part.
        validation: The part that chooses the epoch.
        objective: The loss and the measure.
        config: The recipe.
        progress: Where to begin; updated after every epoch.
        on_epoch: Called after every epoch.
        advance: Told every epoch.
        should_stop: Asked before every step; the same answer in every process.

    Raises:
        StoppedError: ``should_stop`` said so. The epochs done so far are in ``progress``.
    """
    classifier.load_state_dict(progress.weights)
    optimizer = _optimizer(classifier, config, runner.accelerator.device)
    if progress.optimizer is not None:
        optimizer.load_state_dict(progress.optimizer)
    steps = math.ceil(len(inputs) / config.batch_size)
    while not _is_over(progress, config):
        epoch = len(progress.curve)
        # The seed depends on the epoch: a resumed run draws the same as an uninterrupted one.
        torch.manual_seed(int(np.random.default_rng([config.seed, epoch]).integers(2**63)))
        order = np.random.default_rng([config.seed, epoch, 1]).permutation(len(inputs))
        losses = []
        with training_mode(classifier), FastDepthwise():
            for step, rows in enumerate(np.array_split(order, steps)):
                if should_stop():
                    raise StoppedError(f"stopped in epoch {epoch}")
                share = ((epoch - 1) * steps + step) / (config.epochs * steps)
                for group in optimizer.param_groups:
                    group["lr"] = progress.learning_rate * schedule(share, config.warmup)
                losses.append(
                    _step(runner, classifier, optimizer, inputs, objective, rows, epoch, config)
                )
                if not math.isfinite(losses[-1]):
                    break
        progress.curve.append(
            evaluate(runner, classifier, validation, objective, epoch, float(np.mean(losses)))
        )
        progress.weights = cpu_state(classifier)
        progress.optimizer = optimizer.state_dict()
        if progress.trial.best is progress.curve[-1]:
            progress.best = progress.weights
        on_epoch(progress)
        advance(1)


def evaluate(
    runner: Runner,
    classifier: Classifier,
    inputs: Inputs,
    objective: Objective,
    epoch: int,
    train_loss: float | None = None,
) -> Epoch:
    """The measure and the loss on the validation part."""
    normalised = normalised_outputs(runner, classifier, inputs, objective)
    labels = inputs.labels(range(len(inputs)))
    value = float(objective.per_sample(normalised, labels).mean())
    loss = objective.validation_loss(normalised, labels)
    # A diverged network must compare as worse than any other, which NaN does not.
    return Epoch(
        epoch,
        train_loss,
        value if math.isfinite(value) else -math.inf,
        loss if math.isfinite(loss) else math.inf,
    )


def normalised_outputs(
    runner: Runner, classifier: Classifier, inputs: Inputs, objective: Objective
) -> Tensor:
    """(N, K) float64 log-probabilities or standardised values of a part, on the CPU."""
    classifier.eval()
    return objective.normalised(runner.outputs(inputs, classifier))


def schedule(share: float, warmup: float) -> float:
    """Learning rate relative to its peak: linear rise, then a cosine to zero.

    Args:
        share: Share of all steps that is done, in [0, 1).
        warmup: Share of the steps in which it rises.
    """
    if share < warmup:
        return (share + 1e-3) / (warmup + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))


def cpu_state(classifier: Classifier) -> State:
    """A copy of all weights and statistics on the CPU."""
    return {name: t.detach().cpu().clone() for name, t in classifier.state_dict().items()}


def _is_over(progress: Progress, config: FinetuneConfig) -> bool:
    last = progress.curve[-1]
    diverged = last.train_loss is not None and not math.isfinite(last.train_loss)
    # The fitted head is a strong start that the first steps disturb: epoch 0 may be chosen in the
    # end, but it does not end a run that is still improving.
    trained = Trial(progress.learning_rate, tuple(progress.curve[1:] or progress.curve))
    waited = last.number - trained.best.number
    return diverged or last.number >= config.epochs or waited >= config.patience


def _optimizer(
    classifier: Classifier, config: FinetuneConfig, device: torch.device
) -> torch.optim.AdamW:
    parameters = [p for p in classifier.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, fused=device.type in ("cpu", "cuda"))


def _step(
    runner: Runner,
    classifier: Classifier,
    optimizer: torch.optim.Optimizer,
    inputs: Inputs,
    objective: Objective,
    rows: np.ndarray,
    epoch: int,
    config: FinetuneConfig,
) -> float:
    """One optimiser step on a batch; returns its mean loss."""
    own = runner.own(rows.tolist())

    def gradients() -> float:
        optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for some, batch in inputs.batches(own, runner.limit):
            if config.augment and inputs.are_images:
                seeds = [(config.seed * 100_003 + epoch) * 10_000_019 + row for row in some]
                batch = augment(batch, seeds, flip=config.flip)
            with runner.accelerator.autocast():
                outputs = classifier(runner.move(batch))
            labels = inputs.labels(some).to(outputs.device)
            loss = objective.loss(outputs.float(), labels) / len(rows)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        return total

    loss = _sum_over_processes(runner, classifier, runner.within_memory(gradients))
    if math.isfinite(loss):
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), LARGEST_GRADIENT)
        optimizer.step()
    return loss


def _sum_over_processes(runner: Runner, classifier: Classifier, loss: float) -> float:
    """Add up the gradients of all processes, in place, and the loss."""
    if runner.accelerator.num_processes == 1:
        return loss
    parameters = [p for p in classifier.parameters() if p.requires_grad]
    own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([g.flatten().float() for g in own] + [own[0].new_tensor([loss]).float()])
    flat = runner.accelerator.reduce(flat, reduction="sum")
    pieces = flat[:-1].split([p.numel() for p in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter).to(parameter.dtype)
    return float(flat[-1])


class Checkpoint:
    """The file with everything that is needed to go on.

    Args:
        directory: The folder, created if need be. ``None`` keeps nothing.
        identity: What the file must belong to (model, data, recipe). A file of another
            fine-tuning is overwritten.
        write: Whether this process writes.
    """

    def __init__(self, directory: Path | None, identity: Mapping[str, Any], *, write: bool) -> None:
        self._path = directory / _FILE if directory else None
        self._identity = dict(identity)
        self._write = write
        self.trials: list[Trial] = []
        self.winner: State | None = None
        self.current: Progress | None = None
        if self._path is not None and self._path.is_file():
            self._read(self._path)

    def save(self, current: Progress | None) -> None:
        """Replace the file; ``current`` is the trial in progress."""
        self.current = current
        if self._path is None or not self._write:
            return
        import torch

        self._path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "identity": self._identity,
            "trials": [_plain(trial) for trial in self.trials],
            "winner": self.winner,
            "current": None
            if current is None
            else {
                "trial": _plain(current.trial),
                "best": current.best,
                "weights": current.weights,
                "optimizer": current.optimizer,
            },
        }
        buffer = io.BytesIO()
        torch.save(content, buffer)
        write_atomically(self._path, buffer.getvalue())

    def remove(self) -> None:
        """Delete the file once the result is known."""
        if self._path is not None and self._write:
            self._path.unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        import torch

        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["identity"] != self._identity:
            return
        self.trials = [_trial(plain) for plain in content["trials"]]
        self.winner = content["winner"]
        if (current := content["current"]) is not None:
            trial = _trial(current["trial"])
            self.current = Progress(
                trial.learning_rate,
                list(trial.curve),
                best=current["best"],
                weights=current["weights"],
                optimizer=current["optimizer"],
            )


def _plain(trial: Trial) -> dict[str, Any]:
    return asdict(trial)


def _trial(plain: Mapping[str, Any]) -> Trial:
    return Trial(plain["learning_rate"], tuple(Epoch(**epoch) for epoch in plain["curve"]))
