"""Pieces of the page: well-formed, labelled, and safe, whatever strangers have written."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from hf_sfda.compare import ClassDifference, Comparison
from hf_sfda.compare.result import SampleDifference
from hf_sfda.foreign import clean
from hf_sfda.hub import hub_url
from hf_sfda.hub.access import Repo
from hf_sfda.publish.finetuning_rows import finetuning_rows
from hf_sfda.publish.leaderboards import history, make_leaderboards, to_ranking
from hf_sfda.publish.rows import make_run
from hf_sfda.publish.track_record import HitRate, track_record
from hf_sfda.report.plots.style import PALETTE
from hf_sfda.space import fragments
from hf_sfda.space.backend import View, view_of
from hf_sfda.space.events import CandidateState, JobState
from hf_sfda.space.fragments import HEIGHT, WIDTH, plot_hit_rate
from hf_sfda.space.plan import JobPlan, PlannedModel
from hf_sfda.space.results import Snapshot, leaderboard_name
from hf_sfda.space.samples import Preview
from hf_sfda.types import ModelRow, Ranking, RowWarning, Update
from tests.publishing import finetuned, make_ranking
from tests.report_fixture import example_ranking

INLINE = {"a", "abbr", "b", "code", "i"}
VOID = {"br", "hr", "img", "input", "link", "meta"}
PICTURE = "data:image/jpeg;base64,/9j/4AAQ"
SHA = "0123456789" * 4
REPO = Repo("me/results", "dataset")

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "quote": "' onmouseover='alert(1)",
    "ends": "</div></td></table></b><h1>owned",
    "comment": "--><!-- ",
    "jinja": "{{7*7}}{% raw %}{# #}",
    "script-template": "${alert(1)}`",
    "entities": "&lt;b&gt; &amp;amp; &quot;",
    "link": "<a href='javascript:alert(1)'>x</a>",
    "right-to-left": "\u202egnorts/\u2067desrever",
    "long": "x" * 300,
    "words": "modèle 模型 👾",
    "backslash": "\\u003cb\\u003e\\",
}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    parent: Element | None = field(default=None, repr=False)
    text: str = ""

    def all(self, *tags: str) -> Iterator[Element]:
        for child in self.children:
            if not tags or child.tag in tags:
                yield child
            yield from child.all(*tags)

    @property
    def words(self) -> str:
        """All text inside, as it would be read."""
        return " ".join("".join(_texts(self)).split())

    @property
    def above(self) -> Iterator[Element]:
        if self.parent is not None:
            yield self.parent
            yield from self.parent.above


def _texts(element: Element) -> Iterator[str]:
    for child in element.children:
        if child.tag == "#text":
            yield child.text
        else:
            yield from _texts(child)
            if child.tag not in INLINE:
                yield " "


class Parser(HTMLParser):
    """A tree; whatever is not well-formed fails the test."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("#root", {})
        self.feed(source)
        self.close()
        assert self.at is self.root, f"<{self.at.tag}> is never closed"

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs}, parent=self.at)
        self.at.children.append(element)
        if tag not in VOID:
            self.at = element

    def handle_endtag(self, tag):
        assert self.at.tag == tag, f"</{tag}> inside <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data):
        self.at.children.append(Element("#text", {}, parent=self.at, text=data))

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl):
        raise AssertionError(f"a declaration: {decl}")


def parse(source: str) -> Element:
    return Parser(source).root


def shape(root: Element) -> list[tuple[str, tuple[str, ...]]]:
    """Which elements there are, with which attributes."""
    return [
        (element.tag, tuple(element.attributes)) for element in root.all() if element.tag[0] != "#"
    ]


def values(root: Element) -> Iterator[str]:
    for element in root.all():
        yield from element.attributes.values()


# -- what is rendered


def snapshot(**given: Any) -> Snapshot:
    return Snapshot(REPO, **{"sha": SHA, "read_at": datetime.now(UTC), **given})


def ranking_of(name: str) -> Ranking:
    """A ranking in which everything that strangers write is ``name``."""
    ranking = make_ranking(
        {f"{name}1": 0.8, f"{name}2": 0.7, "acme/plain": 0.6},
        dataset=name,
        extra_rows=(
            ModelRow(f"{name}3", None, "failed", f"broken: {name}"),
            ModelRow(f"{name}4", "e" * 40, "skipped", name),
        ),
    )
    rows = tuple(
        replace(
            row,
            license=f"{name}{i}",
            library=f"{name}{i}",
            params=1_000_000 * (i + 1),
            warnings=(RowWarning(None, name), RowWarning("knn", f"{name}!")),
        )
        for i, row in enumerate(ranking.rows)
    )
    return replace(ranking, rows=rows, warnings=(name,), tool_version=name)


