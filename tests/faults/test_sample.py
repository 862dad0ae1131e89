"""A few of the faults of ``tests/faults``; ``make test-faults`` tries all of them.

CI tries each kind: kills in the middle, at the end and at a request, a full disk and an ill Hub.
"""

from __future__ import annotations

import re

import pytest

from tests.faults.bench import HUB_FAULTS, Bench, Rank

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rank(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("faults"))
    try:
        yield Rank(bench)
    finally:
        bench.close()


def place(rank: Rank, pattern: str) -> int:
    """The first change of a file that looks so."""
    return next(n for n, change in enumerate(rank.changes) if re.search(pattern, change))


@pytest.mark.parametrize(
    "pattern",
    [
        r"rename .*/trees/",
        r"rename .*/features/.*\.safetensors\.",
        r"open .*/features/.*\.json\.",
        r"rename .*/\.ranking\.json\.",
    ],
)
def test_after_a_kill_at_a_write_the_same_command_completes(rank, trials, pattern):
    with trials.one(f"killed before {pattern}"):
        rank.strike(kill=place(rank, pattern))


def test_after_a_kill_at_a_request_the_same_command_completes(rank, trials):
    with trials.one("killed at a request"):
        rank.strike(kill_answer=rank.requests // 2)


@pytest.mark.parametrize("pattern", [r"open .*/features/.*\.safetensors\.", r"\.ranking\.csv\."])
def test_after_a_full_disk_the_same_command_completes(rank, trials, pattern):
    with trials.one(f"the disk is full from {pattern} on"):
        rank.strike(full=place(rank, pattern))


@pytest.mark.parametrize("name", ["wrong bytes of the right length", "429, wait for years"])
def test_an_ill_hub_leaves_nothing_half_done(rank, trials, name):
    with trials.one(name):
        rank.strike_hub(rank.requests // 2, None, **HUB_FAULTS[name])
