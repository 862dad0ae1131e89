"""Two models of a run directory: by the command, on what ``rank`` left behind."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import hf_sfda
from hf_sfda.cli import app
from hf_sfda.compare import compare_for_ranking, compare_for_run
from hf_sfda.dataset import load_target
from hf_sfda.errors import ConfigError, MetricError, StoreError, TargetError
from hf_sfda.metrics import list_metrics
from hf_sfda.ranking.assemble import rescore
from hf_sfda.ranking.runs import read_ranking
from hf_sfda.store import FeatureStore
from tests import factories
from tests.command import run_command

METRICS = ["sfda_cv", "knn", "logme", "params"]
A, B = "zoo/vit", "zoo/resnet"


@pytest.fixture(scope="module")
def ranked(tmp_path_factory) -> Path:
    """A real run over two real checkpoints; its folder, with the features in ``store``."""
    folder = tmp_path_factory.mktemp("compare")
    factories.image_folder(folder / "shapes", n_per_class=24, classes=3, size=16)
    factories.tiny_vit(folder / "zoo/vit")
    factories.tiny_resnet(folder / "zoo/resnet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        hf_sfda.rank(
            "shapes", "zoo", store=FeatureStore("store"), permutations=0, samples=60,
            metrics=METRICS, out="run",
        )  # fmt: skip
    return folder


@pytest.fixture
def run(ranked, tmp_path, monkeypatch) -> Path:
    """A copy that a test may change, and is in."""
    shutil.copytree(ranked, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    store = tmp_path / "work/store"
    monkeypatch.setattr("hf_sfda.store.default_root", lambda: store)
    return Path("run")


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)], catch_exceptions=True)


def test_the_scores_are_those_of_the_run(run):
    ranking = read_ranking(run)
    rows = {row.model_id: row for row in ranking.ranked}
    target = load_target("shapes", samples=60)
    for metric in ("sfda_cv", "knn"):
        found = compare_for_run(run, A, B, metric=metric)
        assert found.values == (rows[A].scores[metric], rows[B].scores[metric])
        assert found.n_samples == 60
        assert [one.name for one in found.classes] == list(target.class_names)
        for one in found.samples:
            assert one.sample_id == target.sample_ids[one.index]
            assert one.class_name == target.class_names[target.labels[one.index]]
        low, high = found.interval
        assert low < found.difference < high
    assert not any("here and of" in warning for warning in found.warnings)


def test_a_knn_sample_is_right_or_wrong(run):
    found = compare_for_run(run, A, B, metric="knn", top=60)
    gaps = [one.difference for one in found.samples]
    assert set(gaps) <= {1.0, -1.0}
    assert sum(gaps) / 60 == pytest.approx(found.difference)


def test_a_metric_that_is_no_mean_goes_by_groups(run):
    found = compare_for_run(run, A, B, metric="logme")
    rows = {row.model_id: row for row in read_ranking(run).ranked}
    assert found.values == (rows[A].scores["logme"], rows[B].scores["logme"])
    assert found.classes == found.samples == ()
    assert found.n_samples == 60


def test_a_metric_that_the_run_did_not_compute_is_compared(run):
    assert "logistic_probe" not in read_ranking(run).ranked[0].scores
    found = compare_for_run(run, A, B, metric="logistic_probe")
    assert found.metric == "logistic_probe"
    assert len(found.classes) == 3


def test_every_metric_is_compared_or_refused_in_words(run):
    """Nothing that is registered may fall through."""
    for metric in list_metrics():
        try:
            found = compare_for_run(run, A, B, metric=metric.name, top=1)
        except MetricError as error:
            assert len(str(error)) > 40
        else:
            assert np.isfinite([found.difference, *found.interval]).all()


def test_scores_that_differ_from_the_ranking_are_warned_of(run):
    ranking = read_ranking(run)
    rows = tuple(
        dataclasses.replace(row, scores={**row.scores, "knn": row.scores["knn"] + shift})
        for row, shift in zip(ranking.rows, (1e-3, 1e-9), strict=True)
    )
    changed = dataclasses.replace(ranking, rows=rows)
    found = compare_for_ranking(changed, A, B, metric="knn")
    (warning,) = (text for text in found.warnings if "here and of" in text)
    assert warning.startswith(rows[0].model_id)
    assert "by another version" in warning


def test_a_tie_of_the_ranking_stays_one_for_who_picked_the_pair(run, monkeypatch):
    ranking = read_ranking(run)
    tied = dataclasses.replace(
        ranking, rows=tuple(dataclasses.replace(row, tie_group=1) for row in ranking.rows)
    )
    apart = dataclasses.replace(
        ranking,
        rows=tuple(dataclasses.replace(row, tie_group=row.rank) for row in ranking.rows),
    )
    uncalibrated = dataclasses.replace(tied, config={**tied.config, "layers": "last"})
    lead = iter([5, 0] * 3)  # whether these two differ is up to the zoo; this makes sure

    def ahead(*arguments):
        score, contributions = rescore(*arguments)
        return score, contributions + next(lead)

    monkeypatch.setattr("hf_sfda.compare.run.rescore", ahead)
    about_tie = [
        [text for text in compare_for_ranking(one, A, B).warnings if "trust the tie" in text]
        for one in (tied, apart, uncalibrated)
    ]
    assert ["about accuracy after fine-tuning" in text for text in about_tie[0]] == [True]
    assert about_tie[1] == []
    assert ["for all pairs of its models" in text for text in about_tie[2]] == [True]


@pytest.mark.parametrize(
    ("models", "options", "error", "message"),
    [
        ((A, "zoo/other"), {}, ConfigError, r"no zoo/other .* Ranked are zoo/\w+, zoo/\w+\."),
        ((A, A), {}, ConfigError, "Both models are zoo/vit; give two different ones"),
        ((A, B), {"metric": "params"}, MetricError, "params looks at no features"),
        ((A, B), {"metric": "ncti"}, MetricError, "ncti compares all candidates"),
        ((A, B), {"metric": "nonsense"}, MetricError, "nonsense"),
        ((A, B), {"top": -1}, ConfigError, "top is -1"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(run, models, options, error, message):
    with pytest.raises(error, match=message):
        compare_for_run(run, *models, **options)


def test_two_revisions_of_one_model_are_two_models(run):
    ranking = read_ranking(run)
    commits = {A: "a" * 40, B: "b" * 40}
    rows = tuple(
        dataclasses.replace(row, model_id="acme/net", revision=commits[row.model_id])
        for row in ranking.rows
    )
    revisions = dataclasses.replace(ranking, rows=rows)
    comparison = compare_for_ranking(revisions, "acme/net@a", "net@b")
    assert comparison.models == ("acme/net@aaaaaaa", "acme/net@bbbbbbb")
    assert comparison.values == compare_for_ranking(ranking, A, B).values
    with pytest.raises(ConfigError, match="Both models are acme/net; give two different ones"):
        compare_for_ranking(revisions, "acme/net@a", "acme/net@aa")


def test_a_model_that_was_left_out_is_refused_with_its_reason(run):
    ranking = read_ranking(run)
    last = dataclasses.replace(ranking.rows[-1], status="failed", reason="it broke")
    changed = dataclasses.replace(ranking, rows=(*ranking.rows[:-1], last))
    with pytest.raises(ConfigError, match=r"was not ranked \(failed: it broke\)"):
        compare_for_ranking(changed, A, B)


def test_features_that_are_gone_and_samples_that_changed_are_refused(run):
    ranking = read_ranking(run)
    target = load_target("shapes", samples=60)
    (row,) = (row for row in ranking.ranked if row.model_id == A)
    next(Path("store").glob(f"*/{row.feature_key}.json")).unlink()
    with pytest.raises(StoreError, match=r"features of zoo/vit are not .*rank --config RUN/"):
        compare_for_run(run, A, B)
    other = dataclasses.replace(target, fingerprint="0" * 64)
    with pytest.raises(TargetError, match="no longer what was ranked"):
        compare_for_ranking(ranking, A, B, target=other)
    with pytest.raises(ConfigError, match=r"Cannot read .*ranking\.json"):
        compare_for_run("elsewhere", A, B)


def test_people_agents_and_scripts_read_the_same(run):
    document = json.loads(command(run, A, B, "--json", "--top", 2).stdout)
    assert document["models"] == [A, B]
    people = command(run, A, B, "--format", "human").stdout
    for word in ("difference", "P(better)", "By class", "95%", document["classes"][0]["name"]):
        assert word in people
    scores, classes, samples, summary = (
        command(run, A, B, "--format", "agent", "--top", 2).stdout.rstrip("\n").split("\n\n")
    )
    last = scores.splitlines()[-1].split("\t")
    assert [float(cell) for cell in last[1:4]] == [document["difference"], *document["interval"]]
    assert len(classes.splitlines()) == 1 + len(document["classes"])
    assert len(samples.splitlines()) == 1 + len(document["samples"])
    assert summary == f"# {document['summary']}"
    ahead = [document["better"]] if document["better"] else document["models"]
    assert command(run, A, B, "-q").stdout.split() == ahead
    groups = command(run, A, B, "--metric", "logme", "--format", "agent").stdout
    assert "class" not in groups.splitlines()[0]


def test_the_command_explains_itself_and_its_failures(tmp_path):
    shown, _ = run_command("compare", "--help")
    assert "Usage" in shown
    assert "Examples" in shown
    _, failed = run_command("compare", "runs/other", "a/a", "b/b", cwd=tmp_path, code=2)
    assert "Cannot read runs/other/ranking.json" in failed
    assert "Traceback" not in failed