def view(ranking: Ranking, *, metric: str | None = None, leaderboard: bool = True) -> View:
    found = make_leaderboards(make_run(ranking).rows)[0] if leaderboard else None
    return view_of(ranking, str(ranking.dataset["id"]), metric, leaderboard=found)


def comparison_of(name: str) -> Comparison:
    classes = (
        ClassDifference(name, 12, 0.6, 0.5, 0.1, (0.02, 0.18)),
        ClassDifference(f"{name}2", 3, 0.4, 0.5, -0.1, None),
    )
    samples = (
        SampleDifference(0, name, name, 0.9, 0.2, 0.7),
        SampleDifference(1, name, f"{name}2", 0.8, 0.3, 0.5),
        SampleDifference(2, name, name, 0.1, 0.9, -0.8),
    )
    return Comparison(
        (name, f"{name}2"), "sfda_cv", (0.6, 0.5), 0.1, (0.02, 0.18), 0.95, 0.99, 15,
        classes, samples, (name,),
    )  # fmt: skip


EXHIBITS = {0: Preview(image=PICTURE, text=None)}


def previews_of(name: str) -> dict[int, Preview]:
    return {**EXHIBITS, 1: Preview(image=None, text=name)}


def ensemble_of(name: str, **given: Any) -> dict[str, Any]:
    quality = {"probability": 0.7, "log_likelihood": -0.4, "accuracy": 0.8}
    names = [name, f"{name}2", f"{name}3"]

    def step(n: int, gain: float) -> dict[str, Any]:
        return {
            "models": names[:n], "added": names[n - 1 : n], "quality": quality,
            "apparent_gain": gain, "gain": gain, "interval": [-0.01, 0.03],
        }  # fmt: skip

    paper = {"sfda": None, "complementarity": 0.2, "combined": None}
    return {
        "models": names[:2],
        "summary": f"{name} + {name}2 beats {name}.",
        "criterion": "probability",
        "pooling": "geometric",
        "confidence": 0.95,
        "size": 3,
        "n_samples": 100,
        "steps": [step(1, 0.0), step(2, 0.02)],
        "refused": {"models": names, "quality": quality},
        "singles": dict.fromkeys(names, quality),
        "error_correlation": {"models": names, "matrix": [[1.0, None, 0.2]] * 3},
        "paper": {"choice": [], "scores": dict.fromkeys(names, paper)},
        "warnings": [name],
        **given,
    }


def plan_of(name: str) -> JobPlan:
    return JobPlan(
        name, SHA, name, "image", name, name, 100, 200, (name, "b"), {name: 3},
        (
            PlannedModel(name, SHA, 1_000_000, 4_000_000, False, None),
            PlannedModel(f"{name}2", None, None, None, True, None),
            PlannedModel(f"{name}3", None, None, None, False, name),
        ),
        4_000_000, (20.0, 90.0), "cpu", f"2 classes (column {name}: {name}, b)",
    )  # fmt: skip


def state_of(name: str, **given: Any) -> JobState:
    candidates = (
        CandidateState(name, "downloading", 1.0, 2.0, "B"),
        CandidateState(f"{name}2", "extracting", 1.0, None, "img"),
        CandidateState(f"{name}3", "failed", reason=name),
        CandidateState(f"{name}4", "waiting"),
    )
    return JobState(stage="models", candidates=candidates, seconds=3.0, **given)


def updates_of(name: str) -> tuple[Update, ...]:
    return tuple(
        Update(f"run{day}", f"2026-01-0{day}T00:00:00+00:00", {name: day, "b/b": 3 - day})
        for day in (1, 2)
    )


def measured_board(name: str) -> str:
    """A leaderboard of which two models were fine-tuned; the second is better than the first."""
    ranking = ranking_of(name)
    first, second = (row.model_id for row in ranking.ranked[:2])
    run = make_run(ranking)
    finetuning = finetuning_rows(run, [finetuned(ranking, {first: 70, second: 90})])
    (leaderboard,) = make_leaderboards(run.rows, finetuning)
    return fragments.leaderboard(
        view_of(to_ranking(leaderboard), name, leaderboard=leaderboard),
        snapshot(record=track_record(run.rows, finetuning)),
    )


