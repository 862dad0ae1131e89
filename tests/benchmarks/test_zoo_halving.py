"""What the stored rounds of successive halving say, from rows made up by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.zoo import evaluate, grid, halving
from benchmarks.zoo.halving import Brief


@pytest.fixture(scope="module")
def fashion():
    return next(target for target in evaluate.read() if target.name == "fashion")


def rounds_that_rank(target, accuracies):
    """A row for each checkpoint of each round, with these validation accuracies."""
    rounds, *_ = halving.rounds_of(target)
    return [
        Brief("fashion", r.n_train, r.epochs, model, accuracies[model], 1e-4, 10, 2.0, "cpu")
        for r in rounds
        for model in target.checkpoints
    ]


def test_rounds_that_know_the_truth_lose_nothing(fashion):
    truth = dict(zip(fashion.checkpoints, fashion.truth.tolist(), strict=True))
    result = halving.result_of(fashion, rounds_that_rank(fashion, truth))
    assert result.regret == 0
    assert set(result.finalists) == set(sorted(truth, key=truth.get)[-2:])
    assert [round_.models for round_ in result.rounds] == [24, 12, 6, 3]


def test_rounds_that_are_wrong_cost_what_the_truth_says(fashion):
    truth = dict(zip(fashion.checkpoints, fashion.truth.tolist(), strict=True))
    result = halving.result_of(
        fashion, rounds_that_rank(fashion, {m: -a for m, a in truth.items()})
    )
    lowest = sorted(truth.values())
    assert result.regret == pytest.approx(100 * (lowest[-1] - lowest[1]))


def test_the_share_counts_every_round_and_the_finalists(fashion):
    truth = dict(zip(fashion.checkpoints, fashion.truth.tolist(), strict=True))
    result = halving.result_of(fashion, rounds_that_rank(fashion, truth))
    whole = {
        pair.checkpoint: float(row["cpu_seconds"])
        for pair, row in grid.read_truth().items()
        if pair.target == "fashion" and pair.searches
    }
    # 24 + 12 + 6 + 3 trainings of two seconds each, and two by the whole recipe.
    spent = 45 * 2.0 + sum(whole[model] for model in result.finalists)
    assert result.cpu_share == pytest.approx(spent / sum(whole.values()))


def test_a_round_that_is_not_finished_gives_no_result(fashion):
    rows = rounds_that_rank(fashion, dict.fromkeys(fashion.checkpoints, 0.5))
    assert halving.result_of(fashion, rows[1:]) is None
    assert halving.result_of(fashion, [replace(row, target="emoji") for row in rows]) is None


def test_rows_come_back_as_they_were_stored(fashion, tmp_path):
    rows = rounds_that_rank(fashion, dict.fromkeys(fashion.checkpoints, 0.25))
    halving.write(rows, tmp_path / "halving.csv")
    assert halving.read(tmp_path / "halving.csv") == rows
    assert halving.read(tmp_path / "missing.csv") == []
