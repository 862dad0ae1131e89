"""The tab with the plots of a ranking."""

from __future__ import annotations

import gradio as gr

from hf_sfda.space import fragments
from hf_sfda.space.backend import View
from hf_sfda.space.page import Page


def build(page: Page) -> None:
    """Add the components of the tab; they change with the chosen leaderboard."""
    plots = gr.HTML(elem_id="plots")

    def show(view: View | None) -> list[object]:
        updates = page.backend.updates(view) if view else ()
        return [fragments.plots(view, updates)]

    page.follows(show, plots)
