"""The endpoints for programs: typed, documented, and the same answers as on the page."""

from __future__ import annotations

from collections import deque
from typing import Any

import gradio as gr

from hf_sfda.errors import SfdaError
from hf_sfda.hub import redact
from hf_sfda.report.files import to_document
from hf_sfda.space.page import Page
from hf_sfda.space.requests import RankRequest, parse_models
from hf_sfda.space.results import board_name

_BEARER = "bearer "


def add_to(page: Page) -> None:
    """Register the endpoints, which are MCP tools, too, where gradio serves them."""

    def leaderboard(board: str = "", metric: str = "") -> dict[str, Any]:
        """Look at a leaderboard: which checkpoints to fine-tune on a dataset, best first.

        Args:
            board: Name of the board, such as "org/dataset"; empty takes the first one.
            metric: What to sort by, such as "sfda_cv"; empty takes what the board was made with.

        Returns:
            The ranking as `hf-sfda rank --json` gives it: dataset, config, rows with scores,
            intervals, tie groups and the reasons of candidates that were left out; with `boards`,
            the names of all boards.
        """
        with _told():
            view = page.backend.require_view(board or None, metric or None)
            names = [board_name(one) for one in page.backend.boards()]
            return {"board": view.name, "boards": names, **to_document(view.ranking)}

    def compare(board: str, first: str, second: str, metric: str = "") -> dict[str, Any]:
        """Compare two ranked models of a board on the same samples.

        Args:
            board: Name of the board, such as "org/dataset"; empty takes the first one.
            first: Hub id of one model.
            second: Hub id of the other.
            metric: What to compare by; empty takes what the board was made with.

        Returns:
            The paired difference (first minus second) with its interval, the same for each
            class, and the samples on which the models differ most.
        """
        with _told():
            view = page.backend.require_view(board or None, metric or None)
            found, _ = page.backend.compare(
                view, first, second, token=page.backend.settings.visitor_token
            )
            return found.to_dict()

    def ensemble(board: str = "", size: int = 3) -> dict[str, Any]:
        """Choose models of a board that are better together than the best one alone.

        Args:
            board: Name of the board, such as "org/dataset"; empty takes the first one.
            size: The most models to choose.

        Returns:
            The chosen models, each step with its gain and interval, and why it ended there.
        """
        with _told():
            view = page.backend.require_view(board or None)
            found = page.backend.ensemble(
                view, size=size, token=page.backend.settings.visitor_token
            )
            return found.to_dict()

    def rank(  # noqa: D417  (gradio fills in the request)
        request: gr.Request,
        dataset: str,
        models: str = "",
        top: int = 8,
        samples: int = 1000,
        metric: str = "sfda_cv",
        split: str = "",
    ) -> dict[str, Any]:
        """Rank checkpoints for a dataset on the Hub, without fine-tuning. Takes minutes.

        Private datasets are read with the caller's own token, sent as the header
        `X-HF-Authorization: Bearer TOKEN` (gradio_client does it with `Client(url, token=...)`).

        Args:
            dataset: Hub id, "org/name" or "org/name:config".
            models: Hub ids, one a line or between commas; empty asks the Hub for popular ones.
            top: How many candidates to ask the Hub for.
            samples: How many samples to use.
            metric: What to sort by.
            split: Split of the dataset; empty takes "train".

        Returns:
            The ranking as `hf-sfda rank --json` gives it.
        """
        asked = RankRequest(
            dataset=dataset,
            models=parse_models(models),
            top=top,
            samples=samples,
            metric=metric,
            split=split or None,
        )
        with _told():
            job = page.jobs.open(asked, _token(request) or page.backend.settings.visitor_token)
            try:
                job.plan()
                state = deque(job.rank(), maxlen=1).pop()
            finally:
                job.discard()
        if state.ranking is None:
            raise gr.Error(state.error or "The ranking was cancelled.")
        return to_document(state.ranking)

    for endpoint in (leaderboard, compare, ensemble):
        gr.api(endpoint, concurrency_id="score", concurrency_limit=2)
    gr.api(rank, concurrency_id="job", concurrency_limit=page.jobs.limits.jobs)


class _told:  # noqa: N801  (a context manager)
    """Errors of ours are for whoever called."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, SfdaError):
            raise gr.Error(redact(str(error))) from error


def _token(request: gr.Request) -> str | None:
    said = str(request.headers.get("x-hf-authorization") or "")
    return said[len(_BEARER) :].strip() or None if said.lower().startswith(_BEARER) else None
