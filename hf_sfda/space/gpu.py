"""ZeroGPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_sfda.space.events import Event
    from hf_sfda.space.jobs import Job


def is_zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def register() -> None:
    """Placeholder until the next commit."""


def rank_on_gpu(job: Job, deadline: float) -> Iterator[Event | None]:
    """Placeholder until the next commit."""
    yield from job.run("rank", deadline)
