"""The registry: one metric, one file, one decorator.

A metric is a pure function of a :class:`~hf_sfda.metrics.problem.Problem` (float64 features,
labels in ``0..C-1``) that returns a :class:`~hf_sfda.types.Score` or a plain number; its options
are keyword arguments. Checking, casting and label encoding happen once, in
:func:`hf_sfda.scoring.score`::

    @register_metric("spread", summary="Distance between class means")
    def spread(problem):
        return float(torch.pdist(problem.class_means).mean())

Not here, on purpose: PED (Li et al., ICCV 2023), which moves features before another metric scores
them. It needs mean and variance of the features on the data a checkpoint was *trained* on; its code
takes those of ImageNet's validation set. A checkpoint from the Hub does not carry them, and those
of the target or of another data set would be another method under PED's name.

Importing this package imports no metric and no torch: a module named in ``_BUILTIN`` is imported
when one of its metrics is first asked for. Names are checked without an import.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from hf_sfda.errors import MetricError
from hf_sfda.types import LabelKind, Score

if TYPE_CHECKING:
    from torch import Tensor

Needs = Literal["features", "source_logits", "candidate"]
Change = Literal["row order", "translation", "scale", "rotation"]
"""What may be done to the features without changing a score, where a metric claims so."""
WithoutGroups = Callable[["Any", "Tensor", "Tensor | None"], "Tensor"]
Function = TypeVar("Function", bound=Callable[..., Any])

BASELINES = ("logistic_probe", "linear_probe", "knn")
"""Metrics that most users compute themselves. Every table has a column for each of them, in this
order. A ranking says whether its order agrees with theirs."""

_BUILTIN = {
    "three_heads": "three_heads",
    "sfda": "sfda",
    "sfda_cv": "sfda_cv",
    "logme": "logme",
    "hscore": "hscore",
    "hscore_lw": "hscore_lw",
    "knn": "knn",
    "linear_probe": "linear_probe",
    "logistic_probe": "logistic_probe",
    "leep": "leep",
    "nce": "nce",
    "nleep": "nleep",
    "parc": "parc",
    "gbc": "gbc",
    "transrate": "transrate",
    "ncti": "ncti",
    "energy": "energy",
    "params": "baselines",
    "downloads": "baselines",
    "random": "baselines",
    "width": "baselines",
    "prior": "prior",
}
"""Name of each metric of this package -> its module."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A registered metric and what a reader must know about it.

    Attributes:
        name: As typed after ``--metric``.
        function: The implementation.
        summary: One line.
        tasks: Kinds of label it can score.
        needs: ``features``; ``source_logits`` too; or only the ``candidate`` (a baseline).
        higher_is_better: Direction of the published quantity; values are negated on the way out
            if this is false, so that :class:`~hf_sfda.types.Score` is always higher-is-better.
        cost: Leading terms of the work, in N samples, D dimensions, C classes.
        reference: Where the formula comes from.
        invariant_to: What the score does not depend on; the contract test holds it to that. It
            never depends on the names of labels.
        held_out: Whether ``per_sample`` judges samples by a fit that has not seen them, so that
            noise scores at chance.
        width_sensitive: Whether the score rises with the number of dimensions where samples are
            few, even on noise.
        maximum: The highest possible value, or number of classes -> that value; ``None`` if there
            is none. A score that reaches it cannot order models.
        uses_features: Whether the score depends on the values of the features; others have no vote
            in a consensus. By default, whether it needs more than the candidate.
        permutation_options: Options under which shuffled labels are scored as well and for less.
        supervised: Whether it looks at the labels at all.
        rescale_across_candidates: For metrics that compare candidates with each other: the scores
            of all -> the final values of all, see
            :func:`hf_sfda.scoring.rescaled_across_candidates`.
        by_classes: Kinds of label that it scores only by a reduction to classes
            (:mod:`hf_sfda.metrics.reduction`); the others of ``tasks`` are native to it.
        without_groups: For metrics that are no mean over samples: all scores without one of the
            jackknife's groups, for less than a refit each. It takes a problem, the (N,) group of
            each sample and, for regression, the (G, N) targets as they are without each group
            (``None`` for other kinds of label; entries of the group itself are ignored). It
            returns (G,) values of ``function`` with default options, NaN where only a refit is
            exact. Every target has two values or more in every part.
    """

    name: str
    function: Callable[..., Any]
    summary: str
    tasks: frozenset[LabelKind]
    needs: Needs = "features"
    higher_is_better: bool = True
    cost: str = ""
    reference: str = ""
    invariant_to: frozenset[Change] = frozenset()
    held_out: bool = False
    width_sensitive: bool = False
    maximum: float | Callable[[int], float] | None = None
    uses_features: bool = True
    permutation_options: Mapping[str, Any] = field(default_factory=dict)
    supervised: bool = True
    rescale_across_candidates: Callable[[Sequence[Score]], list[float]] | None = None
    by_classes: frozenset[LabelKind] = frozenset()
    without_groups: WithoutGroups | None = None

    @property
    def scores_samples(self) -> bool:
        """Whether a candidate's score follows from its own samples alone.

        Only then can samples be resampled for an interval, or labels be shuffled for a noise floor.
        """
        return self.needs != "candidate" and self.rescale_across_candidates is None

    def maximum_for(self, n_classes: int) -> float | None:
        """The highest possible value on a target of so many classes; ``None`` if unbounded."""
        return self.maximum(n_classes) if callable(self.maximum) else self.maximum


_REGISTRY: dict[str, Metric] = {}


def register_metric(
    name: str,
    *,
    summary: str = "",
    tasks: set[LabelKind] | frozenset[LabelKind] = frozenset({"single-label"}),
    needs: Needs = "features",
    higher_is_better: bool = True,
    cost: str = "",
    reference: str = "",
    invariant_to: set[Change] | frozenset[Change] = frozenset(),
    held_out: bool = False,
    width_sensitive: bool = False,
    maximum: float | Callable[[int], float] | None = None,
    uses_features: bool | None = None,
    permutation_options: Mapping[str, Any] | None = None,
    supervised: bool = True,
    rescale_across_candidates: Callable[[Sequence[Score]], list[float]] | None = None,
    by_classes: set[LabelKind] | frozenset[LabelKind] = frozenset(),
    without_groups: WithoutGroups | None = None,
) -> Callable[[Function], Function]:
    """Make a function available as ``--metric name``.

    Args:
        name: Must be new.
        summary: One line; the first line of the docstring if empty.
        tasks: Kinds of label it can score.
        needs: What it is given, see :class:`Metric`.
        higher_is_better: Direction of what the function returns.
        cost: Leading terms of the work.
        reference: Source of the formula.
        invariant_to: Claims, see :class:`Metric`.
        held_out: See :class:`Metric`.
        width_sensitive: See :class:`Metric`.
        maximum: See :class:`Metric`.
        uses_features: See :class:`Metric`.
        permutation_options: See :class:`Metric`.
        supervised: See :class:`Metric`.
        rescale_across_candidates: See :class:`Metric`.
        by_classes: See :class:`Metric`.
        without_groups: See :class:`Metric`.

    Raises:
        MetricError: The name is taken.
    """

    def register(function: Function) -> Function:
        owner = _owner(name)
        if owner is not None and owner != function.__module__:
            raise MetricError(
                f"A metric called {name!r} is registered already, by {owner}. Choose another name."
            )
        line = summary or (function.__doc__ or "").strip().split("\n")[0]
        _REGISTRY[name] = Metric(
            name=name,
            function=function,
            summary=line,
            tasks=frozenset(tasks),
            needs=needs,
            higher_is_better=higher_is_better,
            cost=cost,
            reference=reference,
            invariant_to=frozenset(invariant_to),
            held_out=held_out,
            width_sensitive=width_sensitive,
            maximum=maximum,
            uses_features=needs != "candidate" if uses_features is None else uses_features,
            permutation_options=dict(permutation_options or {}),
            supervised=supervised,
            rescale_across_candidates=rescale_across_candidates,
            by_classes=frozenset(by_classes),
            without_groups=without_groups,
        )
        return function

    return register


def require_name(name: str) -> None:
    """Check the name of a metric. No metric is imported.

    Raises:
        MetricError: There is no metric of that name.
    """
    if name not in (known := {*_BUILTIN, *_REGISTRY}):
        raise MetricError(f"Unknown metric {name!r}. Allowed: {', '.join(sorted(known))}.")


def get_metric(name: str) -> Metric:
    """Look a metric up.

    Raises:
        MetricError: There is none of that name.
    """
    require_name(name)
    return _imported(name)


def find_metric(name: str) -> Metric | None:
    """Look up a metric that may be unknown here, such as one in results that others published."""
    return _imported(name) if name in _BUILTIN else _REGISTRY.get(name)


def list_metrics() -> list[Metric]:
    """All registered metrics, by name."""
    return [_imported(name) for name in sorted({*_BUILTIN, *_REGISTRY})]


def _imported(name: str) -> Metric:
    """A known metric; its module is imported first if it is one of this package."""
    if name not in _REGISTRY:
        importlib.import_module(f"{__name__}.{_BUILTIN[name]}")
    return _REGISTRY[name]


def _owner(name: str) -> str | None:
    """The module that has registered a metric, or will register it."""
    if (known := _REGISTRY.get(name)) is not None:
        return known.function.__module__
    return f"{__name__}.{_BUILTIN[name]}" if name in _BUILTIN else None
