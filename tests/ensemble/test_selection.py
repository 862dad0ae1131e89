"""Choosing an ensemble: the arithmetic against brute force, and the cases with a known answer."""

from __future__ import annotations

import dataclasses
import doctest
import itertools
import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from scipy.stats import multivariate_normal

from hf_sfda import score, select_ensemble
from hf_sfda.ensemble import Ensemble, Member, member_of, select
from hf_sfda.ensemble.complementarity import complementarity, fisher_space
from hf_sfda.ensemble.posteriors import CandidatePosteriors
from hf_sfda.ensemble.search import fold_weights
from hf_sfda.errors import ConfigError, MetricError
from hf_sfda.metrics.folds import stratified_folds
from hf_sfda.metrics.posteriors import calibrated, log_posteriors
from hf_sfda.scoring import make_problem

N, C = 320, 8
LABELS = np.arange(N) % C
ALL = range(C)


def features(classes: Sequence[int], separation: float, seed: int, *, width: int = 16):
    """(N, width) noise in which only these classes have means of their own."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(C, width)) * separation
    means[[c for c in ALL if c not in classes]] = 0
    return rng.normal(size=(N, width)) + means[LABELS]


def posteriors(
    strength: Sequence[float], seed: int, labels: np.ndarray = LABELS
) -> list[np.ndarray]:
    """M arrays (N, C) of probabilities, the m-th one as good as ``strength[m]``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(strength), len(labels), int(labels.max()) + 1))
    for m, amount in enumerate(strength):
        logits[m, np.arange(len(labels)), labels] += amount
    return list(np.exp(logits) / np.exp(logits).sum(2, keepdims=True))


def members(strength: Sequence[float], seed: int) -> dict[str, Member]:
    made = posteriors(strength, seed)
    return {f"m{i:02d}": Member.of_posteriors(P) for i, P in enumerate(made)}


# -- held-out posteriors


def test_posteriors_are_the_first_stage_of_sfda_cv():
    for X in (features(ALL, 0.5, 0), features(ALL, 0.2, 1, width=400)):
        log_P = log_posteriors(make_problem(X, LABELS, seed=3)).numpy()
        details = score(X, LABELS, "sfda_cv", seed=3).details
        true = np.exp(log_P[np.arange(N), LABELS])
        assert true.mean() == pytest.approx(details["stage_one_probability"], abs=1e-10)
        assert (log_P.argmax(1) == LABELS).mean() == details["accuracy"]
        assert np.exp(log_P).sum(1) == pytest.approx(np.ones(N))


def test_posteriors_follow_bayes_rule_on_the_other_folds():
    from sklearn.covariance import ledoit_wolf

    X = features(ALL, 0.5, 0)
    log_P = log_posteriors(make_problem(X, LABELS, seed=1), folds=4).numpy()
    fold = stratified_folds(LABELS, 4, seed=1)
    for k in range(4):
        train = fold != k
        means = np.stack([X[train & (LABELS == c)].mean(0) for c in ALL])
        covariance, _ = ledoit_wolf(X[train] - means[LABELS[train]], assume_centered=True)
        shares = np.bincount(LABELS[train]) / train.sum()
        joint = np.stack(
            [share * multivariate_normal(mean, covariance).pdf(X[~train])
             for share, mean in zip(shares, means, strict=True)], axis=1,
        )  # fmt: skip
        expected = joint / joint.sum(1, keepdims=True)
        assert np.exp(log_P[~train]) == pytest.approx(expected, abs=1e-9)


def test_posteriors_have_not_seen_their_sample():
    """Noise in as many dimensions as samples: an in-sample fit would know every label."""
    log_P = log_posteriors(make_problem(features([], 0, 0, width=N), LABELS)).numpy()
    assert (log_P.argmax(1) == LABELS).mean() == pytest.approx(1 / C, abs=0.07)


