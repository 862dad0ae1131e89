"""The answer: who is ahead, and the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class ClassDifference:
    """Two models on the samples of one class.

    Attributes:
        name: Of the class.
        n: Its samples.
        first: Mean contribution of its samples to the first model's score.
        second: To the second model's.
        difference: ``first - second``.
        interval: (low, high), at a level that holds for the intervals of all classes together;
            ``None`` for a class too small to have one.
    """

    name: str
    n: int
    first: float
    second: float
    difference: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class SampleDifference:
    """Two models on one sample.

    Attributes:
        index: Into the target's samples.
        sample_id: The target's name for it; ``None`` where that is not known.
        class_name: Its true class.
        first: Its contribution to the first model's score.
        second: To the second model's.
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
    """What tells two models apart.

    Attributes:
        models: Their names.
        metric: What is compared; higher is better.
        values: Their scores.
        difference: ``values[0] - values[1]``.
        interval: (low, high) of the difference, for this pair alone.
        confidence: Of the interval, and of all classes' intervals together.
        p_first_better: Share of resamples in which the first is ahead; a draw counts half.
        n_samples: How many samples both were scored on.
        classes: In the order of the target's classes; empty where contributions are not those of
            samples.
        samples: Those that favour the first most, then those that favour the second most, by
            falling difference. Empty where ``classes`` is.
        warnings: What to know before trusting it.
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
        """The model that is ahead; ``None`` if the two cannot be told apart."""
        low, high = self.interval
        return self.models[0] if low > 0 else self.models[1] if high < 0 else None

    @property
    def summary(self) -> str:
        """The answer in words."""
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
        """Plain values, fit for JSON."""
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
                asdict(one) | {"interval": None if one.interval is None else list(one.interval)}
                for one in self.classes
            ],
            "samples": [asdict(one) for one in self.samples],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Comparison:
        """Read back what :meth:`to_dict` wrote."""
        given = {field.name: values[field.name] for field in fields(cls)}
        for name in ("models", "values", "interval", "warnings"):
            given[name] = tuple(given[name])
        given["classes"] = tuple(
            ClassDifference(**{**one, "interval": one["interval"] and tuple(one["interval"])})
            for one in given["classes"]
        )
        given["samples"] = tuple(SampleDifference(**one) for one in given["samples"])
        return cls(**given)
