"""Make the pictures of the Space for the documentation: `python -m tests.space.images`.

The demo's real checkpoints and pictures go on a test Hub, are ranked and published by the
installed command, and a browser photographs each tab. Takes about three minutes on two cores.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.space.server import RESULTS, SpaceServer

ROOT = Path(__file__).parents[2]
DEMO = ROOT / ".demo"
OUT = ROOT / "docs" / "space"
WIDTHS = {"desktop": 1280, "phone": 390}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = SpaceServer(Path(folder))
        try:
            names = seed(server)
            server.serve()
            photograph(server.url, names)
        finally:
            server.stop()


def seed(server: SpaceServer) -> list[str]:
    """The demo on the Hub, ranked three times as if checkpoints had come by and by."""
    server.hub.put("me/emoji", DEMO / "data" / "emoji", repo_type="dataset")
    names = []
    for path in sorted((DEMO / "zoo" / "image").iterdir()):
        names.append(f"demo/{path.name}")
        server.hub.put(names[-1], path)
    for known in (4, 6, len(names)):
        server.run("rank", "--dataset", "me/emoji", "--models", *names[:known], "--quiet")
        server.run("publish", "runs/me--emoji", "--to", RESULTS, "--yes")
    return names


def photograph(url: str, names: list[str]) -> None:
    """Every tab at desktop and phone width, in light and dark."""
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for device, width in WIDTHS.items():
            for theme in ("light", "dark"):
                page = browser.new_page(
                    viewport={"width": width, "height": 900}, color_scheme=theme
                )
                for tab in ("leaderboard", "plots", "compare", "ensemble", "rank-my-dataset"):
                    page.goto(f"{url}?__theme={theme}&tab={tab}")
                    page.wait_for_selector(f"#tab-{tab}", state="visible")
                    page.wait_for_selector("#board .sfda[data-ready]", state="attached")
                    prepare(page, tab, names)
                    save(page, tab, OUT / f"{tab}-{device}-{theme}.png")
                page.close()
        browser.close()


def prepare(page: Page, tab: str, names: list[str]) -> None:
    """Bring a tab to where it has something to show."""
    page.set_viewport_size({"width": page.viewport_size["width"], "height": 2600})
    if tab == "plots":
        page.wait_for_function("document.querySelectorAll('#plots .js-plotly-plot').length === 4")
    if tab == "compare":
        page.click("#tab-compare button:has-text('Compare')")
        page.wait_for_selector("#comparison .js-plotly-plot")
    if tab == "ensemble":
        page.click("#tab-ensemble button:has-text('Choose an ensemble')")
        page.wait_for_selector("#ensemble .ensemble", timeout=120_000)
    if tab == "rank-my-dataset":
        page.fill("#dataset-id textarea, #dataset-id input", "me/emoji")
        page.get_by_text("These models", exact=True).click()
        page.fill("#model-ids textarea", "\n".join(names[:3]))
        page.click("#plan-button")
        page.wait_for_selector("#plan .plan", timeout=120_000)
    page.wait_for_timeout(800)


def save(page: Page, tab: str, path: Path) -> None:
    """Small enough to be kept: no taller than its content, in few colours."""
    bottom = page.evaluate(
        """id => Math.max(...[...document.querySelectorAll(`#${id} *`)]
            .filter((element) => element.offsetParent)
            .map((element) => element.getBoundingClientRect().bottom))""",
        f"tab-{tab}",
    )
    width = page.viewport_size["width"]
    clip = {"x": 0, "y": 0, "width": width, "height": min(bottom + 16, 2600)}
    picture = Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")
    picture.quantize(200).save(path, optimize=True)


if __name__ == "__main__":
    main()
