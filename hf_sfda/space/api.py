"""The API endpoints of the Space. They return the same results as the page."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from hf_sfda.config import DEFAULT_METRICS
from hf_sfda.errors import ConfigError, SfdaError
from hf_sfda.foreign import bounded
from hf_sfda.report.files import to_document
from hf_sfda.secrets import redact
from hf_sfda.space.events import JobState
from hf_sfda.space.page import Page
from hf_sfda.space.requests import RankRequest, parse_models
from hf_sfda.space.results import leaderboard_name

_BEARER = "bearer "

Document = dict[str, Any]


def add_to(page: Page) -> None:
    """Register the endpoints. If the server has MCP, they are MCP tools, too."""

    def token_of(request: gr.Request) -> str | None:
        return _token(request) or page.backend.settings.visitor_token

    def leaderboard(  # noqa: D417  (gradio fills in the request)
        request: gr.Request, board: str = "", metric: str = ""
    ) -> Document:
        """Get a leaderboard: which checkpoints to fine-tune on a dataset, best first.

        Args:
            board: Name of the leaderboard, such as "org/dataset"; by default the first one.
            metric: Metric to sort by, such as "sfda_cv"; by default the leaderboard's own metric.

        Returns:
            The document of `hf-sfda rank --json`: dataset, config, and one row per candidate with
            scores, intervals and tie group, or the reason why it has none; `finetuned`, the
            measured accuracies, if models were fine-tuned; `boards`, the names of all leaderboards;
            and `record`, how often their first pick was the best of the fine-tuned models.
        """
        with _visible_errors():
            _need(str, board=board, metric=metric)
            view = page.backend.require_view(board or None, metric or None)
            snapshot = page.backend.results.snapshot()
            document = {
                "board": view.name,
                "boards": [leaderboard_name(item) for item in snapshot.leaderboards],
                "record": snapshot.record.to_dict() if snapshot.record else None,
                **to_document(view.ranking),
            }
        return _encode(request, document)

    def compare(  # noqa: D417
        request: gr.Request, board: str, first: str, second: str, metric: str = ""
    ) -> Document:
        """Compare two ranked models of a leaderboard on the same samples.

        Args:
            board: Name of the leaderboard, such as "org/dataset"; by default the first one.
            first: Hub id of one model.
            second: Hub id of the other model.
            metric: Metric to compare by; by default the leaderboard's own metric.

        Returns:
            The paired difference (first minus second) with its interval, overall and for each
            class, and the samples on which the models differ most.
        """
        with _visible_errors():
            _need(str, board=board, first=first, second=second, metric=metric)
            view = page.backend.require_view(board or None, metric or None)
            comparison, _ = page.backend.compare(view, first, second, token=token_of(request))
        return _encode(request, comparison.to_dict())

    def ensemble(  # noqa: D417
        request: gr.Request, board: str = "", size: int = 3
    ) -> Document:
        """Select models of a leaderboard that together are better than the best single model.

        Args:
            board: Name of the leaderboard, such as "org/dataset"; by default the first one.
            size: Largest number of models to select.

        Returns:
            The selected models, the gain of each step with its interval, and why the selection
            ended.
        """
        with _visible_errors():
            _need(str, board=board)
            _need(int, size=size)
            view = page.backend.require_view(board or None)
            selection = page.backend.ensemble(view, size=size, token=token_of(request))
        return _encode(request, selection.to_dict())

    def rank(  # noqa: D417
        request: gr.Request,
        dataset: str,
        models: str = "",
        top: int = 8,
        samples: int = 1000,
        metric: str = DEFAULT_METRICS[0],
        split: str = "",
    ) -> Iterator[Document]:
        """Rank checkpoints for a dataset on the Hub, without fine-tuning. Takes minutes.

        The job ends if the client disconnects or cancels the call.

        Private datasets are read with the caller's own token. Send it in the header
        `X-HF-Authorization: Bearer TOKEN`, as gradio_client does with `Client(url, token=...)`.

        Args:
            dataset: Hub id, "org/name" or "org/name:config".
            models: Hub ids, one per line or separated by commas; by default the most downloaded
                models of the Hub.
            top: How many candidates the query of the Hub returns.
            samples: How many samples to use.
            metric: Metric to sort by.
            split: Split of the dataset; by default "train".

        Returns:
            The document of `hf-sfda rank --json`. Before it, a streaming client receives the
            progress: `stage`, `seconds` and `candidates`, each with `model`, `state` and `reason`.
        """
        with _visible_errors():
            _need(str, dataset=dataset, models=models, metric=metric, split=split)
            _need(int, top=top, samples=samples)
            rank_request = RankRequest(
                dataset=dataset,
                models=parse_models(models),
                top=top,
                samples=samples,
                metric=metric,
                split=split or None,
            )
            job = page.jobs.open(rank_request, token_of(request))
        try:
            # gradio stops a call at the next `yield` after its client has disconnected.
            for state in job.rank():
                if state.ranking is not None:
                    yield _encode(request, to_document(state.ranking))
                elif state.over:
                    message = state.error or "The ranking was cancelled."
                    raise gr.Error(message, print_exception=False)
                else:
                    yield _encode(request, _progress(state))
        finally:
            job.discard()

    for endpoint in (leaderboard, compare, ensemble):
        _add(endpoint, concurrency_id="score", concurrency_limit=2)
    _add(rank, concurrency_id="job", concurrency_limit=page.jobs.limits.queue)


def _add(endpoint: Callable[..., Document | Iterator[Document]], **options: Any) -> None:
    # gradio does not resolve annotations that are strings, so set the return type itself.
    endpoint.__annotations__["return"] = Document
    gr.api(endpoint, api_description=inspect.getdoc(endpoint), **options)


@contextmanager
def _visible_errors() -> Iterator[None]:
    """Show our own errors to the caller; gradio hides all others."""
    try:
        yield
    except SfdaError as error:
        raise gr.Error(bounded(redact(str(error))), print_exception=False) from error


def _progress(state: JobState) -> Document:
    keys = ("model", "state", "reason")
    return {
        "stage": state.stage,
        "seconds": state.seconds,
        "candidates": [{key: getattr(c, key) for key in keys} for c in state.candidates],
    }


def _encode(request: gr.Request, document: Document) -> Document:
    """The document, as JSON text for MCP clients: gradio would send them ``str(document)``."""
    if request.headers.get("x-gradio-user") == "mcp":
        text: Any = json.dumps(document, ensure_ascii=False)
        return text  # type: ignore[no-any-return]
    return document


def _need(kind: type, **arguments: object) -> None:
    """Check the type of arguments: gradio documents the types but does not check them.

    Raises:
        ConfigError: An argument has another type.
    """
    for name, value in arguments.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(
                f"{name} is {value!r}; give {'a whole number' if kind is int else 'text'}."
            )


def _token(request: gr.Request) -> str | None:
    header = str(request.headers.get("x-hf-authorization") or "")
    return header[len(_BEARER) :].strip() or None if header.lower().startswith(_BEARER) else None
