"""The tab that selects an ensemble."""

from __future__ import annotations

import gradio as gr

from hf_sfda.errors import SfdaError
from hf_sfda.space import fragments
from hf_sfda.space.backend import View
from hf_sfda.space.page import Page, SessionRanking, explained

_HINT = (
    "Which models correct each other's errors? Choose the largest size; a model is only added to "
    "the ensemble if it helps."
)
_CRITERIA = [
    ("mean held-out probability", "probability"),
    ("mean held-out log-likelihood", "log_likelihood"),
]


def build(page: Page) -> None:
    """Add the components of the tab and their event handlers."""
    with gr.Row(elem_classes="choice"):
        size = gr.Slider(1, 6, value=3, step=1, label="At most this many models", elem_id="size")
        criterion = gr.Dropdown(_CRITERIA, value="probability", label="Objective to maximize")
        go = gr.Button("Choose an ensemble", variant="primary", scale=0, min_width=220)
    result = gr.HTML(fragments.message(_HINT), elem_id="ensemble")

    def clear(view: View | None) -> list[object]:
        return [fragments.message(_HINT)]

    def choose(
        dataset: str,
        metric: str,
        own: SessionRanking | None,
        size: int,
        criterion: str,
        token: gr.OAuthToken | None,
    ) -> str:
        view = page.look(dataset, metric, own)
        if view is None:
            return fragments.message("There is no ranking to choose from.")
        try:
            if view.leaderboard is None and own is not None:
                return fragments.ensemble(own.job.ensemble(size=int(size), criterion=criterion))
            selection = page.backend.ensemble(
                view, size=int(size), criterion=criterion, token=page.visitor(token)
            )
        except SfdaError as error:
            return explained(error, view)
        return fragments.ensemble(selection.to_dict())

    page.follows(clear, result)
    go.click(
        choose,
        [*page.choice, size, criterion],
        result,
        api_visibility="private",
        concurrency_id="score",
        concurrency_limit=2,
    )