@pytest.mark.parametrize(("width", "separation"), [(16, 0.3), (300, 0.12)])
def test_calibration_is_the_likeliest_power_for_the_other_folds(width, separation):
    from scipy.optimize import minimize_scalar

    problem = make_problem(features(ALL, separation, 0, width=width), LABELS, seed=2)
    log_P = log_posteriors(problem, folds=4)
    found = calibrated(problem, log_P, folds=4).numpy()
    raw, fold = log_P.numpy(), stratified_folds(LABELS, 4, seed=2)

    def powered(power: float, rows: np.ndarray) -> np.ndarray:
        return log_softmax(power * raw[rows], axis=1)

    for k in range(4):
        others = np.flatnonzero(fold != k)
        best = minimize_scalar(
            lambda t, rows=others: -powered(np.exp(t), rows)[
                np.arange(len(rows)), LABELS[rows]
            ].mean(),
            bounds=(-6, 2),
            method="bounded",
        )  # fmt: skip
        expected = powered(np.exp(best.x), np.flatnonzero(fold == k))
        assert found[fold == k] == pytest.approx(expected, rel=0.01, abs=0.01)
    assert (found.argmax(1) == raw.argmax(1)).all(), "every decision is kept"
    true = np.arange(N), LABELS
    assert found[true].mean() > raw[true].mean() - 0.001
    if width > N / 2:
        assert found[true].mean() > raw[true].mean() + 0.05, "too sure in many dimensions"


def test_calibration_has_limits():
    problem = make_problem(features(ALL, 1, 0), LABELS)
    never_wrong = torch.full((N, C), -np.inf, dtype=torch.float64)
    never_wrong[torch.arange(N), problem.labels] = 0
    assert torch.isfinite(calibrated(problem, never_wrong)).all()
    always_wrong = torch.roll(never_wrong, 1, dims=1)
    flat = calibrated(problem, always_wrong)
    assert flat.exp().max() < 0.25
    assert flat.exp().sum(1).numpy() == pytest.approx(np.ones(N))


# -- combining


def combined(parts: list[np.ndarray], pooling: str) -> np.ndarray:
    doubted = [0.999 * P + 0.001 / P.shape[1] for P in parts]
    if pooling == "arithmetic":
        return np.mean(doubted, axis=0)
    product = np.prod([P ** (1 / len(parts)) for P in doubted], axis=0)
    return product / product.sum(1, keepdims=True)


@pytest.mark.parametrize("pooling", ["geometric", "arithmetic"])
def test_verdicts_are_those_of_combining_one_set_at_a_time(pooling):
    made = posteriors([0, 1, 2, 1], seed=0)
    fold = stratified_folds(LABELS, 3, 0)
    pool = CandidatePosteriors([np.log(P) for P in made], LABELS, fold_weights(fold), pooling)
    samples = [np.ones(N, bool), *(fold != k for k in range(3))]

    def expected(chosen: tuple[int, ...]) -> np.ndarray:  # (2, J)
        p = combined([made[m] for m in chosen], pooling)[np.arange(N), LABELS]
        return np.array([[p[s].mean() for s in samples], [np.log(p[s]).mean() for s in samples]])

    for base in [(), (2,), (0, 2)]:
        scores = pool.score_extensions(base)
        for m in set(range(4)) - set(base):
            found = np.stack([scores.probability[m], scores.log_likelihood[m]])
            assert found == pytest.approx(expected((*base, m)), abs=1e-12)
    pairs = pool.score_pairs()
    for a, b in itertools.permutations(range(4), 2):
        found = np.stack([pairs.probability[a, b], pairs.log_likelihood[a, b]])
        assert found == pytest.approx(expected((a, b)), abs=1e-12)
    three = combined([made[m] for m in (3, 0, 1)], pooling)
    assert pool.posterior((3, 0, 1)).numpy() == pytest.approx(three, abs=1e-12)


