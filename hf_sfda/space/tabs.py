"""The tabs of the page: the components of each, and the functions that they call."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from hf_sfda.config import DEFAULT_METRICS, DEFAULTS
from hf_sfda.errors import SfdaError
from hf_sfda.files import write_atomically
from hf_sfda.format import label
from hf_sfda.publish.names import slug
from hf_sfda.report.files import to_csv, to_json
from hf_sfda.space import fragments
from hf_sfda.space.backend import View, view_of
from hf_sfda.space.page import AT_ONCE, OWN, Page, SessionRanking, explained
from hf_sfda.space.requests import RankRequest, parse_models
from hf_sfda.space.samples import previews
from hf_sfda.space.settings import Limits
from hf_sfda.types import Ranking

_SCORE: dict[str, Any] = {
    "api_visibility": "private",
    "concurrency_id": "score",
    "concurrency_limit": 2,
}
"""Options of the events that compare models or select an ensemble."""

_COMPARE = (
    "Two models are compared on the same samples, so their difference is more precise than either "
    "score. Choose two and compare."
)
_ENSEMBLE = (
    "Which models correct each other's errors? Choose the largest size; a model is only added to "
    "the ensemble if it helps."
)
_CRITERIA = [
    ("mean held-out probability", "probability"),
    ("mean held-out log-likelihood", "log_likelihood"),
]
_HUB, _UPLOAD = "A dataset on the Hub", "Upload"
_POPULAR, _NAMED = "The most downloaded on the Hub", "These models"
_DEFAULT = RankRequest()


def add_leaderboard(page: Page) -> None:
    """Add the table of a ranking with its filters and downloads."""
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


def add_plots(page: Page) -> None:
    """Add the plots of a ranking."""
    plots = gr.HTML(elem_id="plots")

    def show(view: View | None) -> list[object]:
        updates = page.backend.updates(view) if view else ()
        return [fragments.plots(view, updates)]

    page.follows(show, plots)


def add_compare(page: Page) -> None:
    """Add the comparison of two models."""
    with gr.Row(elem_classes="choice"):
        first = gr.Dropdown(label="First model", interactive=True, elem_id="first", min_width=260)
        second = gr.Dropdown(
            label="Second model", interactive=True, elem_id="second", min_width=260
        )
        go = gr.Button("Compare", variant="primary", scale=0, min_width=220)
    result = gr.HTML(fragments.message(_COMPARE), elem_id="comparison")

    def list_models(view: View | None) -> list[object]:
        names = [row.model_id for row in view.ranking.ranked] if view else []
        selected = [*names[:2], None, None][:2]
        return [
            *(gr.Dropdown(choices=names, value=name) for name in selected),
            fragments.message(_COMPARE),
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
        **_SCORE,
    )


def add_ensemble(page: Page) -> None:
    """Add the selection of an ensemble."""
    with gr.Row(elem_classes="choice"):
        size = gr.Slider(1, 6, value=3, step=1, label="At most this many models", elem_id="size")
        criterion = gr.Dropdown(_CRITERIA, value="probability", label="Objective to maximize")
        go = gr.Button("Choose an ensemble", variant="primary", scale=0, min_width=220)
    result = gr.HTML(fragments.message(_ENSEMBLE), elem_id="ensemble")

    def clear(view: View | None) -> list[object]:
        return [fragments.message(_ENSEMBLE)]

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
        **_SCORE,
    )


def add_rank(page: Page) -> None:
    """Add the ranking on a visitor's dataset: form, plan, progress and result."""
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
    options: dict[str, Any] = {
        "api_visibility": "private",
        "concurrency_id": "job",
        "concurrency_limit": limits.queue,  # the job itself waits for a free slot and reports that
        "show_progress": "hidden",
    }
    gr.on(
        [plan.click, data[1].submit],
        handlers.show_plan,
        [*data, *candidates, *settings],
        [plan, start, cancel, *outputs],
        **options,
    )
    start.click(
        handlers.run,
        None,
        [page.own, plan, start, cancel, *outputs],
        **options,
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
    _switch(source, [_HUB, _UPLOAD], [dataset, upload])
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
    _switch(who, [_POPULAR, _NAMED], [top, models])
    return [who, top, models]


def _switch(
    radio: gr.Radio, choices: Sequence[str], fields: Sequence[gr.components.Component]
) -> None:
    """Show the one field that belongs to the choice."""
    radio.input(
        lambda kind: [
            type(field)(visible=kind == choice)
            for choice, field in zip(choices, fields, strict=True)
        ],
        radio,
        list(fields),
        show_progress="hidden",
        **AT_ONCE,
    )


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
