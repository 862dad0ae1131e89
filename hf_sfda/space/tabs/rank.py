"""A visitor's own dataset: what is asked for, the plan, the run, the result."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from hf_sfda.config import DEFAULT_METRICS, RankConfig
from hf_sfda.errors import SfdaError
from hf_sfda.report.format import label
from hf_sfda.space import fragments
from hf_sfda.space.backend import view_of
from hf_sfda.space.limits import Limits
from hf_sfda.space.page import OWN, Own, Page, explained
from hf_sfda.space.requests import RankRequest, parse_models

_HUB, _UPLOAD = "A dataset on the Hub", "Upload"
_POPULAR, _NAMED = "The most downloaded on the Hub", "These models"
_DEFAULT = RankRequest()


def build(page: Page) -> None:
    """Add the components and their events."""
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
    shown = [
        gr.HTML(elem_id=name) for name in ("plan", "progress", "own-board", "own-plots", "repeat")
    ]
    desk = _Desk(page)
    gr.on(
        [plan.click, data[1].submit],
        desk.ask,
        [*data, *candidates, *settings],
        [plan, start, cancel, *shown],
        api_visibility="private",
        concurrency_id="job",
        concurrency_limit=limits.queue,  # who waits for a turn is told so by the job itself
        show_progress="hidden",
    )
    start.click(
        desk.run,
        None,
        [page.own, plan, start, cancel, *shown],
        api_visibility="private",
        concurrency_id="job",
        concurrency_limit=limits.queue,
        show_progress="hidden",
    )
    cancel.click(desk.stop, None, None, api_visibility="private", queue=False)


def _button(words: str, elem_id: str, **options: Any) -> gr.Button:
    return gr.Button(words, elem_id=elem_id, scale=0, min_width=200, **options)


def _data_fields() -> list[gr.components.Component]:
    source = gr.Radio([_HUB, _UPLOAD], value=_HUB, label="Dataset")
    dataset = gr.Textbox(
        label="Dataset id", placeholder="org/name or org/name:config", elem_id="dataset-id"
    )
    upload = gr.File(
        label="A zip with one folder of pictures a class, or a csv of texts and labels",
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
            value=RankConfig(dataset="-").metric,
            label="Sort by",
        ),
        gr.Textbox(label="Split", placeholder="train"),
        gr.Textbox(label="Column with the picture or text", placeholder="found by itself"),
        gr.Textbox(label="Column with the label", placeholder="found by itself"),
    ]


class _Desk:
    """Takes what visitors ask for; each has one job at a time."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def ask(
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
        """Show what would be done, and offer to do it."""
        page, session = self._page, str(request.session_hash)
        file = Path(upload) if upload and source == _UPLOAD else None
        asked = RankRequest(
            dataset=_said(dataset) if source == _HUB else None,
            upload=file,
            models=parse_models(models or "") if who == _NAMED else (),
            top=int(top),
            samples=int(samples),
            metric=metric,
            split=_said(split),
            input_column=_said(inputs),
            label_column=_said(labels),
        )
        page.uploaded(session, file)
        wait = fragments.message("Reading the dataset and asking the Hub for candidates …")
        yield [*_buttons(cancel=True), wait, "", "", "", ""]
        try:
            job = page.jobs.open(asked, page.visitor(token))
            page.visit(session, job)
            told = fragments.plan(job.plan())
        except SfdaError as error:
            page.visit(session, None)
            page.uploaded(session, None)
            yield [*_buttons(plan=True), explained(error), "", "", "", ""]
            return
        yield [*_buttons(plan=True, start=True), told, "", "", "", ""]

    def run(self, request: gr.Request) -> Iterator[list[Any]]:
        """Do what was planned, and tell how far it is."""
        page, session, keep = self._page, str(request.session_hash), gr.skip()
        job = page.job_of(session)
        if job is None:
            gone = fragments.error("The plan is no longer there. Show it again.")
            yield [None, *_buttons(plan=True), gone, "", "", "", ""]
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
            Own(state.ranking, job),
            *_buttons(plan=True),
            "",
            fragments.progress(state),
            fragments.board(view, page.backend.results.snapshot()),
            fragments.plots(view),
            fragments.command(job.command),
        ]

    def stop(self, request: gr.Request) -> None:
        """End the visitor's job, whatever it is doing."""
        job = self._page.job_of(str(request.session_hash))
        if job is not None:
            job.cancel()


def _said(text: str | None) -> str | None:
    """A field that was filled in; gradio gives ``None`` for one that never was."""
    return (text or "").strip() or None


def _buttons(*, plan: bool = False, start: bool = False, cancel: bool = False) -> list[gr.Button]:
    words = "Show the plan again" if start else "Show the plan"
    return [
        gr.Button(words, visible=plan, variant="secondary" if start else "primary"),
        gr.Button(visible=start),
        gr.Button(visible=cancel),
    ]
