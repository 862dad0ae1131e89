"""The page in a real browser, where there is one: it draws, it sorts, it asks for nothing."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hf_sfda.report import render_html
from tests.report_fixture import example_ranking

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")

PROBE = """
<script>
const seen = { refused: [], sorted: {} };
document.addEventListener("securitypolicyviolation", (e) => seen.refused.push(e.blockedURI));
addEventListener("load", () => {
  const heads = [...document.querySelectorAll("thead th")];
  const order = (i) => [...document.querySelectorAll(".ranking tbody tr")].map(
    (row) => row.cells[i].dataset.value);
  for (const name of ["params", "licence", "probe"]) {
    const i = heads.findIndex((head) => head.textContent === name);
    const button = heads[i].querySelector("button");
    seen.sorted[name] = [0, 1].map(() => { button.click(); return [heads[i].ariaSort, order(i)]; });
  }
  seen.heads = document.querySelectorAll("th[aria-sort]").length;
  seen.plots = [...document.querySelectorAll(".js-plotly-plot")].map((plot) => plot.id);
  seen.labels = [...document.querySelectorAll("#plot-scores .ytick")].map((t) => t.textContent);
  document.title = "SEEN" + JSON.stringify(seen);
});
</script></body>
"""


# The page in a frame of a phone's width, since a window cannot be made that narrow. What can be
# scrolled or is cut by its own box is not wider than the page.
PHONE = """
<iframe width="420" height="2000" style="border: 0" srcdoc="{page}"></iframe>
<script>
addEventListener("load", () => setTimeout(() => {{
  const page = document.querySelector("iframe").contentDocument;
  const isBounded = (element) => element && element !== page.body
    && (getComputedStyle(element).overflowX !== "visible" || isBounded(element.parentElement));
  const wide = [...page.querySelectorAll("main *")].filter((element) =>
    !isBounded(element) && element.getBoundingClientRect().right > 420);
  document.title = "SEEN" + JSON.stringify({{
    sections: page.querySelectorAll("section").length,
    wide: wide.map((element) => element.tagName + ": " + element.textContent.slice(0, 40)),
  }});
}}, 1000));
</script>
"""


def what_is_seen(page: str, folder: Path) -> dict:
    """What a page in the browser wrote into its title."""
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    result = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder / 'profile'}", "--window-size=1280,2000",
            "--virtual-time-budget=5000", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (title,) = re.findall(r"<title>SEEN(.*?)</title>", result.stdout, flags=re.DOTALL)
    return json.loads(html.unescape(title))


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict:
    page = render_html(example_ranking()).replace("</body>", PROBE)
    return what_is_seen(page, tmp_path_factory.mktemp("browser"))


def test_nothing_is_wider_than_a_phone(tmp_path):
    ranking = example_ranking()
    calibrated = {"metric": "three_heads", "layers": "all", "batch_norms": "both"}
    rows = [
        replace(
            row, scores={"three_heads": row.scores["sfda_cv"], **row.scores}, expected_regret=1.0
        )
        if row.status == "ok"
        else row
        for row in ranking.rows
    ]
    ranking = replace(ranking, config={**ranking.config, **calibrated}, rows=tuple(rows))
    page = render_html(ranking)
    assert "one model is better than another, predicted" in page
    seen = what_is_seen(PHONE.format(page=html.escape(page)), tmp_path)
    assert seen["sections"] >= 5
    assert seen["wide"] == []


def test_all_plots_are_drawn_without_asking_for_anything(seen):
    assert seen["plots"] == ["plot-scores", "plot-size", "plot-agreement"]
    assert seen["refused"] == []
    assert seen["labels"][0] == "acme/convnext-small-in22k"
    assert "evil/<script>alert(1)</script>" in seen["labels"]


def test_columns_sort_both_ways_with_the_unknown_last(seen):
    (up, small), (down, large) = seen["sorted"]["params"]
    assert (up, down) == ("ascending", "descending")
    assert small[-1] == large[-1] == ""
    assert [int(x) for x in small[:-1]] == sorted(int(x) for x in small[:-1])
    assert large[:-1] == sorted(small[:-1], key=int, reverse=True)
    (_, words), _ = seen["sorted"]["licence"]
    assert words[:-1] == sorted(words[:-1])
    (first, best), _ = seen["sorted"]["probe"]
    assert (first, best[0]) == ("descending", "0.77")
    assert seen["heads"] == 1
