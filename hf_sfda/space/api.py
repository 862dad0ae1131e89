"""The endpoints for programs: typed, documented, and the same answers as on the page."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from hf_sfda.errors import ConfigError, SfdaError
from hf_sfda.foreign import bounded
from hf_sfda.hub import redact
from hf_sfda.report.files import to_document
from hf_sfda.space.page import Page
from hf_sfda.space.requests import RankRequest, parse_models
from hf_sfda.space.results import board_name
from hf_sfda.space.state import JobState

_BEARER = "bearer "

Document = dict[str, Any]


def add_to(page: Page) -> None:
    """Register the endpoints, which are MCP tools, too, where gradio serves them."""

    def token_of(request: gr.Request) -> str | None:
        return _token(request) or page.backend.settings.visitor_token

    def leaderboard(  # noqa: D417  (gradio fills in the request)
        request: gr.Request, board: str = "", metric: str = ""
    ) -> Document:
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
            _need(str, board=board, metric=metric)
            view = page.backend.require_view(board or None, metric or None)
            names = [board_name(one) for one in page.backend.boards()]
            document = {"board": view.name, "boards": names, **to_document(view.ranking)}
        return _sent(request, document)

    def compare(  # noqa: D417
        request: gr.Request, board: str, first: str, second: str, metric: str = ""
    ) -> Document:
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
            _need(str, board=board, first=first, second=second, metric=metric)
            view = page.backend.require_view(board or None, metric or None)
            found, _ = page.backend.compare(view, first, second, token=token_of(request))
        return _sent(request, found.to_dict())

    def ensemble(  # noqa: D417
        request: gr.Request, board: str = "", size: int = 3
    ) -> Document:
        """Choose models of a board that are better together than the best one alone.

        Args:
            board: Name of the board, such as "org/dataset"; empty takes the first one.
            size: The most models to choose.

        Returns:
            The chosen models, each step with its gain and interval, and why it ended there.
        """
        with _told():
            _need(str, board=board)
            _need(int, size=size)
            view = page.backend.require_view(board or None)
            found = page.backend.ensemble(view, size=size, token=token_of(request))
        return _sent(request, found.to_dict())

    def rank(  # noqa: D417
        request: gr.Request,
        dataset: str,
        models: str = "",
        top: int = 8,
        samples: int = 1000,
        metric: str = "sfda_cv",
        split: str = "",
    ) -> Iterator[Document]:
        """Rank checkpoints for a dataset on the Hub, without fine-tuning. Takes minutes.

        Whoever hangs up or cancels ends it.

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
            The ranking as `hf-sfda rank --json` gives it. While it is made, whoever streams gets
            `stage`, `seconds` and `candidates`, each with `model`, `state` and `reason`.
        """
        with _told():
            _need(str, dataset=dataset, models=models, metric=metric, split=split)
            _need(int, top=top, samples=samples)
            asked = RankRequest(
                dataset=dataset,
                models=parse_models(models),
                top=top,
                samples=samples,
                metric=metric,
                split=split or None,
            )
            job = page.jobs.open(asked, token_of(request))
        try:
            # Yielding is how gradio ends a call: where nobody listens any more, it goes no further.
            for state in job.rank():
                if state.ranking is not None:
                    yield _sent(request, to_document(state.ranking))
                elif state.over:
                    said = state.error or "The ranking was cancelled."
                    raise gr.Error(said, print_exception=False)
                else:
                    yield _sent(request, _progress(state))
        finally:
            job.discard()

    for endpoint in (leaderboard, compare, ensemble):
        _add(endpoint, concurrency_id="score", concurrency_limit=2)
    _add(rank, concurrency_id="job", concurrency_limit=page.jobs.limits.queue)


def _add(endpoint: Callable[..., Document | Iterator[Document]], **options: Any) -> None:
    # gradio reads the type of what is returned as it stands, and here it stands as text.
    endpoint.__annotations__["return"] = Document
    gr.api(endpoint, api_description=inspect.getdoc(endpoint), **options)


@contextmanager
def _told() -> Iterator[None]:
    """Errors of ours are for whoever called."""
    try:
        yield
    except SfdaError as error:
        raise gr.Error(bounded(redact(str(error))), print_exception=False) from error


def _progress(state: JobState) -> Document:
    said = ("model", "state", "reason")
    return {
        "stage": state.stage,
        "seconds": state.seconds,
        "candidates": [{key: getattr(one, key) for key in said} for one in state.candidates],
    }


def _sent(request: gr.Request, document: Document) -> Document:
    """A document as the caller takes it: gradio gives MCP clients the ``str`` of what it gets."""
    if request.headers.get("x-gradio-user") == "mcp":
        text: Any = json.dumps(document, ensure_ascii=False)
        return text  # type: ignore[no-any-return]
    return document


def _need(kind: type, **given: object) -> None:
    """Refuse arguments of another type; gradio states the types, and does not check them."""
    for name, value in given.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(
                f"{name} is {value!r}; give {'a whole number' if kind is int else 'text'}."
            )


def _token(request: gr.Request) -> str | None:
    said = str(request.headers.get("x-hf-authorization") or "")
    return said[len(_BEARER) :].strip() or None if said.lower().startswith(_BEARER) else None
