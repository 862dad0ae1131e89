"""The bench, and the count of faults at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.bench import Bench, Trials


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for all tests of a process."""
    made = Bench(tmp_path_factory.mktemp("faults"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Iterator[Trials]:
    """Counts the faults of a test, which fails if one was not survived."""
    counted = Trials()
    yield counted
    request.node.user_properties.append(("faults", (counted.tried, counted.survived)))
    assert not counted.failures, "\n\n".join(counted.failures[:20])


@pytest.fixture
def step() -> int:
    """Every how many-th fault is tried; ``HF_SFDA_FAULT_STEP`` makes a quick round."""
    return int(os.environ.get("HF_SFDA_FAULT_STEP", "1"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many faults were tried and survived."""
    kinds = ("", "passed", "failed", "error")  # "" is the end of a test that passed
    reports = [report for kind in kinds for report in terminalreporter.getreports(kind)]
    counts = {
        report.nodeid: value
        for report in reports
        for name, value in report.user_properties
        if name == "faults"
    }
    tried, survived = (sum(pair[i] for pair in counts.values()) for i in (0, 1))
    terminalreporter.write_line(f"Faults: {tried:,} tried, {survived:,} survived")