PIECES: dict[str, Callable[[str], str]] = {
    "status": lambda name: fragments.status(snapshot(problem=name)),
    "board": lambda name: fragments.leaderboard(view(ranking_of(name)), snapshot()),
    "own board": lambda name: fragments.leaderboard(
        view(ranking_of(name), leaderboard=False), snapshot()
    ),
    "sorted board": lambda name: fragments.leaderboard(
        view(ranking_of(name), metric="knn"), snapshot()
    ),
    "measured board": measured_board,
    "empty": lambda name: fragments.leaderboard(None, snapshot(problem=name)),
    "plots": lambda name: fragments.plots(view(ranking_of(name)), updates_of(name)),
    "comparison": lambda name: fragments.comparison(
        comparison_of(name), previews_of(name), note=name
    ),
    "ensemble": lambda name: fragments.ensemble(ensemble_of(name)),
    "plan": lambda name: fragments.plan(plan_of(name)),
    "progress": lambda name: fragments.progress(state_of(name)),
    "failed": lambda name: fragments.progress(state_of(name, error=name)),
    "command": fragments.command,
    "error": fragments.error,
    "message": fragments.message,
}
PLAIN = "acme-model"


# -- measured


def test_the_measured_accuracy_the_cost_and_the_hit_rate_stand_on_the_board():
    text = words(measured_board(PLAIN))
    assert f"start with {PLAIN}2: the best of the 2 that were fine-tuned" in text
    assert f"{PLAIN}2 is the best of the 2 fine-tuned models: .900 (.826 to .945)" in text
    assert f"The first pick, {PLAIN}1, cost 20.0 points" in text
    assert "The first pick was the best of the fine-tuned models in 0 of 1 update." in text
    assert "on 0 of 1 dataset (95% .000 to .793)" in text
    assert "2026-11-20 0 of 1 .000 to .793 20.0 points" in text


def test_a_board_without_measurements_has_the_hit_rate_of_the_others():
    run = make_run(make_ranking(dataset="me/other"))
    rows = finetuning_rows(run, [finetuned(run.ranking, {"acme/vit": 90, "me/resnet": 80})])
    record = track_record(run.rows, rows)
    text = fragments.leaderboard(view(example_ranking()), snapshot(record=record))
    message = words(text)
    assert "On this dataset" not in message
    assert "on 1 of 1 dataset (95% .207 to 1.000)" in message
    own = fragments.leaderboard(view(example_ranking(), leaderboard=False), snapshot(record=record))
    assert "Was the first pick right?" not in own


# -- hostile words


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("piece", PIECES)
def test_texts_of_strangers_add_no_element(piece, words):
    root, plain = parse(PIECES[piece](words)), parse(PIECES[piece](PLAIN))
    assert shape(root) == shape(plain), "they add no element and no attribute"
    seen = [root.words, *values(root)]
    # As they are written, but that characters which reverse text are replaced where they enter.
    expected = {"".join(text.split()) for text in (words, clean(words))}
    shown = any(text in "".join(part.split()) for part in seen for text in expected)
    assert shown or piece == "plots"
    assert not any(name.startswith("on") for _, names in shape(root) for name in names)
    for element in root.all("a"):
        assert element.attributes["href"].startswith(f"{hub_url()}/")
        assert not re.search(r"[<>\"'\s]", element.attributes["href"])
    for element in root.all("img"):
        assert element.attributes["src"] == PICTURE


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("piece", ["plots", "comparison"])
def test_figures_hold_no_markup_of_strangers(piece, words):
    """plotly shows `<b>`, `<i>` and links in its texts, so names are escaped once more there."""
    root = parse(PIECES[piece](words))
    figures = [json.loads(e.attributes["data-figure"]) for e in root.all("div") if
               "data-figure" in e.attributes]  # fmt: skip
    assert len(figures) == (4 if piece == "plots" else 1)
    texts = list(strings(figures))
    assert texts
    for text in texts:
        assert set(re.findall(r"<\s*/?\s*(\w+)", text)) <= {"b", "br", "extra", "sup"}, text
        assert "%{7" not in text


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


# -- every piece


