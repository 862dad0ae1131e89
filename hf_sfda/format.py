"""Format numbers and names for people; an unknown value becomes an empty text.

Tables have the short forms (:func:`count`, ``50 M``), sentences the long ones
(:func:`show_count`, ``50 million``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ELLIPSIS = "…"
"""Stands for the part of a text that is too long for its place."""

METRIC_LABELS = {"knn": "k-NN", "logistic_probe": "probe", "linear_probe": "ridge probe"}
"""Short headings for metrics whose registered name is long or unusual."""


_SKILL_LABELS = {"knn": "k-NN R²", "linear_probe": "ridge R²"}
"""Headings of metrics that are accuracies for classes, and R² for values and several labels."""


def label(metric: str, *, skill: bool = False) -> str:
    """The heading of a metric.

    Args:
        metric: Registered name.
        skill: Whether the labels are no classes.

    Example:
        >>> label("knn"), label("knn", skill=True)
        ('k-NN', 'k-NN R²')
    """
    return (_SKILL_LABELS if skill else {}).get(metric) or METRIC_LABELS.get(metric, metric)


def known(value: float | None) -> bool:
    """Whether a value is a finite number."""
    return value is not None and math.isfinite(value)


def score(value: float | None) -> str:
    """Three decimals without the leading zero: ``.584``, ``1.000``, ``-.021``.

    Values of 1000 and more are shortened as in :func:`count`, since some baselines are counts.
    """
    if value is None or not math.isfinite(value):
        return ""
    if abs(value) >= 1000:
        return count(value)
    return _bare(f"{value:.3f}")


def share(value: float | None) -> str:
    """Two decimals without the leading zero, for probabilities and accuracies."""
    return _bare(f"{value:.2f}") if value is not None and math.isfinite(value) else ""


def points(value: float | None) -> str:
    """Points of accuracy with one decimal: ``.4 points``, ``1.0 point``."""
    if value is None or not math.isfinite(value):
        return ""
    text = _bare(f"{value:.1f}")
    return f"{text} point" if text == "1.0" else f"{text} points"


def interval(pair: tuple[float, float] | None) -> str:
    """An interval of scores, such as ``.561 to .607``."""
    return f"{score(pair[0])} to {score(pair[1])}" if pair else ""


def count(value: float | None, *, precise: bool = False) -> str:
    """A large number in short form, such as ``50 M``, ``1.4 B`` or ``610 k``.

    Args:
        value: The number.
        precise: Three digits (``49.6 M``), where a number stands beside a limit.
    """
    if value is None or not math.isfinite(value):
        return ""
    for limit, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        # 999.6 M rounds to 1.0 B, not to "1000 M": so the limit is half a unit lower.
        if abs(value) >= limit * 0.9995:
            scaled = value / limit
            return f"{three_digits(scaled) if precise else _two_digits(scaled)} {unit}"
    return f"{value:.0f}"


def show_count(number: float) -> str:
    """A number with three digits, such as ``400 million``, ``1.5 billion`` or ``800``."""
    for unit, factor in (("billion", 1e9), ("million", 1e6)):
        if number >= factor:
            return f"{three_digits(number / factor)} {unit}"
    return f"{number:,.0f}"


def show_bytes(size: float) -> str:
    """A size with three digits and a decimal unit, such as ``4 GB``, ``12.5 MB`` or ``640 B``."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{three_digits(size / factor)} {unit}"
    return f"{size:.0f} B"


def show_seconds(seconds: float) -> str:
    """A time in whole minutes or in seconds, such as ``15 minutes`` or ``40 seconds``."""
    if seconds >= 60 and seconds % 60 == 0:
        number, unit = seconds / 60, "minute"
    else:
        number, unit = seconds, "second"
    return f"{number:,.0f} {unit}" + ("" if round(number) == 1 else "s")


def megabytes(n_bytes: int | None) -> str:
    """A size in decimal megabytes, the Hub's unit."""
    return _two_digits(n_bytes / 1e6) if n_bytes is not None else ""


def rate(per_second: float | None) -> str:
    """Samples per second: a whole number, or two digits if it is below 10."""
    if per_second is None or not math.isfinite(per_second):
        return ""
    return f"{per_second:,.0f}" if per_second >= 10 else f"{per_second:.2g}"


def shorten(name: str, width: int) -> str:
    """Shorten a name in the middle, because its start (owner) and end (variant) identify it."""
    if len(name) <= width:
        return name
    if width <= 1:
        return ELLIPSIS[:width]
    tail = (width - 1) * 3 // 5
    return f"{name[: width - 1 - tail]}{ELLIPSIS}{name[len(name) - tail :]}"


def cut(text: str, width: int) -> str:
    """Shorten a text at its end."""
    return text if len(text) <= width else text[: width - 1] + ELLIPSIS


def marked(words: Sequence[str], position: int, width: int) -> str:
    """A sentence with one word in brackets. If it is too long, it is cut on both sides of the word.

    Example:
        >>> marked("the old ship came home".split(), 2, 40)
        'the old [ship] came home'
        >>> marked("the old ship came home".split(), 2, 16)
        '…old [ship] cam…'
    """
    before, after = " ".join(words[:position]), " ".join(words[position + 1 :])
    word = f"[{cut(words[position], width)}]"
    side = max(0, (width - len(word)) // 2 - 1)
    before = before if len(before) <= side else ELLIPSIS + before[len(before) - side + 1 :]
    return " ".join(part for part in (before, word, cut(after, side)) if part)


def joined(words: Sequence[str]) -> str:
    """Join words: ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _bare(number: str) -> str:
    return number.replace("0.", ".", 1) if number.lstrip("-").startswith("0.") else number


def _two_digits(value: float) -> str:
    """At least two digits: ``1.4``, ``50``, ``610``."""
    return f"{value:.1f}" if abs(value) < 9.95 else f"{value:,.0f}"


def three_digits(value: float) -> str:
    """Three digits: ``1.37``, ``49.6``, ``610``."""
    return f"{float(f'{value:.3g}'):,.10g}"  # ".3g" alone formats 999.9 as 1e+03
