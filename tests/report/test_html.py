"""The page: complete, self-contained, and safe with names that strangers chose."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from hf_sfda.report import render_html, sorted_by
from hf_sfda.report.plots import (
    agreement_figure,
    agreement_matrix,
    figures,
    pareto_front,
    scores_figure,
    size_figure,
)
from hf_sfda.report.plots.style import PALETTE
from hf_sfda.report.sentences import ties_known
from tests.report_fixture import HOSTILE, example_ranking


class Page(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self.inside: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self.inside.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        if self.inside and self.inside[-1] == tag:
            self.inside.pop()

    def handle_data(self, data):
        if not self.inside:
            self.text.append(data)
        elif self.inside[-1] == "script":
            self.scripts[-1] += data

    @property
    def visible(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def source() -> str:
    return render_html(example_ranking())


@pytest.fixture(scope="module")
def page(source) -> Page:
    return Page(source)


def test_a_ranking_that_does_not_know_what_was_left_out_has_a_report():
    ranking = example_ranking()
    dataset = {name: value for name, value in ranking.dataset.items() if name != "left_out"}
    assert "Left out" not in Page(render_html(replace(ranking, dataset=dataset))).visible


def test_every_candidate_every_reason_and_every_warning_is_there(page):
    ranking = example_ranking()
    for row in ranking.rows:
        assert row.model_id in page.visible
        if row.reason:
            assert row.reason in page.visible
    for reason, n in ranking.dataset["left_out"].items():
        assert f"{n}: {reason}" in page.visible
    for warning in ranking.warnings:
        assert warning in page.visible
    assert "at the noise floor (0.118)" in page.visible
    command = (
        "hf-sfda rank --dataset me/emoji --samples 1270 --metric sfda_cv "
        "--metrics sfda_cv,sfda,logme,hscore,knn,logistic_probe --out runs/emoji"
    )
    assert command in page.visible
    assert "1 to 3 cannot be told apart at 95%." in page.visible


def test_the_report_begins_with_the_model_to_fine_tune(page):
    after = page.visible.split("Which checkpoint to fine-tune on me/emoji ")[1]
    assert after.startswith(
        "acme/convnext-small-in22k Best of the 20 after fine-tuning with probability .52; "
        "fine-tune 3 to have it with probability 1.00: "
    )


def test_the_report_says_what_its_probabilities_rest_on(page):
    assert "P(best), behind The probability that the model is the best of these" in page.visible
    pairs = re.search(r"pairs ([\d ]+) The benchmark has small checkpoints", page.visible)[1]
    assert sum(map(int, pairs.split())) > 1000
    ranking = example_ranking()
    other = render_html(replace(ranking, config={**ranking.config, "layers": "last"}))
    assert "In what share of the redraws the model comes first" in other
    assert "benchmark has small checkpoints" not in other


def test_the_table_has_one_row_a_ranked_model_and_sortable_cells(source):
    body = source.split("<tbody>")[1].split("</tbody>")[0]
    rows = body.split("<tr")[1:]
    assert len(rows) == 20
    heads = source.split("<thead>")[1].split("</thead>")[0].count("<th")
    assert {len(re.findall(r"<t[dh][ >]", row)) for row in rows} == {heads}
    # Only the column of bars cannot be sorted by.
    assert {row.count("data-value=") for row in rows} == {heads - 1}


def test_the_page_shows_the_mean_rank_and_marks_disputed_models():
    ranking = example_ranking()
    scores = dict.fromkeys(ranking.rows[0].scores, 0.0)  # last by all but the chosen metric
    first = replace(ranking.rows[0], scores={**scores, "sfda_cv": 0.584})
    source = render_html(replace(ranking, rows=(first, *ranking.rows[1:])))
    head, body = source.split("<thead>")[1].split("<tbody>")
    column = re.findall(r"<th.*?</th>", head).index(
        '<th><button type="button">mean rank</button></th>'
    )
    cells = [
        re.findall(r"<t[dh][ >].*?</t[dh]>", row, flags=re.DOTALL)[column]
        for row in body.split("</tbody>")[0].split("<tr")[1:]
    ]
    # sfda and hscore do not vote at this sample size: (1 + 20 + 20 + 20) / 4
    assert "15.2" in cells[0]
    assert ["≠" in cell for cell in cells] == [True] + [False] * 19


def test_names_of_strangers_are_text(page, source):
    assert HOSTILE in page.visible
    assert "<script>alert(1)" not in source
    assert "<b>./my-checkpoint</b>" not in source
    assert sum(tag == "script" for tag, _ in page.elements) == 3  # table, plotly, figures


@pytest.mark.parametrize(
    "name",
    [
        "</script><script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "{{ 7 * 7 }}{% raw %}",
        "<a href='javascript:alert(1)'>x</a>",
        "--><!--",
    ],
)
def test_hostile_names_add_no_element(name, page):
    ranking = example_ranking()
    rows = (replace(ranking.rows[0], model_id=name, license=name), *ranking.rows[1:])
    dataset = {**ranking.dataset, "id": name}
    other = Page(render_html(replace(ranking, rows=rows, dataset=dataset, warnings=(name, name))))
    assert [tag for tag, _ in other.elements] == [tag for tag, _ in page.elements]
    assert name in other.visible
    texts = json.dumps(specs(other))
    assert "<img" not in texts
    assert "<a href" not in texts
    assert "<script" not in texts


def specs(page: Page) -> dict:
    (script,) = [s for s in page.scripts if "const figures = " in s]
    return json.loads(script.split("const figures = ")[1].split(";\n  const { draw")[0])


def test_nothing_is_loaded_from_anywhere(page, source):
    assert not [
        (tag, attrs)
        for tag, attrs in page.elements
        if tag in ("link", "img", "iframe", "object", "embed", "base", "form", "a")
        or any(key in attrs for key in ("src", "href", "action", "background", "poster", "data"))
    ]
    style = source.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [a["content"] for t, a in page.elements if "http-equiv" in a]
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy.replace("http-equiv", "")


def test_the_page_suits_dark_rooms_and_phones(source):
    style = source.split("<style>")[1].split("</style>")[0]
    light, dark = style.split("@media (prefers-color-scheme: dark)")[:2]
    for name, (by_day, by_night) in PALETTE.items():
        assert f"--{name}: {by_day};" in light
        assert f"--{name}: {by_night};" in dark
    used = set(re.findall(r"var\(--([a-z-]+)\)", style))
    assert used <= set(PALETTE)
    assert "@media (max-width: 640px)" in style
    assert 'name="viewport"' in source


def contrast(first: str, second: str) -> float:
    """WCAG contrast ratio of two #rrggbb colours."""

    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(first), luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["page", "surface", "band", "accent-soft", "warn-soft"])
