"""``hf-sfda validate``: finished runs against a truth file, through main()."""

import json

import numpy as np
import pytest

from hf_sfda.errors import ConfigError
from hf_sfda.report import save_ranking
from hf_sfda.validate.runs import validate_runs
from tests.command import run_command
from tests.publishing import make_ranking, ok_row

ORDER = ("acme/best", "acme/good", "acme/poor", "acme/unknown")
TRUTH = {
    "plants": {"best": 0.9, "good": 0.8, "poor": 0.5, "absent": 0.7},
    "birds": {"best": 0.6, "good": 0.7, "poor": 0.2, "absent": 0.3},
}


def ranking(dataset, order=ORDER):
    rows = (ok_row(name, i, 0.9 - 0.1 * i) for i, name in enumerate(order, 1))
    return make_ranking({}, dataset=dataset, extra_rows=tuple(rows))


def test_scores_are_compared_with_the_accuracies():
    validation = validate_runs({"a": ranking("me/plants"), "b": ranking("me/birds")}, TRUTH, k=2)
    qualities = {quality.score: quality.measures for quality in validation.scores}
    assert {"sfda_cv", "knn", "logistic_probe", "static list"} <= qualities.keys()
    sfda = qualities["sfda_cv"]
    assert sfda["regret_at_1"].value == pytest.approx((0 + 10) / 2)
    assert sfda["regret_at_2"].value == pytest.approx(0)
    assert sfda["recall_at_2"].value == 1
    assert sfda["kendall"].value == pytest.approx((1 + 1 / 3) / 2)
    assert sfda["weighted_tau"].n_targets == 2
    assert sfda["weighted_tau"].low is not None
    assert qualities["static list"]["regret_at_1"].value == pytest.approx((10 + 10) / 2)
    assert validation.targets == {"plants": 3, "birds": 3}
    assert validation.unmatched_models["plants"] == ("acme/unknown",)
    assert validation.missing_models["birds"] == ("absent",)


def test_chance_and_the_noise_of_the_truth_frame_the_scores():
    runs = {"a": ranking("me/plants"), "b": ranking("me/birds")}
    validation = validate_runs(runs, TRUTH, k=2, noise=0.05)
    qualities = {quality.score: quality.measures for quality in validation.scores}
    chance, ceiling = qualities["random"], qualities["noise ceiling"]
    assert chance["weighted_tau"].value == chance["kendall"].value == 0
    expected = [0.9 - np.mean([0.9, 0.8, 0.5]), 0.7 - np.mean([0.6, 0.7, 0.2])]
    assert chance["regret_at_1"].value == pytest.approx(100 * np.mean(expected))
    assert 0.5 < ceiling["weighted_tau"].value < 1
    assert 0 < ceiling["regret_at_1"].value < chance["regret_at_1"].value
    assert "noise ceiling" not in {q.score for q in validate_runs(runs, TRUTH).scores}


def test_the_prior_is_read_from_the_names_of_image_models():
    names = ("acme/swin-base", "acme/beit-tiny", "acme/convnext-large")
    truth = {"plants": {"swin-base": 0.9, "beit-tiny": 0.4, "convnext-large": 0.8}}
    validation = validate_runs({"a": ranking("me/plants", names)}, truth)
    qualities = {quality.score: quality.measures for quality in validation.scores}
    assert qualities["prior"]["kendall"].value == 1


def test_one_target_has_no_interval_and_says_so(tmp_path, capsys):
    save_ranking(ranking("me/plants"), tmp_path / "run")
    truth = tmp_path / "truth.csv"
    lines = [f"plants,{model},{accuracy}" for model, accuracy in TRUTH["plants"].items()]
    truth.write_text("\n".join(["target,checkpoint,accuracy", *lines]))
    call = ("validate", str(tmp_path / "run"), "--truth", str(truth))
    out, _ = run_command(*call, "--format", "human")
    assert "One target: no interval over targets" in out
    assert "plants: 1 ranked models have no accuracy: acme/unknown." in " ".join(out.split())
    document = json.loads(run_command(*call, "--json")[0])
    assert document["targets"] == {"plants": 3}
    first = document["scores"][0]["measures"]
    assert first["weighted_tau"]["low"] is None
    _, err = run_command(*call, "--target", "moths", code=2)
    assert "Targets: plants" in err


def test_runs_in_directories_of_the_same_name_are_not_confused(tmp_path):
    truth = tmp_path / "truth.csv"
    lines = [f"{t},{m},{a}" for t, accuracies in TRUTH.items() for m, a in accuracies.items()]
    truth.write_text("\n".join(["target,checkpoint,accuracy", *lines]))
    runs = [tmp_path / part / "run" for part in ("one", "two")]
    for place, dataset in zip(runs, ("me/plants", "me/birds"), strict=True):
        save_ranking(ranking(dataset), place)
    out, _ = run_command("validate", *map(str, runs), "--truth", str(truth), "--json")
    assert json.loads(out)["targets"] == {"plants": 3, "birds": 3}


def test_runs_that_share_nothing_with_the_truth_are_refused():
    with pytest.raises(ConfigError, match="No run shares two models"):
        validate_runs({"a": ranking("me/moths")}, TRUTH)
    with pytest.raises(ConfigError, match="Two runs belong to the target plants"):
        validate_runs({"a": ranking("me/plants"), "b": ranking("you/plants")}, TRUTH)
    by_hand = validate_runs({"a": ranking("me/moths")}, TRUTH, target="plants")
    assert by_hand.targets == {"plants": 3}
