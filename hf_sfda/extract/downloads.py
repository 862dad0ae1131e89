"""Download the next checkpoint while a model runs."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

from hf_sfda.hub import download_model
from hf_sfda.session import Session
from hf_sfda.types import Candidate


class Downloads:
    """Downloads checkpoints in the background. An error is raised by :meth:`wait`.

    Args:
        session: Its token is used, and its progress shows the bytes as they arrive.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._started: dict[Candidate, Future[Path]] = {}

    def start(self, candidate: Candidate) -> None:
        """Start a download, unless it was started before."""
        if candidate in self._started:
            return
        self._started[candidate] = Future()
        # A daemon thread: an interrupted run ends at once, and the next one resumes the download.
        threading.Thread(target=self._fetch, args=(candidate,), daemon=True).start()

    def wait(self, candidate: Candidate) -> Path:
        """Wait for a download and return its folder.

        Raises:
            Exception: Any error of the download.
        """
        self.start(candidate)
        return self._started[candidate].result()

    def _fetch(self, candidate: Candidate) -> None:
        future = self._started[candidate]
        try:
            future.set_result(download_model(candidate, self._session))
        except BaseException as error:
            future.set_exception(error)
