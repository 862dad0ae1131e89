"""The Space in a real browser, as a visitor uses it."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from hf_sfda.foreign import clean
from tests import factories
from tests.space.server import HOSTILE, SpaceServer, text_ranking
from tests.waiting import PATIENCE, until

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SECOND = 1000

in_browser = [
    pytest.mark.skipif(
        CHROMIUM is None and "CI" not in os.environ, reason="needs chromium (CI installs it)"
    )
]
pytestmark = in_browser


def further(*case: object) -> object:
    """One more case of a kind."""
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def profile(browser, space) -> Iterator[sync_api.BrowserContext]:
    """A browser that has been here before: gradio's scripts are in its cache."""
    context = browser.new_context(accept_downloads=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=space.url)
    context.set_default_timeout(PATIENCE * SECOND)
    yield context
    context.close()


@pytest.fixture
def visitor(profile, space):
    """Opens pages, each a visit of its own; what goes wrong in one fails the test."""
    troubles: list[str] = []
    pages = []

    def open_page(
        query: str = "", *, width: int = 1280, theme: str = "light", leaderboard: bool = True
    ):
        page = profile.new_page()
        pages.append(page)
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(f"dialog: {dialog.message}"))
        page.on("request", lambda r: troubles.append(r.url) if _foreign(r.url, space) else None)
        page.goto(f"{space.url}?__theme={theme}&{query}")
        if leaderboard:
            page.wait_for_selector("#board .sfda[data-ready]", state="attached")
        return page

    yield open_page
    for page in pages:
        page.close()
    assert not troubles


def _foreign(url: str, space: SpaceServer) -> bool:
    """Whether a page asks anybody but the Space, such as a font server."""
    return not url.startswith((space.url, "data:", "blob:"))


def names(page, leaderboard: str = "#board") -> list[str]:
    rows = page.locator(f"{leaderboard} .ranking tbody tr:not([hidden]) .name .id")
    return rows.all_inner_texts()


def column(page, name: str) -> list[str]:
    return page.evaluate(
        """name => {
            const table = document.querySelector("#board .ranking");
            const heads = [...table.tHead.rows[0].cells];
            const at = heads.findIndex((head) => head.textContent.trim() === name);
            return [...table.tBodies[0].rows].filter((row) => !row.hidden)
                .map((row) => row.cells[at].dataset.value);
        }""",
        name,
    )


def lines_of_text(element) -> int:
    """How many lines the text of an element takes, in whatever font."""
    return element.evaluate(
        """element => {
            const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT), boxes = [];
            while (texts.nextNode()) {
                const range = document.createRange();
                range.selectNodeContents(texts.currentNode);
                boxes.push(...range.getClientRects());
            }
            let lines = 0, bottom = -Infinity;
            for (const box of boxes.filter((box) => box.width > 0).sort((a, b) => a.top - b.top)) {
                if (box.top + 1 >= bottom) lines += 1;
                bottom = Math.max(bottom, box.bottom);
            }
            return lines;
        }"""
    )


def overlap(one: dict[str, float], two: dict[str, float]) -> bool:
    """Whether two bounding boxes have an inner point in common."""
    return all(
        one[start] + one[size] > two[start] + 1 and two[start] + two[size] > one[start] + 1
        for start, size in (("x", "width"), ("y", "height"))
    )


def choose(page, menu: str, value: str) -> None:
    """Pick from one of gradio's menus, as a keyboard user does."""
    field = page.locator(f"#{menu} input")
    field.click()
    field.fill(value)
    field.press("Enter")


# -- leaderboard


