"""What the README claims, on real checkpoints and real pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

import hf_sfda
from hf_sfda.store import FeatureStore

pytestmark = pytest.mark.slow


def test_the_random_network_comes_last_where_the_released_score_ties_it_for_first(demo, tmp_path):
    zoo = demo / "zoo" / "image"
    names = ["efficientnet-lite0", "opennsfw-resnet50", "resnet10t-random", "lite0-random"]
    ranking = hf_sfda.rank(
        str(demo / "data" / "emoji"),
        [str(zoo / name) for name in names],
        samples=600,
        metrics=("sfda_cv", "sfda", "knn"),
        batch_norms="published",
        permutations=2,
        store=FeatureStore(tmp_path),
    )
    rows = {Path(row.model_id).name: row for row in ranking.rows}
    assert [row.status for row in ranking.rows] == ["ok"] * 4
    assert Path(ranking.rows[-1].model_id).name == "lite0-random"
    assert rows["lite0-random"].rank == rows["lite0-random"].rank_interval[1] == 4
    assert rows["lite0-random"].p_best < 0.02
    assert {rows[name].tie_group for name in names[:2]} == {1}
    released = {name: row.scores["sfda"] for name, row in rows.items()}
    assert released["lite0-random"] > 0.999
    assert released["lite0-random"] >= max(released.values()) - 1e-3
    assert any("sfda" in warning for warning in ranking.warnings)


def test_text_encoders_beat_their_random_twin(demo, tmp_path):
    ranking = hf_sfda.rank(
        str(demo / "data" / "movie" / "train.csv"),
        [str(demo / "zoo" / "text")],
        samples=400,
        permutations=2,
        store=FeatureStore(tmp_path),
    )
    assert Path(ranking.rows[-1].model_id).name == "bert-l3-random"
    assert ranking.rows[-1].tie_group != ranking.rows[0].tie_group
    assert ranking.rows[0].scores["logistic_probe"] > ranking.rows[-1].scores["logistic_probe"]