def every_piece() -> dict[str, str]:
    ordinary = example_ranking()
    pieces = {name: make(PLAIN) for name, make in PIECES.items()}
    pieces |= {
        "example": fragments.leaderboard(view(ordinary), snapshot()),
        "example by logme": fragments.leaderboard(view(ordinary, metric="logme"), snapshot()),
        "example plots": fragments.plots(view(ordinary), updates_of("a/a")),
        "nothing ranked": fragments.leaderboard(view(make_ranking({})), snapshot()),
        "no board": fragments.leaderboard(None, snapshot()),
        "bare": fragments.leaderboard(view_of(bare_ranking(), "bare"), snapshot()),
        "no vote": fragments.leaderboard(view_of(voteless_ranking(), "no vote"), snapshot()),
        "bare comparison": fragments.comparison(bare_comparison(), EXHIBITS),
        "bare ensemble": fragments.ensemble(bare_ensemble()),
    }
    return pieces


def bare_ranking() -> Ranking:
    """Of two models nothing is known but a score; of a third not even why it failed."""
    rows = (
        ModelRow("a/a", None, "ok", rank=1, tie_group=1, scores={"sfda_cv": 0.5, "knn": 0.3}),
        ModelRow("b/b", None, "ok", rank=2, tie_group=2, scores={"sfda_cv": 0.4}),
        ModelRow("c/c", None, "failed"),
    )
    ranking = make_ranking({}, extra_rows=rows)
    dataset = {**ranking.dataset, "revision": None, "config": None}
    return replace(ranking, dataset=dataset, agreement={}, created_at="", versions={})


def voteless_ranking() -> Ranking:
    """One model has only a score that no mean rank is made of."""
    scores = {"knn": 0.3, "logistic_probe": 0.5, "logme": 0.2}
    rows = tuple(
        ModelRow(f"{name}/x", None, "ok", rank=rank, tie_group=rank, scores=given, feature_dim=4096)
        for rank, (name, given) in enumerate(
            [
                ("a", {"sfda": 0.999, **scores}),
                ("b", {"sfda": 0.998}),
                ("c", {"sfda": 0.9, **dict.fromkeys(scores, 0.1)}),
            ],
            1,
        )
    )
    ranking = make_ranking({}, extra_rows=rows)
    return replace(ranking, config={**ranking.config, "metric": "sfda"})


def bare_comparison() -> Comparison:
    classes = (ClassDifference("a", 2, 0.6, 0.5, 0.1, None),)
    samples = (SampleDifference(0, None, "a", 0.9, 0.2, 0.7),)
    return Comparison(
        ("a/a", "b/b"), "sfda_cv", (0.6, 0.5), 0.1, (0.02, 0.18), 0.95, 0.99, 2, classes, samples
    )


def bare_ensemble() -> dict[str, Any]:
    one = ensemble_of("a/a")
    names = one["models"][:1]
    return one | {
        "models": names,
        "steps": one["steps"][:1],
        "refused": None,
        "singles": {name: one["singles"][name] for name in names},
        "error_correlation": {"models": names, "matrix": [[None]]},
        "warnings": [],
    }


@pytest.fixture(scope="module")
def pieces() -> dict[str, Element]:
    return {name: parse(source) for name, source in every_piece().items()}


def test_every_row_has_a_cell_for_every_heading(pieces):
    tables = 0
    for name, root in pieces.items():
        for table in root.all("table"):
            tables += 1
            widths = {
                sum(cell.tag in ("td", "th") for cell in row.children) for row in table.all("tr")
            }
            assert len(widths) == 1, name
            assert not [c for c in table.all("td", "th") if "colspan" in c.attributes]
    assert tables > 10


def test_every_field_has_a_name_that_a_screen_reader_finds(pieces):
    fields = 0
    for name, root in pieces.items():
        for element in root.all("input", "select", "textarea", "button", "progress", "summary"):
            fields += 1
            text = element.attributes.get("aria-label") or element.words
            around = [above for above in element.above if above.tag == "label"]
            text = text if element.tag != "select" else ""
            text = text or " ".join(label.words for label in around)
            assert text.strip(), f"{name}: {element.tag} {element.attributes}"
        for element in root.all("img"):
            assert element.attributes["alt"].strip(), name
        for element in root.all():
            role = element.attributes.get("role")
            if role in ("img", "region", "search"):
                assert element.attributes["aria-label"].strip(), name
    assert fields > 50