def test_the_board_shows_intervals_ties_and_why_some_were_left_out(visitor):
    page = visitor("board=me/emoji")
    assert names(page)[:2] == ["acme/convnext-small-in22k", "acme/vit-small-patch16-224"]
    assert "start with acme/convnext-small-in22k" in page.inner_text("#board .answer")
    leaders = page.locator("#board .ranking tr.leads")
    assert leaders.count() == 3
    assert leaders.first.locator("td").first.inner_text() == "1-3"
    shades = page.evaluate(
        """() => [...document.querySelectorAll("#board .ranking tbody tr")].map((row) =>
            [row.cells[0].textContent, getComputedStyle(row.cells[3]).backgroundColor])"""
    )
    by_place: dict[str, set[str]] = {}
    for place, shade in shades:
        by_place.setdefault(place, set()).add(shade)
    assert all(len(shades) == 1 for shades in by_place.values()), "one shade a tie group"
    neighbours = [min(shades) for shades in by_place.values()]
    assert all(a != b for a, b in itertools.pairwise(neighbours))
    first = page.locator("#board .ranking tbody tr").first
    dot, low_high = first.locator(".track .dot"), first.locator(".track .range")
    assert low_high.bounding_box()["x"] < dot.bounding_box()["x"]
    assert first.locator(".limits").inner_text() == ".561 to .608"

    left_out = page.locator("#board details.not-ranked")
    assert left_out.locator("summary").inner_text() == "Not ranked (4)"
    assert not left_out.locator("li").first.is_visible()
    left_out.locator("summary").click()
    assert "layer.3.weight holds NaN" in left_out.inner_text()
    assert "gated, and no token that may read it" in left_out.inner_text()


def test_the_name_stays_in_sight_and_links_to_the_model(visitor, space):
    page = visitor("board=me/emoji", width=700)
    cell = page.locator("#board .ranking tbody .name").first
    score = page.locator("#board .ranking tbody .score").first
    before, start = cell.bounding_box()["x"], score.bounding_box()["x"]
    scrolled = (
        page.locator("#board")
        .get_by_role("region", name="Ranking")
        .evaluate(
            "element => { element.scrollLeft = element.scrollWidth; return element.scrollLeft; }"
        )
    )
    assert scrolled > 0, "the table is wider than the page"
    assert score.bounding_box()["x"] == pytest.approx(start - scrolled, abs=1)
    assert 0 <= cell.bounding_box()["x"] <= before
    link = cell.locator("a")
    assert link.get_attribute("href") == f"{space.hub.url}/acme/convnext-small-in22k"
    assert link.get_attribute("target") == "_blank"


def test_filters_combine_and_can_be_cleared(visitor):
    page = visitor("board=me/emoji")
    search = page.get_by_label("Search models")
    search.fill("acme RES")
    assert names(page) == ["acme/resnet-50", "acme/resnet-18"]
    assert page.locator("#board output").inner_text() == "2 of 20 models"
    page.get_by_label("Size").select_option("30")
    search.fill("")
    assert all(value and float(value) <= 30e6 for value in column(page, "params"))
    page.locator("summary", has_text="licence").click()
    page.get_by_label("mit").check()
    assert set(column(page, "licence")) == {"mit"}
    page.locator("summary", has_text="library").click()
    page.locator("[data-filter=library]").get_by_label("timm").check()
    assert page.locator("#board output").inner_text() == "0 of 20 models"
    page.get_by_role("button", name="Clear filters").click()
    assert len(names(page)) == 20
    assert not page.get_by_role("button", name="Clear filters").is_visible()


def test_the_leaderboard_is_used_by_keyboard_alone(visitor):
    page = visitor("board=me/emoji")
    page.get_by_label("Search models").focus()
    page.keyboard.type("acme")
    page.keyboard.press("Tab")  # size
    page.keyboard.press("Tab")  # licence
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.checked")
    shown = names(page)
    assert 0 < len(shown) < 20
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    assert page.locator("details.menu[open]").count() == 0
    page.locator("#board .ranking thead button", has_text="params").focus()
    page.keyboard.press("Enter")
    assert page.locator("#board .ranking th[aria-sort]").get_attribute("aria-sort") == "ascending"
    known = [float(value) for value in column(page, "params") if value]
    assert known == sorted(known)


@pytest.mark.slow
def test_a_link_brings_the_view_back(visitor):
    page = visitor("board=me/emoji")
    page.get_by_label("Search models").fill("acme")
    page.get_by_label("Size").select_option("30")
    page.locator("summary", has_text="licence").click()
    page.locator("[data-filter=licence]").get_by_label("mit").check()
    page.locator("#board .ranking thead button", has_text="k-NN").click()
    page.get_by_role("button", name="Copy link").click()
    page.get_by_role("button", name="Link copied").wait_for()
    link = page.evaluate("navigator.clipboard.readText()")
    asked = parse_qs(urlsplit(link).query)
    assert asked["board"] == ["me/emoji"]
    assert asked["sort"] == ["k-NN:descending"]
    other = visitor(urlsplit(link).query)
    assert names(other) == names(page)
    assert len(names(other)) > 1
    assert other.get_by_label("Search models").input_value() == "acme"

    page.get_by_role("tab", name="Plots").click()
    page.wait_for_function("location.search.includes('tab=plots')")
    third = visitor(urlsplit(page.url).query)
    third.wait_for_selector("#plots .plot", state="visible")


