"""Ensembles for a run directory: the command on what ``rank`` left behind."""

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
from hf_sfda.config import RankConfig
from hf_sfda.dataset import load_target
from hf_sfda.ensemble import select_for_ranking, select_for_run
from hf_sfda.errors import ConfigError, MetricError, StoreError, TargetError
from hf_sfda.ranking.assemble import assemble, score_candidate
from hf_sfda.session import Session
from hf_sfda.store import FeatureKey, FeatureStore
from hf_sfda.types import Candidate, Features, Ranking, Target
from tests import factories
from tests.command import run_command


def made_features(target: Target, classes: range, separation: float, seed: int) -> Features:
    """Two stages that tell only these classes apart."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(target.n_classes, 12)) * separation
    means[[c for c in range(target.n_classes) if c not in classes]] = 0
    stages = {
        name: (rng.normal(size=(len(target), 12)) + share * means[target.labels]).astype("float32")
        for name, share in (("stage1", 0.5), ("last", 1.0))
    }
    return Features(stages, params=1000)


def make_run(
    folder: Path, store: FeatureStore, models: dict[str, tuple[range, float]]
) -> tuple[Path, Target]:
    """A run over real pictures whose features are made up, so that the answer is known."""
    data = factories.image_folder(folder / "shapes", n_per_class=40, classes=4, size=8)
    config = RankConfig(str(data), samples=120, out=str(folder / "run"), permutations=0)
    target = load_target(config.dataset, samples=config.samples, seed=config.seed)
    scored = []
    for seed, (name, (classes, separation)) in enumerate(models.items()):
        features = made_features(target, classes, separation, seed)
        key = FeatureKey(name * 5, target.inputs_fingerprint, "image", "float32", None, 1)
        store.put(key, features)
        scored.append(
            score_candidate(
                Candidate(name), features, target.labels, config, feature_key=key.digest
            )
        )
    rows, agreement, warnings = assemble(scored, target.labels, target.class_names, config)
    ranking = Ranking(
        config.to_dict() | {"fingerprint": config.fingerprint()},
        target.describe(),
        tuple(rows),
        tuple(warnings),
        agreement,
    )
    run = folder / "run"
    run.mkdir()
    (run / "ranking.json").write_text(json.dumps(ranking.to_dict()))
    return run, target


SPECIALISTS = {
    "acme/low": (range(2), 1.5),
    "acme/high": (range(2, 4), 1.5),
    "acme/noise": (range(0), 0.0),
}


@pytest.fixture
def store(tmp_path, monkeypatch) -> FeatureStore:
    """The store that the command finds."""
    monkeypatch.setattr("hf_sfda.store.default_root", lambda: tmp_path / "store")
    return FeatureStore()


@pytest.fixture
def run(tmp_path, store) -> Path:
    return make_run(tmp_path, store, SPECIALISTS)[0]


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["ensemble", *map(str, arguments)], catch_exceptions=True)


def test_the_store_reads_by_the_name_that_a_ranking_has(store):
    key = FeatureKey("m", "i", "image", "float32", None, 1)
    assert store.get_by_digest(key.digest) is None
    store.put(key, Features({"last": np.ones((3, 2), np.float32)}))
    assert (store.get_by_digest(key.digest).last == store.get(key).last).all()


def test_the_json_holds_the_models_the_steps_and_the_gain(run):
    result = command(run, "--json")
    document = json.loads(result.stdout)
    assert set(document["models"]) == {"acme/low", "acme/high"}
    assert [step["models"] for step in document["steps"]] == [
        document["models"][:1],
        document["models"],
    ]
    pair = document["steps"][1]
    assert pair["interval"][0] < pair["gain"] < pair["interval"][1]
    assert pair["interval"][0] > 0
    assert pair["quality"]["probability"] > document["singles"]["acme/low"]["probability"]
    assert document["refused"]["models"] == [*document["models"], "acme/noise"]
    names, matrix = document["error_correlation"].values()
    assert names == sorted(SPECIALISTS)
    assert matrix[names.index("acme/low")][names.index("acme/high")] < 0

    rows = {row.model_id: row for row in read(run).rows}
    for name, paper in document["paper"]["scores"].items():
        assert paper["sfda"] == rows[name].scores["sfda_cv"]
        assert paper["combined"] == pytest.approx((paper["sfda"] + paper["complementarity"]) / 2)
    assert "beats the best single model" in document["summary"]


def read(run: Path) -> Ranking:
    return Ranking.from_dict(json.loads((run / "ranking.json").read_text()))


def test_people_agents_and_scripts_read_the_same(run):
    document = json.loads(command(run, "--json").stdout)
    people = command(run, "--format", "human").stdout
    for word in ("step", "gain", "T_ens", "acme/noise", "Correlation of errors"):
        assert word in people
    assert " ".join(document["summary"].split()) in " ".join(people.split())
    steps, candidates, correlation, summary = (
        command(run, "--format", "agent").stdout.rstrip("\n").split("\n\n")
    )
    first, second = (line.split("\t") for line in steps.splitlines()[1:])
    assert first[1] == document["models"][0]
    assert second[1] == f"+ {document['models'][1]}"
    pair = document["steps"][1]
    assert [float(cell) for cell in second[5:]] == [pair["gain"], *pair["interval"]]
    assert len(candidates.splitlines()) == len(correlation.splitlines()) == 4
    assert summary == f"# {document['summary']}"
    assert command(run, "-q").stdout.split() == document["models"]
    assert command(run, "-q", "--size", "1").stdout.split() == document["models"][:1]


def test_the_command_says_that_no_pair_helps(tmp_path, store):
    models = {"acme/good": (range(4), 1.5), "acme/noise": (range(0), 0.0)}
    run, _ = make_run(tmp_path, store, models)
    out = " ".join(command(run, "--format", "human").stdout.split())
    assert "No pair beats the best single model, acme/good" in out
    assert command(run, "-q").stdout.split() == ["acme/good"]
    document = json.loads(command(run, "--json").stdout)
    assert document["refused"]["models"] == ["acme/good", "acme/noise"]


def test_averaged_probabilities_are_selected_by_log_likelihood_only(run):
    options = ("--criterion", "log_likelihood", "--pooling", "arithmetic", "--json")
    document = json.loads(command(run, *options).stdout)
    best, pair = (step["quality"]["log_likelihood"] for step in document["steps"])
    assert pair > best
    result = command(run, "--pooling", "arithmetic")
    assert isinstance(result.exception, ConfigError)
    assert "never has a higher mean probability" in str(result.exception)


def test_a_candidate_whose_features_are_gone_is_named(run, store):
    (row,) = (row for row in read(run).rows if row.model_id == "acme/noise")
    (store.root / row.feature_key[:2] / f"{row.feature_key}.json").unlink()
    result = command(run, "--json")
    assert set(json.loads(result.stdout)["singles"]) == {"acme/low", "acme/high"}
    assert "1 ranked models were left out" in result.stderr
    assert "acme/noise" in result.stderr
    store.clear()
    with pytest.raises(StoreError, match=r"features of 3 of 3 .*rank --config .*config.yaml"):
        select_for_run(run)


def test_a_ranking_and_a_target_at_hand_need_no_directory(tmp_path, store):
    run, target = make_run(tmp_path, store, SPECIALISTS)
    ranking, expected = read(run), select_for_run(run)
    shutil.rmtree(run)
    shutil.rmtree(tmp_path / "shapes")
    chosen = select_for_ranking(ranking, target=target, session=Session(store=store))
    assert chosen.to_dict() == expected.to_dict()
    other = dataclasses.replace(target, fingerprint="0" * 64)
    with pytest.raises(TargetError, match=r"no longer what was ranked .*000000000000 now"):
        select_for_ranking(ranking, target=other, session=Session(store=store))


def test_revisions_of_one_model_are_members_of_their_own(run, store):
    """They keep their own features, and one that is named does not bring the others along."""
    content = json.loads((run / "ranking.json").read_text())
    commits = {"acme/low": "a" * 40, "acme/high": "b" * 40}
    for row in content["rows"]:
        if row["model_id"] in commits:
            row["revision"] = commits[row["model_id"]]
            row["model_id"] = "acme/net"
    (run / "ranking.json").write_text(json.dumps(content))
    models = ["acme/net@aaaaaaa", "acme/net@bbbbbbb"]
    assert set(select_for_run(run, models=models, size=2).models) == set(models)
    alone = select_for_run(run, models=["acme/net@a", "acme/noise"], size=2)
    assert "acme/net" in alone.steps[0].models
    assert not {"acme/net@bbbbbbb"} & {name for step in alone.steps for name in step.models}


def test_a_dataset_that_changed_is_refused(run, tmp_path):
    victim = next((tmp_path / "shapes").rglob("*.png"))
    other = next(p for p in (tmp_path / "shapes").rglob("*.png") if p.parent != victim.parent)
    for path in victim.parent.glob("*.png"):
        shutil.copy(other, path)
    with pytest.raises(TargetError, match=r"no longer what was ranked .*fingerprint"):
        select_for_run(run)


def test_the_leader_of_the_ranking_may_not_be_the_best_here(run):
    ranking = read(run)
    turned = dataclasses.replace(ranking, rows=tuple(reversed(ranking.rows)))
    (run / "ranking.json").write_text(json.dumps(turned.to_dict()))
    (warning,) = select_for_run(run).warnings
    assert "while acme/noise leads the ranking" in warning
    assert "there by three_heads" in warning


def test_a_run_without_sfda_cv_has_it_computed(run):
    expected = select_for_run(run)
    ranking = read(run)
    rows = tuple(dataclasses.replace(row, scores={"logme": 1.0}) for row in ranking.rows)
    (run / "ranking.json").write_text(json.dumps(dataclasses.replace(ranking, rows=rows).to_dict()))
    for name, paper in select_for_run(run).paper.items():
        assert paper.sfda == pytest.approx(expected.paper[name].sfda, abs=1e-9)


def test_one_ranked_model_is_no_choice(tmp_path, store):
    run, _ = make_run(tmp_path, store, {"acme/good": (range(4), 1.0)})
    with pytest.raises(MetricError, match="1 ranked models; an ensemble needs at least 2"):
        select_for_run(run)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"Cannot read .*runs/NAME"),
        ("{", "is not a ranking"),
        ("[]", "is not a ranking"),
        ('{"schema_version": 99}', "schema version 99"),
        ('{"schema_version": 1}', "is not a ranking"),
    ],
)
def test_a_directory_without_a_ranking_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "ranking.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        select_for_run(tmp_path)


def test_the_command_selects_among_the_models_of_a_run(tmp_path, store, monkeypatch):
    """Rank two small checkpoints, then choose; neither asks a Hub."""
    monkeypatch.chdir(tmp_path)
    factories.image_folder("shapes", n_per_class=20, classes=3)
    factories.tiny_vit("zoo/vit")
    factories.tiny_resnet("zoo/resnet")
    hf_sfda.rank("shapes", "zoo", store=store, permutations=0, out="runs/shapes")
    document = json.loads(command("runs/shapes", "--size", "2", "--json").stdout)
    assert set(document["singles"]) == {"zoo/vit", "zoo/resnet"}
    best = max(single["probability"] for single in document["singles"].values())
    assert document["steps"][-1]["quality"]["probability"] >= best


def test_the_command_explains_itself_and_its_failures(tmp_path):
    assert "Usage" in run_command("ensemble", "--help")[0]
    _, failed = run_command("ensemble", "runs/other", cwd=tmp_path, code=2)
    assert "Cannot read runs/other/ranking.json" in failed
    assert "Traceback" not in failed