def test_no_id_is_there_twice(pieces):
    """A page holds a board of everybody's and one's own; ids would be doubled."""
    ids = [e.attributes["id"] for root in pieces.values() for e in root.all() if "id" in
           e.attributes]  # fmt: skip
    assert ids == []


def test_links_leave_the_page_alone(pieces):
    links = [e.attributes for root in pieces.values() for e in root.all("a")]
    assert links
    assert all(link["target"] == "_blank" and link["rel"] == "noopener" for link in links)


def test_what_is_not_known_is_not_called_none(pieces):
    for name, root in pieces.items():
        shown = [root.words, *(v for e in root.all() for k, v in e.attributes.items() if k[:5] !=
                               "data-")]  # fmt: skip
        for text in shown:
            text = text.replace("acme/nan", "").replace("layer.3.weight holds NaN", "")
            assert not re.search(r"\b(None|nan|NaN|inf|Undefined)\b", text), name
    values = [e.attributes["data-value"] for root in pieces.values() for e in root.all() if
              "data-value" in e.attributes]  # fmt: skip
    assert values
    assert not {"None", "nan", "inf"} & set(values)


# -- one by one


def words(source: str) -> str:
    return parse(source).words


def test_the_board_begins_with_the_answer():
    root = parse(fragments.leaderboard(view(example_ranking()), snapshot()))
    (answer,) = [e for e in root.all("p") if e.attributes.get("class") == "answer"]
    assert answer.words.startswith(
        "To fine-tune on me/emoji, start with acme/convnext-small-in22k: best of the 20 after "
    )
    (table,) = list(root.all("table"))
    assert len(list(table.all("tr"))) == 21
    links = {e.words: e.attributes["href"] for e in root.all("a")}
    assert links["acme/resnet-50"] == f"{hub_url()}/acme/resnet-50"
    assert "acme/gated-giant" not in links, "of what was left out no commit is known"


def test_menus_offer_what_there_is_with_how_many():
    root = parse(fragments.leaderboard(view(example_ranking()), snapshot()))
    menus = {e.attributes["data-filter"]: e for e in root.all("details") if "data-filter" in
             e.attributes}  # fmt: skip
    assert set(menus) == {"licence", "library"}
    labels = [label.words for label in menus["licence"].all("label")]
    assert labels[:2] == ["apache-2.0 7", "mit 7"]
    assert "not stated 1" in labels
    assert sum(int(label.split()[-1]) for label in labels) == 20
    alike = replace(example_ranking(), rows=example_ranking().rows[:1])
    root = parse(fragments.leaderboard(view(alike), snapshot()))
    assert [e for e in root.all("details") if "data-filter" in e.attributes] == []


def test_a_board_that_ranked_nobody_says_so_and_has_nothing_to_filter():
    root = parse(fragments.leaderboard(view(make_ranking({})), snapshot()))
    assert "Nothing could be ranked on me/plants; the reasons are below." in root.words
    assert "layer.3.weight holds NaN" in root.words
    assert list(root.all("input", "select")) == []
    assert "Click a heading" not in root.words


def test_a_board_of_ones_own_has_no_link_to_share():
    shared = parse(fragments.leaderboard(view(example_ranking()), snapshot()))
    own = parse(fragments.leaderboard(view(example_ranking(), leaderboard=False), snapshot()))
    assert "Copy link" in shared.words
    assert "Copy link" not in own.words


@pytest.mark.parametrize(("n", "message"), [(1, "1 earlier run on"), (2, "2 earlier runs on")])
def test_runs_that_cannot_be_compared_are_mentioned(n, message):
    runs = [make_ranking(dataset_sha=str(i) * 40, created_at=f"2026-01-0{i + 1}") for i in
            range(n + 1)]  # fmt: skip
    (leaderboard,) = make_leaderboards([row for run in runs for row in make_run(run).rows])
    shown = view_of(to_ranking(leaderboard), leaderboard_name(leaderboard), leaderboard=leaderboard)
    assert message in words(fragments.leaderboard(shown, snapshot()))


def joined() -> View:
    """A board made of two runs: who ties is not known."""
    runs = (
        make_ranking({"a/a": 0.5, "b/b": 0.4}, created_at="2026-01-01T00:00:00+00:00"),
        make_ranking({"c/c": 0.45}, created_at="2026-02-01T00:00:00+00:00"),
    )
    (leaderboard,) = make_leaderboards([row for run in runs for row in make_run(run).rows])
    return view_of(to_ranking(leaderboard), leaderboard_name(leaderboard), leaderboard=leaderboard)


