"""The order by another metric, and the order over time: neither claims more than is known."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_sfda.errors import ConfigError
from hf_sfda.report import render_html, render_plain, sorted_by
from hf_sfda.report.plots import figures, order_figure, scores_figure
from hf_sfda.report.plots.style import PALETTE
from hf_sfda.report.sentences import advice, candidates, ties
from hf_sfda.types import Ranking, RowWarning, Update, flat_row
from tests.report_fixture import example_ranking

# -- another metric


@pytest.mark.parametrize("metric", ["knn", "logme", "hscore", "logistic_probe"])
def test_sorting_by_another_metric_changes_only_the_order(metric):
    original = example_ranking()
    ranking = sorted_by(original, metric)
    assert ranking.metric == metric
    values = [row.scores[metric] for row in ranking.ranked]
    assert values == sorted(values, reverse=True)
    assert [row.rank for row in ranking.ranked] == list(range(1, len(values) + 1))
    assert {row.model_id for row in ranking.rows} == {row.model_id for row in original.rows}
    for row in ranking.ranked:
        before = next(r for r in original.rows if r.model_id == row.model_id)
        assert (row.scores, row.intervals, row.params) == (
            before.scores,
            before.intervals,
            before.params,
        )
        assert (row.p_best, row.rank_interval, row.noise_floor) == (None, None, None)
    tau = original.agreement[metric]
    assert ranking.agreement["sfda_cv"] == pytest.approx(tau)
    assert sorted_by(ranking, "sfda_cv").metric == "sfda_cv"
    assert sorted_by(original, "sfda_cv") is original


def test_equal_scores_share_a_group_and_nothing_else_does():
    ranking = sorted_by(example_ranking(), "knn")
    seen: dict[float, set] = {}
    for row in ranking.ranked:
        seen.setdefault(row.scores["knn"], set()).add(row.tie_group)
    assert all(len(groups) == 1 for groups in seen.values())
    assert len({row.tie_group for row in ranking.ranked}) == len(seen) < len(ranking.ranked)


OF_THE_RUN = (
    RowWarning(None, "saturated"),
    RowWarning("sfda_cv", "on a Tuesday"),
    RowWarning("logme", "logme: failed"),
)


def test_hazards_are_those_of_the_new_metric():
    original = example_ranking()
    first = replace(original.rows[0], warnings=OF_THE_RUN)
    first = replace(first, scores={**first.scores, "sfda_cv": 0.999, "sfda": 1.0})
    ranking = sorted_by(replace(original, rows=(first, *original.rows[1:])), "sfda")
    row = next(row for row in ranking.ranked if row.model_id == first.model_id)
    width = "1,270 samples for 2,048 dimensions"
    assert row.warnings == (
        RowWarning(None, "saturated"),
        RowWarning(None, width),
        RowWarning("sfda_cv", "sfda_cv: on a Tuesday"),
        RowWarning("logme", "logme: failed"),
    )
    assert not any("floor" in w.text for row in ranking.ranked for w in row.warnings)
    there_and_back = sorted_by(sorted_by(ranking, "sfda_cv"), "sfda")
    assert there_and_back.rows == ranking.rows
    assert "worked out for sfda_cv only" in ranking.warnings[0]
    assert any(text.startswith("sfda is saturated") for text in ranking.warnings)


def test_the_warning_of_a_metric_that_failed_keeps_its_name():
    original = example_ranking()
    config = {**original.config, "metrics": [*original.config["metrics"], "leep"]}
    failed = RowWarning("leep", "leep: it needs the outputs of the checkpoint's own head")
    first = replace(original.rows[0], warnings=(failed,))
    ranking = replace(original, config=config, rows=(first, *original.rows[1:]))
    (row,) = [row for row in sorted_by(ranking, "knn").ranked if row.model_id == first.model_id]
    assert row.warnings == (failed,)


def test_a_metric_is_not_mistaken_for_one_whose_name_its_warning_starts_with():
    """Both names start with sfda, and the text of one warning names no metric at all."""
    original = example_ranking()
    warnings = (RowWarning("sfda", "sfda_cv is better"), RowWarning("sfda_cv", "noise"))
    scores = {name: value for name, value in original.rows[0].scores.items() if name != "sfda"}
    rows = (replace(original.rows[0], scores=scores, warnings=warnings), *original.rows[1:])
    ranking = sorted_by(replace(original, rows=rows), "sfda")
    (row,) = [row for row in ranking.rows if row.model_id == original.rows[0].model_id]
    assert (row.status, row.reason) == ("skipped", "sfda_cv is better")


def test_warnings_of_a_document_from_an_earlier_version_are_read():
    document = example_ranking().to_dict()
    for row in document["rows"]:
        del row["warning_metrics"]
    assert Ranking.from_dict(document).rows == example_ranking().rows
    document["rows"][0]["warning_metrics"] = ["knn", None, None]
    with pytest.raises(ValueError):
        Ranking.from_dict(document)


def test_the_document_has_the_texts_of_warnings_and_their_metrics():
    document = replace(example_ranking(), rows=example_ranking().rows[:1]).to_dict()
    with_both = replace(example_ranking().rows[0], warnings=OF_THE_RUN)
    (row,) = replace(example_ranking(), rows=(with_both,)).to_dict()["rows"]
    assert row["warnings"] == ["saturated", "on a Tuesday", "logme: failed"]
    assert row["warning_metrics"] == [None, "sfda_cv", "logme"]
    assert set(row) == set(document["rows"][0])
    flat = flat_row(with_both)
    assert flat["warnings"] == "saturated; on a Tuesday; logme: failed"
    assert "warning_metrics" not in flat


NO_HEAD = RowWarning("leep", "leep: no head")


def test_models_without_the_metric_go_last_with_a_reason():
    original = example_ranking()
    rows = [
        replace(row, scores={**row.scores, "leep": row.scores["knn"]})
        if place % 2
        else replace(row, warnings=(*row.warnings, *([NO_HEAD] if place == 2 else [])))
        for place, row in enumerate(original.ranked)
    ]
    ranking = sorted_by(replace(original, rows=(*rows, *original.rows[len(rows) :])), "leep")
    assert len(ranking.ranked) == 10
    lacking = ranking.rows[10:20]
    assert {row.status for row in lacking} == {"skipped"}
    assert {row.rank for row in lacking} == {None}
    assert [row.reason for row in lacking].count("it has no leep") == 9
    assert "leep: no head" in [row.reason for row in lacking]
    assert "10 ranked" in candidates(ranking)
    with pytest.raises(ConfigError, match=r"No model here has gbc.* sfda_cv, sfda, logme"):
        sorted_by(original, "gbc")


def test_words_and_plots_claim_no_ties_that_nobody_measured():
    original = example_ranking()
    assert "cannot be told apart" in ties(original)
    assert scores_figure(original).layout.shapes
    ranking = sorted_by(original, "logistic_probe")
    assert ties(ranking) == ""
    assert advice(ranking) == "Fine-tune acme/convnext-small-in22k: first by probe."
    figure = scores_figure(ranking)
    assert not figure.layout.shapes  # bands say who ties with whom
    assert {trace.name for trace in figure.data} == {"first", "other models"}
    assert set(figures(ranking)) == {"scores", "size", "agreement"}
    assert "only" not in advice(ranking)
    page = render_html(ranking)
    assert 'class="band' not in page
    assert 'class="band' in render_html(original)
    assert "Sorted by probe" in page
    assert "tie" not in render_plain(ranking).splitlines()[-1]


# -- over time


def updates_of(*orders: str, changed: int = 0) -> list[Update]:
    return [
        Update(
            f"{day:016x}",
            f"2026-01-{day + 1:02}T10:00:00+00:00",
            {f"org/{letter}": place for place, letter in enumerate(order, 1)},
            comparable=day >= changed,
        )
        for day, order in enumerate(orders)
    ]


def lines(figure) -> dict[str, tuple]:
    return {trace.name: trace.y for trace in figure.data}


def test_the_figure_has_a_line_for_each_model_named_at_its_end():
    figure = order_figure(updates_of("abc", "bac", "bcd"))
    assert lines(figure) == {
        "org/a": (1, 2, None),
        "org/b": (2, 1, 1),
        "org/c": (3, 3, 2),
        "org/d": (None, None, 3),
    }
    assert figure.layout.yaxis.ticktext == ("org/b", "org/c", "org/d")
    assert figure.layout.yaxis.tickvals == (1, 2, 3)
    colors = {trace.name: trace.line.color for trace in figure.data}
    assert colors["org/b"] == PALETTE["accent"][0]
    assert colors["org/c"] == colors["org/d"] == PALETTE["other"][0]
    assert colors["org/a"] == PALETTE["line"][0]  # has no name at the end
    assert figure.data[-1].name == "org/b"  # drawn last
    both = order_figure(updates_of("abc", "bac"), leaders=["org/a", "org/b"])
    colors = [trace.line.color for trace in both.data]
    assert colors.count(PALETTE["accent"][0]) == 2


def test_what_is_further_down_runs_along_the_edge_and_says_its_place():
    figure = order_figure(updates_of("abcd", "dabc"), top=2)
    assert lines(figure) == {"org/a": (1, 2), "org/b": (2, 3), "org/d": (3, 1)}
    assert figure.layout.yaxis.ticktext == ("org/d", "org/a", "below 2")
    (down,) = (trace for trace in figure.data if trace.name == "org/d")
    assert "place 4 of 4" in down.text[0]


def test_updates_on_other_samples_are_shaded():
    assert not order_figure(updates_of("ab", "ba")).layout.shapes
    figure = order_figure(updates_of("ab", "ba", "ab", "ba", changed=2))
    (shade,) = figure.layout.shapes
    assert shade.x0 < 0 < 1 < shade.x1 < 2
    assert any("other samples" in words.text for words in figure.layout.annotations)
    assert "other samples" in figure.data[0].text[1]
    assert "other samples" not in figure.data[0].text[2]


def test_names_of_strangers_are_escaped_in_the_figure():
    hostile = "evil/<script>alert(1)</script>"
    two = [Update("r", "2026-01-01", {hostile: 1, "a/b": 2})] * 2
    document = order_figure(two).to_json()
    assert "<script" not in document.replace("\\u003c", "<")
    assert "&lt;script" in document.replace("\\u0026", "&")


def test_no_figure_is_drawn_without_two_updates():
    assert order_figure([]) is None
    assert order_figure(updates_of("ab")) is None
    assert order_figure(updates_of("", "")) is None
    assert order_figure(updates_of("", "a")) is not None


COLORS = {light for light, _ in PALETTE.values()}


def colors_in(value) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(colors_in, value.values()), set())
    if isinstance(value, list):
        return set().union(*map(colors_in, value), set())
    return {value} if isinstance(value, str) and value.startswith("#") else set()


@given(st.lists(st.permutations("abcdef"), min_size=2, max_size=5), st.integers(1, 7))
def test_every_place_is_drawn_once_and_every_colour_can_be_swapped(orders, top):
    figure = order_figure(updates_of(*map("".join, orders), changed=1), top=top)
    document = json.loads(figure.to_json())
    assert colors_in(document["data"]) | colors_in(document["layout"]) <= COLORS
    for column in zip(*lines(figure).values(), strict=True):
        above = [y for y in column if y <= top]
        assert sorted(above) == list(range(1, min(top, 6) + 1))