def test_one_member_that_is_sure_and_wrong_does_not_overrule_the_others():
    good = posteriors([4, 4], seed=0)
    wrong = good[1].copy()
    wrong[:10] = np.eye(C)[(LABELS[:10] + 1) % C]  # probability 0 for the truth
    names = {"good": good[0], "wrong": wrong}
    found = select_ensemble({k: Member.of_posteriors(P) for k, P in names.items()}, LABELS)
    assert all(np.isfinite([s.log_likelihood for s in found.singles.values()]))
    assert found.singles["wrong"].log_likelihood > -2


# -- cases with a known answer


def test_two_specialists_are_found_behind_a_generalist():
    """Each half knows half of the classes; the generalist beats either but not both together."""
    candidates = {
        "first half": features(range(4), 1.2, 1),
        "second half": features(range(4, 8), 1.2, 2),
        "generalist": features(ALL, 0.55, 3),
        "noise": features([], 0, 4),
    }
    found = select_ensemble(candidates, LABELS, size=2)
    assert found.steps[0].models == ("generalist",)
    assert set(found.models) == {"first half", "second half"}
    assert set(found.steps[1].added) == set(found.models)
    assert found.steps[1].interval[0] > 0.1
    assert "beats the best single model, generalist" in found.summary
    place = list(found.singles).index
    correlation = found.error_correlation[place("first half"), place("second half")]
    assert correlation < -0.3, "one errs where the other does not"


def test_identical_models_gain_nothing():
    X = features(ALL, 0.5, 0)
    found = select_ensemble({"a": X, "b": X.copy(), "c": 3 * X + 1}, LABELS)
    assert len(found.models) == 1
    assert "No pair beats the best single model" in found.summary
    assert found.refused is not None
    assert found.refused.quality.probability == pytest.approx(found.singles["a"].probability)
    assert found.error_correlation == pytest.approx(np.ones((3, 3)))


def test_noise_is_never_chosen():
    candidates = {
        "good": features(ALL, 0.8, 0),
        **{f"noise {i}": features([], 0, 10 + i) for i in range(8)},
    }
    found = select_ensemble(candidates, LABELS, size=5)
    assert found.models == ("good",)
    assert found.refused.models[0] == "good"
    assert found.singles["good"].probability > found.refused.quality.probability


def test_a_third_member_is_the_one_that_helps():
    candidates = {
        f"thirds {i}": features(part, 1.5, 20 + i)
        for i, part in enumerate([(0, 1, 2), (3, 4, 5), (6, 7)])
    } | {"noise": features([], 0, 4)}
    found = select_ensemble(candidates, LABELS, size=4)
    assert set(found.models) == {"thirds 0", "thirds 1", "thirds 2"}
    assert [len(step.models) for step in found.steps] == [1, 2, 3]
    assert [len(step.added) for step in found.steps] == [1, 1, 1]
    rising = [step.quality.probability for step in found.steps]
    assert rising == sorted(rising)
    assert found.refused.models[:3] == found.models


@pytest.mark.parametrize("pooling", ["geometric", "arithmetic"])
def test_the_gain_in_log_likelihood_is_that_of_the_best_pair(pooling):
    found = select_ensemble(
        members([1, 2, 2], seed=0), LABELS, criterion="log_likelihood", pooling=pooling, size=2
    )
    assert found.models in {("m01", "m02"), ("m02", "m01")}
    best, pair = found.steps
    assert pair.quality.log_likelihood - best.quality.log_likelihood == pair.apparent_gain > 0
    assert pair.interval[0] < pair.gain < pair.interval[1]
    assert "log-likelihood" in found.summary


def test_size_one_is_the_best_single_model():
    found = select_ensemble(members([1, 3, 2], seed=0), LABELS, size=1)
    assert found.models == ("m01",)
    assert found.refused is None
    assert "Only one" in found.summary


# -- gain


