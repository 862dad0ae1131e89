"""Pairs of texts, from the command line to the leaderboard."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from hf_sfda.publish.leaderboards import make_leaderboards, to_ranking
from hf_sfda.publish.rows import dump_rows, make_run, read_results
from hf_sfda.ranking.runs import load_ranked_target, read_ranking
from hf_sfda.types import TextPair
from tests import factories
from tests.command import run_command

OPTIONS = ("--resamples", "100", "--permutations", "2")
MODELS = ("--models", "one", "two")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with two models and a table: the second text has the topic of the first or not."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    food, space = factories.TOPICS["food"], factories.TOPICS["space"]
    with (folder / "nli.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["premise", "hypothesis", "label"])
        for i in range(60):
            words = (food, food if i % 2 else space)
            texts = [" ".join([*rng.choice(topic, 5), str(i)]) for topic in words]
            rows.writerow([*texts, "same" if i % 2 else "other"])
        rows.writerow(["", "bread", "same"])
    factories.tiny_bert(folder / "one", seed=1)
    factories.tiny_bert(folder / "two", seed=4)
    return folder


def rank(work, *options: str, code: int = 0) -> tuple[str, str]:
    return run_command("rank", "--dataset", "nli.csv", *OPTIONS, *options, cwd=work, code=code)


@pytest.fixture(scope="module")
def ranked(work):
    """What a run without --input-column says; its directory is ``run``."""
    return rank(work, *MODELS, "--out", "run", "--format", "human")


def test_pairs_are_ranked(work, ranked):
    _, err = ranked
    first = next(line for line in err.splitlines() if line.startswith("Target"))
    assert "nli.csv · text classification · 2 classes" in first
    assert "premise, hypothesis by label: other, same · 1 left out: empty text" in first
    ranking = read_ranking(work / "run")
    assert len(ranking.ranked) == 2 and ranking.dataset["input_column"] == "premise, hypothesis"
    warnings = " ".join(ranking.warnings)
    assert "The texts are read as pairs of 'premise' and 'hypothesis'." in warnings
    assert "not on pairs of texts" in warnings
    assert "premise, hypothesis" in (work / "run" / "report.html").read_text()


def test_what_was_assumed_is_said_before_the_run(work):
    """A wrong column is cheap to correct in the plan."""
    _, err = rank(work, *MODELS, "--plan", "--out", "planned")
    assert "The texts are read as pairs of 'premise' and 'hypothesis'." in " ".join(err.split())


def test_named_columns_are_the_same_pairs(work, ranked):
    rank(work, *MODELS, "--input-column", "premise,hypothesis", "--out", "named", "--quiet")
    inferred, named = read_ranking(work / "run"), read_ranking(work / "named")
    assert named.dataset["fingerprint"] == inferred.dataset["fingerprint"]
    assert [row.scores for row in named.ranked] == [row.scores for row in inferred.ranked]
    assert not any("are read as pairs" in text for text in named.warnings)
    run_command("rank", "--config", "named/config.yaml", "--quiet", cwd=work)
    assert read_ranking(work / "named").ranked == named.ranked


def test_one_column_is_another_target(work, ranked):
    rank(work, *MODELS, "--input-column", "premise", "--out", "single", "--quiet")
    pairs, single = read_ranking(work / "run"), read_ranking(work / "single")
    assert single.dataset["input_column"] == "premise"
    # Only the second text tells the class.
    for row in pairs.ranked:
        (alone,) = [other for other in single.ranked if other.model_id == row.model_id]
        assert row.scores["knn"] > alone.scores["knn"] + 0.2


def test_wrong_columns_are_refused(work):
    _, err = rank(work, *MODELS, "--input-column", "premise,hypothesis,label", code=1)
    assert "must name one column, or two different text columns" in " ".join(err.split())
    _, err = rank(work, *MODELS, "--input-column", "premise,hypotesis", code=1)
    assert "Did you mean 'hypothesis'?" in " ".join(err.split())


def test_compare_and_ensemble_read_a_run_of_pairs(work, ranked, monkeypatch):
    monkeypatch.chdir(work)
    target = load_ranked_target(read_ranking("run"))
    assert isinstance(target.samples[0], TextPair)
    out, _ = run_command("compare", "run", "one", "two", "--json")
    assert len(json.loads(out)["samples"]) > 0
    out, _ = run_command("ensemble", "run", "--json")
    assert json.loads(out)["n_samples"] == 60


def test_a_run_on_pairs_becomes_a_leaderboard(work, ranked, tmp_path):
    ranking = read_ranking(work / "run")
    (tmp_path / "rows.parquet").write_bytes(dump_rows(make_run(ranking).rows))
    (leaderboard,) = make_leaderboards(read_results(tmp_path / "rows.parquet", "rows.parquet"))
    again = to_ranking(leaderboard)
    assert [row.scores for row in again.ranked] == [row.scores for row in ranking.ranked]


def test_features_of_pairs_are_shared(hub, work, tmp_path):
    """Pairs have features of their own in a features dataset."""
    directory = str(tmp_path / "run")
    rank(work, *MODELS, "--out", directory, "--quiet")
    run_command("cache", "export", directory, "--to", "me/features", "--yes", cwd=work)
    again = str(tmp_path / "again")
    rank(work, "--features", "me/features", "--out", again, "--quiet")
    before, after = read_ranking(directory), read_ranking(again)
    assert [row.scores for row in after.ranked] == [row.scores for row in before.ranked]
    single = ("--input-column", "premise", "--features", "me/features")
    _, err = rank(work, *single, "--out", str(tmp_path / "single"), code=2)
    assert "holds no features of these 60 samples" in " ".join(err.split())


def test_pairs_can_be_raced(work):
    rank(work, *MODELS, "--race", "--keep", "1", "--out", "race", "--quiet")
    assert read_ranking(work / "race").ranked
