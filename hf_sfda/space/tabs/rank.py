"""The tab that ranks candidates on a visitor's dataset: form, plan, progress and result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from hf_sfda.config import DEFAULT_METRICS, DEFAULTS
from hf_sfda.errors import SfdaError
from hf_sfda.format import label
from hf_sfda.space import fragments
from hf_sfda.space.backend import view_of
from hf_sfda.space.limits import Limits
from hf_sfda.space.page import OWN, Page, SessionRanking, explained
from hf_sfda.space.requests import RankRequest, parse_models

_HUB, _UPLOAD = "A dataset on the Hub", "Upload"
_POPULAR, _NAMED = "The most downloaded on the Hub", "These models"
_DEFAULT = RankRequest()


def build(page: Page) -> None:
    """Add the components of the tab and their event handlers."""
    limits = page.jobs.limits
    gr.HTML(fragments.message(limits.describe()))
    with gr.Row(equal_height=False):
        with gr.Column():
            data = _data_fields()
        with gr.Column():
            candidates = _candidate_fields(limits)
    with gr.Accordion("More settings", open=False), gr.Row():
        settings = _settings_fields(limits)
    with gr.Row():
        plan = _button("Show the plan", "plan-button", variant="primary")
        start = _button("Start", "start-button", variant="primary", visible=False)
        cancel = _button("Cancel", "cancel-button", variant="stop", visible=False)
    outputs = [
        gr.HTML(elem_id=name) for name in ("plan", "progress", "own-board", "own-plots", "repeat")
    ]
    handlers = RankHandlers(page)
    gr.on(
        [plan.click, data[1].submit],
        handlers.show_plan,
        [*data, *candidates, *settings],
        [plan, start, cancel, *outputs],
        api_visibility="private",
        concurrency_id="job",
        concurrency_limit=limits.queue,  # the job itself waits for a free slot and reports that
        show_progress="hidden",
    )
    start.click(
        handlers.run,
        None,
        [page.own, plan, start, cancel, *outputs],
        api_visibility="private",
        concurrency_id="job",
        concurrency_limit=limits.queue,
        show_progress="hidden",
    )
    cancel.click(handlers.stop, None, None, api_visibility="private", queue=False)


def _button(words: str, elem_id: str, **options: Any) -> gr.Button:
    return gr.Button(words, elem_id=elem_id, scale=0, min_width=200, **options)


def _data_fields() -> list[gr.components.Component]:
    source = gr.Radio([_HUB, _UPLOAD], value=_HUB, label="Dataset")
    dataset = gr.Textbox(
        label="Dataset id", placeholder="org/name or org/name:config", elem_id="dataset-id"
    )
    upload = gr.File(
        label="A zip with one folder of images or sounds a class, or a csv of texts and labels",
        file_types=[".zip", ".csv", ".tsv"],
        visible=False,
        elem_id="upload",
    )
    source.input(
        lambda kind: [gr.Textbox(visible=kind == _HUB), gr.File(visible=kind == _UPLOAD)],
        source,
        [dataset, upload],
        api_visibility="private",
        show_progress="hidden",
    )
    return [source, dataset, upload]


def _candidate_fields(limits: Limits) -> list[gr.components.Component]:
    who = gr.Radio([_POPULAR, _NAMED], value=_POPULAR, label="Candidates")
    most = limits.candidates
    top = gr.Slider(1, most, value=min(_DEFAULT.top, most), step=1, label="How many")
    models = gr.Textbox(
        label="Model ids, one a line",
        placeholder="timm/resnet18.a1_in1k",
        lines=4,
        visible=False,
        elem_id="model-ids",
    )
    who.input(
        lambda kind: [gr.Slider(visible=kind == _POPULAR), gr.Textbox(visible=kind == _NAMED)],
        who,
        [top, models],
        api_visibility="private",
        show_progress="hidden",
    )
    return [who, top, models]


def _settings_fields(limits: Limits) -> list[gr.components.Component]:
    most = limits.samples
    return [
        gr.Slider(min(20, most), most, value=min(_DEFAULT.samples, most), step=1, label="Samples"),
        gr.Dropdown(
            [(label(name), name) for name in DEFAULT_METRICS],
            value=DEFAULTS.metric,
            label="Sort by",
        ),
        gr.Textbox(label="Split", placeholder="train"),
        gr.Textbox(
            label="Column with the image, text or sound", placeholder="inferred; A,B for text pairs"
        ),
        gr.Textbox(label="Column with the label", placeholder="inferred"),
    ]


class RankHandlers:
    """The event handlers of this tab. Each visitor has one job at a time."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def show_plan(
        self,
        source: str,
        dataset: str | None,
        upload: str | None,
        who: str,
        top: int,
        models: str | None,
        samples: int,
        metric: str,
        split: str | None,
        inputs: str | None,
        labels: str | None,
        request: gr.Request,
        token: gr.OAuthToken | None,
    ) -> Iterator[list[Any]]:
        """Make the plan of a job and show it with a start button."""
        page, session = self._page, str(request.session_hash)
        file = Path(upload) if upload and source == _UPLOAD else None
        rank_request = RankRequest(
            dataset=_text_or_none(dataset) if source == _HUB else None,
            upload=file,
            models=parse_models(models or "") if who == _NAMED else (),
            top=int(top),
            samples=int(samples),
            metric=metric,
            split=_text_or_none(split),
            input_column=_text_or_none(inputs),
            label_column=_text_or_none(labels),
        )
        page.uploaded(session, file)
        wait = fragments.message("Reading the dataset and asking the Hub for candidates …")
        yield [*_buttons(cancel=True), wait, "", "", "", ""]
        try:
            job = page.jobs.open(rank_request, page.visitor(token))
            page.visit(session, job)
            plan = fragments.plan(job.plan())
        except SfdaError as error:
            page.visit(session, None)
            page.uploaded(session, None)
            yield [*_buttons(plan=True), explained(error), "", "", "", ""]
            return
        yield [*_buttons(plan=True, start=True), plan, "", "", "", ""]

    def run(self, request: gr.Request) -> Iterator[list[Any]]:
        """Run the planned job and show its progress and its result."""
        page, session, keep = self._page, str(request.session_hash), gr.skip()
        job = page.job_of(session)
        if job is None:
            error = fragments.error("The plan is no longer there. Show it again.")
            yield [None, *_buttons(plan=True), error, "", "", "", ""]
            return
        state = None
        for state in job.rank():
            yield [keep, *_buttons(cancel=True), keep, fragments.progress(state), "", "", ""]
        if state is None or state.ranking is None:
            page.visit(session, None)
            yield [None, *_buttons(plan=True), *[keep] * 5]
            return
        view = view_of(state.ranking, OWN)
        yield [
            SessionRanking(state.ranking, job),
            *_buttons(plan=True),
            "",
            fragments.progress(state),
            fragments.leaderboard(view, page.backend.results.snapshot()),
            fragments.plots(view),
            fragments.command(job.command),
        ]

    def stop(self, request: gr.Request) -> None:
        """Cancel the visitor's job."""
        job = self._page.job_of(str(request.session_hash))
        if job is not None:
            job.cancel()


def _text_or_none(text: str | None) -> str | None:
    """The text of a field, or ``None`` if it is empty. gradio passes ``None`` at first."""
    return (text or "").strip() or None


def _buttons(*, plan: bool = False, start: bool = False, cancel: bool = False) -> list[gr.Button]:
    words = "Show the plan again" if start else "Show the plan"
    return [
        gr.Button(words, visible=plan, variant="secondary" if start else "primary"),
        gr.Button(visible=start),
        gr.Button(visible=cancel),
    ]
