"""From features to rows: order, intervals, ties, floor, and what happens when a metric fails."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from hf_sfda.config import RankConfig
from hf_sfda.errors import MetricError
from hf_sfda.ranking.assemble import Scored, assemble, score_candidate
from hf_sfda.ranking.layers import layer_features
from hf_sfda.scoring import make_problem, permuted_scores
from hf_sfda.types import Candidate, Features, ModelRow, Ranking

LABELS = np.arange(240) % 4
NAMES = ("ant", "bee", "cow", "dog")


def features(separation: float, *, seed: int = 0, width: int = 24) -> Features:
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(4, width)) * separation
    early = rng.normal(size=(240, 8)) + 0.3 * means[LABELS][:, :8]
    last = rng.normal(size=(240, width)) + means[LABELS]
    return Features(
        {"stage1": early.astype(np.float32), "last": last.astype(np.float32)},
        params=1000,
        seconds=2.0,
    )


def scored(separations: dict[str, float], config: RankConfig) -> list[Scored]:
    return [
        score_candidate(
            Candidate(name, revision=name * 3, params=100 * (i + 1), downloads=5, license="mit"),
            features(separation, seed=i),
            LABELS,
            config,
            feature_key=f"key-{name}",
        )
        for i, (name, separation) in enumerate(separations.items())
    ]


def rows_of(separations: dict[str, float], **options: object) -> list[ModelRow]:
    config = RankConfig("d", **options)
    return assemble(scored(separations, config), LABELS, NAMES, config)[0]


def test_clearly_better_features_come_first_and_are_told_apart():
    rows = rows_of({"noise": 0.0, "good": 1.0, "poor": 0.3})
    assert [row.model_id for row in rows] == ["good", "poor", "noise"]
    assert [row.rank for row in rows] == [1, 2, 3]
    assert [row.tie_group for row in rows] == [1, 2, 3]
    assert rows[0].p_best == 1
    assert "noise floor" in " ".join(map(str, rows[2].warnings))
    assert "noise floor" not in " ".join(map(str, rows[0].warnings))
    for row in rows:
        low, high = row.intervals["three_heads"]
        assert low < row.scores["three_heads"] < high
        assert row.params == 100 * (["noise", "good", "poor"].index(row.model_id) + 1)
        assert (row.feature_dim, row.feature_key) == (32, f"key-{row.model_id}")
        assert row.samples_per_second == pytest.approx(120)
        assert {"knn", "logistic_probe"} <= set(row.intervals)


def test_no_interval_goes_beyond_the_highest_possible_score():
    (row,) = rows_of({"nearly perfect": 1.0}, resamples=300, permutations=0)
    assert 0.99 < row.scores["three_heads"] < 1, "else this test shows nothing"
    assert all(high <= 1 for _, high in row.intervals.values())
    assert row.intervals["three_heads"][0] < row.scores["three_heads"]


@pytest.mark.parametrize("metric", ["sfda_cv", "logistic_probe"])
def test_a_candidate_is_cast_and_rotated_once(metric, monkeypatch):
    rotations: list[torch.Size] = []
    rotate = torch.linalg.qr

    def counted(A: torch.Tensor, *args: object, **options: object) -> object:
        rotations.append(A.shape)
        return rotate(A, *args, **options)

    monkeypatch.setattr(torch.linalg, "qr", counted)
    wide = features(0.4, width=400)  # fewer samples than dimensions
    config = RankConfig("d", metric=metric, permutations=3)
    scored = score_candidate(Candidate("a"), wide, LABELS, config)
    assert scored.floor is not None
    assert rotations.count(torch.Size((408, 240))) == 1


def test_the_noise_floor_of_a_candidate_is_that_of_its_permuted_scores():
    config = RankConfig("d", metric="sfda_cv", permutations=3, seed=5)
    scored = score_candidate(Candidate("a"), features(0.4), LABELS, config)
    X = layer_features(features(0.4), LABELS, config.layers)
    problem = make_problem(X, LABELS, seed=5)
    permuted = permuted_scores(problem, n_permutations=3, folds=config.folds)
    assert scored.floor == permuted.max()


def test_the_same_checkpoint_under_two_names_is_a_tie():
    config = RankConfig("d")
    twins = [score_candidate(Candidate(n), features(0.4), LABELS, config) for n in ("a", "b")]
    rows, _, _ = assemble(twins, LABELS, NAMES, config)
    assert [row.tie_group for row in rows] == [1, 1]
    assert [row.p_best for row in rows] == [0.5, 0.5]
    assert [row.rank_interval for row in rows] == [(1, 2), (1, 2)]


@pytest.mark.parametrize("metric", ["logme", "hscore", "sfda", "knn", "logistic_probe"])
def test_every_metric_can_sort_and_has_error_bars(metric):
    rows = rows_of({"noise": 0.0, "good": 0.6}, metric=metric)
    assert rows[0].model_id == "good"
    low, high = rows[0].intervals[metric]
    assert low <= rows[0].scores[metric] <= high
    assert low < high
    assert rows[0].noise_floor is not None


def test_the_jackknife_survives_a_class_of_two():
    config = RankConfig("d", metric="logme", permutations=0)
    labels = np.array([0, 0] + [1, 2, 3] * 79 + [1])
    one = score_candidate(Candidate("a"), features(0.5), labels, config)
    assert one.contributions is not None
    assert np.isfinite(one.contributions).all()


def test_a_baseline_sorts_without_error_bars():
    rows = rows_of({"small": 0.6, "large": 0.0}, metric="params")
    assert [row.model_id for row in rows] == ["large", "small"]
    assert all(row.rank_interval is None and row.p_best is None for row in rows)
    assert all("params" not in row.intervals and row.noise_floor is None for row in rows)


def test_a_metric_that_compares_candidates_is_settled_over_the_pool():
    rows = rows_of({"noise": 0.0, "good": 0.8, "poor": 0.2}, metric="ncti")
    assert rows[0].model_id == "good"
    assert rows[0].scores["ncti"] > rows[1].scores["ncti"]
    assert all("ncti" not in row.intervals and row.p_best is None for row in rows)
    alone = rows_of({"good": 0.8}, metric="ncti")
    assert alone[0].scores["ncti"] == 0, "with nobody to compare with, there is nothing to say"


def test_metrics_of_the_source_head_sort_with_error_bars():
    def with_head(separation: float, seed: int) -> Features:
        made = features(separation, seed=seed)
        logits = made.last[:, :6] * 2
        return Features(made.layers, logits, params=1, seconds=1.0)

    config = RankConfig("d", metric="leep")
    both = [
        score_candidate(Candidate(name), with_head(separation, i), LABELS, config)
        for i, (name, separation) in enumerate({"noise": 0.0, "good": 1.0}.items())
    ]
    rows, _, _ = assemble(both, LABELS, NAMES, config)
    assert rows[0].model_id == "good"
    assert rows[0].intervals["leep"][0] > rows[1].intervals["leep"][1]
    with pytest.raises(MetricError, match="classification head"):
        score_candidate(Candidate("headless"), features(0.5), LABELS, config)


def test_a_metric_that_does_not_apply_is_left_out_with_a_word():
    config = RankConfig("d", metric="sfda_cv", metrics=("sfda_cv", "downloads"))
    rows, _, _ = assemble(
        [score_candidate(Candidate("local"), features(0.5), LABELS, config)], LABELS, NAMES, config
    )
    assert set(rows[0].scores) == {"sfda_cv"}
    assert [warning.metric for warning in rows[0].warnings] == ["downloads"]


def test_the_chosen_metric_must_exist_for_a_candidate():
    with pytest.raises(MetricError, match="downloads"):
        score_candidate(
            Candidate("local"), features(0.5), LABELS, RankConfig("d", metric="downloads")
        )


def test_views_differ_and_last_is_the_last():
    last = rows_of({"a": 0.5}, layers="last")[0]
    assert last.feature_dim == 24
    assert last.scores["sfda_cv"] != rows_of({"a": 0.5}, layers="all")[0].scores["sfda_cv"]


def test_no_permutations_no_floor_and_the_document_is_json():
    config = RankConfig("d", permutations=0)
    rows, agreement, warnings = assemble(
        scored({"a": 0.5, "b": 0.1}, config), LABELS, NAMES, config
    )
    assert rows[0].noise_floor is None
    dataset = {"id": "d", "fingerprint": "f", "n_samples": 60}
    ranking = Ranking(config.to_dict(), dataset, tuple(rows), tuple(warnings), agreement)
    text = json.dumps(ranking.to_dict(), allow_nan=False)
    again = Ranking.from_dict(json.loads(text))
    assert again.rows == ranking.rows
    assert again.to_dict() == ranking.to_dict()
    frame = ranking.to_pandas()
    assert list(frame["model_id"]) == ["a", "b"]
    assert {"score.sfda_cv", "low.sfda_cv", "rank_high"} <= set(frame.columns)
    assert ranking.metric == "three_heads"


def test_another_schema_version_is_refused():
    with pytest.raises(ValueError, match="schema version 99"):
        Ranking.from_dict({"schema_version": 99})


def test_a_ranking_of_nothing_is_empty():
    assert assemble([], LABELS, NAMES, RankConfig("d")) == ([], {}, [])
