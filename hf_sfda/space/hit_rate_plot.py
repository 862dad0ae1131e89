"""The hit rate over time as the shapes of an SVG: pure geometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_sfda.publish.track_record import HitRate

WIDTH, HEIGHT = 640, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 10, 24


@dataclass(frozen=True)
class HitRatePlot:
    """Coordinates in the SVG.

    Attributes:
        line: The hit rate, as ``points`` of a polyline. It stays where it is until the next date.
        band: The 95% interval, as ``points`` of a polygon.
        dots: (x, y) of each date.
        levels: (y, text) of the horizontal grid lines.
        first: Text at the left end of the time axis.
        last: Text at its right end.
    """

    line: str
    band: str
    dots: tuple[tuple[float, float], ...]
    levels: tuple[tuple[float, str], ...]
    first: str
    last: str


def plot_hit_rate(over_time: Sequence[tuple[date, HitRate]]) -> HitRatePlot | None:
    """Draw the hit rate over time; ``None`` with fewer than two dates.

    Args:
        over_time: The hit rate at each date at which it changed, in the order of the dates.
    """
    if len(over_time) < 2:
        return None
    start, end = over_time[0][0], over_time[-1][0]
    days = max((end - start).days, 1)

    def x(day: date) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (day - start).days / days, 1)

    def y(share: float) -> float:
        return round(_TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - share), 1)

    def steps(values: Sequence[float]) -> list[tuple[float, float]]:
        """Each value holds until the next date."""
        points: list[tuple[float, float]] = []
        for (day, _), value in zip(over_time, values, strict=True):
            if points:
                points.append((x(day), points[-1][1]))
            points.append((x(day), y(value)))
        return points

    rates = [rate.hits / rate.judged for _, rate in over_time]
    upper = steps([rate.high for _, rate in over_time])
    lower = steps([rate.low for _, rate in over_time])
    return HitRatePlot(
        line=_points(steps(rates)),
        band=_points([*upper, *reversed(lower)]),
        dots=tuple((x(day), y(rate)) for (day, _), rate in zip(over_time, rates, strict=True)),
        levels=tuple((y(share), f"{share:.0%}") for share in (0, 0.5, 1)),
        first=start.isoformat(),
        last=end.isoformat(),
    )


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
