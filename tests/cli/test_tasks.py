"""Regression and several labels a sample, from the command line to the leaderboard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hf_sfda.config import METRICS_OF, RankConfig
from hf_sfda.errors import ConfigError
from hf_sfda.metrics import get_metric
from hf_sfda.pipeline import config_for
from hf_sfda.publish.leaderboards import make_leaderboards, to_ranking
from hf_sfda.publish.rows import dump_rows, make_run, read_results
from hf_sfda.ranking.runs import read_ranking
from hf_sfda.report import render_html
from hf_sfda.report.resort import sorted_by
from tests import factories
from tests.command import run_command

WORDS = [factories.TOPICS[topic] for topic in ("food", "space", "money")]


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with two models and two datasets: shares of words, and topics of each text."""
    from datasets import ClassLabel, Dataset, Features, List, Value

    folder = tmp_path_factory.mktemp("tasks")
    rng = np.random.default_rng(0)
    values, tagged = [], []
    for i in range(120):
        n_food = int(rng.integers(0, 7))
        words = [*rng.choice(WORDS[0], n_food), *rng.choice(WORDS[1], 6 - n_food)]
        values.append({"text": f"{' '.join(words)} {i}", "score": 10 + n_food / 4})
        own = np.flatnonzero(rng.random(3) < (0.6, 0.4, 0.2))
        words = [word for topic in own for word in rng.choice(WORDS[topic], 3)]
        filler = " ".join(rng.choice(factories.FILLER, 4))
        tagged.append({"text": f"{' '.join(words)} {filler} {i}", "topics": own.tolist()})
    Dataset.from_list(values).to_parquet(folder / "values.parquet")
    names = ["food", "space", "money", "never"]
    features = Features({"text": Value("string"), "topics": List(ClassLabel(names=names))})
    Dataset.from_list(tagged, features=features).to_parquet(folder / "tagged.parquet")
    factories.tiny_bert(folder / "one", seed=1)
    factories.tiny_bert(folder / "two", seed=4)
    return folder


def rank(work: Path, dataset: str, *options: str, code: int = 0) -> tuple[str, str]:
    options = ("--resamples", "100", "--permutations", "2", *options)
    return run_command(
        "rank", "--dataset", dataset, "--models", "one", "two", *options, cwd=work, code=code
    )


@pytest.fixture(scope="module")
def runs(work):
    """The run directories of both tasks, ranked once."""
    for name in ("values", "tagged"):
        rank(work, f"{name}.parquet", "--out", f"runs/{name}", "--quiet")
    return {name: work / "runs" / name for name in ("values", "tagged")}


def test_defaults_sort_by_a_metric_that_is_native():
    for kind, names in METRICS_OF.items():
        first = get_metric(names[0])
        assert kind in first.tasks and kind not in first.by_classes
        assert all(kind in get_metric(name).tasks for name in names)
    assert RankConfig("d").for_labels("single-label") == RankConfig("d")
    assert "task" not in RankConfig("d").to_dict(), "as in the documents of earlier versions"


def test_own_metrics_stay(work):
    from hf_sfda import load_target

    target = load_target(str(work / "values.parquet"))
    config = config_for(RankConfig("d", metrics=("knn", "parc")), target)
    assert config.metric == "logme" and config.metrics == ("logme", "knn", "parc")
    assert config_for(RankConfig("d", metric="knn"), target).metric == "knn"
    with pytest.raises(ConfigError, match=r"leep cannot score regression labels; these can: .*knn"):
        config_for(RankConfig("d", metric="leep"), target)


def test_a_regression_is_ranked(work, runs):
    ranking = read_ranking(runs["values"])
    assert ranking.metric == "logme" and ranking.dataset["task"] == "text-regression"
    assert ranking.config["metrics"] == list(METRICS_OF["regression"])
    for row in ranking.ranked:
        assert set(row.scores) == {"logme", "linear_probe", "knn", "sfda_cv"}
        assert row.p_best is not None and row.expected_regret is None
        assert row.scores["linear_probe"] > 0.2, "the words tell the value"
        assert row.scores["logme"] > row.noise_floor
        assert not any("whole numbers" in str(warning) for warning in row.warnings)
    assert any("not calibrated for a regression:" in text for text in ranking.warnings)
    out, err = rank(work, "values.parquet", "--out", "runs/values", "--format", "human")
    assert "text regression, since 'score' holds fractional numbers · values from 10 to 11.5" in err
    assert "text by score" in err and "classes" not in err + out
    assert "ridge R²" in out and "k-NN R²" in out and "sfda_cv" in out
    page = (runs["values"] / "report.html").read_text()
    assert "ridge R²" in page and "How well the labels can be told" in page
    assert "classes come apart" not in page and "accuracy of a linear" not in page


