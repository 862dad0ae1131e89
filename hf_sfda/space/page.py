"""The state and the components that the tabs share: the chosen ranking and the visitor's job."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from hf_sfda.errors import SfdaError, StoreError
from hf_sfda.foreign import bounded
from hf_sfda.secrets import redact
from hf_sfda.space import fragments
from hf_sfda.space.backend import Backend, View, view_of
from hf_sfda.space.jobs import Job, Jobs
from hf_sfda.types import Ranking

logger = logging.getLogger(__name__)

OWN = "Your own ranking"
"""Name of a visitor's own ranking in the menu of leaderboards; it exists during their visit."""

AT_ONCE: dict[str, Any] = {"api_visibility": "private", "queue": False}
"""Options of the events that only show something; they do not wait in the queue.

gradio's queue can lose a result: its server closes a page's stream of results after the last one.
An event that joins the queue then, before the page knows, has no stream for its result. On a slow
network this happened to the first view: the sign-in button asks for its label at the same time.
"""

_MAX_RENDERED = 32
"""Number of rendered views in the cache; rendering a thousand models takes a second."""


@dataclass(frozen=True)
class SessionRanking:
    """A ranking that a visitor ran in their session.

    Attributes:
        ranking: The result.
        job: The job, which has the samples and the features until the visitor leaves.
    """

    ranking: Ranking
    job: Job


class Page:
    """The components that several tabs use, and the jobs of the current visitors.

    Args:
        backend: Reads and compares the leaderboards.
        jobs: Runs the visitors' jobs.

    Attributes:
        dataset: Menu of the leaderboards.
        metric: Menu of the metrics.
        own: State with the visitor's :class:`SessionRanking`, or ``None``.
    """

    def __init__(self, backend: Backend, jobs: Jobs) -> None:
        self.backend, self.jobs = backend, jobs
        self.dataset = gr.Dropdown(
            label="Dataset", scale=3, min_width=260, elem_id="dataset", render=False
        )
        self.metric = gr.Dropdown(label="Sort by", scale=1, elem_id="metric", render=False)
        self.own = gr.State(None, render=False)
        self._followers: list[tuple[Callable[[View | None], list[Any]], list[Any]]] = []
        self._rendered: dict[tuple[str | None, str, str], list[Any]] = {}
        self._visits: dict[str, Job] = {}
        self._uploads: dict[str, Path] = {}

    @property
    def choice(self) -> list[Any]:
        """The components whose values are the arguments of :meth:`look`."""
        return [self.dataset, self.metric, self.own]

    def follows(self, show: Callable[[View | None], list[Any]], *filled: Any) -> None:
        """Register a function that updates the components ``filled`` when the ranking changes."""
        self._followers.append((show, list(filled)))

    @property
    def filled(self) -> list[Any]:
        """All registered components, in the order of the values of :meth:`follow`."""
        return [component for _, filled in self._followers for component in filled]

    def follow(self, view: View | None) -> list[Any]:
        """The values of all registered components for a view; cached for leaderboards."""
        if view is None or view.leaderboard is None:
            return self._show(view)
        key = (view.commit, view.name, view.ranking.metric)
        if key not in self._rendered:
            while len(self._rendered) >= _MAX_RENDERED:
                self._rendered.pop(next(iter(self._rendered)), None)
            self._rendered[key] = self._show(view)
        return self._rendered[key]

    def warm_up(self) -> None:
        """Read the results and render the first leaderboard before the first visitor comes.

        Nothing is raised: a signal may end the server meanwhile, and what fails otherwise fails
        again for the first visitor, who sees the reason.
        """
        try:
            view = self.backend.view()
            if view is not None:
                self.follow(view)
        except Exception:
            logger.debug("The first leaderboard was not rendered ahead of time.", exc_info=True)

    def _show(self, view: View | None) -> list[Any]:
        return [value for show, _ in self._followers for value in show(view)]

    def look(
        self, dataset: str | None, metric: str | None, own: SessionRanking | None
    ) -> View | None:
        """The view of the chosen ranking."""
        if dataset == OWN and own is not None:
            return view_of(own.ranking, OWN, metric, folder=own.job.directory / "downloads")
        return self.backend.view(dataset, metric)

    def visitor(self, token: gr.OAuthToken | None) -> str | None:
        """The token for a visitor's actions: their own, never the one that reads the results."""
        return token.token if token else self.backend.settings.visitor_token

    def visit(self, session: str, job: Job | None) -> None:
        """Set the job of a visitor; discard their previous job with all its files."""
        before = self._visits.pop(session, None)
        if before is not None and before is not job:
            before.discard()
        if job is not None:
            self._visits[session] = job

    def job_of(self, session: str) -> Job | None:
        """The job of a visitor, or ``None``."""
        return self._visits.get(session)

    def uploaded(self, session: str, file: Path | None) -> None:
        """Set the uploaded file of a visitor; delete their previous file."""
        before = self._uploads.pop(session, None)
        if before is not None and before != file:
            before.unlink(missing_ok=True)
        if file is not None:
            self._uploads[session] = file

    def leave(self, request: gr.Request) -> None:
        """Discard the job and the upload of a visitor who closed the page."""
        self.visit(str(request.session_hash), None)
        self.uploaded(str(request.session_hash), None)


def explained(error: SfdaError, view: View | None = None) -> str:
    """An error as HTML; if features are missing, with a hint what to do on this page.

    Args:
        error: The error.
        view: The view that the visitor looked at.
    """
    if isinstance(error, StoreError) and view is not None and view.leaderboard is not None:
        data = view.ranking.dataset
        return fragments.error(
            "The results of this leaderboard contain no scores of single samples, and its features "
            f"are not on this server. Rank these models under “Rank my dataset” ({data['id']}, "
            f"{data['n_samples']:,} samples); then it works on your own ranking."
        )
    return fragments.error(bounded(redact(str(error))))
