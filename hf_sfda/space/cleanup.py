"""Periodic cleanup of a server: discard old jobs and limit the size of the caches."""

from __future__ import annotations

import logging
import threading

from hf_sfda.space import cache
from hf_sfda.space.jobs import Jobs

logger = logging.getLogger(__name__)

EVERY = 600.0
"""Seconds between two cleanups."""

OLDEST = 2 * 3600.0
"""Age in seconds at which a finished job is discarded, even if its visitor's page is open."""


def start_cleanup(jobs: Jobs, *, every: float = EVERY, oldest: float = OLDEST) -> threading.Event:
    """Clean up periodically, in a daemon thread.

    Args:
        jobs: The jobs of this server.
        every: Seconds between two cleanups.
        oldest: Age in seconds at which an idle job is discarded.

    Returns:
        An event that ends the thread when it is set.
    """
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(every):
            try:
                clean_up(jobs, oldest)
            except Exception:  # try again next time: without any cleanup the disk fills up
                logger.exception("The cleanup failed")

    threading.Thread(target=loop, name="cleanup", daemon=True).start()
    return stop


def clean_up(jobs: Jobs, oldest: float = OLDEST) -> None:
    """Clean up once. Caches are trimmed on a Space only; elsewhere they belong to the user."""
    jobs.sweep(oldest)
    if cache.on_a_space() and not jobs.busy:
        cache.trim(jobs.limits.cache_bytes)
