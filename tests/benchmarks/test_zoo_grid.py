"""The grid of the ground truth: its order, its rows, and a run over a tiny zoo."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.zoo import check, grid, run
from benchmarks.zoo.grid import Pair
from tests.factories import image_folder, tiny_resnet, tiny_vit
from tests.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
CHECKPOINTS = {"image": {"small": 1_000_000, "huge": 90_000_000}, "text": {"bert": 30_000_000}}
TARGETS = {
    "emoji": {"modality": "image", "train": 500},
    "fashion": {"modality": "image", "train": 200},
    "clipart": {"modality": "image", "train": 100},
    "injection": {"modality": "text", "train": 200},
}


def row(pair: Pair, **values) -> dict[str, str]:
    """A complete row."""
    plain = dict.fromkeys(grid.COLUMNS, "0")
    plain |= {
        "modality": pair.modality,
        "checkpoint": pair.checkpoint,
        "target": pair.target,
        "seed": str(pair.seed),
        "recipe": str(grid.RECIPE),
        "learning_rate": "0.0003",
        "accuracy": "0.5",
        "probe_accuracy": "0.4",
        "cpu_seconds": "10",
        "n_test": "100",
    }
    return plain | {name: str(value) for name, value in values.items()}


def test_the_grid_pairs_every_checkpoint_with_every_target_of_its_modality():
    order = grid.pairs(CHECKPOINTS, TARGETS, seeds=(0, 1), large=True)
    assert len(order) == len(set(order)) == 2 * (2 * 3 + 1)
    assert all(TARGETS[pair.target]["modality"] == pair.modality for pair in order)


def test_seeds_sizes_cores_and_searches_decide_the_order():
    checkpoints = {
        "image": {"middle": 2_000_000} | CHECKPOINTS["image"],
        "text": {"bert": 30 << 20},
    }
    order = grid.pairs(checkpoints, TARGETS, seeds=(0, 1), large=True)
    assert [pair.seed for pair in order] == [0] * 10 + [1] * 10
    first = [(pair.checkpoint, pair.target) for pair in order[:10]]
    assert first == [
        ("small", "fashion"),  # chooses the learning rate for this checkpoint
        ("bert", "injection"),
        ("small", "emoji"),
        ("middle", "fashion"),
        ("middle", "emoji"),
        ("small", "clipart"),  # not in the core
        ("middle", "clipart"),
        ("huge", "fashion"),
        ("huge", "emoji"),
        ("huge", "clipart"),
    ]
    assert not any(
        p.checkpoint == "huge" for p in grid.pairs(CHECKPOINTS, TARGETS, seeds=(0,), large=False)
    )


def test_a_pair_waits_for_the_learning_rate_of_its_checkpoint():
    order = grid.pairs(CHECKPOINTS, TARGETS, seeds=(0, 1), large=False)
    assert set(grid.eligible(order, {})) == {
        Pair(0, "image", "small", "fashion"),
        Pair(0, "text", "bert", "injection"),
    }
    search = Pair(0, "image", "small", "fashion")
    after = grid.eligible(order, {search: row(search)})
    assert search not in after
    assert Pair(1, "image", "small", "fashion") in after
    assert Pair(0, "image", "small", "clipart") in after


def test_new_rows_are_merged_and_rows_of_another_recipe_are_missing(tmp_path):
    truth = tmp_path / "truth.csv"
    old, new = Pair(0, "image", "b", "emoji"), Pair(0, "image", "a", "emoji")
    stale = Pair(0, "image", "c", "emoji")
    with truth.open("w", newline="") as file:
        writer = csv.DictWriter(file, grid.COLUMNS)
        writer.writeheader()
        writer.writerow(row(old))
        writer.writerow(row(stale, recipe=grid.RECIPE - 1))
    grid.write_row(tmp_path, row(new, accuracy=0.75))
    assert grid.collect(tmp_path, truth) == 2
    rows = grid.read_truth(truth)
    assert list(rows) == [new, old]
    assert rows[new]["accuracy"] == "0.75"
    assert grid.collect(tmp_path, truth) == 2  # again changes nothing


@pytest.fixture
def truth(tmp_path):
    """A file for measured rows."""
    return tmp_path / "truth.csv"


@pytest.fixture
def zoo(tmp_path):
    """Two tiny checkpoints and two tiny targets."""
    folder = tmp_path / "zoo"
    tiny_resnet(folder / "checkpoints/image/resnet")
    tiny_vit(folder / "checkpoints/image/vit")
    for name in ("emoji", "fashion"):
        for seed, (part, n) in enumerate((("train", 8), ("validation", 4), ("test", 6))):
            image_folder(folder / "targets" / name / part, n, seed=seed)
        about = {"name": name, "modality": "image", "train": 24, "flip": False, "sha256": "f" * 64}
        about["min_steps"] = 4  # two epochs would do, so the recipe's eight are run
        (folder / "targets" / name / "target.json").write_text(json.dumps(about))
    return folder


def everything(zoo):
    """Its pairs."""
    return grid.pairs(grid.checkpoints_in(zoo), grid.targets_in(zoo), seeds=(0,), large=False)


@pytest.mark.slow
def test_two_workers_measure_every_pair_once(zoo, truth):
    """Processes, not threads: transformers does not open two checkpoints at once in one process."""
    order = everything(zoo)
    assert len(order) == 4
    command = [sys.executable, "-m", "benchmarks.zoo.run", "--processes", "2"]
    done = subprocess.run(
        [*command, "--zoo", str(zoo), "--truth", str(truth)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("processor seconds") == 4, done.stdout
    assert "4 of 4 core pairs" in done.stdout
    rows = grid.read_truth(truth)
    assert set(rows) == set(order)
    for pair, measured in rows.items():
        assert 0 <= float(measured["low"]) < float(measured["high"]) <= 1
        assert int(measured["n_test"]) == 18
        tried = len(measured["validation"].split())
        assert tried >= 3 if pair.searches else tried == 1
        if not pair.searches:
            search = rows[grid.search_of(pair)]
            assert measured["learning_rate"] == search["learning_rate"]
    assert "Fine-tuned >= probe in" in check.report(rows)


@pytest.mark.slow
def test_a_broken_checkpoint_fails_alone(zoo, truth, capsys):
    (zoo / "checkpoints/image/vit/preprocessor_config.json").unlink()
    run.work(zoo, everything(zoo), 99, truth)
    printed = capsys.readouterr().out
    assert "vit--fashion--0: FAILED ExtractionError" in printed
    assert printed.count("processor seconds") == 2
    assert grid.collect(zoo, truth) == 2


@pytest.mark.slow
def test_a_paused_run_waits_until_it_is_resumed(zoo, truth, monkeypatch):
    monkeypatch.setattr(run, "_LOOK_SECONDS", 0.05)
    (zoo / "paused").touch()
    order = everything(zoo)[:1]
    worker = threading.Thread(target=run.work, args=(zoo, order, 1, truth), daemon=True)
    worker.start()
    time.sleep(1)
    assert worker.is_alive()
    assert not grid.read_new(zoo)
    run.main(zoo=zoo, resume=True)
    worker.join(timeout=PATIENCE)
    assert not worker.is_alive()
    assert set(grid.read_new(zoo)) == set(order)
    run.main(zoo=zoo, pause=True)
    assert (zoo / "paused").exists()


def test_the_check_counts_what_it_says():
    pairs = [Pair(seed, "image", name, "emoji") for seed in (0, 1) for name in "abcd"]
    rows = {pair: row(pair, accuracy=0.9 - 0.1 * "abcd".index(pair.checkpoint)) for pair in pairs}
    rows[pairs[3]] |= {"accuracy": "0.1", "probe_accuracy": "0.6"}
    assert check.reaches_probe([rows[p] for p in pairs[:4]]) == (3, 4)
    assert check.clearly_below_probe(list(rows.values())) == [rows[pairs[3]]]
    tau, n = check.seed_agreement(rows, "emoji")
    assert (tau, n) == (pytest.approx(1), 4)
    text = check.report(rows)
    assert "3 of 4 pairs (75%)" in text
    assert "d on emoji" in text
