"""Two processes of ``accelerate launch`` give what one process gives."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hf_sfda.config import RankConfig
from hf_sfda.extract import extract_all, make_accelerator
from hf_sfda.store import FeatureKey, FeatureStore
from tests.distributed.cases import COUNTS, MODELS, WAYS, candidates, samples_of, write_zoo
from tests.targets import make_target

ROOT = Path(__file__).parents[2]
SCRIPT = "tests/distributed/extract_everything.py"


def launch(*arguments: object, processes: int = 2, timeout: float = 240) -> str:
    """Run a script under ``accelerate launch``; its output if it succeeds.

    Not with ``--cpu``, which starts a single process whatever ``--num_processes`` says: several
    processes on the CPU are started by the launcher for several GPUs.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", processes, "--num_machines", 1, "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", port, *arguments]
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """The folder and what each of the two processes saw, from a single launch."""
    root = tmp_path_factory.mktemp("launch")
    write_zoo(root / "zoo")
    launch(SCRIPT, root / "zoo", root)
    return root, [json.loads((root / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone(launched):
    """Features by (model, count), extracted in this process."""
    root, _ = launched
    store = FeatureStore(root / "alone")
    features = {}
    for modality, names in MODELS.items():
        for count in COUNTS:
            rows = extract_all(
                candidates(root / "zoo", names),
                make_target(samples_of(modality, count), modality),
                config=RankConfig("me/test", batch_size=4),
                store=store,
                accelerator=make_accelerator(cpu=True),
            )
            features |= {(row.candidate.model_id, count): store.get(row.key) for row in rows}
    return features


def runs(report, **wanted):
    return [run for run in report if all(run[key] == value for key, value in wanted.items())]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", COUNTS)
def test_two_processes_give_the_features_of_one(way, count, launched, alone):
    root, (main, _) = launched
    store = FeatureStore(root / way)
    compared = 0
    for run in runs(main, way=way, count=count):
        for (name, cached, error), digest in zip(run["rows"], run["digests"], strict=True):
            expected = alone[name, count]
            if name == "nan":
                assert "NaN" in error
                assert expected is None
            elif error is None:
                (path,) = (root / way).glob(f"*/{digest}.json")
                key = json.loads(path.read_text())["key"]
                found = store.get(FeatureKey(**key))
                assert list(found.stages) == list(expected.stages)
                for stage, values in expected.stages.items():
                    assert found.stages[stage].shape == (count, values.shape[1])
                    np.testing.assert_allclose(found.stages[stage], values, rtol=0, atol=1e-6)
                assert (found.source_logits is None) == (expected.source_logits is None)
                if expected.source_logits is not None:
                    np.testing.assert_allclose(
                        found.source_logits, expected.source_logits, rtol=0, atol=1e-6
                    )
                assert found.params == expected.params
                assert not cached
                compared += 1
    assert compared >= 3


def test_every_process_knows_every_answer(launched):
    _, (main, other) = launched
    assert len(main) == len(WAYS) * len(COUNTS) * len(MODELS)
    for mine, theirs in zip(main, other, strict=True):
        assert mine["rows"] == theirs["rows"]
        names = sorted(MODELS[mine["modality"]])
        assert sorted(mine["heard"]) == sorted(theirs["heard"]) == names


def test_a_failure_in_one_process_is_a_row_in_all(launched):
    _, reports = launched
    for report in reports:
        for run in runs(report, way="samples", modality="image"):
            errors = {name: error for name, _, error in run["rows"]}
            assert "lost its disk" in errors["flaky"]
            assert "NaN" in errors["nan"]
            assert errors["vit"] is errors["resnet"] is None


def test_whole_models_are_opened_once(launched):
    _, (main, other) = launched
    for mine, theirs in zip(runs(main, way="models"), runs(other, way="models"), strict=True):
        assert sorted(mine["opened"] + theirs["opened"]) == sorted(MODELS[mine["modality"]])
    helped = [run["opened"] for run in runs(other, way="models", modality="image")]
    assert any(helped), "one process did all the work"


def test_samples_are_shared_out_and_each_is_run_once(launched):
    _, (main, other) = launched
    count = COUNTS[-1]
    for modality in MODELS:
        (mine,) = runs(main, way="samples", modality=modality, count=count)
        (theirs,) = runs(other, way="samples", modality=modality, count=count)
        pairs = list(zip(mine["seen"], theirs["seen"], strict=False))
        assert pairs
        for one, two in pairs[:1]:
            assert len(one["batches"]) == len(two["batches"]) == 2
            assert sorted(one["rows"] + two["rows"]) == list(range(count))


def test_no_claims_are_left_behind(launched):
    root, _ = launched
    for way in WAYS:
        assert not list((root / way).glob("claims/*"))