def test_the_gain_is_measured_on_folds_that_had_no_part_in_the_choice():
    """Brute force: enumerate singles and pairs on the other folds, judge on this one."""
    made = posteriors([0.5, 0.6, 0.55, 0.5, 0.6], seed=3)
    names = {f"m{i}": Member.of_posteriors(P) for i, P in enumerate(made)}
    found = select_ensemble(names, LABELS, size=2, folds=4, seed=7)
    fold = stratified_folds(LABELS, 4, 7)

    def true(chosen: tuple[int, ...]) -> np.ndarray:
        return combined([made[m] for m in chosen], "geometric")[np.arange(N), LABELS]

    singles = [(m,) for m in range(5)]
    pairs = list(itertools.combinations(range(5), 2))
    gains = np.empty(N)
    for k in range(4):
        kept = fold != k
        single = max(singles, key=lambda s: true(s)[kept].mean())
        pair = max(pairs, key=lambda s: true(s)[kept].mean())
        best = pair if true(pair)[kept].mean() > true(single)[kept].mean() else single
        gains[~kept] = (true(best) - true(single))[~kept]
    assert len(found.steps) == 2, "or this test would compare nothing"
    assert found.steps[1].gain == pytest.approx(gains.mean(), abs=1e-12)


def test_the_apparent_gain_is_optimistic_and_the_cross_fitted_one_is_not():
    """One good model and thirty partners that help equally: the lucky one helps no more."""
    many = np.arange(40_000) % 2
    best, partner = posteriors([2.5, 2], 99, many)
    truth = combined([best, partner], "geometric") - combined([best], "geometric")
    expected = truth[np.arange(len(many)), many].mean()

    apparent, honest = [], []
    for seed in range(12):
        labels = np.random.default_rng(seed).permutation(np.arange(120) % 2)
        made = posteriors([2.5] + [2] * 30, seed, labels)
        names = {f"m{i:02d}": Member.of_posteriors(P) for i, P in enumerate(made)}
        found = select_ensemble(names, labels, size=2, resamples=100)
        apparent.append(found.steps[1].apparent_gain)
        honest.append(found.steps[1].gain)
    error = np.std(honest) / np.sqrt(len(honest))
    assert np.mean(apparent) > expected + 3 * np.std(apparent) / np.sqrt(len(apparent))
    assert np.mean(honest) == pytest.approx(expected, abs=3 * error)


@pytest.mark.parametrize(
    ("interval", "message"),
    [((0.01, 0.03), "beats"), ((-0.01, 0.03), "cannot be told apart"), ((-0.03, -0.01), "is not")],
)
def test_the_summary_goes_by_the_interval_and_not_by_the_choice(interval, message):
    found = select_ensemble(members([1, 2, 2], seed=0), LABELS, size=2)
    steps = (found.steps[0], dataclasses.replace(found.steps[1], interval=interval))
    assert message in dataclasses.replace(found, steps=steps).summary


# -- the paper's score


@pytest.mark.parametrize("n_classes", [2, 5])
def test_complementarity_is_what_the_nuclear_norm_loses(n_classes):
    labels = np.arange(60) % n_classes
    made = posteriors([0, 1, 2, 4], 0, labels)
    spaces = [fisher_space(np.log(P), labels) for P in made]

    def nuclear(parts: list[np.ndarray]) -> float:
        F = np.stack([part.ravel() for part in parts])
        return float(np.linalg.svd(F, compute_uv=False).sum())

    scale = max(nuclear([space]) for space in spaces)
    for m, found in enumerate(complementarity(spaces)):
        without = [space * (i != m) for i, space in enumerate(spaces)]
        assert found == pytest.approx((nuclear(spaces) - nuclear(without)) / scale, abs=1e-6)
        assert 0 <= found <= 1


