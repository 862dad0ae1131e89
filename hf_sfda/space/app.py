"""The page: the choice of a leaderboard, and one tab for each question about it."""

from __future__ import annotations

import importlib.util
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from hf_sfda.format import label
from hf_sfda.hub import ADVICE
from hf_sfda.space import api, fragments, tabs
from hf_sfda.space.backend import Backend
from hf_sfda.space.cleanup import start_cleanup
from hf_sfda.space.hosts import OwnHostsOnly
from hf_sfda.space.jobs import Jobs
from hf_sfda.space.page import AT_ONCE, OWN, Page, SessionRanking
from hf_sfda.space.results import leaderboard_name, modality_of
from hf_sfda.space.settings import Settings

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # must be set before the import

TITLE = "Which checkpoint should I fine-tune?"
_ABOUT = (
    "Checkpoints of the Hub, ranked for a dataset without fine-tuning: scores with intervals and "
    "ties, and baselines beside them."
)

_TABS = {
    "Leaderboard": tabs.add_leaderboard,
    "Plots": tabs.add_plots,
    "Compare": tabs.add_compare,
    "Ensemble": tabs.add_ensemble,
    "Rank my dataset": tabs.add_rank,
}

_ANY = "all"
_SIGN_IN = "sign in with Hugging Face (programs send their token along)"
_ASK_THE_HOST = "have this server started with --as-me (programs send their token along)"
_PAUSE = 0.02
"""Seconds between two looks of gradio at its queue of events. Gradio's own pause of a millisecond
takes 7 % of a processor core while nobody visits, this one 2 %."""

_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def make_app(settings: Settings, jobs: Jobs, folder: Path | None = None) -> gr.Blocks:
    """Build the page and its API, without serving it.

    Args:
        settings: The results dataset, the tokens and the limits.
        jobs: Runs the visitors' jobs.
        folder: Folder for a copy of the results, which survives a restart of the server.
    """
    page = Page(Backend(settings, jobs, folder), jobs)
    with gr.Blocks(title=TITLE, fill_width=True, delete_cache=(3600, 3600)) as app:
        _build(app, page)
        api.add_to(page)
    start_cleanup(page.jobs)
    threading.Thread(target=page.warm_up, name="warm-up", daemon=True).start()
    app.queue(max_size=settings.limits.queue, default_concurrency_limit=8)
    app._queue.sleep_when_free = _PAUSE
    return app


def launch(
    settings: Settings,
    *,
    folder: Path | None = None,
    started: Callable[[str], None] = lambda url: None,
    **options: Any,
) -> None:
    """Serve the page until Ctrl-C or SIGTERM; then end all jobs and remove their files.

    Args:
        settings: The results dataset, the tokens and the limits.
        folder: Folder for a copy of the results, which survives a restart of the server.
        started: Called with the page's address as soon as it is served.
        options: More options of gradio's ``launch``.
    """
    os.environ.setdefault(ADVICE, _SIGN_IN if _can_sign_in() else _ASK_THE_HOST)
    gr.set_static_paths([fragments.plotly_file()])
    with until_ended(), ExitStack() as stack:
        os.environ["GRADIO_TEMP_DIR"] = stack.enter_context(_files())
        jobs = Jobs(settings.limits)
        app = make_app(settings, jobs, folder)
        stack.callback(app.close, verbose=False)
        # Callbacks run in reverse order: end the jobs first, because running calls wait for them.
        stack.callback(jobs.close)
        names = settings.hosts
        middleware = [] if names is None else [Middleware(OwnHostsOnly, names=names)]
        _, url, _ = app.launch(
            theme=_theme(),
            css=fragments.styles(),
            js=fragments.script(),
            ssr_mode=False,
            show_error=False,
            max_file_size=settings.limits.upload_bytes,
            mcp_server=importlib.util.find_spec("mcp") is not None,
            footer_links=["api"],
            prevent_thread_lock=True,
            app_kwargs={"middleware": middleware},
            **options,
        )
        started(url)
        threading.Event().wait()


def launch_on_hub() -> None:
    """Serve a deployed Space with the settings in its environment variables."""
    from huggingface_hub import constants

    launch(Settings.from_environment(), folder=Path(constants.HF_HOME) / "hf-sfda-space")


