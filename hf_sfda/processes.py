"""What one process does for all of them, without ever leaving the others waiting."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


def is_main_process() -> bool:
    """Whether this process may speak and write; known before any process group is set up."""
    return os.environ.get("RANK", "0") == "0"


def from_main(accelerator: Accelerator, make: Callable[[], T]) -> T:
    """Call ``make`` in the main process; every process gets its result, or its exception.

    Args:
        accelerator: Knows the processes.
        make: Its result and its exceptions must be picklable.
    """
    if accelerator.num_processes == 1:
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


def main_first(accelerator: Accelerator, make: Callable[[], T]) -> T:
    """Call ``make`` in every process, in the main one first, so that the others find its caches.

    If it fails in the main process it is not called in the others, and raises in all.
    """
    if accelerator.num_processes == 1:
        return make()
    own: list[T] = []

    def first() -> None:
        own.append(make())

    from_main(accelerator, first)
    return own[0] if own else make()
