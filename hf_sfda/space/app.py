"""The page: which board, then one tab for each question about it."""

from __future__ import annotations

import importlib.util
import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported

import gradio as gr
from starlette.middleware import Middleware

from hf_sfda.hub import ADVICE
from hf_sfda.report.format import label
from hf_sfda.space import api, fragments
from hf_sfda.space.backend import Backend
from hf_sfda.space.hosts import OwnHostsOnly
from hf_sfda.space.jobs import Jobs
from hf_sfda.space.page import OWN, Own, Page
from hf_sfda.space.results import board_name, modality_of
from hf_sfda.space.settings import Settings
from hf_sfda.space.signals import until_ended
from hf_sfda.space.tabs import compare, ensemble, leaderboard, plots, rank
from hf_sfda.space.upkeep import keep_tidy

TITLE = "Which checkpoint should I fine-tune?"
_ABOUT = (
    "Checkpoints of the Hub, ranked for a dataset without fine-tuning: one forward pass, "
    "cross-fitted SFDA, intervals and ties, and the baselines beside them."
)
_TABS = {
    "Leaderboard": leaderboard.build,
    "Plots": plots.build,
    "Compare": compare.build,
    "Ensemble": ensemble.build,
    "Rank my dataset": rank.build,
}
_ANY = "all"
_SIGN_IN = "sign in with Hugging Face (programs send their token along)"
_ASK_THE_HOST = "have this server started with --as-me (programs send their token along)"


def make_app(settings: Settings, jobs: Jobs, folder: Path | None = None) -> gr.Blocks:
    """The whole page, not yet served.

    Args:
        settings: Which results, whose token, which limits.
        jobs: Runs what visitors ask for.
        folder: Where the last good results are kept over a restart.
    """
    page = Page(Backend(settings, jobs, folder), jobs)
    with gr.Blocks(title=TITLE, fill_width=True, delete_cache=(3600, 3600)) as app:
        _build(app, page)
        api.add_to(page)
    keep_tidy(page.jobs)
    threading.Thread(target=page.warm_up, name="warm-up", daemon=True).start()
    app.queue(max_size=settings.limits.queue, default_concurrency_limit=8)
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
        settings: As for :func:`make_app`.
        folder: As for :func:`make_app`.
        started: Is called with the address when the page is up.
        options: Of gradio's ``launch``.
    """
    os.environ.setdefault(ADVICE, _SIGN_IN if _can_sign_in() else _ASK_THE_HOST)
    gr.set_static_paths([fragments.plotly_file()])
    with until_ended(), ExitStack() as stack:
        os.environ["GRADIO_TEMP_DIR"] = stack.enter_context(_files())
        jobs = Jobs(settings.limits)
        app = make_app(settings, jobs, folder)
        stack.callback(app.close, verbose=False)
        stack.callback(jobs.close)  # first: a call that waits for its job keeps the server open
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
            app_kwargs={"middleware": _middleware(settings)},
            **options,
        )
        started(url)
        threading.Event().wait()


def _files() -> tempfile.TemporaryDirectory[str]:
    """A private folder for uploads and downloads; gradio's own is open to all and never removed."""
    parent = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
    Path(parent).mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(
        prefix="hf-sfda-files-", dir=parent, ignore_cleanup_errors=True
    )


def _middleware(settings: Settings) -> list[Middleware]:
    return [] if settings.hosts is None else [Middleware(OwnHostsOnly, names=settings.hosts)]


def launch_on_hub() -> None:
    """Serve a deployed Space, as its variables say."""
    from huggingface_hub import constants

    launch(Settings.from_environment(), folder=Path(constants.HF_HOME) / "hf-sfda-space")


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
    with gr.Tabs() as tabs:
        for name, build in _TABS.items():
            with gr.Tab(name, id=_id(name), elem_id=f"tab-{_id(name)}"):
                build(page)
    shown = [modality, page.dataset, page.metric, status, *page.filled]

    def arrange(kind: str | None, name: str | None, by: str | None, own: Own | None) -> list[Any]:
        """The menus as they should be, and every tab about what is looked at."""
        snapshot = page.backend.results.snapshot()
        kinds = sorted({modality_of(board) for board in snapshot.boards})
        kind = kind if kind in kinds else _ANY
        boards = [board for board in snapshot.boards if kind in (_ANY, modality_of(board))]
        names = [*([OWN] if own else []), *map(board_name, boards)]
        name = name if name in names else next(iter(names), None)
        view = page.look(name, by, own) if name else None
        return [
            gr.Radio(choices=[_ANY, *kinds], value=kind, visible=len(kinds) > 1),
            gr.Dropdown(choices=names, value=name),
            gr.Dropdown(
                choices=[(label(one), one) for one in view.metrics] if view else [],
                value=view.ranking.metric if view else None,
            ),
            fragments.status(snapshot),
            *page.follow(view),
        ]

    def open_page(own: Own | None, request: gr.Request) -> list[Any]:
        """What a link asks for, or the first board."""
        asked = dict(request.query_params)
        tab = asked.get("tab", "")
        return [
            gr.Tabs(selected=tab if tab in map(_id, _TABS) else _id("Leaderboard")),
            *arrange(None, asked.get("board"), asked.get("metric"), own),
        ]

    def show_own(own: Own | None) -> list[Any]:
        return arrange(None, OWN, None, own)

    app.load(open_page, [page.own], [tabs, *shown], api_visibility="private")
    gr.on(
        [modality.input, page.dataset.input, page.metric.input],
        arrange,
        [modality, page.dataset, page.metric, page.own],
        shown,
        api_visibility="private",
        show_progress="hidden",
    )
    page.own.change(show_own, [page.own], shown, api_visibility="private", show_progress="hidden")
    app.unload(page.leave)


def _can_sign_in() -> bool:
    """Whether this is a Space with ``hf_oauth: true``; without it, gradio refuses to show how."""
    return os.environ.get("SYSTEM") == "spaces" and "OAUTH_CLIENT_ID" in os.environ


def _id(name: str) -> str:
    """Of a tab; what a link calls it (the page's script makes the same of its label)."""
    return name.lower().replace(" ", "-")


def _theme() -> gr.themes.Base:
    # System fonts: a page that works from a laboratory must not ask a font server.
    return gr.themes.Default(
        primary_hue="blue",
        neutral_hue="gray",
        font=["Inter", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "Menlo", "monospace"],
    ).set(  # gradio's own are too pale to be read by everybody
        body_text_color_subdued="*neutral_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
    )
