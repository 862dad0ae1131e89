"""The learning curve: does the order settle with more samples?"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import hf_sfda
from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError, MetricError
from hf_sfda.ranking.assemble import score_candidate, score_subsets
from hf_sfda.ranking.runs import read_ranking
from hf_sfda.report import render_html, render_plain, save_ranking, sorted_by
from hf_sfda.report.plots import figures
from hf_sfda.report.sentences import command
from hf_sfda.report.sentences import learning_curve as sentence
from hf_sfda.store import FeatureStore
from hf_sfda.types import Candidate, Features, LearningCurve
from hf_sfda.uncertainty import disjoint_samples, learning_curve
from tests import factories
from tests.report_fixture import example_ranking


def curve_of(gap: float, n: int = 800, repeats: int = 6) -> LearningCurve:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, n)
    per_sample = gap * np.arange(6)[:, None] + rng.normal(size=(6, n))
    samples = disjoint_samples(labels, repeats=repeats, seed=1)
    scores = np.array(
        [[[per_sample[:, i].mean(axis=1) for i in pair] for pair in samples[n]] for n in samples]
    )
    return learning_curve(list(samples), scores, per_sample.mean(axis=1))


def described(curve: LearningCurve) -> str:
    return sentence(replace(example_ranking(), learning_curve=curve))


def test_curve_tells_a_settled_order_from_a_moving_one():
    clear, unclear = curve_of(0.2), curve_of(0.0)
    assert clear.sizes == (25, 50, 100, 200, 400)
    assert clear.settled
    assert clear.top_kept[-1] == 1
    assert np.mean(clear.reproducibility[-1]) > np.mean(clear.reproducibility[0])
    assert clear.agreement[-1] > 0.95
    assert "has settled" in described(clear)
    assert not unclear.settled
    # Half samples agree with the whole they are part of, but not with each other.
    assert unclear.agreement[-1] > 0.3
    assert abs(np.mean(unclear.reproducibility[-1])) < 0.5
    assert "still moving" in described(unclear)


def test_samples_are_disjoint_stratified_and_seeded():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    samples = disjoint_samples(labels, sizes=[20, 50], repeats=3, seed=4)
    assert {size: len(pairs) for size, pairs in samples.items()} == {20: 3, 50: 3}
    for size, pairs in samples.items():
        for a, b in pairs:
            assert not set(a) & set(b)
            assert len(a) == len(b) == size
            for half in (a, b):
                share = np.bincount(labels[half], minlength=3) / len(half)
                assert np.abs(share - [0.6, 0.3, 0.1]).max() <= 0.1
    again = disjoint_samples(labels, sizes=[20, 50], repeats=3, seed=4)
    other = disjoint_samples(labels, sizes=[20, 50], repeats=3, seed=5)
    np.testing.assert_array_equal(samples[50], again[50])
    assert not np.array_equal(samples[50], other[50])


def test_curve_of_equal_models_has_no_order():
    curve = learning_curve([10, 20], np.ones((2, 3, 2, 4)), np.ones(4))
    assert not curve.settled
    assert "no order" in described(curve)
    assert "curve" not in figures(replace(example_ranking(), learning_curve=curve))


@pytest.mark.parametrize("sizes", [[1], [30]])
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(MetricError, match="between 2 and 20"):
        disjoint_samples(np.arange(40) % 2, sizes=sizes, seed=0)


def test_a_candidate_is_scored_anew_on_each_part():
    labels = np.arange(120) % 3
    rng = np.random.default_rng(0)
    features = Features(
        {"block": rng.normal(size=(120, 4)).astype(np.float32) + labels[:, None],
         "last": rng.normal(size=(120, 6)).astype(np.float32) + np.eye(3, 6)[labels]}
    )  # fmt: skip
    config = RankConfig("d", metric="sfda_cv", permutations=0)
    whole, half = np.arange(120), np.arange(60)
    scores = score_subsets(features, labels, [whole, half, half[:1]], config)
    scored = score_candidate(Candidate("a"), features, labels, config)
    assert scores[0] == scored.scores["sfda_cv"].value
    part = replace(features, layers={name: x[:60] for name, x in features.layers.items()})
    alone = score_candidate(Candidate("a"), part, labels[:60], config)
    assert scores[1] == alone.scores["sfda_cv"].value
    assert np.isnan(scores[2])  # one class


def test_a_run_measures_the_learning_curve_on_demand(tmp_path):
    factories.image_folder(tmp_path / "shapes", n_per_class=12, classes=2)
    zoo = [factories.tiny_vit(tmp_path / "vit"), factories.tiny_resnet(tmp_path / "resnet")]
    options = {"metric": "knn", "metrics": ["knn"], "permutations": 0}
    store = FeatureStore(tmp_path / "store")

    def run(models, **more):
        names = [str(model) for model in models]
        return hf_sfda.rank(str(tmp_path / "shapes"), names, store=store, **options, **more)

    plain = run(zoo)
    assert plain.learning_curve is None
    assert "learning_curve" not in plain.to_dict()
    ranking = run(zoo, learning_curve=True)
    assert ranking.learning_curve.sizes == (12,)
    assert len(ranking.learning_curve.reproducibility[0]) == 5
    assert [row.scores for row in ranking.rows] == [row.scores for row in plain.rows]
    assert ranking.config["fingerprint"] == plain.config["fingerprint"]
    assert "--learning-curve" in command(ranking).split()
    assert sentence(ranking)
    assert f"# {sentence(ranking)}" in render_plain(ranking).splitlines()

    again = read_ranking(save_ranking(ranking, tmp_path / "run"))
    assert json.loads((tmp_path / "run" / "ranking.json").read_text())["learning_curve"]
    assert repr(again.learning_curve) == repr(ranking.learning_curve)

    one = run(zoo[:1], learning_curve=True)
    assert one.learning_curve is None
    assert "There is no learning curve: It needs two ranked models." in one.warnings


def test_the_report_draws_the_learning_curve_of_the_metric_that_sorts():
    ranking = replace(example_ranking(), learning_curve=curve_of(0.2))
    page = render_html(ranking)
    assert 'id="plot-curve"' in page
    assert "The order has settled" in page
    figure = figures(ranking)["curve"]
    assert list(figure.data[1].x) == [25, 50, 100, 200, 400]
    assert len(figure.data[0].x) == 5 * 6
    other = sorted_by(ranking, "knn")
    assert other.learning_curve is None, "it was measured for the run's metric"
    assert 'id="plot-curve"' not in render_html(other)


@pytest.mark.parametrize("metric", ["params", "ncti"])
def test_metrics_without_a_curve_are_refused_before_any_work(metric):
    with pytest.raises(ConfigError, match=f"{metric} does not score each model on its own"):
        hf_sfda.rank("me/nowhere", "a/b", metric=metric, learning_curve=True)
