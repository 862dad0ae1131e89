"""How fast the Space is with a thousand models: first paint after load, filters, sorting.

`python -m benchmarks.space`: the app in its own process, headless Chromium on the same machine;
every figure is the browser's own clock.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_HUB_DISABLE_XET"] = "1"  # the test Hub has no such store; read at import

from playwright.sync_api import Browser, Page, sync_playwright

from tests.space.server import SpaceServer, emoji_updates, long_ranking

VISITS = 7
KEYS = ("m", "mo", "model-0", "model-09", "org1 model", "zzz", "")

# The board is there when the browser has painted the frame after its rows came.
PAINTED = """
addEventListener("load", () => { window.loaded = performance.now(); });
new MutationObserver((_, observer) => {
  if (!document.querySelector("#board .ranking tbody tr")) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.painted = performance.now(); }));
}).observe(document, { childList: true, subtree: true });
"""

FILTER = """async (words) => {
  const field = document.querySelector("#board input[type=search]");
  const times = [];
  for (const word of words) {
    field.value = word;
    const start = performance.now();
    field.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    times.push(performance.now() - start);
  }
  return times;
}"""

SORT = """async () => {
  const times = [];
  for (const button of [...document.querySelectorAll("#board .ranking thead button")].slice(0, 8)) {
    const start = performance.now();
    button.click();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    times.push(performance.now() - start);
  }
  return times;
}"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = SpaceServer(Path(folder))
        try:
            server.publish([*emoji_updates(), long_ranking()])
            server.serve()
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
                )
                for board, rows in (("me/emoji", 20), ("me/thousand", 1000)):
                    report(rows, [measure(browser, server.url, board) for _ in range(VISITS)])
                browser.close()
        finally:
            server.stop()


def measure(browser: Browser, url: str, board: str) -> dict[str, list[float]]:
    """One visit with an empty browser cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.add_init_script(PAINTED)
    page.goto(f"{url}?board={board}")
    page.wait_for_function("window.painted && window.loaded", timeout=60_000)
    page.wait_for_selector("#board .sfda[data-ready]")
    found = {
        "first paint after load": [page.evaluate("window.painted - window.loaded")],
        "filter, a key": page.evaluate(FILTER, KEYS),
        "sort, a click": page.evaluate(SORT),
        "rows": [rows_of(page)],
    }
    context.close()
    return found


def rows_of(page: Page) -> float:
    return float(page.locator("#board .ranking tbody tr").count())


def report(rows: int, visits: list[dict[str, list[float]]]) -> None:
    """Median and worst, in milliseconds."""
    print(f"{rows} models, {len(visits)} visits", flush=True)
    assert all(visit["rows"] == [rows] for visit in visits)
    for name in ("first paint after load", "filter, a key", "sort, a click"):
        times: list[Any] = [time for visit in visits for time in visit[name]]
        print(f"  {name:<24}median {statistics.median(times):6.0f} ms   worst {max(times):6.0f} ms")


if __name__ == "__main__":
    main()
