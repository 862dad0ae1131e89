"""Wait for another process or thread for as long as it takes: a busy machine is no fault."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 1200.0
"""Seconds. It only ends a test that would otherwise hang; no test is meant to come near it."""


def until(
    condition: Callable[[], T],
    problem: str | Callable[[], str] = "it never happened",
    pause: float = 0.05,
) -> T:
    """Wait until a condition holds.

    Args:
        condition: Called again and again.
        problem: What the test says if the condition never holds; or a function that returns it.
        pause: Seconds between two calls.

    Returns:
        The first true value of the condition.
    """
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, problem() if callable(problem) else problem
        time.sleep(pause)
    return value