def test_complementarity_is_one_for_disjoint_models_and_less_for_equal_ones():
    one = np.zeros((6, 3))
    one[:3] = np.eye(3)
    other = np.roll(one, 3, axis=0)
    assert complementarity([one, other]) == pytest.approx([1, 1])
    assert complementarity([one, one]) == pytest.approx([np.sqrt(2) - 1] * 2)
    assert complementarity([one, np.zeros((6, 3))]) == pytest.approx([1, 0])
    assert complementarity([np.zeros((6, 3))] * 2) == pytest.approx([0, 0])


def test_fisher_space_has_unit_scatter_within_classes_and_one_dimension_less_than_classes():
    log_P = log_posteriors(make_problem(features(ALL, 0.7, 0), LABELS)).numpy()
    F = fisher_space(log_P, LABELS)
    means = np.stack([F[LABELS == c].mean(0) for c in ALL])
    within = (F - means[LABELS]).T @ (F - means[LABELS]) / N
    projection = np.eye(C) - 1 / C
    assert within == pytest.approx(projection, abs=1e-9)
    assert F.mean(0) == pytest.approx(np.zeros(C), abs=1e-12)
    assert (np.diag(means) == means.max(0)).all(), "column c is the side of class c"


def test_fisher_space_of_a_model_that_says_nothing_is_empty():
    assert not fisher_space(np.full((N, C), -np.log(C)), LABELS).any()
    found = select_ensemble({"a": np.ones((N, 3)), "b": features(ALL, 0.5, 0)}, LABELS)
    assert found.paper["a"].complementarity == 0
    assert found.models == ("b",)


def test_the_paper_weighs_its_two_halves():
    candidates = {"a": features(ALL, 0.8, 0), "b": features(ALL, 0.4, 1), "c": features([], 0, 2)}
    found = select_ensemble(candidates, LABELS, size=2, weight=0.5)
    for name, X in candidates.items():
        paper = found.paper[name]
        assert paper.sfda == score(X, LABELS, "sfda_cv").value
        assert paper.combined == pytest.approx((paper.sfda + paper.complementarity) / 2)
    assert found.paper_choice == ("a", "b")
    alone = select_ensemble(candidates, LABELS, weight=1)
    assert [alone.paper[name].combined for name in candidates] == [
        alone.paper[name].sfda for name in candidates
    ]


def test_without_an_own_score_the_paper_has_no_choice():
    found = select_ensemble(members([1, 2], 0), LABELS)
    assert found.paper["m00"].combined is None
    assert found.paper["m00"].complementarity > 0
    assert found.paper_choice == ()


# -- errors and properties


def test_the_example_in_the_docstring_holds():
    outcome = doctest.testmod(select)
    assert outcome.attempted > 0
    assert outcome.failed == 0


def test_error_correlation_is_that_of_the_mistakes():
    made = members([1, 2, 50], seed=0)  # the last one is always right
    found = select_ensemble(made, LABELS)
    wrong = [np.exp(m.log_posteriors).argmax(1) != LABELS for m in made.values()]
    assert found.error_correlation[:2, :2] == pytest.approx(np.corrcoef(wrong[:2]))
    assert np.isnan(found.error_correlation[2]).all()
    assert found.to_dict()["error_correlation"]["matrix"][2] == [None] * 3


def test_the_document_of_an_ensemble_is_json():
    found = select_ensemble(members([1, 2, 50], seed=0), LABELS)
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["models"] == list(found.models)
    assert document["steps"][0]["quality"]["accuracy"] == found.steps[0].quality.accuracy


def same(one: Ensemble, other: Ensemble) -> None:
    assert one.models == other.models
    assert one.singles.keys() == other.singles.keys()
    for step, twin in zip(one.steps, other.steps, strict=True):
        assert step.models == twin.models
        assert step.gain == pytest.approx(twin.gain, abs=1e-9)
        assert step.interval == pytest.approx(twin.interval, abs=1e-9)
    assert one.error_correlation == pytest.approx(other.error_correlation, nan_ok=True)
    for name, paper in one.paper.items():
        assert paper.complementarity == pytest.approx(other.paper[name].complementarity, abs=1e-6)


