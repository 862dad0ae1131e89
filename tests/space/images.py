"""Make the pictures of the Space for the documentation: `python -m tests.space.images`.

The demo's real checkpoints and pictures go on a test Hub, are ranked and published by the
installed command, and a browser photographs each tab. Takes about three minutes on two cores.
`python -m tests.space.images sounds` makes only the picture of a ranking on sounds, and `labels`
that of a ranking on pictures with several labels each.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests import factories
from tests.space.server import RESULTS, SpaceServer

ROOT = Path(__file__).parents[2]
DEMO = ROOT / ".demo"
OUT = ROOT / "docs" / "space"
WIDTHS = {"desktop": 1280, "phone": 390}


def main(what: str = "all") -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = SpaceServer(Path(folder))
        try:
            names = {"sounds": seed_sounds, "labels": seed_labels}.get(what, seed)(server)
            server.serve()
            if what == "all":
                photograph(server.url, names)
            else:
                dataset = "me/tones" if what == "sounds" else "me/colours"
                path = OUT / f"rank-{what}-desktop-light.png"
                photograph_ranking(server.url, dataset, names, path)
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


def seed_sounds(server: SpaceServer) -> list[str]:
    """Tones on the Hub, and small audio checkpoints with random weights."""
    folder = Path(server.home).parent
    factories.sound_folder(folder / "tones", 40, ["low", "mid", "high"])
    server.hub.put("me/tones", folder / "tones", repo_type="dataset")
    variants = {
        "wav2vec2-layer-norm": {"feat_extract_norm": "layer"},
        "wav2vec2-group-norm": {},
        "wav2vec2-wider": {"hidden_size": 32, "conv_dim": [32, 32]},
    }
    names = [f"demo/{name}" for name in variants]
    for seed, (name, options) in enumerate(zip(names, variants.values(), strict=True)):
        factories.tiny_wav2vec2(folder / name, seed=seed, **options)
        factories.write_card(folder / name, license="mit", library_name="transformers")
        server.hub.put(name, folder / name)
    server.run("rank", "--dataset", "me/tones", "--models", names[0], "--quiet")
    server.run("publish", "runs/me--tones", "--to", RESULTS, "--yes")
    return names


def seed_labels(server: SpaceServer) -> list[str]:
    """Emoji on the Hub with the colours that cover much of each, and the demo's checkpoints."""
    server.hub.put("me/colours", coloured_emoji(), repo_type="dataset")
    names = []
    for name in ("efficientnet-lite0", "lite0-random", "mobilenetv2-nsfw", "resnet10t-random"):
        names.append(f"demo/{name}")
        server.hub.put(names[-1], DEMO / "zoo" / "image" / name)
    server.run("rank", "--dataset", "me/colours", "--models", names[0], "--quiet")
    server.run("publish", "runs/me--colours", "--to", RESULTS, "--yes")
    return names


def coloured_emoji() -> dict[str, bytes]:
    """A parquet file of emoji with a list of colours each."""
    import numpy as np
    from datasets import ClassLabel, Dataset, Features, List
    from datasets import Image as ImageFeature

    hues = {"red": (0.95, 1.05), "yellow": (0.1, 0.18), "green": (0.22, 0.45), "blue": (0.5, 0.72)}
    rows = []
    for path in sorted((DEMO / "data" / "emoji" / "train").rglob("*.png"))[::3]:
        hsv = np.asarray(Image.open(path).convert("RGB").convert("HSV")).reshape(-1, 3) / 255
        hue = hsv[hsv[:, 1] > 0.35, 0]
        if not len(hue):  # black and white
            continue
        shares = [((hue >= a) & (hue < b) | (hue < b - 1)).mean() for a, b in hues.values()]
        colours = [k for k, share in enumerate(shares) if share > 0.15]
        if colours:
            rows.append({"image": {"bytes": path.read_bytes(), "path": None}, "colours": colours})
    features = Features({"image": ImageFeature(), "colours": List(ClassLabel(names=list(hues)))})
    sink = io.BytesIO()
    Dataset.from_list(rows, features=features).to_parquet(sink)
    return {"data/train-00000-of-00001.parquet": sink.getvalue()}


def photograph_ranking(url: str, dataset: str, names: list[str], path: Path) -> None:
    """A ranking that a visitor asked for."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTHS["desktop"], "height": 2600})
        page.goto(f"{url}?__theme=light&tab=rank-my-dataset")
        page.wait_for_selector("#tab-rank-my-dataset", state="visible")
        page.wait_for_selector("#board .sfda[data-ready]", state="attached")
        page.fill("#dataset-id textarea, #dataset-id input", dataset)
        page.get_by_text("These models", exact=True).click()
        page.fill("#model-ids textarea", "\n".join(names))
        page.click("#plan-button")
        page.wait_for_selector("#plan .plan", timeout=120_000)
        page.click("#start-button")
        page.wait_for_selector("#progress [data-state=done]", timeout=300_000)
        page.wait_for_selector("#own-board .board")
        drawn = "document.querySelectorAll('#tab-rank-my-dataset .js-plotly-plot .main-svg').length"
        page.wait_for_function(f"{drawn} >= 3", timeout=60_000)
        page.wait_for_timeout(3000)
        save(page, "rank-my-dataset", path)
        browser.close()


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
    main(*sys.argv[1:2])
