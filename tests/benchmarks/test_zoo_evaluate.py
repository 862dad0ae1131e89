"""The comparison of scores with the truth: its numbers, and that the default follows from them."""

import numpy as np
import pytest

from benchmarks.zoo import evaluate, scores
from benchmarks.zoo.evaluate import Target
from hf_sfda.config import DEFAULT_METRICS
from hf_sfda.metrics.three_heads import three_heads
from hf_sfda.validate import mean_over_targets


def target(truth, **columns):
    scores = {
        name: {column: values[i] for column, values in columns.items() if values[i] is not None}
        for i, name in enumerate(truth)
    }
    return Target("t", truth, scores)


def test_regret_is_the_accuracy_that_the_first_pick_loses():
    made = target({"a": 0.9, "b": 0.7, "c": 0.5}, good=[3, 2, 1], bad=[1, 2, 3], tied=[1, 1, 0])
    assert made.regret(made.column("good")) == 0
    assert made.regret(made.column("bad")) == pytest.approx(40)
    assert made.regret(made.column("tied")) == pytest.approx(10), "the expected one of the two"
    assert made.tau(made.column("good")) == pytest.approx(1)
    assert made.tau(made.column("bad")) == pytest.approx(-1)


def test_a_missing_score_is_the_lowest():
    made = target({"a": 0.9, "b": 0.7, "c": 0.5}, some=[None, -5, -6])
    assert made.regret(made.column("some")) == pytest.approx(20)


def test_checkpoints_without_batch_norm_keep_published_features():
    made = target(
        {"a": 0.9, "b": 0.7}, **{"x/published/last": [1, 2], "x/measured/last": [3, None]}
    )
    assert made.column("x/measured/last").tolist() == [3, 2]


def test_the_static_list_never_sees_the_target():
    first = target({"a": 0.9, "b": 0.1}, s=[0, 0])
    second = target({"a": 0.1, "b": 0.9}, s=[0, 0])
    scores = evaluate.static_scores([first, second])
    assert first.tau(scores(first)) == pytest.approx(-1)


def test_the_interval_of_a_mean_is_as_wide_as_the_targets_differ():
    mean = mean_over_targets([0.5] * 8)
    assert mean.low == mean.high == 0.5
    mean = mean_over_targets([0.0, 1.0] * 8)
    assert 0.2 < mean.low < 0.5 < mean.high < 0.8


def test_the_default_is_what_the_committed_truth_chooses():
    targets = evaluate.read()
    assert len(targets) >= 10
    chosen = evaluate.leave_one_out(targets)
    assert [parts for parts, _, _ in chosen].count(evaluate.CHOSEN) > len(chosen) / 2
    heads = np.mean([t.tau(evaluate.three_heads(t)) for t in targets])
    assert heads > 0.79
    assert np.mean([t.regret(evaluate.three_heads(t)) for t in targets]) < 1
    for name in ("sfda_cv, all layers", "LogME, all layers", "logistic probe, all layers"):
        assert heads > np.mean([t.tau(t.column(evaluate.SHOWN[name])) for t in targets])
    assert three_heads.__name__ == DEFAULT_METRICS[0]


def test_the_noise_of_runs_comes_from_second_seeds():
    noise, pairs = evaluate.noise_of_runs()
    assert pairs >= 20
    assert 0 < noise < 0.05


def test_merging_scores_keeps_the_rows_that_were_scored_elsewhere(tmp_path):
    table = tmp_path / "scores.csv"
    table.write_text("checkpoint,target,knn,old\na,emoji,0.5,7\nb,letters,0.25,8\n")
    for folder, name in (("features", "a--emoji.npz"), ("features", "c--emoji.npz")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch()
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "a--emoji.json").write_text('{"knn": 0.75}')
    (tmp_path / "scores" / "c--emoji.json").write_text('{"knn": 0.123456789}')
    assert scores.collect(tmp_path, table) == 3
    rows = [
        "checkpoint,target,knn,old", "a,emoji,0.75,", "c,emoji,0.12346,", "b,letters,0.25,8"
    ]  # fmt: skip
    assert table.read_text().splitlines() == rows
    assert scores.collect(tmp_path, table) == 3, "again changes nothing"
    assert table.read_text().splitlines() == rows