@pytest.mark.parametrize(
    ("shown", "known", "barred"),
    [
        (view(example_ranking()), True, True),
        (view(example_ranking(), metric="knn"), False, True),
        (view(example_ranking(), metric="logme"), False, False),
        (joined(), False, True),
    ],
    ids=["one run", "another metric", "a metric without intervals", "two runs"],
)
def test_ties_are_spoken_of_where_they_are_known(shown, known, barred):
    root, plots = parse(fragments.leaderboard(shown, snapshot())), words(fragments.plots(shown))
    assert ("Models in one band tie with the first of the band." in root.words) == known
    assert ("Which of these models tie is not known in this order." in root.words) != known
    assert ("The bands show the ties." in plots) == known
    assert ("Overlapping bars are no proof of a tie" in plots) == barred
    assert ("The bar is the 95% interval" in root.words) == barred
    bands = [e for e in root.all("tr") if "band" in e.attributes.get("class", "").split()]
    assert bool(bands) == known


def test_plots_of_nothing_and_of_little_say_so():
    assert words(fragments.plots(None)) == "There is nothing to plot yet."
    nobody = view(make_ranking({}))
    assert words(fragments.plots(nobody)) == "No model was ranked, so there is nothing to plot."
    once = make_ranking()
    updates = history(make_run(once).rows, make_leaderboards(make_run(once).rows)[0])
    assert len(updates) == 1
    assert "from the second update on; there has been one so far." in words(
        fragments.plots(view(once), updates)
    )
    own = words(fragments.plots(view(once, leaderboard=False)))
    assert "update" not in own, "a ranking of one's own has no history"


def test_a_plot_of_many_shows_the_first():
    many = view(make_ranking({f"a/{i:02}": 0.9 - i / 100 for i in range(50)}))
    root = parse(fragments.plots(many))
    (figure,) = [e for e in root.all("div") if e.attributes.get("aria-label", "").startswith("Sco")
                 and "(the first 40)" in e.attributes["aria-label"]]  # fmt: skip
    drawn = json.loads(figure.attributes["data-figure"])
    assert sum(len(trace["y"]) for trace in drawn["data"] if trace["name"] != "noise floor") == 40


def test_a_comparison_shows_the_samples_of_either_side_and_what_is_there_of_them():
    root = parse(fragments.comparison(comparison_of("acme/x"), previews_of("a text")))
    sides = [e for e in root.all("ul") if e.attributes.get("class") == "samples"]
    assert [len(list(side.all("li"))) for side in sides] == [2, 1]
    assert len(list(sides[0].all("img"))) == 1
    assert "a text" in sides[0].words
    assert ".10 against .90" in sides[1].words
    assert "No" not in words(fragments.comparison(comparison_of("acme/x"))).split()
    one_sided = replace(comparison_of("a"), samples=comparison_of("a").samples[:2])
    assert "On no sample." in words(fragments.comparison(one_sided))


def test_an_ensemble_shows_its_steps_and_where_it_ends():
    root = parse(fragments.ensemble(ensemble_of("acme/x")))
    steps = next(root.all("table"))
    rows = [row.words for row in steps.all("tr")]
    assert rows[1].startswith("1 acme/x .700 .800")
    assert "+.020" in rows[2]
    assert "no better, so it ends here" in rows[3]
    assert ".000" not in rows[1], "one model has no gain over itself"
    matrix = list(root.all("table"))[1]
    assert [row.words for row in matrix.all("tr")] == [
        "model 1 2",
        "1 acme/x 1.00",
        "2 acme/x2 1.00",
    ]


def test_a_plan_says_what_is_fetched_what_is_here_and_what_is_left_out():
    items = [e.words for e in parse(fragments.plan(plan_of("a/x"))).all("li")]
    assert items[-3:] == [
        "a/x 1.0 M parameters 4.0 MB to fetch",
        "a/x2 here already",
        "a/x3 left out a/x",
    ]


