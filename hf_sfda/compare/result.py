"""The result of a comparison of two models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class ClassDifference:
    """The difference of two models in one class.

    Attributes:
        name: Name of the class.
        n: Number of its samples.
        first: Mean contribution of its samples to the first model's score.
        second: Mean contribution of its samples to the second model's score.
        difference: ``first - second``.
        interval: (low, high) of the difference. The level holds for all classes jointly. ``None``
            if the class has too few samples.
    """

    name: str
    n: int
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class SampleDifference:
    """The difference of two models on one sample.

    Attributes:
        index: Index of the sample in the target.
        sample_id: Name of the sample; ``None`` if unknown.
        class_name: True class of the sample.
        first: Its contribution to the first model's score.
        second: Its contribution to the second model's score.
        difference: ``first - second``.
    """

    index: int
    sample_id: str | None
    class_name: str
    first: float
    second: float
    difference: float


@dataclass(frozen=True)
class Comparison:
    """The comparison of two models.

    Attributes:
        models: Names of the two models.
        metric: Name of the compared metric; higher is better.
        values: The two scores.
        difference: ``values[0] - values[1]``.
        interval: (low, high) of the difference, for this pair alone.
        confidence: Level of ``interval``, and joint level of the classes' intervals.
        p_first_better: Share of resamples in which the first model is ahead; a draw counts half.
        n_samples: Number of samples that both models were scored on.
        classes: The differences by class, in the target's order; empty if the score is not a mean
            over samples, or if samples do not have one class each.
        samples: The samples that favour the first model most, then those that favour the second
            most, sorted by difference, largest first. Empty if ``classes`` is empty.
        warnings: Reasons to be careful with this result.
    """

    models: tuple[str, str]
    metric: str
    values: tuple[float, float]
    difference: float
    interval: tuple[float, float]
    confidence: float
    p_first_better: float
    n_samples: int
    classes: tuple[ClassDifference, ...] = ()
    samples: tuple[SampleDifference, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def better(self) -> str | None:
        """The model that is significantly better; ``None`` if the interval contains 0."""
        low, high = self.interval
        return self.models[0] if low > 0 else self.models[1] if high < 0 else None

    @property
    def summary(self) -> str:
        """The result as one sentence."""
        first, second = self.models
        low, high = self.interval
        level = f"{self.confidence * 100:g}%"
        if self.difference == low == high == 0:
            return f"{first} and {second} are equal in {self.metric}, in every resample."
        if self.better is None:
            return (
                f"{first} and {second} cannot be told apart by {self.metric}: the difference is "
                f"{self.difference:+.4f} ({low:+.4f} to {high:+.4f} at {level})."
            )
        behind, gap = second, self.difference
        if self.better == second:
            behind, gap, low, high = first, -gap, -high, -low
        return (
            f"{self.better} is ahead of {behind} in {self.metric} by {gap:.4f} "
            f"({low:.4f} to {high:.4f} at {level})."
        )

    def to_dict(self) -> dict[str, Any]:
        """The comparison as a JSON document."""
        return {
            "models": list(self.models),
            "summary": self.summary,
            "better": self.better,
            "metric": self.metric,
            "values": list(self.values),
            "difference": self.difference,
            "interval": list(self.interval),
            "confidence": self.confidence,
            "p_first_better": self.p_first_better,
            "n_samples": self.n_samples,
            "classes": [
                asdict(item) | {"interval": None if item.interval is None else list(item.interval)}
                for item in self.classes
            ],
            "samples": [asdict(sample) for sample in self.samples],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Comparison:
        """Parse a document that :meth:`to_dict` wrote."""
        arguments = {field.name: values[field.name] for field in fields(cls)}
        for name in ("models", "values", "interval", "warnings"):
            arguments[name] = tuple(arguments[name])
        arguments["classes"] = tuple(
            ClassDifference(**{**item, "interval": item["interval"] and tuple(item["interval"])})
            for item in arguments["classes"]
        )
        arguments["samples"] = tuple(SampleDifference(**item) for item in arguments["samples"])
        return cls(**arguments)
