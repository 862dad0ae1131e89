"""What the tabs share: who looks at which ranking, and with whose token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from hf_sfda.errors import SfdaError, StoreError
from hf_sfda.foreign import bounded
from hf_sfda.hub import redact
from hf_sfda.space import fragments
from hf_sfda.space.backend import Backend, View, view_of
from hf_sfda.space.jobs import Job, Jobs
from hf_sfda.types import Ranking

OWN = "Your own ranking"
"""What a visitor's ranking is called among the boards; it lasts as long as their visit."""


_REMEMBERED = 32
"""Views kept as they are shown; a board of a thousand models takes a second to make."""


@dataclass(frozen=True)
class Own:
    """A ranking that a visitor had made here.

    Attributes:
        ranking: The result.
        job: Has its samples and features, until the visitor leaves.
    """

    ranking: Ranking
    job: Job


class Page:
    """The components that more than one tab needs, and who visits.

    Args:
        backend: Answers about boards.
        jobs: Runs what visitors ask for.

    Attributes:
        dataset: Which board.
        metric: Which order.
        own: State: :class:`Own`, or ``None``.
    """

    def __init__(self, backend: Backend, jobs: Jobs) -> None:
        self.backend, self.jobs = backend, jobs
        self.dataset = gr.Dropdown(
            label="Dataset", scale=3, min_width=260, elem_id="dataset", render=False
        )
        self.metric = gr.Dropdown(label="Sort by", scale=1, elem_id="metric", render=False)
        self.own = gr.State(None, render=False)
        self._followers: list[tuple[Callable[[View | None], list[Any]], list[Any]]] = []
        self._shown: dict[tuple[str | None, str, str], list[Any]] = {}
        self._visits: dict[str, Job] = {}
        self._uploads: dict[str, Path] = {}

    @property
    def choice(self) -> list[Any]:
        """The inputs that :meth:`look` takes."""
        return [self.dataset, self.metric, self.own]

    def follows(self, show: Callable[[View | None], list[Any]], *filled: Any) -> None:
        """Have ``filled`` made anew by ``show`` whenever another ranking is looked at."""
        self._followers.append((show, list(filled)))

    @property
    def filled(self) -> list[Any]:
        """The components that :meth:`follow` fills."""
        return [component for _, filled in self._followers for component in filled]

    def follow(self, view: View | None) -> list[Any]:
        """What all of them show of a view; of a board, made once for all who look at it."""
        if view is None or view.board is None:
            return self._show(view)
        key = (view.commit, view.name, view.ranking.metric)
        if key not in self._shown:
            while len(self._shown) >= _REMEMBERED:
                self._shown.pop(next(iter(self._shown)), None)
            self._shown[key] = self._show(view)
        return self._shown[key]

    def warm_up(self) -> None:
        """Read the results and make the first board, so that no visitor waits for either."""
        view = self.backend.view()
        if view is not None:
            self.follow(view)

    def _show(self, view: View | None) -> list[Any]:
        return [value for show, _ in self._followers for value in show(view)]

    def look(self, dataset: str | None, metric: str | None, own: Own | None) -> View | None:
        """The ranking that is looked at."""
        if dataset == OWN and own is not None:
            return view_of(own.ranking, OWN, metric, folder=own.job.directory / "downloads")
        return self.backend.view(dataset, metric)

    def visitor(self, token: gr.OAuthToken | None) -> str | None:
        """What a visitor acts with: their own token, never the server's."""
        return token.token if token else self.backend.settings.visitor_token

    def visit(self, session: str, job: Job | None) -> None:
        """Remember the one job a visitor has; the one before it is forgotten with all its files."""
        before = self._visits.pop(session, None)
        if before is not None and before is not job:
            before.discard()
        if job is not None:
            self._visits[session] = job

    def job_of(self, session: str) -> Job | None:
        """The job of a visitor."""
        return self._visits.get(session)

    def uploaded(self, session: str, file: Path | None) -> None:
        """Remember the one file a visitor uploaded; the one before it is deleted."""
        before = self._uploads.pop(session, None)
        if before is not None and before != file:
            before.unlink(missing_ok=True)
        if file is not None:
            self._uploads[session] = file

    def leave(self, request: gr.Request) -> None:
        """A visitor is gone: stop and forget what they had."""
        self.visit(str(request.session_hash), None)
        self.uploaded(str(request.session_hash), None)


def explained(error: SfdaError, view: View | None = None) -> str:
    """An error as a piece of the page; with a way on, where there is one on this page.

    Args:
        error: What happened.
        view: What was looked at.
    """
    if isinstance(error, StoreError) and view is not None and view.board is not None:
        data = view.ranking.dataset
        return fragments.error(
            "The results of this board do not hold what that takes, and its features are not on "
            f"this server. Rank these models under “Rank my dataset” ({data['id']}, "
            f"{data['n_samples']:,} samples); then it works on your own ranking."
        )
    return fragments.error(bounded(redact(str(error))))