def test_the_unit_of_the_values_does_not_matter(work, runs):
    from datasets import Dataset

    data = Dataset.from_parquet(str(work / "values.parquet"))
    other = data.map(lambda row: {"score": 5000 + 301.3 * row["score"]})
    other.to_parquet(work / "other.parquet")
    rank(work, "other.parquet", "--out", "runs/other", "--quiet")
    first, second = read_ranking(runs["values"]), read_ranking(work / "runs/other")
    for one, two in zip(first.ranked, second.ranked, strict=True):
        assert one.model_id == two.model_id
        for name in ("logme", "linear_probe", "knn"):
            assert one.scores[name] == pytest.approx(two.scores[name], abs=1e-6)


def test_several_labels_are_ranked(work, runs):
    ranking = read_ranking(runs["tagged"])
    assert ranking.dataset["task"] == "text-multi-label-classification"
    assert ranking.dataset["class_names"] == ["food", "space", "money"]
    assert ranking.dataset["left_out"]["empty list of labels"] > 0
    assert all(set(row.scores) == set(METRICS_OF["multi-label"]) for row in ranking.ranked)
    assert any("not calibrated for several labels a sample:" in text for text in ranking.warnings)
    assert any("never" in text for text in ranking.warnings), "a label that no sample has"
    out, _ = rank(work, "tagged.parquet", "--out", "runs/tagged", "--json")
    document = json.loads(out)
    assert document["dataset"]["n_classes"] == 3 and 1 < document["dataset"]["labels_per_sample"]


@pytest.mark.parametrize("name", ["values", "tagged"])
def test_published_rows_are_read_again_as_the_same_task(tmp_path, runs, name):
    """What is published is read again as the same task, and sorted by another metric."""
    ranking = read_ranking(runs[name])
    run = make_run(ranking)
    (tmp_path / "rows.parquet").write_bytes(dump_rows(run.rows))
    rows = read_results(tmp_path / "rows.parquet", "rows.parquet")
    assert {row["task"] for row in rows} == {ranking.dataset["task"]}
    (leaderboard,) = make_leaderboards(rows)
    again = to_ranking(leaderboard)
    assert [row.scores for row in again.ranked] == [row.scores for row in ranking.ranked]
    assert any("not calibrated for" in text for text in again.warnings)
    for other in (again, ranking):
        page = render_html(sorted_by(other, "knn"))
        assert "k-NN R²" in page and "classes" not in page.split("<script>")[0].split("</style>")[1]


@pytest.mark.parametrize("name", ["values", "tagged"])
def test_other_commands_take_the_task_or_refuse_it_by_name(runs, name):
    """They do it, or refuse the task by its name."""
    task = {"values": "regression", "tagged": "multi-label-classification"}[name]
    work = runs[name].parent.parent
    out, _ = run_command(
        "compare", str(runs[name]), "one", "two", "--metric", "knn", "--json", cwd=work
    )
    comparison = json.loads(out)
    assert comparison["classes"] == [] and comparison["interval"][0] < comparison["interval"][1]
    _, err = run_command("ensemble", str(runs[name]), code=2, cwd=work)
    assert f"This run is about text-{task}" in err
    plan, _ = run_command("finetune", str(runs[name]), "--json", cwd=work)
    assert len(json.loads(plan)["models"]) == 2


def test_a_regression_has_a_learning_curve(work, runs):
    rank(work, "values.parquet", "--out", "runs/curve", "--learning-curve", "--quiet")
    curve = read_ranking(work / "runs" / "curve").learning_curve
    assert curve is not None and curve.sizes[-1] == 60 and np.isfinite(curve.agreement).all()


def test_a_metric_that_cannot_score_a_regression_is_refused(work):
    _, err = rank(work, "values.parquet", "--metric", "nce", code=2)
    assert "nce cannot score regression labels" in err


def test_what_the_user_said_is_repeated(work):
    rank(work, "tagged.parquet", "--task", "multi-label", "--out", "runs/said", "--quiet")
    ranking = read_ranking(work / "runs" / "said")
    assert ranking.config["task"] == "multi-label" and "task_reason" not in ranking.dataset
    run_command("rank", "--config", "runs/said/config.yaml", "--quiet", cwd=work)
    assert read_ranking(work / "runs" / "said").ranked == ranking.ranked
