"""Three processes: a killed one, more processes than models, and samples that do not divide."""

from __future__ import annotations

import pytest

from hf_sfda.config import RankConfig
from hf_sfda.extract import extract_all, make_accelerator
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from tests.extract.distributed.cases import WAYS, candidates, samples_of, write_race
from tests.extract.distributed.extract_or_die import main
from tests.extract.distributed.launching import launch, same_features, start
from tests.targets import make_target

pytestmark = pytest.mark.slow

SCRIPT = "tests/extract/distributed/extract_or_die.py"
NAMES = ("resnet", "vit0", "vit1", "vit2")
COUNT = 11


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of the checkpoints, and the features that one process extracts."""
    root = tmp_path_factory.mktemp("three")
    write_race(root)
    store = FeatureStore(root / "alone")
    rows = extract_all(
        candidates(root / "racers", NAMES),
        make_target(samples_of("image", COUNT), "image"),
        config=RankConfig("me/test", batch_size=4),
        session=Session(store=store),
        accelerator=make_accelerator(cpu=True),
    )
    return root / "racers", {row.candidate.model_id: (row.key, store.get(row.key)) for row in rows}


@pytest.mark.parametrize("way", WAYS)
def test_after_a_killed_process_the_same_command_completes_the_features(way, alone, tmp_path):
    zoo, expected = alone
    arguments = (SCRIPT, zoo, tmp_path, way, COUNT)
    broken = start(*arguments, "dies", *NAMES, processes=3)
    output, _ = broken.communicate()
    assert broken.returncode != 0
    assert "SIGKILL" in output, "no process waits forever for the one that was killed"
    launch(main, *map(str, (zoo, tmp_path, way, COUNT)), "lives", *NAMES, processes=3)
    for key, features in expected.values():
        same_features(FeatureStore(tmp_path).get(key), features)


@pytest.mark.parametrize("way", WAYS)
def test_more_processes_than_models_give_the_features_of_one_process(way, alone, tmp_path):
    zoo, expected = alone
    launch(main, *map(str, (zoo, tmp_path, way, COUNT)), "lives", "vit1", processes=3)
    key, features = expected["vit1"]
    same_features(FeatureStore(tmp_path).get(key), features)
