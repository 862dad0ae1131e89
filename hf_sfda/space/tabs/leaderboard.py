"""The tab with the table of a ranking, its filters and its downloads."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import gradio as gr

from hf_sfda.files import write_atomically
from hf_sfda.publish.names import slug
from hf_sfda.report.files import to_csv, to_json
from hf_sfda.space import fragments
from hf_sfda.space.backend import View
from hf_sfda.space.page import Page
from hf_sfda.types import Ranking


def build(page: Page) -> None:
    """Add the components of the tab; they change with the chosen leaderboard."""
    # `show` refers to the folder, so the folder exists until the process ends.
    folder = tempfile.TemporaryDirectory(prefix="hf-sfda-downloads-", ignore_cleanup_errors=True)
    leaderboard = gr.HTML(elem_id="board")
    with gr.Row(elem_classes="downloads"):
        csv = gr.DownloadButton("Download CSV", size="sm", elem_id="csv", scale=0)
        json = gr.DownloadButton("Download JSON", size="sm", elem_id="json", scale=0)

    def show(view: View | None) -> list[object]:
        files = downloads(view, Path(folder.name))
        return [fragments.leaderboard(view, page.backend.results.snapshot()), *files]

    page.follows(show, leaderboard, csv, json)


def downloads(view: View | None, folder: Path) -> list[object]:
    """The two download buttons with their files; hidden if there is nothing to download.

    Args:
        view: The view. The files of a visitor's own ranking are stored in the folder of their job.
        folder: Folder for the files of leaderboards, which all visitors may read.
    """
    if view is None or (view.folder is not None and not view.folder.parent.is_dir()):
        return [gr.DownloadButton(visible=False)] * 2
    kinds: dict[str, Callable[[Ranking], bytes]] = {"csv": to_csv, "json": to_json}
    return [
        gr.DownloadButton(
            value=str(_file(view.ranking, view.folder or folder, suffix, make)), visible=True
        )
        for suffix, make in kinds.items()
    ]


def _file(ranking: Ranking, folder: Path, suffix: str, make: Callable[[Ranking], bytes]) -> Path:
    """Write a file once per content, so that visitors of the same leaderboard share it."""
    content = make(ranking)
    digest = hashlib.sha256(content).hexdigest()[:12]
    name = slug(str(ranking.dataset["id"]), ranking.dataset.get("config"))
    path = folder / digest / f"{name}-{ranking.metric}.{suffix}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    return path
