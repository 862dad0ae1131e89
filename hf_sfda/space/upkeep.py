"""What a server does between visitors: forget old jobs, keep the disk from filling up."""

from __future__ import annotations

import logging
import threading

from hf_sfda.space import cache
from hf_sfda.space.jobs import Jobs

logger = logging.getLogger(__name__)

EVERY = 600.0
"""Seconds between two rounds."""

OLDEST = 2 * 3600.0
"""Seconds after which a finished job goes even if its visitor's page is still open."""


def keep_tidy(jobs: Jobs, *, every: float = EVERY, oldest: float = OLDEST) -> threading.Event:
    """Tidy up again and again, in a thread that ends with the process.

    Args:
        jobs: Of this server.
        every: Seconds between two rounds.
        oldest: Seconds a job may last.

    Returns:
        Setting it ends the rounds.
    """
    stop = threading.Event()

    def rounds() -> None:
        while not stop.wait(every):
            try:
                tidy(jobs, oldest)
            except Exception:  # the next round may do better; without rounds the disk fills up
                logger.exception("Tidying up failed")

    threading.Thread(target=rounds, name="upkeep", daemon=True).start()
    return stop


def tidy(jobs: Jobs, oldest: float = OLDEST) -> None:
    """One round. Caches are trimmed on a Space only: elsewhere they are a person's own."""
    jobs.sweep(oldest)
    if cache.on_a_space() and not jobs.busy:
        cache.trim(jobs.limits.cache_bytes)