def test_what_is_downloaded_is_what_is_shown(visitor):
    page = visitor("board=me/emoji&metric=logme")
    files = {}
    for kind in ("csv", "json"):
        with page.expect_download() as download:
            page.click(f"#{kind}")
        assert download.value.suggested_filename == f"me--emoji-logme.{kind}"
        files[kind] = Path(download.value.path()).read_text(encoding="utf-8")
    document = json.loads(files["json"])
    assert document["config"]["metric"] == "logme"
    ranked = [row["model_id"] for row in document["rows"] if row["status"] == "ok"]
    assert ranked == names(page)
    rows = list(csv.DictReader(io.StringIO(files["csv"])))
    assert [row["model_id"] for row in rows if row["status"] == "ok"] == ranked
    assert len(rows) == 24


@pytest.mark.slow
def test_menus_choose_dataset_metric_and_modality(visitor):
    page = visitor("board=me/emoji")
    choose(page, "metric", "logme")
    page.wait_for_selector("#board [data-metric=logme][data-ready]")
    values = [float(value) for value in column(page, "logme")]
    assert values == sorted(values, reverse=True)
    assert "metric=logme" in page.url
    page.locator("#modality").get_by_text("texts").click()
    page.wait_for_selector('#board [data-board="me/reviews"][data-ready]')
    assert names(page) == ["acme/bert", "acme/roberta"]
    page.locator("#modality").get_by_text("images").click()
    page.wait_for_selector('#board [data-board="evil/<b>data</b>"][data-ready]')
    choose(page, "dataset", "me/thousand")
    page.wait_for_selector('#board [data-board="me/thousand"][data-ready]')


@pytest.mark.slow
def test_a_leaderboard_of_a_thousand_models_is_filtered_and_sorted(visitor):
    page = visitor("board=me/thousand")
    count = page.locator("#board output")
    assert count.inner_text() == "1000 models"
    page.get_by_label("Search models").fill("model-09")
    assert count.inner_text() == "100 of 1000 models"
    assert len(names(page)) == 100
    page.get_by_label("Size").select_option("5")
    shown = column(page, "params")
    assert shown
    assert all(float(value) <= 5e6 for value in shown)
    page.get_by_role("button", name="Clear filters").click()
    page.locator("#board .ranking thead button", has_text="params").click()
    values = [float(value) for value in column(page, "params")]
    assert values == [1e6] * 4 + [2e6] * 4 + values[8:]
    assert values == sorted(values)

    page.wait_for_timeout(200)  # the click has scrolled the table, too
    seen = len(column(page, "params"))
    assert seen < 1000, "what nobody looks at is not laid out"
    other = page.locator("#board .scroll[aria-label='The hit rate over time']")
    other.evaluate("box => box.dispatchEvent(new Event('scroll'))")
    page.wait_for_timeout(100)
    assert len(column(page, "params")) == seen, "another table on the page asks for no more rows"
    for _ in range(20):
        page.locator("#board").get_by_role("region", name="Ranking").evaluate(
            "box => { box.scrollTop = box.scrollHeight; }"
        )
        page.wait_for_timeout(100)
        if len(column(page, "params")) == 1000:
            break
    values = [float(value) for value in column(page, "params")]
    assert len(values) == 1000
    assert values == sorted(values)


def test_names_of_strangers_are_only_text(visitor):
    page = visitor("board=evil/<b>data</b>&q=<img src=x onerror=window.pwned=9>")
    page.get_by_label("Search models").fill("")
    assert names(page) == [clean(name) for name in HOSTILE]
    page.locator("#board details.not-ranked summary").click()
    page.get_by_role("tab", name="Plots").click()
    page.locator("#plots .js-plotly-plot .ytick").first.wait_for()
    page.get_by_role("tab", name="Compare").click()
    page.click("#tab-compare button:has-text('Compare')")
    page.wait_for_selector("#comparison .trouble")
    assert page.evaluate("window.pwned") is None
    assert page.locator("#board b b, #board script, #board img").count() == 0


