"""Warnings say what is wrong, and keep quiet otherwise."""

from __future__ import annotations

import pytest

from hf_sfda import metrics as registry
from hf_sfda.metrics import register_metric
from hf_sfda.types import ModelRow, RowWarning
from hf_sfda.uncertainty import diagnose, diagnose_row, voting_metrics

COUNTS = {"cat": 500, "dog": 500}
FINE = {"knn": 0.9, "linear_probe": 0.9}


def row(name: str, value: float = 0.6, **changes) -> ModelRow:
    values = {
        "model_id": name,
        "revision": "1",
        "status": "ok",
        "scores": {"sfda_cv": value, "knn": value - 0.1},
        "intervals": {"sfda_cv": (value - 0.02, value + 0.02)},
        "noise_floor": 0.5,
        "feature_dim": 100,
        "params": len(name),
    }
    return ModelRow(**(values | changes))


def field(n: int = 6) -> list[ModelRow]:
    return [row(f"m{i}", 0.9 - 0.01 * i) for i in range(n)]


def run(rows, *, metric="sfda_cv", counts=COUNTS, agreement=FINE) -> list[str]:
    return diagnose(
        rows,
        metric=metric,
        n_samples=sum(counts.values()),
        n_classes=len(counts),
        class_counts=counts,
        agreement=agreement,
    )


def test_a_healthy_run_has_no_warning():
    assert run(field()) == []
    assert diagnose_row(field()[0], metric="sfda_cv", n_samples=1000, n_classes=2) == ()


def test_a_run_without_ranked_models_has_no_warning():
    failed = ModelRow("x", None, "failed", reason="NaN")
    assert run([failed]) == []
    assert diagnose_row(failed, metric="sfda_cv", n_samples=1000, n_classes=2) == ()


def test_models_at_the_noise_floor_are_counted_in_a_warning():
    low = row("low", 0.51)
    assert diagnose_row(low, metric="sfda_cv", n_samples=1000, n_classes=2) == (
        RowWarning(None, "at the noise floor (0.500)"),
    )
    assert run([*field(), low]) == ["1 of 7 models cannot be told from shuffled labels by sfda_cv."]
    (only,) = run([row(f"m{i}", 0.5 + 0.001 * i) for i in range(6)])
    assert only.startswith("No model rises above the noise floor")


def test_saturation_of_the_metric_that_sorts_is_warned_of():
    full = row("full", 0.9995)
    assert diagnose_row(full, metric="sfda_cv", n_samples=1000, n_classes=2) == (
        RowWarning(None, "saturated"),
    )
    (text,) = run([full, *field()])
    assert text.startswith("sfda_cv is saturated for 1 of 7 models (within 0.005 of its maximum, 1")
    assert "too easy" in text


def test_saturation_of_another_metric_needs_two_models():
    rows = [
        row(f"m{i}", 0.9 - 0.01 * i, scores={"sfda_cv": 0.9 - 0.01 * i, "sfda": 1.0})
        for i in range(6)
    ]
    (text,) = run(rows)
    assert text.startswith("sfda is saturated for 6 of 6")
    assert "fitted on" in text
    one = [row("full", 0.95, scores={"sfda_cv": 0.95, "sfda": 1.0}), *field()]
    assert run(one) == []


def test_the_h_score_is_bounded_by_the_classes():
    rows = [row(f"m{i}", scores={"hscore": 0.999, "x": i}) for i in range(6)]
    (text,) = [t for t in run(rows, metric="hscore") if "saturated" in t]
    assert "maximum, 1)" in text
    assert not [
        t
        for t in run(rows, metric="hscore", counts={"a": 99, "b": 99, "c": 802})
        if "saturated" in t
    ]


def test_models_that_share_the_highest_score_are_counted():
    rows = [
        row(f"m{i}", scores={"logme": min(i, 4) / 10, "x": i}, noise_floor=None) for i in range(6)
    ]
    assert run(rows, metric="logme") == [
        "2 models share the highest logme exactly; their order is that of the list."
    ]


def test_wide_features_endanger_sfda_but_not_sfda_cv():
    wide = [
        row(f"m{i}", scores={"sfda_cv": 0.8 - 0.01 * i, "sfda": 0.9 - 0.01 * i}, feature_dim=600)
        for i in range(6)
    ]
    assert run(wide) == [
        "sfda can rise with width alone here, even on noise: 6 of 6 models have fewer than 2 "
        "samples a dimension (1,000 samples, up to 600 dimensions). sfda_cv is computed on "
        "held-out samples and is not inflated by width."
    ]
    assert run(wide, metric="sfda")[-1].endswith("Sort by sfda_cv, or take more samples.")
    assert diagnose_row(wide[0], metric="sfda", n_samples=1000, n_classes=2) == (
        RowWarning(None, "1,000 samples for 600 dimensions"),
    )
    assert diagnose_row(wide[0], metric="sfda_cv", n_samples=1000, n_classes=2) == ()
    # Enough samples, or no metric that could be fooled: nothing to say.
    enough = {"a": 600, "b": 600}
    assert run(wide, counts=enough) == []
    assert run([row(f"m{i}", 0.8 - i / 100, feature_dim=5000) for i in range(6)]) == []


