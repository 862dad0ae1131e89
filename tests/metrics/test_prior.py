"""The static prior: its coefficients are those of its table, and it says nothing it cannot know."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.learn_prior import learn, validate
from hf_sfda.errors import MetricError
from hf_sfda.metrics.prior import INTERCEPT, WEIGHTS, hints
from hf_sfda.scoring import make_problem, score_problem_by_all
from hf_sfda.types import Candidate

PROBLEM = make_problem(np.eye(4), [0, 0, 1, 1])


def prior(model_id, **more):
    candidate = Candidate(model_id, **more)
    outcome = score_problem_by_all(PROBLEM, ["prior"], candidate=candidate)["prior"]
    return outcome if isinstance(outcome, MetricError) else outcome.value


def test_coefficients_are_learnt_from_the_table():
    weights, intercept = learn()
    assert weights == pytest.approx(WEIGHTS, abs=5e-5)
    assert intercept == pytest.approx(INTERCEPT, abs=5e-5)


def test_the_prior_predicts_unseen_models_on_unseen_datasets():
    ours, mean = np.mean(list(validate().values()), axis=0)
    assert ours == pytest.approx(0.38, abs=0.005)  # what the docstring says
    assert mean == pytest.approx(0.47, abs=0.005)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("facebook/convnext-large-22k-224", ["convnext", "large", "22k"]),
        ("vit-base/my_Swin_Tiny", ["swin", "tiny"]),
        ("/models/swin_base_patch4_window12_384.ms_in22k/", ["swin", "base", "22k", "384"]),
        ("microsoft/beit-base-patch16-224-pt22k", ["beit", "base", "22k"]),
        ("someone/vanilla-vitamins", []),
        ("someone/dogs", []),
    ],
)
def test_hints_are_whole_words_in_the_name_of_a_model(name, found):
    assert hints(name) == found


def test_value_is_the_sum_of_what_the_name_says():
    assert prior("a/convnext-base") == pytest.approx(
        INTERCEPT + WEIGHTS["convnext"] + WEIGHTS["base"]
    )
    assert prior("a/convnext-base") > prior("a/convnext-tiny")
    assert prior("a/dogs", pipeline_tag="image-classification") == INTERCEPT
    assert prior("a/dogs", library="timm") == INTERCEPT


@pytest.mark.parametrize(
    ("name", "tag"), [("bert-base-uncased", None), ("a/swin-of-words", "text-classification")]
)
def test_models_that_are_not_for_images_have_no_prior(name, tag):
    assert isinstance(prior(name, pipeline_tag=tag), MetricError)
