"""Measures of a prediction against fine-tuned accuracy, on published tables."""

from __future__ import annotations

import csv
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from hf_sfda.errors import ConfigError
from hf_sfda.validate import (
    mean_over_targets,
    recall,
    regret,
    static_list,
    tau_truth_sided,
    tau_two_sided,
)
from hf_sfda.validate.evaluate import difference
from hf_sfda.validate.over_targets import noise_ceiling
from hf_sfda.validate.truth import match, mean_over_seeds, read_seeds, run_noise

TABLES = Path(__file__).parents[2] / "benchmarks" / "ground_truth"
NAMES = {"pet": "pets"}
PUBLISHED = {
    "H-Score": 0.631,
    "NCE": 0.455,
    "LEEP": 0.522,
    "NLEEP": 0.634,
    "LogME": 0.508,
    "PACTranDirichlet": 0.701,
    "GBC": 0.400,
    "LFC": 0.207,
}


def read(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def truth() -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for row in read("supervised_cnn_11x11.csv"):
        table.setdefault(row["dataset"], {})[row["model"]] = float(row["accuracy"])
    return table


def test_the_static_list_of_the_published_cnns_has_the_published_tau():
    accuracies = np.array([list(models.values()) for models in truth().values()])
    taus = list(map(tau_two_sided, accuracies, static_list(accuracies)))
    assert np.mean(taus) == pytest.approx(0.837, abs=0.0005)


@pytest.mark.parametrize(("column", "expected"), PUBLISHED.items())
def test_ready_made_scores_of_the_published_cnns_have_the_published_tau(column, expected):
    table, scores = truth(), {}
    for row in read("model_spider_scores_10x8.csv"):
        dataset = NAMES.get(row["Dataset"].lower(), row["Dataset"].lower())
        scores.setdefault(dataset, {})[row["Model"]] = float(row[column])
    taus = [
        tau_two_sided(np.array([table[d][m] for m in s]), np.array(list(s.values())))
        for d, s in scores.items()
    ]
    assert len(taus) == 8
    assert np.mean(taus) == pytest.approx(expected, abs=0.0005)


@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_regret_and_recall_are_means_over_all_orders_of_the_tied(k):
    accuracy, score = np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.0, 1.0, 0.0, 0.0])
    orders = [o for o in permutations(range(4)) if o[0] == 1]
    lost = [0.9 - max(accuracy[list(o[:k])]) for o in orders]
    best = set(range(min(k, 4)))
    hits = [len(best & set(o[:k])) / min(k, 4) for o in orders]
    assert regret(accuracy, score, k) == pytest.approx(np.mean(lost))
    assert recall(accuracy, score, k) == pytest.approx(np.mean(hits))


def test_conventions_differ_where_the_score_has_another_order():
    accuracy, score = np.array([4.0, 3.0, 2.0, 1.0]), np.array([2.0, 3.0, 1.0, 4.0])
    assert tau_truth_sided(accuracy, score) != pytest.approx(tau_two_sided(accuracy, score))
    assert tau_truth_sided(accuracy, accuracy) == pytest.approx(1)
    assert tau_two_sided(accuracy, accuracy) == pytest.approx(1)


def test_one_target_has_no_interval():
    assert mean_over_targets([0.5, float("nan")]).low is None
    several = mean_over_targets([0.1, 0.5, 0.9])
    assert several.low < several.value < several.high


def test_truth_file_averages_seeds_and_names_match_by_their_last_part(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("target,checkpoint,accuracy\na,m,.5\na,m,.7\na,n,.1\n")
    assert mean_over_seeds(read_seeds(path))["a"] == {"m": pytest.approx(0.6), "n": 0.1}
    assert match(["acme/m", "x/n", "y/n"], ["m", "n"]) == {"acme/m": "m"}


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "target,model,accuracy\na,m,nan\n"])
def test_truth_files_that_cannot_be_judged_by_are_refused(tmp_path, text):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"truth\.csv"):
        read_seeds(path)


def test_differences_are_paired_on_the_models_that_both_scored():
    table = {t: {"a": 0.9, "b": 0.8, "c": 0.1} for t in ("x", "y")}
    good = {t: {"a": 3.0, "b": 2.0, "c": 1.0} for t in table}
    partial = {t: {"b": 2.0, "c": 1.0} for t in table}
    assert difference(table, good, partial, regret).value == pytest.approx(0)
    bad = {t: {"a": 1.0, "b": 2.0, "c": 1.0} for t in table}
    assert difference(table, bad, good, regret).value == pytest.approx(0.1)


def test_the_noise_of_a_run_is_pooled_over_repeated_pairs():
    seeds = {"a": {"m": [0.5, 0.7], "n": [0.4]}, "b": {"m": [0.1, 0.2, 0.3]}}
    assert run_noise(seeds) == pytest.approx(np.sqrt((0.02 + 0.02) / 3))
    assert run_noise({"a": {"m": [0.5]}}) is None
    rng = np.random.default_rng(0)
    many = {"a": {str(i): rng.normal(0.5, 0.03, 2).tolist() for i in range(2000)}}
    assert run_noise(many) == pytest.approx(0.03, rel=0.05)


def test_a_perfect_score_is_limited_by_noise():
    accuracies = 0.5 + 0.05 * np.arange(8)
    assert noise_ceiling(accuracies, 1e-9, tau_two_sided) == pytest.approx(1)
    assert 0.5 < noise_ceiling(accuracies, 0.05, tau_two_sided) < 0.95
    assert 0.001 < noise_ceiling(accuracies, 0.05, regret) < 0.05