def test_wide_features_and_saturation_are_one_warning():
    scores = {"sfda": 1.0, "hscore": 0.9999, "knn": 0.5}
    wide = [
        row(f"m{i}", scores={"sfda_cv": 0.8 - 0.01 * i, **scores}, feature_dim=900)
        for i in range(6)
    ]
    (text,) = run(wide)
    assert text.startswith("sfda and hscore can rise with width alone here")
    assert "At its maximum: sfda for 6 and hscore for 6 of 6." in text
    assert "sfda_cv and knn are computed on held-out samples and are not inflated by width." in text
    saturated, _ = run(wide, metric="sfda")
    assert saturated.startswith("sfda is saturated for 6 of 6 models")


def test_disagreement_names_the_baselines():
    (text,) = run(field(), agreement={"knn": 0.1, "linear_probe": -0.25, "logme": -0.9})
    assert "knn (weighted tau 0.10) and linear_probe (weighted tau -0.25)" in text
    assert run(field(), agreement={"knn": 0.31, "linear_probe": 0.3}) == []


def test_few_models_make_agreement_meaningless():
    (text,) = run(field(3), agreement={"knn": -1})
    assert text == "With 3 models ranked, agreement between metrics means little."
    assert run(field(1), agreement={}) == []


def test_a_checkpoint_under_two_names_is_warned_of():
    rows = [*field(), row("a/one", 0.7, params=9), row("b/two", 0.7, params=9)]
    (text,) = run(rows)
    assert text.startswith("a/one and b/two score the same on every metric")
    rows[-1] = row("b/two", 0.7, params=10)
    assert run(rows) == []


def test_small_classes_are_counted_and_the_smallest_named():
    (text,) = run(field(), counts={"cat": 990, "dog": 9, "emu": 1})
    assert text.startswith("2 of 3 classes have fewer than 10 samples (fewest: 'emu' with 1)")
    assert run(field(), counts={"cat": 990, "dog": 10}) == []


def test_only_metrics_that_can_be_trusted_here_vote():
    scores = {"sfda_cv": 0.8, "sfda": 0.9, "logme": 0.1, "knn": 0.7, "params": 5.0}
    rows = [row("a", scores=scores, feature_dim=600), ModelRow("b", None, "failed")]
    assert voting_metrics(rows, n_samples=1000) == ["sfda_cv", "logme", "knn"]
    assert voting_metrics(rows, n_samples=1200) == ["sfda_cv", "sfda", "logme", "knn"]
    assert voting_metrics([], n_samples=10) == []


@pytest.fixture
def fresh_registry(monkeypatch):
    registry.list_metrics()  # imports the built-in ones
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))


def test_a_new_metric_gets_its_warnings_from_its_registration(fresh_registry):
    register_metric("wide_one", width_sensitive=True, maximum=2.0)(lambda problem: 0.0)
    register_metric("careful", held_out=True, maximum=lambda n_classes: 10.0 * n_classes)(
        lambda problem: 0.0
    )
    register_metric("of_the_name", needs="candidate")(lambda candidate: 0.0)
    scores = {"wide_one": 1.999, "careful": 20.0, "of_the_name": 1.0}
    rows = [row(f"m{i}", scores={**scores, "knn": i / 10}, feature_dim=600) for i in range(6)]
    texts = run(rows, metric="wide_one")
    assert texts[0].startswith("wide_one is saturated for 6 of 6 models (within 0.005 of its")
    assert "it is scored on the samples it was fitted on" in texts[0]
    assert texts[1].startswith("careful is saturated for 6 of 6 models")
    assert "maximum, 20)" in texts[1]
    assert "the target is too easy for it" in texts[1]
    assert texts[2].startswith("wide_one can rise with width alone here")
    assert "careful and knn are computed on held-out samples" in texts[2]
    assert diagnose_row(rows[0], metric="wide_one", n_samples=1000, n_classes=2)[-1] == (
        RowWarning(None, "1,000 samples for 600 dimensions")
    )
    assert voting_metrics(rows, n_samples=1000) == ["careful", "knn"]


def test_a_metric_that_is_not_installed_here_gets_no_warning_of_its_own():
    scores = [{"of_others": i / 10} for i in range(6)]
    rows = [
        row(f"m{i}", scores=s, intervals={}, noise_floor=None, feature_dim=6000)
        for i, s in enumerate(scores)
    ]
    assert run(rows, metric="of_others", agreement={}) == []
    assert voting_metrics(rows, n_samples=1000) == ["of_others"]
