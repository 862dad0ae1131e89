"""Numbers and names as people read them; ``""`` for what is not known."""

from __future__ import annotations

import math

from hf_sfda.names import ELLIPSIS

METRIC_LABELS = {"knn": "k-NN", "linear_probe": "probe"}
"""Metrics that have a better name than the one that is typed."""


def label(metric: str) -> str:
    """How a metric is called in headings."""
    return METRIC_LABELS.get(metric, metric)


def known(value: float | None) -> bool:
    """Whether there is a number at all."""
    return value is not None and math.isfinite(value)


def score(value: float | None) -> str:
    """Three decimals without the leading zero: ``.584``, ``1.000``, ``-.021``; large values in
    short form, since some baselines are counts.
    """
    if value is None or not math.isfinite(value):
        return ""
    if abs(value) >= 1000:
        return count(value)
    return _bare(f"{value:.3f}")


def share(value: float | None) -> str:
    """Two decimals without the leading zero, for probabilities and accuracies."""
    return _bare(f"{value:.2f}") if value is not None and math.isfinite(value) else ""


def interval(pair: tuple[float, float] | None) -> str:
    """``.561 to .607``."""
    return f"{score(pair[0])} to {score(pair[1])}" if pair else ""


def count(value: float | None) -> str:
    """``50 M``, ``1.4 B``, ``610 k``."""
    if value is None or not math.isfinite(value):
        return ""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        # 999.6 M must not become "1000 M", hence the half unit.
        if abs(value) >= limit * 0.9995:
            return f"{_three_digits(value / limit)} {unit}"
    return f"{value:.0f}"


def megabytes(n_bytes: int | None) -> str:
    """Decimal megabytes, as the Hub shows them."""
    return _three_digits(n_bytes / 1e6) if n_bytes is not None else ""


def rate(per_second: float | None) -> str:
    """Whole numbers a second, or two digits where that would be nothing."""
    if per_second is None or not math.isfinite(per_second):
        return ""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


def shorten(name: str, width: int) -> str:
    """Cut in the middle: both the owner and the variant at the end tell names apart."""
    if len(name) <= width:
        return name
    if width <= 1:
        return ELLIPSIS[:width]
    tail = (width - 1) * 3 // 5
    return f"{name[: width - 1 - tail]}{ELLIPSIS}{name[len(name) - tail :]}"


def listing(words: list[str]) -> str:
    """``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _bare(number: str) -> str:
    return number.replace("0.", ".", 1) if number.lstrip("-").startswith("0.") else number


def _three_digits(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 9.95 else f"{value:,.0f}"
