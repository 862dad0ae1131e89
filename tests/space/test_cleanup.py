"""What the server does between visitors, and the caches that their jobs share."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from hf_sfda.space import cleanup
from hf_sfda.space.cleanup import on_a_space, trim
from hf_sfda.space.jobs import Jobs
from hf_sfda.space.requests import RankRequest
from hf_sfda.space.settings import Limits
from hf_sfda.store import FeatureKey, FeatureStore
from hf_sfda.types import Features
from tests import factories
from tests.waiting import until


@pytest.fixture
def jobs(tmp_path):
    jobs = Jobs(Limits(cache_bytes=123), tmp_path / "jobs")
    yield jobs
    jobs.close()


@pytest.fixture
def trimmed(monkeypatch):
    sizes: list[int] = []
    monkeypatch.setattr(cleanup, "trim", sizes.append)
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


def age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    for path in folder.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


@pytest.fixture
def caches(hub):
    """Two models, a dataset and a feature file; the oldest first."""
    from datasets import load_dataset
    from huggingface_hub import snapshot_download

    home = Path(os.environ["HF_HOME"])
    for name in ("old", "new"):
        hub.put(f"acme/{name}", {"weights.bin": os.urandom(50_000), "config.json": "{}"})
        snapshot_download(f"acme/{name}")
    factories.text_dataset(n_per_class=200).push_to_hub("me/topics", split="train")
    load_dataset("me/topics")
    key = FeatureKey("m", "i", "text", "float32", 128, 1)
    store = FeatureStore()
    store.put(key, Features({"last": np.ones((100, 50), np.float32)}))
    age(home / "hub" / "models--acme--old", 9000)
    age(store.root, 8000)
    age(home / "datasets", 7000)
    for kept in ("models--acme--new", "datasets--me--topics"):
        age(home / "hub" / kept, 10)
    return home, store, key


def there(home: Path, store: FeatureStore, key: FeatureKey) -> list[bool]:
    models = [(home / "hub" / f"models--acme--{name}").exists() for name in ("old", "new")]
    return [*models, store.has(key), bool(list((home / "datasets").rglob("*.arrow")))]


def test_what_was_used_longest_ago_goes_first_and_no_more_than_needed(caches):
    assert trim(10**9) == 0
    assert there(*caches) == [True] * 4
    assert trim(0, in_use=10**9) == 0, "everything is in use"
    home = caches[0]
    files = [path for path in home.rglob("*") if path.is_file() and not path.is_symlink()]
    everything = sum(path.stat().st_size for path in files)
    assert trim(everything - 30_000) >= 50_000
    assert there(*caches) == [False, True, True, True]


def test_what_is_in_use_stays_whatever_the_limit(caches):
    assert trim(0) > 0
    assert there(*caches) == [False, True, False, False]


def test_a_person_s_own_machine_is_no_space(monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert not on_a_space()
    monkeypatch.setenv("SPACE_ID", "me/leaderboard")
    assert on_a_space()


def test_parts_of_very_large_splits_are_removed_by_dataset(hub):
    from hf_sfda.dataset.remote import parts_root

    for name in ("old", "new"):
        part = parts_root() / f"me--{name}" / "commit" / "part"
        part.parent.mkdir(parents=True)
        part.write_bytes(bytes(50_000))
    age(parts_root() / "me--old", 9000)
    assert trim(60_000) == 50_000
    assert [folder.name for folder in parts_root().iterdir()] == ["me--new"]
