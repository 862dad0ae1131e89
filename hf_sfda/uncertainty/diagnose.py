"""Warnings about a ranking and its rows, in plain words; the first is that a score is not above
the noise floor, the score of a metric on shuffled labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hf_sfda.format import joined
from hf_sfda.metrics import BASELINES, find_metric
from hf_sfda.types import ModelRow, RowWarning

_FLOOR_SHARE = 0.95


def noise_floor(permuted_scores: Sequence[float] | np.ndarray) -> float:
    """The score that shuffled labels reach by chance.

    It is the smallest observed score that at least 95% of the shuffles do not exceed: the
    critical value of a one-sided permutation test at 5%. With fewer than 20 shuffles that is the
    highest of them.

    Args:
        permuted_scores: (P,) scores of one model on P shuffles of the labels, higher is better.

    Returns:
        The floor, NaN if there were no shuffles.
    """
    scores = np.asarray(permuted_scores, dtype=np.float64)
    return (
        float(np.quantile(scores, _FLOOR_SHARE, method="higher")) if scores.size else float("nan")
    )


def at_floor(low: float, floor: float | None) -> bool:
    """Whether a score cannot be distinguished from chance.

    It can be only if the low end of its interval lies above the floor. The interval is used and not
    the score, so that a lucky sample does not count as evidence. A metric that reaches its maximum
    on shuffled labels has its floor there, and no score is above it.

    Args:
        low: Low end of the score's interval; the score itself where there is no interval.
        floor: From :func:`noise_floor`. A floor that was not measured (``None`` or NaN) is below
            every score.
    """
    return floor is not None and bool(low <= floor)


def is_at_floor(row: ModelRow, metric: str) -> bool:
    """:func:`at_floor` of a ranked model under the metric that its noise floor was measured with.

    Raises:
        KeyError: The model has no score of this metric.
    """
    low = row.intervals.get(metric, (row.scores[metric],))[0]
    return at_floor(low, row.noise_floor)


NEAR_MAXIMUM = 0.005
FEW_MODELS = 5
SMALL_CLASS = 10
SAMPLES_PER_DIMENSION = 2

AGREEMENT, DISAGREEMENT = 0.7, 0.3
"""From this weighted tau on two metrics agree on the order; below the second they contradict."""


def diagnose_row(
    row: ModelRow, *, metric: str, n_samples: int, n_classes: int
) -> tuple[RowWarning, ...]:
    """Hazards of one ranked model under the chosen metric, short enough for a table cell.

    Args:
        row: A row with scores, intervals, noise floor and feature width.
        metric: The metric it is sorted by.
        n_samples: N.
        n_classes: C; bounds the H-score.
    """
    if row.status != "ok":
        return ()
    hazards = []
    if is_at_floor(row, metric):
        hazards.append(f"at the noise floor ({row.noise_floor:.3f})")
    if _is_saturated(row.scores[metric], _maximum(metric, n_classes)):
        hazards.append("saturated")
    if _is_width_sensitive(metric) and _is_wide(row, n_samples):
        hazards.append(f"{n_samples:,} samples for {row.feature_dim:,} dimensions")
    return tuple(RowWarning(None, hazard) for hazard in hazards)


def diagnose(
    rows: Sequence[ModelRow],
    *,
    metric: str,
    n_samples: int,
    n_classes: int,
    class_counts: Mapping[str, int],
    agreement: Mapping[str, float],
) -> list[str]:
    """Hazards of the whole run.

    Args:
        rows: All rows; only the ranked ones are looked at.
        metric: The metric they are sorted by.
        n_samples: N.
        n_classes: C, the classes that a metric tells apart at a time.
        class_counts: Class name -> samples of that class; empty for a regression.
        agreement: metric -> weighted tau with the chosen one.

    Returns:
        Sentences, the gravest first.
    """
    if not any(row.status == "ok" for row in rows):
        return []
    warnings = diagnose_rows(
        rows,
        metric=metric,
        n_samples=n_samples,
        n_classes=n_classes,
        agreement=agreement,
    )
    return [*warnings, *_about_classes(class_counts)]


def diagnose_rows(
    rows: Sequence[ModelRow],
    *,
    metric: str,
    n_samples: int,
    n_classes: int,
    agreement: Mapping[str, float],
) -> list[str]:
    """Hazards of the whole run that follow from its rows, for callers without labels.

    Args:
        rows: As in :func:`diagnose`.
        metric: As in :func:`diagnose`.
        n_samples: N.
        n_classes: C.
        agreement: As in :func:`diagnose`.
    """
    ranked = [row for row in rows if row.status == "ok"]
    if not ranked:
        return []
    return [
        *_about_the_floor(ranked, metric),
        *_about_saturation(ranked, metric, n_samples, n_classes),
        *_about_width(ranked, metric, n_samples, n_classes),
        *_about_agreement(ranked, metric, agreement),
        *_about_duplicates(ranked),
    ]


def _about_the_floor(ranked: Sequence[ModelRow], metric: str) -> list[str]:
    low = sum(is_at_floor(row, metric) for row in ranked)
    if low == len(ranked):
        return [
            f"No model rises above the noise floor: {metric} is no higher than on shuffled labels. "
            "Check the label column and the split, or take more samples."
        ]
    if low:
        return [f"{low} of {len(ranked)} models cannot be told from shuffled labels by {metric}."]
    return []


def _about_saturation(
    ranked: Sequence[ModelRow], metric: str, n_samples: int, n_classes: int
) -> list[str]:
    warnings = []
    in_width_warning = _width_sensitive(ranked, n_samples)[0]
    for name in _by_importance(ranked, metric):
        full = _saturated(ranked, name, n_classes)
        if name == metric and not full:
            scores = [row.scores[name] for row in ranked]
            if (shared := scores.count(max(scores))) > 1:
                warnings.append(
                    f"{shared} models share the highest {name} exactly; their order is that of "
                    "the list."
                )
        elif name == metric or (full > 1 and name not in in_width_warning):
            cause = (
                "the target is too easy for it"
                if _is_held_out(name)
                else "it is scored on the samples it was fitted on"
            )
            warnings.append(
                f"{name} is saturated for {full} of {len(ranked)} models (within {NEAR_MAXIMUM} of "
                f"its maximum, {_maximum(name, n_classes):g}) and cannot order them; {cause}."
            )
    return warnings


def _about_width(
    ranked: Sequence[ModelRow], metric: str, n_samples: int, n_classes: int
) -> list[str]:
    unsafe, wide = _width_sensitive(ranked, n_samples)
    if not unsafe:
        return []
    widest = max(row.feature_dim or 0 for row in wide)
    text = (
        f"{joined(unsafe)} can rise with width alone here, even on noise: {len(wide)} of "
        f"{len(ranked)} models have fewer than {SAMPLES_PER_DIMENSION} samples a dimension "
        f"({n_samples:,} samples, up to {widest:,} dimensions)."
    )
    counts = {name: _saturated(ranked, name, n_classes) for name in unsafe if name != metric}
    if full := [f"{name} for {count}" for name, count in counts.items() if count]:
        text += f" At its maximum: {joined(full)} of {len(ranked)}."
    if safe := [name for name in _computed(ranked) if _is_held_out(name)]:
        verb = "is" if len(safe) == 1 else "are"
        text += (
            f" {joined(safe)} {verb} computed on held-out samples and {verb} not inflated by width."
        )
    if metric in unsafe:
        text += " Sort by sfda_cv, or take more samples."
    return [text]


def voting_metrics(rows: Sequence[ModelRow], *, n_samples: int) -> list[str]:
    """The computed metrics that count in a consensus: those that use features, without the ones
    that reward width at this sample size.

    Args:
        rows: All rows; only the ranked ones are looked at.
        n_samples: N.
    """
    ranked = [row for row in rows if row.status == "ok"]
    excluded = _width_sensitive(ranked, n_samples)[0]
    return [name for name in _computed(ranked) if name not in excluded and _uses_features(name)]


def _width_sensitive(
    ranked: Sequence[ModelRow], n_samples: int
) -> tuple[list[str], list[ModelRow]]:
    """Computed metrics that reward width, and the models wide enough for it to matter."""
    wide = [row for row in ranked if _is_wide(row, n_samples)]
    unsafe = [name for name in _computed(ranked) if _is_width_sensitive(name)]
    return (unsafe, wide) if wide else ([], wide)


def _saturated(ranked: Sequence[ModelRow], metric: str, n_classes: int) -> int:
    maximum = _maximum(metric, n_classes)
    return sum(_is_saturated(row.scores.get(metric, -np.inf), maximum) for row in ranked)


def _about_agreement(
    ranked: Sequence[ModelRow], metric: str, agreement: Mapping[str, float]
) -> list[str]:
    if not agreement:
        return []
    if len(ranked) < FEW_MODELS:
        return [f"With {_count(ranked)} ranked, agreement between metrics means little."]
    against = [
        name
        for name, tau in agreement.items()
        if name in BASELINES and name != metric and tau < DISAGREEMENT
    ]
    if not against:
        return []
    taus = joined([f"{name} (weighted tau {agreement[name]:.2f})" for name in against])
    return [
        f"{metric} and {taus} put the models in different orders. Look at both before choosing, "
        "and fine-tune the best of each."
    ]


def _about_duplicates(ranked: Sequence[ModelRow]) -> list[str]:
    same_scores: dict[tuple[object, ...], list[str]] = {}
    for row in ranked:
        if len(row.scores) > 1 and row.feature_dim:
            key = (row.feature_dim, row.params, *sorted(row.scores.items()))
            same_scores.setdefault(key, []).append(row.model_id)
    return [
        f"{joined(names)} score the same on every metric: probably one checkpoint under "
        f"{len(names)} names."
        for names in same_scores.values()
        if len(names) > 1
    ]


def _about_classes(class_counts: Mapping[str, int]) -> list[str]:
    small = {name: count for name, count in class_counts.items() if count < SMALL_CLASS}
    if not small:
        return []
    name = min(small, key=small.__getitem__)
    verb = "has" if len(small) == 1 else "have"
    return [
        f"{len(small)} of {len(class_counts)} classes {verb} fewer than {SMALL_CLASS} samples "
        f"(fewest: {name!r} with {small[name]}); how well they are recognised is guesswork."
    ]


def _is_saturated(score: float, maximum: float | None) -> bool:
    return maximum is not None and bool(score >= maximum - NEAR_MAXIMUM * abs(maximum))


def _is_wide(row: ModelRow, n_samples: int) -> bool:
    return row.feature_dim is not None and n_samples < SAMPLES_PER_DIMENSION * row.feature_dim


def _maximum(metric: str, n_classes: int) -> float | None:
    entry = find_metric(metric)
    return None if entry is None else entry.maximum_for(n_classes)


def _is_width_sensitive(metric: str) -> bool:
    entry = find_metric(metric)
    return entry is not None and entry.width_sensitive


def _is_held_out(metric: str) -> bool:
    entry = find_metric(metric)
    return entry is not None and entry.held_out


def _uses_features(metric: str) -> bool:
    entry = find_metric(metric)
    return entry is None or entry.uses_features


def _computed(ranked: Sequence[ModelRow]) -> list[str]:
    """The metrics that at least one model has, in the order in which they were computed."""
    return list(dict.fromkeys(name for row in ranked for name in row.scores))


def _by_importance(ranked: Sequence[ModelRow], metric: str) -> list[str]:
    return [metric, *(name for name in _computed(ranked) if name != metric)]


def _count(ranked: Sequence[ModelRow]) -> str:
    return "one model" if len(ranked) == 1 else f"{len(ranked)} models"
