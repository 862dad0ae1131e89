"""The bench, and the count of a test's faults; ``tests/conftest.py`` prints the sum."""

from __future__ import annotations

import os
from collections.abc import Iterator

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