@pytest.mark.parametrize(
    ("state", "kind", "message"),
    [
        (JobState(stage="queued", seconds=4.4), "running", "waiting for a turn · 4 s"),
        (JobState(stage="failed", error="no"), "failed", "no"),
        (JobState(stage="cancelled", cancelled=True), "cancelled", "Cancelled. Nothing was kept."),
        (
            JobState(stage="done", ranking=make_ranking(), seconds=12.6),
            "done",
            "Done in 13 s. The other tabs now show this ranking, too; it lasts until you leave.",
        ),
    ],
)
def test_progress_shows_the_state_of_a_job(state, kind, message):
    root = parse(fragments.progress(state))
    assert root.words == message
    assert root.children[-1].tag == "#text" or root.children
    (whole,) = [e for e in root.all("div") if "data-state" in e.attributes]
    assert whole.attributes["data-state"] == kind


def test_a_bar_has_an_end_only_where_it_is_known():
    bars = list(parse(fragments.progress(state_of("a/x"))).all("progress"))
    assert [bar.attributes.get("max") for bar in bars] == ["2.0", None]
    assert [bar.attributes.get("value") for bar in bars] == ["1.0", None]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "Results of me/results at 0123456, checked just now."),
        (
            {"problem": "The Hub is down."},
            "checked just now. These are the last results that could be read. The Hub is down.",
        ),
        (
            {"sha": None, "read_at": None, "problem": "The Hub is down."},
            "There are no results to show. The Hub is down.",
        ),
        ({"sha": None, "read_at": None}, ""),
    ],
)
def test_status_says_which_results_and_what_is_wrong(given, message):
    assert words(fragments.status(snapshot(**given))).endswith(message)


@pytest.mark.parametrize(
    ("age", "message"),
    [
        (timedelta(seconds=100), "just now"),
        (timedelta(minutes=2, seconds=1), "2 minutes ago"),
        (timedelta(minutes=119), "119 minutes ago"),
        (timedelta(hours=3), "3 hours ago"),
        (timedelta(days=3), "3 days ago"),
    ],
)
def test_the_page_says_how_old_the_results_are(age, message):
    source = fragments.status(snapshot(read_at=datetime.now(UTC) - age))
    assert words(source).endswith(f"checked {message}.")


def test_without_results_the_page_says_how_to_publish_some():
    text = words(fragments.leaderboard(None, snapshot()))
    assert "hf-sfda publish runs/NAME --to me/results --yes" in text
    assert "Rank my dataset" in text
    problem = words(fragments.leaderboard(None, snapshot(problem="The Hub is down.")))
    assert "The Hub is down." in problem
    assert "publish" not in problem, "who cannot read them need not publish"


# -- style and script


def test_styles_name_every_colour_they_use_for_day_and_night():
    styles = fragments.styles()
    assert styles.count("{") == styles.count("}")
    assert "{%" not in styles
    for name, (light, dark) in PALETTE.items():
        assert f"--{name}: {light};" in styles
        assert f"--{name}: {dark};" in styles.split(".dark .sfda {")[1]
    assert set(re.findall(r"var\(--([a-z-]+)\)", styles)) <= set(PALETTE)
    assert "url(" not in styles
    assert "@import" not in styles


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_script_is_javascript(tmp_path):
    file = tmp_path / "space.js"
    file.write_text(f'"use strict";\n(\n{fragments.script()}\n);\n', encoding="utf-8")
    done = subprocess.run(["node", "--check", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file.write_text(f"(\n{fragments.script()}\n)=;\n", encoding="utf-8")
    assert subprocess.run(["node", "--check", file], capture_output=True).returncode != 0


def test_the_script_gets_its_values_as_json():
    script = fragments.script()
    assert re.search(r"^const FIRST = \d+;$", script, re.MULTILINE)
    (plotly,) = re.findall(r"const PLOTLY = (.*);$", script, re.MULTILINE)
    assert json.loads(plotly) == str(fragments.plotly_file())
    assert fragments.plotly_file().is_file()
    (swap,) = re.findall(r"^const SWAP = (.*);$", script, re.MULTILINE)
    assert json.loads(swap) == dict(PALETTE.values())


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


def test_the_page_draws_the_hit_rate_over_time():
    record = {
        "updates": [], "here": "", "everywhere": ["3 of 4."], "over_time": OVER_TIME,
        "plot": plot_hit_rate(OVER_TIME),
    }  # fmt: skip
    html = fragments._environment().get_template("record.html.j2").module.record_section(record)
    assert html.count("<circle") == 3
    assert "2026-01-01 to 2026-03-02" in html
