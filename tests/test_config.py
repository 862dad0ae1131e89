"""Every option is checked where it enters, and a run can be repeated from its file."""

from __future__ import annotations

import pytest

from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError


def test_round_trip_through_yaml(tmp_path):
    config = RankConfig("me/ds:large", models=("a/b", "./c"), samples=50, max_params=10**8, out="x")
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert RankConfig.from_yaml(tmp_path / "config.yaml") == config
    assert RankConfig.from_yaml(tmp_path / "config.yaml", seed=3).seed == 3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"dataset": ""}, "--dataset"),
        ({"samples": 1}, r"samples is 1; .* at least 2"),
        ({"folds": 1}, "folds is 1"),
        ({"resamples": 10}, "resamples is 10"),
        ({"confidence": 1.0}, r"confidence is 1.0.*\[0.5, 1\)"),
        ({"view": "middle"}, "view is 'middle'; allowed are last, all"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"work": "none"}, "work is 'none'"),
        ({"max_params": 0}, "max_params is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"sample": 5}, "Unknown option sample. Allowed: .*samples"),
    ],
)
def test_bad_values_say_what_is_allowed(option, message):
    with pytest.raises(ConfigError, match=message):
        RankConfig.from_dict({"dataset": "me/ds", **option})


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1, 2", "not YAML"), ("- a", "option: value"), ("seed: 1", "names no dataset")],
)
def test_bad_files(tmp_path, content, message):
    (tmp_path / "c.yaml").write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        RankConfig.from_yaml(tmp_path / "c.yaml")
    with pytest.raises(ConfigError, match="Cannot read"):
        RankConfig.from_yaml(tmp_path / "missing.yaml")


def test_the_metric_to_sort_by_is_always_computed():
    assert RankConfig("d", metric="hscore", metrics=("sfda",)).metrics == ("hscore", "sfda")


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("me/ds", "ds"),
        ("me/ds:large", "ds-large"),
        ("/data/photos/", "photos"),
        ("a/train.csv", "train"),
    ],
)
def test_run_directory(dataset, name):
    assert str(RankConfig(dataset).run_directory) == f"runs/{name}"


def test_fingerprint_ignores_who_and_where_but_not_what():
    base = RankConfig("d")
    assert (
        base.fingerprint()
        == base.replace(models=("a",), out="o", batch_size=1, max_params=9).fingerprint()
    )
    changed = [base.replace(samples=10), base.replace(view="last"), base.replace(seed=1)]
    assert len({config.fingerprint() for config in [base, *changed]}) == 4