strengths = st.lists(st.floats(0, 4), min_size=2, max_size=5)


@settings(max_examples=25, deadline=None)
@given(strengths, st.integers(0, 1000), st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(strength, seed, random):
    made = members(strength, seed)
    names = list(made)
    random.shuffle(names)
    same(
        select_ensemble(made, LABELS, resamples=100),
        select_ensemble({name: made[name] for name in names}, LABELS, resamples=100),
    )


@settings(max_examples=25, deadline=None)
@given(strengths, st.integers(0, 1000), st.permutations(list(ALL)))
def test_the_names_of_the_classes_do_not_matter(strength, seed, renamed):
    made = members(strength, seed)
    labels = np.array([f"class {renamed[c]}" for c in LABELS])
    moved = {
        name: Member(member.log_posteriors[:, np.argsort(renamed)]) for name, member in made.items()
    }
    same(
        select_ensemble(made, LABELS, resamples=100),
        select_ensemble(moved, labels, resamples=100),
    )


@settings(max_examples=25, deadline=None)
@given(strengths, st.integers(0, 1000))
def test_what_is_chosen_is_never_worse_than_the_best_single_model(strength, seed):
    found = select_ensemble(members(strength, seed), LABELS, resamples=100)
    best = max(single.probability for single in found.singles.values())
    assert found.steps[0].quality.probability == pytest.approx(best)
    assert found.steps[-1].quality.probability >= best - 1e-12
    if found.refused is not None and len(found.models) == 1:
        assert found.refused.quality.probability <= best + 1e-9


def test_features_of_any_kind_of_array_and_labels_give_the_same():
    X = {"a": features(ALL, 0.5, 0), "b": features(ALL, 0.5, 1)}
    kept = {name: x.copy() for name, x in X.items()}
    words = [f"kind {c}" for c in LABELS]
    same(
        select_ensemble(X, LABELS),
        select_ensemble({name: torch.from_numpy(x) for name, x in X.items()}, words),
    )
    assert all((X[name] == kept[name]).all() for name in X), "inputs are not written to"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"size": 0}, ConfigError, "size is 0"),
        ({"criterion": "acc"}, ConfigError, "criterion is 'acc'; allowed are probability"),
        ({"pooling": "mean"}, ConfigError, "pooling is 'mean'"),
        ({"weight": 2}, ConfigError, "weight is 2"),
        ({"confidence": 1.0}, ConfigError, "confidence is 1.0"),
        ({"pooling": "arithmetic"}, ConfigError, "never has a higher mean probability"),
        ({"folds": 1}, MetricError, "folds is 1"),
        ({"candidates": {"a": np.ones((N, 2))}}, MetricError, "at least 2"),
        ({"candidates": {"a": np.ones((N, 2)), "b": np.ones((9, 2))}}, MetricError, "b: .*9 feat"),
        ({"labels": LABELS * 0}, MetricError, "All 320 labels are"),
        ({"labels": LABELS * 0.5}, MetricError, "regression"),
    ],
)  # fmt: skip
def test_bad_input_says_what_to_do(change, error, message):
    given = {"candidates": {"a": np.eye(N), "b": np.eye(N)}, "labels": LABELS, **change}
    with pytest.raises(error, match=message):
        select_ensemble(given.pop("candidates"), given.pop("labels"), **given)


@pytest.mark.parametrize(
    ("P", "message"),
    [
        (np.ones(5), "shape"),
        (np.ones((N, C)), "add up to 1"),
        (np.full((N, C), np.nan), "add up to 1"),
        (np.full((N, 2), 0.5), r"must be \(320, 8\)"),
    ],
)
def test_posteriors_that_are_no_probabilities_are_refused(P, message):
    with pytest.raises(MetricError, match=message):
        good = member_of(features(ALL, 0.5, 0), LABELS)
        select_ensemble({"a": good, "b": Member.of_posteriors(P)}, LABELS)
