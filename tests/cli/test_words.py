"""Tags of words, from the command line to the leaderboard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hf_sfda.config import DEFAULT_METRICS, RankConfig
from hf_sfda.pipeline import config_for
from hf_sfda.publish.leaderboards import make_leaderboards, to_ranking
from hf_sfda.publish.rows import dump_rows, make_run, read_results
from hf_sfda.ranking.measurements import read_measurements
from hf_sfda.ranking.runs import load_ranked_target, read_ranking
from hf_sfda.report import render_html
from hf_sfda.report.resort import sorted_by
from hf_sfda.types import Word
from tests import factories
from tests.command import run_command

OPTIONS = ("--resamples", "100", "--permutations", "2")
MODELS = ("--models", "one", "two")
NAMES = ["O", "B-SEA", "B-FOOD"]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with two models and tagged sentences.

    Words of two topics have a tag, but only behind "of": the tag depends on the neighbour.
    """
    from datasets import ClassLabel, Dataset, Features, List, Value

    folder = tmp_path_factory.mktemp("words")
    rng = np.random.default_rng(0)
    sentences, tags = [], []
    for i in range(150):
        words = [str(word) for word in rng.choice(factories.FILLER, 6)]
        topic = i % 2
        words[2:4] = "of", str(rng.choice(factories.TOPICS[("sea", "food")[topic]]))
        words[5] = str(rng.choice(factories.TOPICS[("sea", "food")[int(rng.integers(2))]]))
        words[4] = "the"
        sentences.append(words)
        tags.append([0, 0, 0, 1 + topic, 0, 0])
    sentences.append(["the"])
    tags.append([-1])
    features = Features(
        {"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=NAMES))}
    )
    data = Dataset.from_dict({"tokens": sentences, "ner_tags": tags}, features=features)
    data.to_parquet(folder / "conll.parquet")
    factories.tiny_bert(folder / "one", seed=1)
    factories.tiny_bert(folder / "two", seed=4)
    return folder


def rank(work, *options: str, code: int = 0) -> tuple[str, str]:
    return run_command(
        "rank", "--dataset", "conll.parquet", *OPTIONS, *options, cwd=work, code=code
    )


@pytest.fixture(scope="module")
def ranked(work):
    """What a run without more options says; its directory is ``run``."""
    return rank(work, *MODELS, "--out", "run", "--format", "human")


def test_words_are_ranked(work, ranked):
    out, err = ranked
    first = next(line for line in err.splitlines() if line.startswith("Target"))
    assert (
        "conll.parquet · text token classification, since 'ner_tags' has one tag for each word of "
        "'tokens' · 3 tags · one word of each sentence · 150 of 151 train samples"
    ) in first
    assert "words of tokens by tags of ner_tags: O, B-SEA, B-FOOD" in first
    assert "1 left out: no word with a tag" in first
    assert "k-NN" in out and "R²" not in out
    ranking = read_ranking(work / "run")
    assert ranking.metric == "three_heads" and len(ranking.ranked) == 2
    assert ranking.config["metrics"] == list(DEFAULT_METRICS)
    for row in ranking.ranked:
        assert row.scores["logistic_probe"] > 0.6, "the word and its neighbour tell the tag"
        assert row.p_best is not None and row.expected_regret is None
    warning = "P(best) is not calibrated for tags of words:"
    assert any(text.startswith(warning) for text in ranking.warnings)
    page = (work / "run" / "report.html").read_text()
    assert "words of tokens by tags of ner_tags" in page and "R²" not in page


def test_named_columns_are_the_same_words(work, ranked):
    named = ("--task", "token", "--input-column", "tokens", "--label-column", "ner_tags")
    rank(work, *MODELS, *named, "--out", "named", "--quiet")
    inferred, named_run = read_ranking(work / "run"), read_ranking(work / "named")
    assert named_run.dataset["fingerprint"] == inferred.dataset["fingerprint"]
    assert [row.scores for row in named_run.ranked] == [row.scores for row in inferred.ranked]
    assert named_run.config["task"] == "token" and "task_reason" not in named_run.dataset
    run_command("rank", "--config", "named/config.yaml", "--quiet", cwd=work)
    assert read_ranking(work / "named").ranked == named_run.ranked


def test_words_are_scored_by_the_default_metrics(work):
    from hf_sfda import load_target

    target = load_target(str(work / "conll.parquet"))
    assert config_for(RankConfig("d"), target) == RankConfig("d")
    assert config_for(RankConfig("d", metric="knn"), target).metric == "knn"


def test_columns_that_hold_no_words_or_tags_are_refused(work):
    _, err = rank(work, *MODELS, "--task", "token", "--label-column", "tokens", code=1)
    assert "No column holds one tag for each word" in " ".join(err.split())
    _, err = rank(work, *MODELS, "--task", "regression", "--label-column", "ner_tags", code=1)
    assert "No column holds images, texts or sounds" in " ".join(err.split())


def test_compare_and_ensemble_read_a_run_of_words(work, ranked, monkeypatch):
    monkeypatch.chdir(work)
    target = load_ranked_target(read_ranking("run"))
    assert isinstance(target.samples[0], Word) and target.label_kind == "token"
    out, _ = run_command("compare", "run", "one", "two", "--json")
    comparison = json.loads(out)
    assert {row["name"] for row in comparison["classes"]} == set(NAMES)
    assert comparison["samples"][0]["sample_id"] in target.sample_ids
    out, _ = run_command("ensemble", "run", "--json")
    assert json.loads(out)["n_samples"] == 150


def test_a_run_on_words_becomes_a_leaderboard(work, ranked, tmp_path):
    ranking = read_ranking(work / "run")
    (tmp_path / "rows.parquet").write_bytes(dump_rows(make_run(ranking).rows))
    rows = read_results(tmp_path / "rows.parquet", "rows.parquet")
    assert {row["task"] for row in rows} == {"text-token-classification"}
    (leaderboard,) = make_leaderboards(rows)
    again = to_ranking(leaderboard)
    assert [row.scores for row in again.ranked] == [row.scores for row in ranking.ranked]
    assert any("not calibrated for tags of words:" in text for text in again.warnings)
    for other in (again, ranking):
        assert "R²" not in render_html(sorted_by(other, "knn"))


def test_features_of_words_are_shared(hub, work, tmp_path):
    """Words have features of their own in a features dataset."""
    directory = str(tmp_path / "run")
    rank(work, *MODELS, "--out", directory, "--quiet")
    run_command("cache", "export", directory, "--to", "me/features", "--yes", cwd=work)
    again = str(tmp_path / "again")
    rank(work, "--features", "me/features", "--out", again, "--quiet")
    before, after = read_ranking(directory), read_ranking(again)
    assert [row.scores for row in after.ranked] == [row.scores for row in before.ranked]
    other = ("--seed", "7", "--features", "me/features")
    _, err = rank(work, *other, "--out", str(tmp_path / "other"), code=2)
    assert "holds no features of these 150 samples" in " ".join(err.split())


def test_a_run_on_words_is_published(hub, api, work, ranked):
    run_command("publish", "run", "--to", "me/results", "--yes", cwd=work)
    card = Path(api.hf_hub_download("me/results", "README.md", repo_type="dataset")).read_text()
    assert "token classification" in card, card


@pytest.mark.slow
def test_words_can_be_raced_and_have_a_learning_curve(work):
    rank(work, *MODELS, "--race", "--keep", "1", "--out", "race", "--quiet")
    assert read_ranking(work / "race").ranked
    rank(work, *MODELS, "--learning-curve", "--out", "curve", "--quiet")
    assert read_ranking(work / "curve").learning_curve is not None


def test_finetuning_measures_the_ranked_words_and_saves_no_model(work, ranked):
    quick = ("--learning-rates", "1e-3", "--epochs", "2", "--top", "1", "--yes", "--save")
    _, err = run_command("finetune", "run", *quick, cwd=work, code=1)
    assert "a model for single words cannot be saved" in " ".join(err.split())
    [finetuned] = read_measurements(work / "run")
    (measurement,) = finetuned.measurements
    assert measurement.measure == "accuracy" and measurement.value > 0.6
