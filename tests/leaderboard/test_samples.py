"""Two models of a real leaderboard, by what it keeps: the same answer as from their features."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from hf_sfda.compare import compare_for_ranking
from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError, MetricError, PublishError, StoreError, TargetError
from hf_sfda.hub.access import Repo, find_head
from hf_sfda.hub.plan import execute
from hf_sfda.leaderboard.init import plan_init
from hf_sfda.leaderboard.samples import compare_measured
from hf_sfda.leaderboard.state import dump_scored, load_scored
from hf_sfda.leaderboard.update import plan_update
from hf_sfda.publish.leaderboards import make_leaderboards, to_ranking
from hf_sfda.publish.results_dataset import load_results
from hf_sfda.publish.rows import make_run
from hf_sfda.ranking.runs import config_of, load_ranked_target
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from tests import factories
from tests.publishing import make_ranking

REPO = Repo("me/board", "dataset")
SETTINGS = {
    "datasets": ["me/shapes"],
    "metric": "knn",
    "metrics": ["knn", "logistic_probe", "logme"],
    "samples": 36,
    "resamples": 200,
    "permutations": 1,
}
FIRST, SECOND = "acme/vit", "acme/resnet"


class World:
    """A leaderboard, what is published there, and the machine that measured."""

    def __init__(self, api, store, **changes):
        execute(plan_init(REPO.id, json.dumps(SETTINGS | changes)))
        execute(plan_update(REPO.id, Session(store=store)))
        self.api, self.store = api, store
        self.rows, _ = load_results(api, REPO, find_head(api, REPO))
        (board,) = make_leaderboards(self.rows)
        self.ranking = to_ranking(board)

    @property
    def run(self) -> str:
        return self.rows[0]["run"]

    def revision(self, model: str) -> str:
        return next(row.revision for row in self.ranking.rows if row.model_id == model)

    def compare(self, first=FIRST, second=SECOND, *, target=None, rows=None, **options):
        rows = self.rows if rows is None else rows
        return compare_measured(
            self.api, REPO, self.ranking, rows, first, second, target=target, **options
        )


@pytest.fixture
def filled(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    factories.image_dataset(n_per_class=12, classes=3).push_to_hub("me/shapes", split="train")
    card = {"pipeline_tag": "image-classification", "library_name": "transformers"}
    made = (
        (FIRST, factories.tiny_vit(tmp_path / "vit")),
        (SECOND, factories.tiny_resnet(tmp_path / "resnet")),
    )
    for name, folder in made:
        factories.write_card(folder, **card)
        hub.put(name, folder)
    return FeatureStore(tmp_path / "store")


def test_what_is_kept_answers_as_the_features_do(filled, api, hub, tmp_path):
    world, session = World(api, filled), Session(store=filled)

    # The board itself leads back to the samples and to the settings.
    config = config_of(world.ranking)
    assert config.fingerprint() == world.ranking.config["fingerprint"]
    assert isinstance(config, RankConfig)
    target = load_ranked_target(world.ranking)

    for metric in ("knn", "logistic_probe", None):
        kept = world.compare(metric=metric, target=target, top=5)
        from_features = compare_for_ranking(
            world.ranking, FIRST, SECOND, metric=metric, session=session, target=target, top=5
        )
        assert kept.to_dict() == from_features.to_dict()
        assert len(kept.classes) == 3
        assert kept.samples[0].sample_id == target.sample_ids[kept.samples[0].index]
    values = {row.model_id: row.scores["knn"] for row in world.ranking.ranked}
    assert world.compare().values == (values[FIRST], values[SECOND])

    # Nobody's labels: the same scores, and it says what is missing.
    blind = world.compare()
    assert blind.classes == blind.samples == ()
    assert blind.difference == world.compare(target=target).difference
    assert blind.n_samples == 36
    assert "labels of me/shapes could not be read" in blind.warnings[0]

    # What was not kept is not made up, and a machine without features says so.
    assert world.compare(metric="logme", target=target) is None
    assert world.compare(metric="sfda_cv", target=target) is None
    assert world.compare(rows=[]) is None
    assert world.compare(rows=[{**row, "run": "0" * 16} for row in world.rows]) is None
    nowhere = Repo("me/nowhere", "dataset")
    assert compare_measured(
        api, nowhere, world.ranking, world.rows, FIRST, SECOND, target=None
    ) is None  # fmt: skip
    empty = Session(store=FeatureStore(tmp_path / "empty"))
    with pytest.raises(StoreError, match="features of acme/vit and acme/resnet are not stored"):
        compare_for_ranking(world.ranking, FIRST, SECOND, session=empty, target=target)
    with pytest.raises(ConfigError, match=r"no acme/other in this ranking\. Ranked are acme/"):
        world.compare("acme/other", FIRST)
    with pytest.raises(MetricError, match="params looks at no features"):
        world.compare(metric="params")
    with pytest.raises(TargetError, match="no longer what was ranked"):
        world.compare(target=dataclasses.replace(target, fingerprint="0" * 64))

    # Files that somebody changed by hand.
    (path,) = [p for p in hub.files(REPO.id, "dataset") if "acme--vit" in p]
    record = load_scored(hub.files(REPO.id, "dataset")[path], path)
    assert record.candidate.model_id == FIRST
    assert record.scores["knn"].per_sample.shape == (36,)
    short = {
        name: dataclasses.replace(score, per_sample=np.ones(3))
        for name, score in record.scores.items()
    }
    content = dump_scored(dataclasses.replace(record, scores=short, contributions=None))
    hub.put(REPO.id, {path: content}, repo_type="dataset")
    with pytest.raises(PublishError, match="not of the 36 samples"):
        world.compare()
    hub.put(REPO.id, {path: b"nonsense"}, repo_type="dataset")
    with pytest.raises(PublishError, match=r"acme--vit/.* of me/board is damaged"):
        world.compare()


def test_a_board_ranked_by_a_metric_of_groups_compares_without_labels(filled, api):
    world, session = World(api, filled, metric="logme"), Session(store=filled)
    target = load_ranked_target(world.ranking)
    kept = world.compare(target=target)
    from_features = compare_for_ranking(
        world.ranking, FIRST, SECOND, session=session, target=target
    )
    assert kept.to_dict() == from_features.to_dict()
    assert kept.classes == kept.samples == ()
    assert kept.n_samples == 36
    assert world.compare().to_dict() == kept.to_dict()  # labels have no part in it


def test_a_results_dataset_that_is_no_leaderboard_keeps_none(hub, api):
    run = make_run(make_ranking())
    hub.put(
        REPO.id,
        {run.path: run.parquet(), "README.md": "# Results\n"},
        repo_type="dataset",
    )
    (board,) = make_leaderboards(run.rows)
    ranking = to_ranking(board)
    assert compare_measured(
        api, REPO, ranking, run.rows, "acme/vit", "me/resnet", target=None
    ) is None  # fmt: skip
