"""The tab that compares two models."""

from __future__ import annotations

import gradio as gr

from hf_sfda.errors import SfdaError
from hf_sfda.space import fragments
from hf_sfda.space.backend import View
from hf_sfda.space.page import Page, SessionRanking, explained
from hf_sfda.space.previews import previews

_HINT = (
    "Two models are compared on the same samples, so their difference is more precise than either "
    "score. Choose two and compare."
)


def build(page: Page) -> None:
    """Add the components of the tab and their event handlers."""
    with gr.Row(elem_classes="choice"):
        first = gr.Dropdown(label="First model", interactive=True, elem_id="first", min_width=260)
        second = gr.Dropdown(
            label="Second model", interactive=True, elem_id="second", min_width=260
        )
        go = gr.Button("Compare", variant="primary", scale=0, min_width=220)
    result = gr.HTML(fragments.message(_HINT), elem_id="comparison")

    def list_models(view: View | None) -> list[object]:
        names = [row.model_id for row in view.ranking.ranked] if view else []
        selected = [*names[:2], None, None][:2]
        return [
            *(gr.Dropdown(choices=names, value=name) for name in selected),
            fragments.message(_HINT),
        ]

    def compare_models(
        dataset: str,
        metric: str,
        own: SessionRanking | None,
        first: str | None,
        second: str | None,
        token: gr.OAuthToken | None,
    ) -> str:
        view = page.look(dataset, metric, own)
        if view is None or not first or not second:
            return fragments.message("Choose two ranked models.")
        try:
            if view.leaderboard is None and own is not None:
                comparison, sample_previews = own.job.compare(first, second, metric=metric)
                return fragments.comparison(comparison, sample_previews)
            visitor = page.visitor(token)
            comparison, target = page.backend.compare(view, first, second, token=visitor)
        except SfdaError as error:
            return explained(error, view)
        if target is None:
            return fragments.comparison(comparison)
        indices = (sample.index for sample in comparison.samples)
        return fragments.comparison(comparison, previews(target, indices))

    page.follows(list_models, first, second, result)
    go.click(
        compare_models,
        [*page.choice, first, second],
        result,
        api_visibility="private",
        concurrency_id="score",
        concurrency_limit=2,
    )
