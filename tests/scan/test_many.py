"""A scan of many repositories takes pages, waits when it is told to, and offline asks nobody."""

from __future__ import annotations

import math
import time

import pytest
from huggingface_hub import constants

from hf_sfda import RankConfig
from hf_sfda.config import CandidateOptions
from hf_sfda.errors import ScanError
from hf_sfda.pipeline import run
from hf_sfda.scan import scan_candidates
from hf_sfda.scan.query import PIPELINE_TAGS
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from tests import factories

NUMBER, PAGE = 300, 25
TAGS = len(PIPELINE_TAGS["image"])


@pytest.fixture
def crowd(hub):
    """Many models in pages; all have the tag that is asked for first."""
    for n in range(NUMBER):
        files = factories.model_files(tags=["even" if n % 2 == 0 else "odd"])
        hub.put(f"org{n % 9}/m{n:04d}", files, downloads=NUMBER - n)
    hub.state.page_size = PAGE
    hub.requests.clear()
    return hub


@pytest.mark.parametrize(
    ("options", "usable", "pages"),
    [
        ({}, 20, 1),
        ({"candidates": "all"}, NUMBER, NUMBER // PAGE),
        ({"candidates": "all", "author": ["org4"]}, math.ceil((NUMBER - 4) / 9), 2),
        ({"candidates": "all", "license": ["apache-2.0", "isc"]}, 0, NUMBER // PAGE),
        ({"license": ["permissive"], "exclude": "org[1-8]/*"}, 20, 7),
        ({"top": 100}, 100, 4),
    ],
)
def test_a_scan_takes_pages_and_no_call_a_model(crowd, options, usable, pages):
    scan = scan_candidates((), CandidateOptions(**options), modality="image")
    assert sum(candidate.skip is None for candidate in scan.candidates) == usable
    assert {request.path for request in crowd.requests} == {"/api/models"}
    empty = TAGS - 1  # a page of each tag that no model has
    assert len(crowd.requests) == pages + empty


def test_diverse_asks_for_few_hashes(crowd):
    options = CandidateOptions(candidates="diverse", top=5)
    scan = scan_candidates((), options, modality="image")
    assert sum(candidate.skip is None for candidate in scan.candidates) == 5
    hashes = [request for request in crowd.requests if request.path != "/api/models"]
    assert len(hashes) == 10, "the weights of all are equal, and two a wanted model are compared"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_page_in_the_middle_may_fail_for_a_while(crowd, monkeypatch, status):
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    headers = {"RateLimit": '"api";r=0;t=7'} if status == 429 else None
    crowd.faults.add(path_regex="^/api/models$", status=status, skip=5, times=2, headers=headers)
    scan = scan_candidates((), CandidateOptions(candidates="all"), modality="image")
    assert len(scan.candidates) == NUMBER
    assert len(slept) == 2
    assert status != 429 or min(slept) >= 7, "as long as the Hub asks for"


def test_offline_a_run_touches_no_network(hub, tmp_path, monkeypatch):
    hub.put("acme/vit", factories.tiny_vit(tmp_path / "vit"))
    options = {
        "dataset": str(factories.image_folder(tmp_path / "data")), "models": ("acme/vit",),
        "metric": "knn", "metrics": ("knn",),
    }  # fmt: skip
    session = Session(store=FeatureStore(tmp_path / "store"))
    online = run(RankConfig(**options, samples=30), session)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = run(RankConfig(**options, samples=30), session)
    fewer = run(RankConfig(**options, samples=20), session)
    assert again.rows[0].scores == online.rows[0].scores
    assert fewer.rows[0].status == "ok"
    with pytest.raises(ScanError, match="HF_HUB_OFFLINE is set"):
        scan_candidates((), CandidateOptions(candidates="all"), modality="image")
    assert hub.requests == []
