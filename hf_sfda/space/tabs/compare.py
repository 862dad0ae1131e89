"""Two models on the same samples."""

from __future__ import annotations

import gradio as gr

from hf_sfda.errors import SfdaError
from hf_sfda.space import fragments
from hf_sfda.space.backend import View
from hf_sfda.space.exhibits import exhibits
from hf_sfda.space.page import Own, Page, explained

_HINT = (
    "Two models are judged on the same samples, so their difference is known better than either "
    "score. Choose two and compare."
)


def build(page: Page) -> None:
    """Add the components and their events."""
    with gr.Row(elem_classes="choice"):
        first = gr.Dropdown(label="First model", interactive=True, elem_id="first", min_width=260)
        second = gr.Dropdown(
            label="Second model", interactive=True, elem_id="second", min_width=260
        )
        go = gr.Button("Compare", variant="primary", scale=0, min_width=220)
    result = gr.HTML(fragments.message(_HINT), elem_id="comparison")

    def offer(view: View | None) -> list[object]:
        names = [row.model_id for row in view.ranking.ranked] if view else []
        two = [*names[:2], None, None][:2]
        return [
            *(gr.Dropdown(choices=names, value=name) for name in two),
            fragments.message(_HINT),
        ]

    def judge(
        dataset: str,
        metric: str,
        own: Own | None,
        first: str | None,
        second: str | None,
        token: gr.OAuthToken | None,
    ) -> str:
        view = page.look(dataset, metric, own)
        if view is None or not first or not second:
            return fragments.message("Choose two ranked models.")
        try:
            if view.board is None and own is not None:
                found, shown = own.job.compare(first, second, metric=metric)
                return fragments.comparison(found, shown)
            found, target = page.backend.compare(view, first, second, token=page.visitor(token))
        except SfdaError as error:
            return explained(error, view)
        if target is None:
            return fragments.comparison(found)
        return fragments.comparison(found, exhibits(target, (s.index for s in found.samples)))

    page.follows(offer, first, second, result)
    go.click(
        judge,
        [*page.choice, first, second],
        result,
        api_visibility="private",
        concurrency_id="score",
        concurrency_limit=2,
    )
