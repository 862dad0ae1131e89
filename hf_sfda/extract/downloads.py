"""While one model runs, the next one downloads."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

from hf_sfda.hub import download_model
from hf_sfda.progress import Progress
from hf_sfda.types import Candidate


class Downloads:
    """Fetches checkpoints in the background; an error waits for whoever asks for the folder.

    Args:
        token: Hub token.
        progress: Told the bytes as they arrive.
    """

    def __init__(self, token: str | None, progress: Progress) -> None:
        self._token = token
        self._progress = progress
        self._started: dict[Candidate, Future[Path]] = {}

    def start(self, candidate: Candidate) -> None:
        """Begin to fetch, unless that has begun already."""
        if candidate in self._started:
            return
        self._started[candidate] = Future()
        # A daemon, so that an interrupted run ends at once; the next one resumes the download.
        threading.Thread(target=self._fetch, args=(candidate,), daemon=True).start()

    def wait(self, candidate: Candidate) -> Path:
        """The folder, once it is whole.

        Raises:
            Exception: Whatever stopped the download.
        """
        self.start(candidate)
        return self._started[candidate].result()

    def _fetch(self, candidate: Candidate) -> None:
        future = self._started[candidate]
        try:
            future.set_result(download_model(candidate, token=self._token, progress=self._progress))
        except BaseException as error:
            future.set_exception(error)
