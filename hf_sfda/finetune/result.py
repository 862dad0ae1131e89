"""What a fine-tuning leaves behind: plain frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hf_sfda.types import Measure


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of a learning curve.

    Attributes:
        number: 0 is the start: the checkpoint with its fitted head, before any step.
        train_loss: Mean loss over the epoch's steps, with label smoothing; ``None`` for epoch 0.
        validation_value: The measure (accuracy, F1 or R²) on the validation part.
        validation_loss: Mean loss over the validation part, without smoothing.
    """

    number: int
    train_loss: float | None
    validation_value: float
    validation_loss: float

    def better_than(self, other: Epoch) -> bool:
        """Higher value on the validation part; at equal values, lower loss."""
        return (self.validation_value, -self.validation_loss) > (
            other.validation_value,
            -other.validation_loss,
        )


@dataclass(frozen=True, slots=True)
class Trial:
    """A training run at one learning rate.

    Attributes:
        learning_rate: Peak of the schedule.
        curve: Epochs in order, beginning with epoch 0. It is shorter than the configured number
            of epochs where the validation part ended the run early.
    """

    learning_rate: float
    curve: tuple[Epoch, ...]

    @property
    def best(self) -> Epoch:
        """The epoch that the validation part chooses; of equal ones the first."""
        best = self.curve[0]
        for epoch in self.curve[1:]:
            if epoch.better_than(best):
                best = epoch
        return best


@dataclass(frozen=True, eq=False)
class Measured:
    """What a fine-tuned checkpoint reached on the test part.

    Attributes:
        model_id: The checkpoint.
        measure: What it is measured by, see :mod:`hf_sfda.finetune.objectives`.
        value: The measure after fine-tuning.
        interval: (low, high) of ``value`` at 95%: Wilson's for an accuracy, else a bootstrap. It
            covers the sampling of the test part, not the seed.
        probe_value: The measure of a linear model of the frozen features of the checkpoint as it
            is published; its penalty is chosen on the validation part.
        learning_rate: The one chosen on the validation part.
        trials: Every learning rate that was tried, in order.
        n_train: Training samples.
        n_validation: Validation samples.
        n_test: Test samples.
        seed: Seed of batches, augmentation and dropout.
        per_sample: (n_test,) the measure on each test sample, in the order of the test part; 0 or 1
            for an accuracy. The mean is ``value``.
        seconds: Wall time, without download.
        cpu_seconds: Processor time of this process, which other work on the machine distorts less.
        device: Where it ran.
        preparation: What was changed before training, and on how many layers.
        versions: Library versions.
    """

    model_id: str
    measure: Measure
    value: float
    interval: tuple[float, float]
    probe_value: float
    learning_rate: float
    trials: tuple[Trial, ...]
    n_train: int
    n_validation: int
    n_test: int
    seed: int
    per_sample: tuple[float, ...]
    seconds: float
    cpu_seconds: float
    device: str
    preparation: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def curve(self) -> tuple[Epoch, ...]:
        """The learning curve at the chosen learning rate."""
        return next(t.curve for t in self.trials if t.learning_rate == self.learning_rate)

    @property
    def best(self) -> Epoch:
        """The epoch whose weights were measured."""
        trial = next(t for t in self.trials if t.learning_rate == self.learning_rate)
        return trial.best

    @property
    def samples_trained(self) -> int:
        """Training samples processed, over all epochs and learning rates: the cost."""
        return self.n_train * sum(len(trial.curve) - 1 for trial in self.trials)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)
