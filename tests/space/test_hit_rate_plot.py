"""The plot of the hit rate: where its points are."""

from __future__ import annotations

from datetime import date

import pytest

from hf_sfda.publish.track_record import HitRate
from hf_sfda.space import fragments
from hf_sfda.space.hit_rate_plot import HEIGHT, WIDTH, plot_hit_rate


def rate(hits: int, judged: int, low: float, high: float) -> HitRate:
    return HitRate(hits, judged, 0, low, high, 0, 1.5, 0.5)


OVER_TIME = (
    (date(2026, 1, 1), rate(1, 1, 0.2, 1.0)),
    (date(2026, 1, 11), rate(1, 2, 0.1, 0.9)),
    (date(2026, 3, 2), rate(3, 4, 0.3, 0.95)),
)


def numbers(points: str) -> list[tuple[float, float]]:
    return [tuple(map(float, point.split(","))) for point in points.split()]


def test_a_rate_holds_until_the_next_date():
    plot = plot_hit_rate(OVER_TIME)
    line = numbers(plot.line)
    assert len(line) == 5, "two points a step"
    xs, ys = zip(*line, strict=True)
    assert list(xs) == sorted(xs)
    assert (xs[1], ys[1]) == (xs[2], ys[0]), "the old rate up to the second date"
    assert plot.dots == (line[0], line[2], line[4])
    assert (xs[2] - xs[0]) * 5 == pytest.approx(xs[4] - xs[2], abs=1), "10 and 50 days"
    levels = {text: y for y, text in plot.levels}
    assert ys[0] == levels["100%"]
    assert ys[2] == levels["50%"]


def test_the_band_holds_the_line_and_stays_in_the_picture():
    plot = plot_hit_rate(OVER_TIME)
    band = numbers(plot.band)
    upper, lower = band[: len(band) // 2], band[len(band) // 2 :][::-1]
    for (x, y), (x_high, high), (x_low, low) in zip(numbers(plot.line), upper, lower, strict=True):
        assert x == x_high == x_low
        assert high <= y <= low, "y grows downwards"
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in band)


def test_one_date_is_not_drawn():
    assert plot_hit_rate(OVER_TIME[:1]) is None
    assert plot_hit_rate(()) is None


def test_the_page_shows_it():
    record = {
        "updates": [], "here": "", "everywhere": ["3 of 4."], "over_time": OVER_TIME,
        "plot": plot_hit_rate(OVER_TIME),
    }  # fmt: skip
    html = fragments._environment().get_template("record.html.j2").module.record_section(record)
    assert html.count("<circle") == 3
    assert "2026-01-01 to 2026-03-02" in html
