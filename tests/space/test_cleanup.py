"""What the server does between visitors."""

from __future__ import annotations

import pytest

from hf_sfda.space import cache, cleanup
from hf_sfda.space.jobs import Jobs
from hf_sfda.space.limits import Limits
from hf_sfda.space.requests import RankRequest
from tests.waiting import until


@pytest.fixture
def jobs(tmp_path):
    jobs = Jobs(Limits(cache_bytes=123), tmp_path / "jobs")
    yield jobs
    jobs.close()


@pytest.fixture
def trimmed(monkeypatch):
    sizes: list[int] = []
    monkeypatch.setattr(cache, "trim", sizes.append)
    return sizes


def test_old_jobs_go_and_young_ones_stay(jobs, trimmed):
    old, young = (jobs.open(RankRequest(dataset="me/shapes")) for _ in range(2))
    old.created -= 100
    cleanup.clean_up(jobs, oldest=50)
    assert not old.directory.exists()
    assert young.directory.exists()


def test_caches_are_trimmed_on_a_space_alone_and_never_under_a_job(jobs, trimmed, monkeypatch):
    cleanup.clean_up(jobs)
    assert trimmed == [], "these would be a person's own caches"
    monkeypatch.setenv("SPACE_ID", "me/leaderboard")
    cleanup.clean_up(jobs)
    assert trimmed == [123]
    monkeypatch.setattr(Jobs, "busy", property(lambda self: True))
    cleanup.clean_up(jobs)
    assert trimmed == [123]


def test_rounds_go_on_after_one_that_failed(jobs, monkeypatch):
    rounds = []

    def failing(older_than: float) -> int:
        rounds.append(older_than)
        raise OSError("disk gone")

    monkeypatch.setattr(jobs, "sweep", failing)
    stop = cleanup.start_cleanup(jobs, every=0.01, oldest=7)
    until(lambda: len(rounds) >= 3)
    stop.set()
    assert rounds[:3] == [7, 7, 7]
