"""Run a function in one process or in all; an error in one of them is raised in all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from hf_sfda.errors import SfdaError

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")

_SET_BY_LAUNCHERS = (
    "LOCAL_RANK", "RANK", "WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE",
)  # fmt: skip
"""Environment variables from which accelerate learns that a process may not be alone."""


def is_main_process() -> bool:
    """Whether this process may log and write files; works before the process group is set up."""
    return os.environ.get("RANK", "0") == "0"


def is_launched() -> bool:
    """Whether a launcher, such as ``accelerate launch``, started this process, alone or as one of
    several. Without one, there is one process, and nothing need be imported to know that.
    """
    return any(os.environ.get(name) for name in _SET_BY_LAUNCHERS)


def from_main(accelerator: Accelerator | None, make: Callable[[], T]) -> T:
    """Call ``make`` in the main process; every process returns its result or raises its exception.

    Args:
        accelerator: The processes; ``None`` for one that no launcher started.
        make: The function. Its result and its exceptions must be picklable.
    """
    if accelerator is None or accelerator.num_processes == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    outcome: list[tuple[T | None, Exception | None]] = [(None, None)]
    if accelerator.is_main_process:
        try:
            outcome = [(make(), None)]
        except Exception as error:
            outcome = [(None, error)]
    broadcast_object_list(outcome)
    value, failure = outcome[0]
    if failure is not None:
        raise failure
    return value  # type: ignore[return-value]


def main_first(accelerator: Accelerator | None, make: Callable[[], T]) -> T:
    """Call ``make`` in the main process first and then in the others, which can use its caches.

    If it fails in the main process, all processes raise the error and the others do not call it.

    Args:
        accelerator: As for :func:`from_main`.
        make: The function.
    """
    if accelerator is None or accelerator.num_processes == 1:
        return make()
    results: list[T] = []

    def call() -> None:
        results.append(make())

    from_main(accelerator, call)
    return results[0] if results else make()


def in_all(accelerator: Accelerator, make: Callable[[], T]) -> T:
    """Call ``make`` in every process; if it fails in one of them, all raise.

    Without it, a process that fails alone goes on with something else while the others wait for it
    in the next exchange of values. ``make`` must not exchange values itself.

    Args:
        accelerator: The processes.
        make: The function.

    Returns:
        The result of this process.

    Raises:
        Exception: In a process where ``make`` failed, what it raised.
        SfdaError: In the others; it names a process that failed and its reason.
    """
    if accelerator.num_processes == 1:
        return make()
    from accelerate.utils import gather_object

    results: list[T] = []
    own: Exception | None = None
    try:
        results.append(make())
    except Exception as error:
        own = error
    reasons = gather_object([None if own is None else f"{type(own).__name__}: {own}"])
    if own is not None:
        raise own
    for rank, reason in enumerate(reasons):
        if reason is not None:
            raise SfdaError(f"Process {rank} failed: {reason}")
    return results[0]
