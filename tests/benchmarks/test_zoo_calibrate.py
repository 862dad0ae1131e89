"""The committed calibration follows from the committed truth, and its confidence is right."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.zoo import calibrate, evaluate

TARGETS_MD = Path(calibrate.__file__).with_name("targets.md").read_text("utf-8")


@pytest.fixture(scope="module")
def targets():
    return evaluate.read()


def test_the_file_is_what_the_script_writes(targets):
    committed = json.loads(calibrate.FILE.read_text("utf-8"))
    written = calibrate.document(targets)
    assert committed["targets"] == written["targets"]
    assert committed["scores"].keys() == written["scores"].keys()
    for name, entry in written["scores"].items():
        for key, value in entry.items():
            # Draws may differ in the last digits between versions of numpy.
            np.testing.assert_allclose(committed["scores"][name][key], value, atol=5e-3)


def test_confidence_is_right_on_targets_that_did_not_make_it(targets):
    evaluation = calibrate.leave_one_out(targets, "three_heads/all/both")
    assert evaluation.pairs_error < 0.05
    assert evaluation.covered >= 0.8
    assert np.median(evaluation.sizes) <= 6
    assert evaluation.pairs_brier < 0.25 * 0.6, "much better than a coin"
    assert sum(n for _, _, n in evaluation.reliability) > 1000


def test_a_target_does_not_predict_itself(targets, monkeypatch):
    fitted = []
    fit = calibrate.fit
    monkeypatch.setattr(calibrate, "fit", lambda t, n: fitted.append(t) or fit(t, n))
    calibrate.leave_one_out(targets[:4], "knn/all/both")
    assert [[t.name for t in used] for used in fitted] == [
        [t.name for t in targets[:4] if t is not left] for left in targets[:4]
    ]


def test_classes_and_samples_are_those_of_the_targets():
    rows = re.findall(
        r"^\| (\w+) \| [^|]*\| (\d+) \| (\d+) / (\d+) / \d+ \|", TARGETS_MD, re.MULTILINE
    )
    assert {
        name: (int(classes), int(train) + int(validation))
        for name, classes, train, validation in rows
    } == calibrate.CLASSES_AND_SAMPLES
