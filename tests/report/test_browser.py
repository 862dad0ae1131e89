"""The page in a real browser, where there is one: it draws, it sorts, it asks for nothing."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

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


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("browser")
    page = folder / "report.html"
    page.write_text(render_html(example_ranking()).replace("</body>", PROBE), encoding="utf-8")
    result = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            f"--user-data-dir={folder / 'profile'}", "--window-size=1280,2000",
            "--virtual-time-budget=5000", "--dump-dom", page.as_uri(),
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (title,) = re.findall(r"<title>SEEN(.*?)</title>", result.stdout, flags=re.DOTALL)
    return json.loads(html.unescape(title))


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
