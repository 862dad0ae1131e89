"""Run a function in the main process for all processes; an error is raised in all of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")


def is_main_process() -> bool:
    """Whether this process may log and write files; works before the process group is set up."""
    return os.environ.get("RANK", "0") == "0"


def from_main(accelerator: Accelerator, make: Callable[[], T]) -> T:
    """Call ``make`` in the main process; every process returns its result or raises its exception.

    Args:
        accelerator: The processes.
        make: The function. Its result and its exceptions must be picklable.
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
    """Call ``make`` in the main process first and then in the others, which can use its caches.

    If it fails in the main process, all processes raise the error and the others do not call it.
    """
    if accelerator.num_processes == 1:
        return make()
    results: list[T] = []

    def call() -> None:
        results.append(make())

    from_main(accelerator, call)
    return results[0] if results else make()