def test_text_has_enough_contrast(mode, ground):
    assert contrast(PALETTE["ink"][mode], PALETTE[ground][mode]) >= 7
    if ground != "warn-soft":
        assert contrast(PALETTE["soft"][mode], PALETTE[ground][mode]) >= 4.5
    else:
        assert contrast(PALETTE["floor"][mode], PALETTE[ground][mode]) >= 4.5


def test_the_palette_can_be_swapped():
    lights = [light for light, _ in PALETTE.values()]
    assert len(set(lights)) == len(lights)


def test_plots_use_only_colours_that_can_be_swapped(page):
    colours = set(re.findall(r"#[0-9a-f]{6}\b", json.dumps(specs(page))))
    assert colours <= {light for light, _ in PALETTE.values()}


def test_scores_plot_shows_every_model_interval_and_floor():
    ranking = example_ranking()
    figure = scores_figure(ranking)
    traces = {trace.name: trace for trace in figure.data}
    assert list(traces) == ["tied for first", "other models", "at the noise floor", "noise floor"]
    assert len(traces["tied for first"].x) == 3
    assert len(traces["at the noise floor"].x) == 2
    assert len(traces["noise floor"].x) == 20
    first = traces["tied for first"]
    low, high = ranking.rows[0].intervals["sfda_cv"]
    assert first.x[0] - first.error_x.arrayminus[0] == pytest.approx(low)
    assert first.x[0] + first.error_x.array[0] == pytest.approx(high)
    assert len(figure.layout.yaxis.ticktext) == 20


