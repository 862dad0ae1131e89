"""Two processes, on one machine or on two, give what one process gives.

The two machines are two network namespaces that share the disk.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from hf_sfda.config import RankConfig
from hf_sfda.extract import extract_all, make_accelerator
from hf_sfda.extract.run import feature_key
from hf_sfda.journal import read_events
from hf_sfda.pipeline import run
from hf_sfda.ranking import race
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from tests.extract.distributed.cases import (
    CASES,
    KNOWN_CASES,
    KNOWN_ROWS,
    WAYS,
    candidates,
    race_config,
    samples_of,
    write_race,
    write_zoo,
)
from tests.extract.distributed.extract_everything import main
from tests.extract.distributed.launching import launch, launch_on_two_machines, same_features
from tests.targets import make_target

pytestmark = pytest.mark.slow

SCRIPT = "tests/extract/distributed/extract_everything.py"
CONFIG = RankConfig("me/test", batch_size=4)


@pytest.fixture(scope="module", params=["one machine", "two machines"])
def launched(request, tmp_path_factory):
    """The folder and what each of the two processes saw, from a single launch."""
    root = tmp_path_factory.mktemp("launch")
    write_zoo(root / "zoo")
    write_race(root)
    if request.param == "one machine":
        launch(main, root / "zoo", root)
    else:
        launch_on_two_machines(SCRIPT, root / "zoo", root)
    return root, [json.loads((root / f"{rank}.json").read_text()) for rank in (0, 1)]


def extract_alone(root, names, target, store):
    """What one process extracts."""
    zoo, accelerator = candidates(root / "zoo", names), make_accelerator(cpu=True)
    session = Session(store=store)
    return extract_all(zoo, target, config=CONFIG, session=session, accelerator=accelerator)


def together(launched, way):
    """(case, what process 0 saw, what process 1 saw) of one way to share work."""
    _, (main, other) = launched
    mine, theirs = ([run for run in report if run["way"] == way] for report in (main, other))
    assert len(mine) == len(theirs) == len(CASES)
    return zip(CASES, mine, theirs, strict=True)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_two_processes_give_the_features_of_one(case, launched, tmp_path):
    root, _ = launched
    modality, count, names = case
    target = make_target(samples_of(modality, count), modality)
    alone = FeatureStore(tmp_path)
    rows = extract_alone(root, names, target, alone)
    for way in WAYS:
        shared = FeatureStore(root / way)
        for row in rows:
            expected = alone.get(row.key)
            found = shared.get(feature_key(row.candidate, target, CONFIG))
            if row.candidate.model_id == "nan":
                assert (expected, found) == (None, None)
            elif row.candidate.model_id == "flaky" and found is None:
                continue  # whether process 1 ran it is up to the processes
            else:
                same_features(found, expected)
                assert len(found) == count


@pytest.mark.parametrize("way", WAYS)
def test_every_process_knows_every_answer_and_is_told_once(way, launched):
    for (_, _, names), mine, theirs in together(launched, way):
        assert mine["rows"] == theirs["rows"]
        assert [name for name, _, _ in mine["rows"]] == list(names)
        assert sorted(mine["heard"]) == sorted(theirs["heard"]) == sorted(names)


@pytest.mark.parametrize("way", WAYS)
def test_a_failure_in_one_process_is_a_row_in_all(way, launched):
    for (_, _, names), mine, theirs in together(launched, way):
        errors = {name: error for name, _, error in mine["rows"]}
        for name in names:
            if name == "nan":
                assert "holds NaN" in errors[name]
            elif name == "flaky" and name in theirs["opened"]:
                assert "lost its disk" in errors[name]
            else:
                assert errors[name] is None


def test_whole_models_are_opened_by_one_process_each(launched):
    helped = []
    for (_, _, names), mine, theirs in together(launched, "models"):
        assert sorted(mine["opened"] + theirs["opened"]) == sorted(names)
        helped += theirs["opened"]
    assert helped, "one process did all the work"


def test_samples_are_shared_out_and_each_is_run_once(launched):
    for (_, count, _), mine, theirs in together(launched, "samples"):
        assert mine["opened"] == theirs["opened"]
        one, two = mine["ran"][0], theirs["ran"][0]
        assert abs(one["batches"] - two["batches"]) <= 1
        assert sorted(one["rows"] + two["rows"]) == list(range(count))


def test_known_features_are_not_extracted_again(launched, tmp_path):
    root, _ = launched
    mine, theirs = (json.loads((root / f"{rank}-known.json").read_text()) for rank in (0, 1))
    assert mine == theirs
    n_known = sum(map(len, KNOWN_ROWS))
    # Batch norms are measured on all 11 samples, in every process that runs the network.
    expected = {"models": {"resnet": 3 * 11 - n_known}, "samples": {"resnet": 4 * 11 - n_known}}
    for way, rows in zip(WAYS, np.split(np.array(mine, dtype=object), len(WAYS)), strict=True):
        passes = {"vit": 11 - n_known, "bert": 11 - n_known, **expected[way]}
        assert {name: passes for name, _, passes in rows.tolist()} == passes
    for modality, count, names in KNOWN_CASES:
        target = make_target(samples_of(modality, count), modality)
        alone = FeatureStore(tmp_path / modality)
        rows = extract_alone(root, names, target, alone)
        for way in WAYS:
            for row in rows:
                found, expected_row = (
                    FeatureStore(root / f"{way}-known").get(row.key),
                    alone.get(row.key),
                )
                same_features(found, expected_row)
                assert list(found.measured) == list(expected_row.measured)
                for name, values in expected_row.measured.items():
                    np.testing.assert_allclose(found.measured[name], values, rtol=0, atol=1e-6)


def test_a_race_is_that_of_one_process(launched, tmp_path, monkeypatch):
    root, _ = launched
    monkeypatch.setattr(race, "ALPHA", 0.9)
    store = FeatureStore(tmp_path / "store")
    alone = run(race_config(root), Session(store=store), directory=tmp_path / "race")
    rows = [(row.model_id, row.status, row.reason) for row in alone.rows]
    assert "dropped by the race" in str(rows), "the race decides something"
    scores = [row.scores["three_heads"] for row in alone.ranked]
    for rank in (0, 1):
        document = json.loads((root / f"{rank}-race.json").read_text())
        assert [(row["model_id"], row["status"], row["reason"]) for row in document["rows"]] == rows
        ranked = document["rows"][: len(scores)]
        assert [row["scores"]["three_heads"] for row in ranked] == pytest.approx(scores)
    for name in ("race", "extracted"):
        mine, theirs = (read_events(d / "race", name) for d in (tmp_path, root))
        assert sum(e["passes"] for e in mine) == sum(e["passes"] for e in theirs) > 0


def test_no_claims_are_left_behind(launched):
    root, _ = launched
    for way in WAYS:
        assert not list((root / way).glob("claims/*"))
