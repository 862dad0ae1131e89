"""Test the difference of two scores from the contributions of the samples: pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hf_sfda.compare.classes import MIN_CLASS_SIZE, class_intervals
from hf_sfda.compare.result import ClassDifference, Comparison, SampleDifference
from hf_sfda.errors import ConfigError, MetricError
from hf_sfda.types import IntArray
from hf_sfda.uncertainty import (
    degrees_of_freedom,
    one_stratum,
    paired_bootstrap,
    percentile_intervals,
)
from hf_sfda.uncertainty.ties import ROUNDING

FloatArray = npt.NDArray[np.float64]


def compare_samples(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: IntArray | None,
    class_names: Sequence[str] = (),
    *,
    sample_ids: Sequence[str] | None = None,
    names: tuple[str, str] = ("a", "b"),
    metric: str,
    values: tuple[float, float] | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    top: int = 12,
) -> Comparison:
    """Compare two models on the same samples by a paired, stratified bootstrap.

    A sample's contributions to both models are resampled together. Models err on the same samples,
    so the difference has a smaller variance than either score. The interval holds for this pair
    alone. The tie groups of a ranking hold for all pairs jointly, so they are wider.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> easy, y = rng.uniform(size=200), np.arange(200) % 2
    >>> comparison = compare_samples(easy + 0.1, easy, y, ("cat", "dog"), metric="sfda_cv")
    >>> comparison.summary
    'a is ahead of b in sfda_cv by 0.1000 (0.1000 to 0.1000 at 95%).'

    Args:
        first: (N,) contributions of the samples to the first model's score, which is their mean; or
            (G,) jackknife pseudo-values, see :func:`hf_sfda.uncertainty.group_jackknife`.
        second: The same for the second model, in the same order.
        labels: (N,) classes in ``0..C-1``, the strata. With ``None`` all samples form one stratum,
            and the comparison has no classes and no samples.
        class_names: (C,) names of the classes.
        sample_ids: (N,) names of the samples.
        names: Names of the two models.
        metric: Name of the score.
        values: The two scores; by default the means of the contributions.
        resamples: Number of bootstrap resamples.
        confidence: Level of the difference's interval, and joint level of the classes' intervals.
        seed: Random seed of the bootstrap.
        top: How many samples to list that favour either model.

    Raises:
        MetricError: Shapes do not match, or a contribution is not finite.
        ConfigError: An option is out of range.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    _check(a, b, labels, class_names, sample_ids)
    _check_options(resamples, confidence, top)
    differences = a - b
    strata = one_stratum(differences) if labels is None else labels
    resampled = paired_bootstrap(differences[None], strata, n_resamples=resamples, seed=seed)
    limits = percentile_intervals(
        resampled, confidence, degrees_of_freedom=degrees_of_freedom(strata)
    )
    scores = (float(a.mean()), float(b.mean())) if values is None else values
    classes, warnings = (
        ((), ()) if labels is None else _classes(a, b, labels, class_names, confidence)
    )
    return Comparison(
        models=names,
        metric=metric,
        values=scores,
        difference=scores[0] - scores[1],
        interval=(float(limits[0, 0]), float(limits[0, 1])),
        confidence=confidence,
        p_first_better=_share_ahead(resampled[:, 0], max(np.abs(a).max(), np.abs(b).max())),
        n_samples=len(a),
        classes=classes,
        samples=() if labels is None else _samples(a, b, labels, class_names, sample_ids, top),
        warnings=warnings,
    )


def _check(
    a: FloatArray,
    b: FloatArray,
    labels: IntArray | None,
    class_names: Sequence[str],
    sample_ids: Sequence[str] | None,
) -> None:
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise MetricError(
            f"The models' contributions have shapes {a.shape} and {b.shape}; they must be (N,), of "
            "the same samples."
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise MetricError("A contribution is NaN or infinite, so the two cannot be compared.")
    if labels is None:
        return
    if labels.shape != a.shape:
        raise MetricError(f"There are {len(a)} contributions and labels of shape {labels.shape}.")
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise MetricError(
            f"Labels go from {labels.min()} to {labels.max()}, and there are {len(class_names)} "
            "class names."
        )
    if sample_ids is not None and len(sample_ids) != len(a):
        raise MetricError(f"There are {len(a)} contributions and {len(sample_ids)} sample ids.")


def _check_options(resamples: int, confidence: float, top: int) -> None:
    if resamples < 100:
        raise ConfigError(f"resamples is {resamples}; it must be at least 100.")
    if not 0.5 <= confidence < 1:
        raise ConfigError(f"confidence is {confidence}; it must lie in [0.5, 1).")
    if top < 0:
        raise ConfigError(f"top is {top}; it must be at least 0.")


def _share_ahead(resampled: FloatArray, scale: float) -> float:
    """Share of resamples above zero; a resample that is zero up to rounding counts half."""
    smallest = ROUNDING * max(1.0, scale)
    ahead, behind = resampled > smallest, resampled < -smallest
    return float((1 + ahead.mean() - behind.mean()) / 2)


def _classes(
    a: FloatArray, b: FloatArray, labels: IntArray, names: Sequence[str], confidence: float
) -> tuple[tuple[ClassDifference, ...], tuple[str, ...]]:
    intervals = class_intervals(a - b, labels, len(names), confidence)
    classes = []
    for c, name in enumerate(names):
        in_class = labels == c
        if not in_class.any():
            continue
        first, second = float(a[in_class].mean()), float(b[in_class].mean())
        classes.append(
            ClassDifference(
                name=str(name),
                n=int(in_class.sum()),
                first=first,
                second=second,
                difference=first - second,
                interval=intervals.get(c),
            )
        )
    n_small = sum(item.interval is None for item in classes)
    if not n_small:
        return tuple(classes), ()
    have = "has" if n_small == 1 else "have"
    warning = (
        f"{n_small} of {len(classes)} classes {have} fewer than {MIN_CLASS_SIZE} samples, too few "
        "for an interval."
    )
    return tuple(classes), (warning,)


def _samples(
    a: FloatArray,
    b: FloatArray,
    labels: IntArray,
    names: Sequence[str],
    sample_ids: Sequence[str] | None,
    top: int,
) -> tuple[SampleDifference, ...]:
    differences = a - b
    order = np.argsort(-differences, kind="stable")
    ahead = [i for i in order[:top].tolist() if differences[i] > 0]
    behind = [i for i in order[max(len(order) - top, 0) :].tolist() if differences[i] < 0]
    return tuple(
        SampleDifference(
            index=i,
            sample_id=None if sample_ids is None else sample_ids[i],
            class_name=str(names[labels[i]]),
            first=float(a[i]),
            second=float(b[i]),
            difference=float(differences[i]),
        )
        for i in (*ahead, *behind)
    )