def test_the_pareto_front_is_the_one_by_hand():
    front = [row.model_id for row in pareto_front(example_ranking())]
    assert front == [
        "acme/squeezenet",
        "acme/mobilenet-v2-nsfw",
        "acme/regnet-y-400mf",
        "timm/tf_efficientnet_lite0.in1k",
        "timm/tf_efficientnet_lite1.in1k",
        "timm/tf_efficientnet_lite2.in1k",
        "acme/vit-small-patch16-224",
        "acme/convnext-small-in22k",
    ]


def test_agreement_matrix_is_symmetric_and_leaves_out_constant_metrics():
    ranking = example_ranking()
    rows = tuple(
        replace(row, scores={**row.scores, "flat": 1.0}) if row.status == "ok" else row
        for row in ranking.rows
    )
    names, taus = agreement_matrix(replace(ranking, rows=rows))
    assert names == ["sfda_cv", "sfda", "logme", "hscore", "knn", "logistic_probe"]
    assert taus.diagonal() == pytest.approx(1)
    assert taus == pytest.approx(taus.T)
    assert taus[0, 4] == pytest.approx(ranking.agreement["knn"])


def test_plots_that_the_data_do_not_carry_are_left_out():
    ranking = example_ranking()
    assert figures(replace(ranking, rows=ranking.rows[20:])) == {}
    one = replace(ranking, rows=ranking.rows[:1])
    assert set(figures(one)) == {"scores"}
    sizeless = tuple(replace(row, params=None) for row in ranking.rows)
    assert size_figure(replace(ranking, rows=sizeless)) is None
    lonely = tuple(replace(row, scores={"sfda_cv": 0.1}) for row in ranking.rows[:20])
    assert agreement_figure(replace(ranking, rows=lonely)) is None


def test_reports_of_rankings_with_little_in_them_are_drawn():
    ranking = example_ranking()
    nothing = Page(render_html(replace(ranking, rows=ranking.rows[20:], agreement={})))
    assert "Nothing could be ranked" in nothing.visible
    assert "acme/gated-giant" in nothing.visible
    assert len(nothing.scripts) == 1  # no plot, so no plotly either
    bare = replace(
        ranking.rows[0],
        intervals={},
        rank_interval=None,
        p_best=None,
        noise_floor=None,
        params=None,
        download_bytes=None,
        samples_per_second=None,
        license=None,
        downloads=None,
    )
    alone = Page(render_html(replace(ranking, rows=(bare,), agreement={}, warnings=())))
    assert "The only model ranked." in alone.visible
    assert "Before you trust" not in alone.visible


# -- what is not known is not claimed


@pytest.mark.parametrize("metric", ["sfda_cv", "knn", "logme"])
def test_the_page_explains_what_it_shows_and_nothing_else(metric):
    """Ties, P(best) and floors belong to the metric of the run; `logme` has no interval either."""
    visible = Page(render_html(sorted_by(example_ranking(), metric))).visible
    known, barred = metric == "sfda_cv", metric != "logme"
    for words in (
        "in one band tie",
        "The bands show the ties",
        "The places that a tie spans",
        "P(best)",
        "rank range",
        "marks the noise floor",
        "Noise floor What the same metric gives",
    ):
        assert (words in visible) == known, words
    assert ("Which of these models tie is not known in this order." in visible) != known
    assert ("Overlapping bars" in visible) == barred
    assert ("The bar is the 95% interval" in visible) == barred
    assert ("Scores and their intervals" in visible) == barred


def test_ties_are_known_where_they_were_tested():
    ranking = example_ranking()
    ties = [replace(row, p_best=None, rank_interval=None) for row in ranking.ranked]
    equal = [replace(row, scores={"sfda_cv": 0.5}, tie_group=1) for row in ties]
    alone = [replace(row, tie_group=row.rank) for row in ties]
    assert ties_known(ranking)
    assert ties_known(replace(ranking, rows=tuple(ties)))  # a board that lost a model keeps them
    assert not ties_known(replace(ranking, rows=tuple(equal)))
    assert not ties_known(replace(ranking, rows=tuple(alone)))
    assert not ties_known(replace(ranking, rows=()))
    assert not ties_known(sorted_by(ranking, "knn"))