@contextmanager
def until_ended() -> Iterator[None]:
    """Leave the block at the first of these signals, so that its cleanup runs.

    A signal that the process ignores already, for example after ``nohup``, stays ignored. Later
    signals do not interrupt the cleanup. Use it in the main thread only.
    """
    before = {number: signal.getsignal(number) for number in _ENDS}
    handled = [number for number in _ENDS if before[number] != signal.SIG_IGN]

    def interrupt(number: int, frame: FrameType | None) -> None:
        for other in handled:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in handled:
        signal.signal(number, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number in handled:
            signal.signal(number, before[number])


def _files() -> tempfile.TemporaryDirectory[str]:
    """A private temporary folder for uploads and downloads.

    gradio's own folder is readable by all users of the machine and is never removed.
    """
    parent = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
    Path(parent).mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(
        prefix="hf-sfda-files-", dir=parent, ignore_cleanup_errors=True
    )


def _build(app: gr.Blocks, page: Page) -> None:
    with gr.Row(elem_classes="top"):
        gr.HTML(f'<div class="sfda"><h1>{TITLE}</h1><p class="hint">{_ABOUT}</p></div>')
        if _can_sign_in():
            gr.LoginButton(
                logout_value="Sign out ({})", elem_id="sign-in", scale=0, min_width=240, size="md"
            )
    with gr.Row(elem_classes="choice"):
        modality = gr.Radio(
            [_ANY], value=_ANY, label="Modality", scale=1, min_width=290, elem_id="modality"
        )
        page.dataset.render()
        page.metric.render()
    page.own.render()
    status = gr.HTML(elem_id="status")
    with gr.Tabs() as bar:
        for name, add in _TABS.items():
            with gr.Tab(name, id=_id(name), elem_id=f"tab-{_id(name)}"):
                add(page)
    outputs = [modality, page.dataset, page.metric, status, *page.filled]

    def arrange(
        kind: str | None, name: str | None, by: str | None, own: SessionRanking | None
    ) -> list[Any]:
        """Update the menus and the content of every tab for a chosen ranking."""
        snapshot = page.backend.results.snapshot()
        kinds = sorted({modality_of(leaderboard) for leaderboard in snapshot.leaderboards})
        kind = kind if kind in kinds else _ANY
        leaderboards = [
            leaderboard
            for leaderboard in snapshot.leaderboards
            if kind in (_ANY, modality_of(leaderboard))
        ]
        names = [*([OWN] if own else []), *map(leaderboard_name, leaderboards)]
        name = name if name in names else next(iter(names), None)
        view = page.look(name, by, own) if name else None
        return [
            gr.Radio(choices=[_ANY, *kinds], value=kind, visible=len(kinds) > 1),
            gr.Dropdown(choices=names, value=name),
            gr.Dropdown(
                choices=[(label(metric), metric) for metric in view.metrics] if view else [],
                value=view.ranking.metric if view else None,
            ),
            fragments.status(snapshot),
            *page.follow(view),
        ]

    def open_page(own: SessionRanking | None, request: gr.Request) -> list[Any]:
        """Show the leaderboard and the tab that the link names, or the first ones."""
        query = dict(request.query_params)
        tab = query.get("tab", "")
        return [
            gr.Tabs(selected=tab if tab in map(_id, _TABS) else _id("Leaderboard")),
            *arrange(None, query.get("board"), query.get("metric"), own),
        ]

    def show_own(own: SessionRanking | None) -> list[Any]:
        return arrange(None, OWN, None, own)

    app.load(open_page, [page.own], [bar, *outputs], **AT_ONCE)
    gr.on(
        [modality.input, page.dataset.input, page.metric.input],
        arrange,
        [modality, page.dataset, page.metric, page.own],
        outputs,
        show_progress="hidden",
        **AT_ONCE,
    )
    page.own.change(show_own, [page.own], outputs, show_progress="hidden", **AT_ONCE)
    app.unload(page.leave)


def _can_sign_in() -> bool:
    """Whether this is a Space with ``hf_oauth: true``; gradio's login button needs it."""
    return os.environ.get("SYSTEM") == "spaces" and "OAUTH_CLIENT_ID" in os.environ


def _id(name: str) -> str:
    """The id of a tab in links; the page's script derives the same id from the tab's label."""
    return name.lower().replace(" ", "-")


def _theme() -> gr.themes.Base:
    # Use system fonts, so that the page works without access to a font server.
    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="gray",
        font=["Inter", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "monospace"],
    ).set(  # the default colours have too little contrast
        body_text_color_subdued="*neutral_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