# -- plots


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), further(390, "dark")])
@pytest.mark.slow
def test_plots_are_drawn_for_desk_and_phone_by_day_and_night(visitor, width, theme):
    page = visitor("board=me/emoji&tab=plots", width=width, theme=theme)
    page.set_viewport_size({"width": width, "height": 4000})
    page.wait_for_function("document.querySelectorAll('#plots .js-plotly-plot .main-svg').length")
    page.wait_for_function("document.querySelectorAll('#plots .js-plotly-plot').length === 4")
    titles = page.locator("#plots h2").all_inner_texts()
    assert titles == [
        "Score against size",
        "Do the metrics agree?",
        "Scores and their intervals",
        "How the order moved",
    ]
    front = page.locator("#plots .plot").first
    assert "best for its size" in front.inner_text()
    ink = page.evaluate("getComputedStyle(document.querySelector('#plots .ytick text')).fill")
    light = sum(int(part) for part in re.findall(r"\d+", ink)[:3]) > 3 * 128
    assert light == (theme == "dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_tab_fits_a_phone(visitor):
    page = visitor("board=me/emoji")
    for tab in ("Leaderboard", "Compare", "Ensemble", "Rank my dataset"):
        page.set_viewport_size({"width": 1280, "height": 900})  # a phone has a menu of tabs
        page.get_by_role("tab", name=tab).click()
        page.wait_for_selector(f"#tab-{tab.lower().replace(' ', '-')}", state="visible")
        page.set_viewport_size({"width": 390, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.slow
def test_everybody_can_use_it(visitor, theme):
    """The rules of WCAG 2.1 A and AA that a program can check: contrast, labels, roles, names."""
    from axe_playwright_python.sync_playwright import Axe

    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    page = visitor("board=me/emoji", theme=theme)
    found = {}
    for tab in ("Leaderboard", "Plots", "Compare", "Ensemble", "Rank my dataset"):
        page.get_by_role("tab", name=tab).click()
        if tab == "Plots":
            page.locator("#plots .js-plotly-plot").first.wait_for()
        if tab == "Compare":
            page.click("#tab-compare button:has-text('Compare')")
            page.wait_for_selector("#comparison .trouble")
        page.wait_for_timeout(400)  # gradio fades its buttons in
        report = Axe().run(page, options=rules).response["violations"]
        found[tab] = [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in report]
    assert found == {tab: [] for tab in found}


# -- compare and ensemble


@pytest.mark.slow
def test_two_models_are_compared_sample_by_sample(visitor):
    page = visitor("board=me/shapes&tab=compare")
    page.wait_for_selector("#tab-compare", state="visible")
    choose(page, "second", "acme/vit-b")
    choose(page, "first", "acme/resnet")
    page.click("#tab-compare button:has-text('Compare')")
    page.wait_for_selector("#comparison .comparison")
    text = page.inner_text("#comparison")
    assert "acme/resnet" in text
    assert "acme/vit-b" in text
    page.wait_for_selector("#comparison .js-plotly-plot")
    pictures = page.locator("#comparison .samples img")
    assert pictures.count() > 2
    assert pictures.first.evaluate("image => image.complete && image.naturalWidth > 8")


@pytest.mark.slow
def test_an_ensemble_is_chosen_and_explained(visitor):
    page = visitor("board=me/shapes&tab=ensemble")
    page.click("#tab-ensemble button:has-text('Choose an ensemble')")
    page.wait_for_selector("#ensemble .ensemble")
    text = page.inner_text("#ensemble")
    assert "Step by step" in text
    assert "best single model" in text


def test_what_cannot_be_compared_says_why(visitor):
    page = visitor("board=me/emoji&tab=compare")
    page.click("#tab-compare button:has-text('Compare')")
    page.wait_for_selector("#comparison .trouble")
    assert "me/emoji" in page.inner_text("#comparison .trouble")


@pytest.mark.slow
def test_what_only_takes_features_says_how_to_get_them(visitor, space):
    """Results that were ranked elsewhere: the dataset is there, the features are not."""
    page = visitor("board=me/elsewhere&tab=compare")
    page.click("#tab-compare button:has-text('Compare')")
    page.wait_for_selector("#comparison .trouble")
    text = page.inner_text("#comparison .trouble")
    assert "Rank my dataset" in text
    assert "48 samples" in text


# -- rank my dataset


def ask_for(page, dataset: str, *models: str) -> None:
    page.get_by_role("tab", name="Rank my dataset").click()
    page.fill("#dataset-id textarea, #dataset-id input", dataset)
    if models:
        page.get_by_text("These models", exact=True).click()
        page.fill("#model-ids textarea", "\n".join(models))
    page.click("#plan-button")


@pytest.mark.slow
def test_a_dataset_is_planned_ranked_shown_and_compared(visitor, space):
    page = visitor()
    ask_for(page, "me/shapes", "acme/vit-a", "acme/resnet", "acme/gone")
    page.wait_for_selector("#plan .plan")
    plan = page.inner_text("#plan")
    assert "48 images" in plan
    assert "2 models to rank" in plan
    assert "acme/gone" in plan
    page.click("#start-button")
    page.wait_for_selector("#progress [data-state=done]")
    page.wait_for_selector("#own-board .board")
    assert set(names(page, "#own-board")) == {"acme/vit-a", "acme/resnet"}
    command = page.inner_text("#repeat code")
    assert command.startswith("hf-sfda rank --dataset me/shapes --models acme/vit-a acme/resnet")
    page.locator("#own-plots .plot").first.scroll_into_view_if_needed()
    page.wait_for_selector("#own-plots .js-plotly-plot")

    page.wait_for_selector('#board [data-board="Your own ranking"]', state="attached")
    page.get_by_role("tab", name="Compare").click()
    page.click("#tab-compare button:has-text('Compare')")
    page.wait_for_selector("#comparison .comparison")
    assert page.locator("#comparison .samples img").count() > 0
    page.get_by_role("tab", name="Ensemble").click()
    page.click("#tab-ensemble button:has-text('Choose an ensemble')")
    page.wait_for_selector("#ensemble .ensemble")

    other = visitor()
    assert "Your own ranking" not in other.content()
    page.close()
    until(lambda: not _jobs(space), "what a visitor had is forgotten when they leave")


@pytest.mark.slow
def test_an_upload_is_ranked_and_leaves_nothing(visitor, space, tmp_path):
    folder = factories.image_folder(tmp_path / "images", n_per_class=8, classes=2)
    archive = tmp_path / "my images.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(folder))
    page = visitor()
    page.get_by_role("tab", name="Rank my dataset").click()
    page.get_by_label("Upload").check()
    page.set_input_files("#upload input[type=file]", archive)
    page.wait_for_selector("#upload >> text=my images")
    page.get_by_text("These models", exact=True).click()
    page.fill("#model-ids textarea", "acme/vit-a\nacme/vit-b")
    page.click("#plan-button")
    page.wait_for_selector("#plan .plan")
    assert "16 images" in page.inner_text("#plan")
    page.click("#start-button")
    page.wait_for_selector("#own-board .board")
    assert len(names(page, "#own-board")) == 2
    page.close()
    until(lambda: not _jobs(space), "the job is gone")
    until(lambda: not list(space.temporary.rglob("*.zip")), "the upload is gone")


@pytest.mark.parametrize("kind", ["slip", further("not a zip"), further("one class")])
def test_a_bad_upload_is_refused_and_leaves_nothing(visitor, space, tmp_path, kind):
    archive = tmp_path / "bad.zip"
    if kind == "not a zip":
        archive.write_bytes(b"not at all" * 100)
    else:
        with zipfile.ZipFile(archive, "w") as file:
            folder = factories.image_folder(tmp_path / "images", n_per_class=4, classes=2)
            for path in sorted(folder.rglob("*.*")):
                inside = path.relative_to(folder)
                if kind == "slip":
                    file.write(path, f"../../{inside}")
                elif inside.parts[0] == sorted(p.name for p in folder.iterdir())[0]:
                    file.write(path, inside)
    page = visitor()
    page.get_by_role("tab", name="Rank my dataset").click()
    page.get_by_label("Upload").check()
    page.set_input_files("#upload input[type=file]", archive)
    page.wait_for_selector("#upload >> text=bad")
    page.click("#plan-button")
    page.wait_for_selector("#plan .trouble")
    assert not page.locator("#start-button").is_visible()
    assert not _jobs(space)
    assert not list(space.temporary.rglob("bad.zip"))


def test_cancelling_stops_at_once(visitor, space):
    page = visitor()
    ask_for(page, "me/shapes", "acme/vit-a", "acme/resnet")
    page.wait_for_selector("#plan .plan")
    page.click("#start-button")
    page.wait_for_selector("#cancel-button", state="visible")
    until(lambda: bool(_children(space)), "the job runs")
    page.click("#cancel-button")
    page.wait_for_selector("#progress [data-state=cancelled]")
    assert not _children(space)
    until(lambda: not _jobs(space), "the job is gone")


@pytest.mark.slow
def test_whoever_leaves_in_the_middle_is_forgotten(visitor, space):
    page = visitor()
    ask_for(page, "me/shapes", "acme/vit-a", "acme/resnet")
    page.wait_for_selector("#plan .plan")
    page.click("#start-button")
    until(lambda: bool(_children(space)), "the job runs")
    page.close()
    until(lambda: not _children(space) and not _jobs(space), "the job is gone")


@pytest.mark.slow
def test_two_visitors_at_once_wait_for_their_turn_and_do_not_meet(visitor, space):
    one, two = visitor(), visitor()
    ask_for(one, "me/shapes", "acme/vit-a", "acme/vit-b")
    ask_for(two, "me/shapes", "acme/resnet")
    for page in (one, two):
        page.wait_for_selector("#plan .plan")
    one.click("#start-button")
    one.wait_for_selector("#progress >> text=starting")
    two.click("#start-button")
    two.wait_for_selector("#progress >> text=waiting for a turn")
    for page in (one, two):
        page.wait_for_selector("#own-board .board")
    assert set(names(one, "#own-board")) == {"acme/vit-a", "acme/vit-b"}
    assert names(two, "#own-board") == ["acme/resnet"]


@pytest.mark.parametrize(
    ("dataset", "word"),
    [
        further("/etc", "Hub id"),
        further("../secrets", "Hub id"),
        further("me/nothing", "me/nothing"),
        ("me/secret-shapes", "me/secret-shapes"),
    ],
)
@pytest.mark.slow
def test_what_a_visitor_may_not_read_is_not_read(visitor, dataset, word):
    """Nor what the owner of the Space may read: the server has a token for me/secret-shapes."""
    page = visitor()
    ask_for(page, dataset)
    page.wait_for_selector("#plan .trouble")
    assert word in page.inner_text("#plan .trouble")


# -- bad days; last, because they stop the Hub


@pytest.mark.slow
def test_the_last_good_results_outlast_the_hub(visitor, space):
    visitor().close()
    space.hub.stop()
    try:
        time.sleep(1.5)  # until the results are old
        visitor("board=me/emoji").close()  # has them read again
        while True:
            page = visitor("board=me/emoji")
            if page.locator("#status .trouble").count():
                break
            page.close()  # each page holds a connection, and a browser has six for a server
            time.sleep(1)
        assert "last results that could be read" in page.inner_text("#status")
        assert "cannot be reached" in page.inner_text("#status")
        assert len(names(page)) == 20
    finally:
        space.hub.start()


@pytest.mark.slow
def test_a_new_space_says_how_to_publish_results(browser, tmp_path):
    server = SpaceServer(tmp_path / "new")
    try:
        server.publish([])
        server.serve()
        context = browser.new_context()
        page = context.new_page()
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(server.url)
        page.wait_for_selector("#board .empty")
        assert "hf-sfda publish runs/NAME --to me/results" in page.inner_text("#board")
        assert not page.locator("#csv").is_visible()
        for tab in ("Plots", "Compare", "Ensemble", "Rank my dataset"):
            page.get_by_role("tab", name=tab).click()
        page.click("#plan-button")
        page.wait_for_selector("#plan .trouble")
        assert not troubles

        server.publish([text_ranking()])  # and the page is there without a restart
        while True:
            page.goto(server.url)
            page.wait_for_selector("#board .sfda")
            if page.locator("#board .ranking").count():
                break
            time.sleep(1)
        assert names(page) == ["acme/bert", "acme/roberta"]
        context.close()
    finally:
        server.stop()


def _jobs(space: SpaceServer) -> list[Path]:
    """The directories of jobs."""
    return [path for path in space.temporary.glob("hf-sfda-space-*/*/*") if path.is_dir()]


def _children(space: SpaceServer) -> list[str]:
    """The processes that the app has started."""
    tasks = Path(f"/proc/{space.pid}/task").glob("*/children")
    return [child for task in tasks for child in task.read_text().split()]
