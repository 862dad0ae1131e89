"""Every option is checked where it enters, and a run can be repeated from its file."""

from __future__ import annotations

import json
import shlex
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from hf_sfda.config import RankConfig, rank_command
from hf_sfda.errors import ConfigError
from hf_sfda.report.files import to_yaml
from hf_sfda.types import Ranking


def test_a_configuration_is_read_back_from_yaml(tmp_path):
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
        ({"layers": "middle"}, "layers is 'middle'; allowed are last, all"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"work": "none"}, "work is 'none'"),
        ({"max_params": 0}, "max_params is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"ask_above": -1}, "ask_above is -1.0; it must be at least 0 gigabytes"),
        ({"min_downloads": 0}, "min_downloads is 0"),
        ({"min_params": 9, "max_params": 5}, "no model has both sizes"),
        ({"created_after": "last year"}, "created_after is 'last year'; give a date such as"),
        ({"license": 5}, "license is 5; it must be a list of texts"),
        ({"sample": 5}, "Unknown option sample. Allowed: .*samples"),
    ],
)
def test_bad_values_say_what_is_allowed(option, message):
    with pytest.raises(ConfigError, match=message):
        RankConfig.from_dict({"dataset": "me/ds", **option})


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1, 2", "not YAML"), ("- a", "key: value"), ("seed: 1", "names no dataset")],
)
def test_bad_configuration_files_are_refused_with_the_reason(tmp_path, content, message):
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
        ("imdb", "imdb"),
        ("me/ds", "me--ds"),
        ("acme/ds", "acme--ds"),
        ("me/x-v1.0", "me--x-v1.0"),
        ("me/ds:large", "me--ds--large"),
        ("me/ds:..", "me--ds--"),
        ("me/ds:a/../b", "b"),
        ("/data/photos/", "photos"),
        ("/data/x-v1.0", "x-v1.0"),
        ("./data/train.csv", "train.csv"),
        ("a/b/train.csv", "train.csv"),
        ("C:\\data\\x", "C---data-x"),
        ("..hidden", "hidden"),
        ("a\x1b[31m\u202e", "a-[31m-"),
        ("/", "run"),
        ("...", "run"),
    ],
)
def test_the_run_directory_is_named_after_the_dataset(dataset, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(RankConfig(dataset).run_directory) == f"runs/{name}"


@pytest.mark.parametrize("dataset", [".", "..", "photos", "./photos/", "photos/..", "../work"])
def test_a_folder_gives_a_run_its_own_name(dataset, tmp_path, monkeypatch):
    (tmp_path / "work" / "photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    name = (tmp_path / "work" / dataset).resolve().name
    assert RankConfig(dataset).run_directory == Path("runs") / name


def test_a_folder_wins_over_a_hub_id_of_the_same_spelling(tmp_path, monkeypatch):
    (tmp_path / "acme" / "plants").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert RankConfig("acme/plants").run_directory == Path("runs/plants")


def test_long_names_of_runs_stay_apart():
    first, second = ("x" * 400 + end for end in "ab")
    names = {RankConfig(f"/data/{name}").run_directory.name for name in (first, second)}
    assert len(names) == 2
    assert all(len(name.encode()) < 200 for name in names)


TOO_DEEP = "[" * 5000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("samples: abc", "samples is 'abc'; it must be a whole number"),
        ("samples: 2.5", "samples is 2.5; it must be a whole number"),
        ("samples: true", "samples is True; it must be a whole number"),
        ("samples:", "samples is None; it must be a whole number"),
        ("samples: 2024-01-02", "samples is the date 2024-01-02; it must be a whole number"),
        ("samples: [1]", r"samples is \[1\]; it must be a whole number"),
        ("seed: -1", "seed is -1; it must be at least 0"),
        ("confidence: high", "confidence is 'high'; it must be a number"),
        ("confidence: .nan", "confidence is nan"),
        ("models: 5", "models is 5; it must be a list of texts, or one text"),
        ("models: {a: b}", "models is {'a': 'b'}; it must be a list of texts"),
        ("models: [a/b, 5]", "an entry of models is 5; it must be text"),
        ("metrics: 2024-01-02", "metrics is the date 2024-01-02"),
        ("split: no", "split is False; it must be text. In YAML, put it in quotes"),
        ("revision: 2024-01-02", "revision is the date 2024-01-02; it must be text.*quotes"),
        ("out: 7", "out is 7; it must be text"),
        ("layers: [all]", r"layers is \['all'\]; allowed are last, all"),
        ("work: {}", "work is {}; allowed are"),
        ("max_params: 300M", "max_params is '300M'; it must be a whole number"),
        ("workers: 1.0", "workers is 1.0; it must be a whole number"),
        ("sampels: 5", "Unknown option sampels. .*Did you mean samples"),
        ("5: 6", "Unknown option 5. Allowed"),
        (f"models: {TOO_DEEP}", "nested more than 64 levels deep"),
        ("a: !!timestamp x", "not YAML"),
        ("a: !!python/object/apply:os.getcwd []", "not YAML"),
        ("a: \x1b[31m", "not YAML"),
        ("models: &a [*a]", "nested more than"),
        ("? [a]\n: b", "not YAML"),
        (f"confidence: 1{'0' * 400}", "confidence is 1000.*; it must lie within 64 bits"),
        (f"confidence: -1{'0' * 400}", "confidence is -1000.*; it must lie within 64 bits"),
        (f"seed: 1{'0' * 30}", "seed is 1000.*; it must lie within 64 bits"),
        (f"samples: 1{'0' * 5000}", "not YAML"),
        ("samples: 5\nsamples: 10", "'samples' twice"),
        ("dataset: me/other", "'dataset' twice"),
        ("split: ''", "split is empty; give a value, or leave the option out"),
        ("out: ' '", "out is empty"),
        ("models: ''", "an entry of models is empty"),
        ("models: [a/b, '']", "an entry of models is empty"),
        ("metrics: ['']", "an entry of metrics is empty"),
        ('out: "a\\0b"', "out is .*; it must not hold a NUL character"),
        ('models: ["\\0"]', "an entry of models is .*NUL"),
    ],
)
def test_a_value_of_the_wrong_kind_in_a_file_is_refused(tmp_path, text, message):
    path = tmp_path / "c.yaml"
    path.write_text(f"dataset: me/ds\n{text}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as caught:
        RankConfig.from_yaml(path)
    assert str(caught.value).startswith(f"The configuration {path}")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
def test_a_configuration_in_another_encoding_is_refused(tmp_path, encoding):
    (tmp_path / "c.yaml").write_text("dataset: me/Blüten\n", encoding=encoding)
    with pytest.raises(ConfigError, match=r"is not UTF-8 text.*save it as UTF-8"):
        RankConfig.from_yaml(tmp_path / "c.yaml")


def test_a_single_model_a_byte_order_mark_and_underscores_in_numbers_are_accepted(tmp_path):
    (tmp_path / "c.yaml").write_bytes(
        b"\xef\xbb\xbfdataset: me/ds\nmodels: org/name\nmetrics: [knn]\nmax_params: 300_000\n"
    )
    config = RankConfig.from_yaml(tmp_path / "c.yaml")
    assert config.models == ("org/name",)
    assert config.metrics == ("three_heads", "knn")
    assert config.max_params == 300_000
    as_numpy = RankConfig("d", samples=np.int64(7), confidence=np.float32(0.5), models=["a/b"])
    assert (type(as_numpy.samples), type(as_numpy.confidence)) == (int, float)
    assert as_numpy.models == ("a/b",)
    json.dumps(as_numpy.to_dict())


def test_the_file_that_a_run_wrote_can_be_used(tmp_path):
    config = RankConfig("me/ds", models=("a/b",))
    ranking = Ranking(config=config.to_dict() | {"fingerprint": "0" * 16}, dataset={}, rows=())
    (tmp_path / "config.yaml").write_bytes(to_yaml(ranking))
    assert RankConfig.from_yaml(tmp_path / "config.yaml") == config


def test_options_in_python_are_checked_alike():
    with pytest.raises(ConfigError, match="samples is 'abc'"):
        RankConfig("me/ds", samples="abc")
    with pytest.raises(ConfigError, match="dataset is 5; it must be text"):
        RankConfig.from_dict({"dataset": 5})


def test_an_alias_and_a_merge_are_no_repeated_keys(tmp_path):
    (tmp_path / "c.yaml").write_text("<<: {samples: 50, seed: 1}\ndataset: &d me/ds\nsplit: *d\n")
    config = RankConfig.from_yaml(tmp_path / "c.yaml")
    assert (config.samples, config.dataset, config.split) == (50, "me/ds", "me/ds")


def test_a_path_with_a_null_character_is_refused():
    with pytest.raises(ConfigError, match="Cannot read the configuration"):
        RankConfig.from_yaml("a\0b")


def test_fingerprint_ignores_who_and_where_but_not_what():
    base = RankConfig("d")
    assert (
        base.fingerprint()
        == base.replace(models=("a",), out="o", batch_size=1, max_params=9).fingerprint()
    )
    changed = [base.replace(samples=10), base.replace(layers="last"), base.replace(seed=1)]
    changed.append(base.replace(batch_norms="published"))
    assert len({config.fingerprint() for config in [base, *changed]}) == 5


METRICS_OF_0_1 = ("sfda_cv", "sfda", "logme", "hscore", "knn", "linear_probe")


def test_the_former_name_of_an_option_is_accepted_and_does_not_change_the_fingerprint(tmp_path):
    settings = {"dataset": "me/plants", "metric": "sfda_cv", "metrics": METRICS_OF_0_1}
    settings["batch_norms"] = "published"  # all that version 0.1 had
    config = RankConfig.from_dict({**settings, "view": "last"})
    assert config.layers == "last"
    assert config.fingerprint() == "62baed1be35f6e7e"  # of version 0.1, when it was called view
    path = tmp_path / "config.yaml"
    path.write_text("dataset: me/plants\nview: last\nmetric: auto\n")
    assert RankConfig.from_yaml(path) == RankConfig("me/plants", layers="last")
    assert RankConfig.from_yaml(path, layers="all").layers == "all"
    with pytest.raises(ConfigError, match="view is the former name of layers"):
        RankConfig.from_dict({"dataset": "me/plants", "view": "last", "layers": "all"})


def test_the_command_line_has_every_option_with_its_default():
    from typer.main import get_command

    from hf_sfda.cli import app

    (rank,) = [c for name, c in get_command(app).commands.items() if name == "rank"]
    options = {option.name: option.default for option in rank.params}
    for field in fields(RankConfig):
        if field.name in ("dataset", "models"):  # one is required, the other is a list
            assert field.name in options
            continue
        expected = field.default
        if isinstance(expected, tuple):  # a list is typed with commas
            expected = ",".join(expected) or None
        assert options[field.name] == expected, field.name


def test_a_command_repeats_its_options(monkeypatch):
    from typer.testing import CliRunner

    from hf_sfda.cli import app

    config = RankConfig(
        "me/ds", models=("a/b", "c d"), samples=50, metric="knn", metrics=("knn", "sfda"),
        layers="last", confidence=0.9, learning_curve=True, max_params=10**8, workers=2, out="x y",
        license=("permissive", "cc-by-nc-4.0"), created_after="2024-06-30", exclude=("acme/*",),
    )  # fmt: skip
    ran = []
    monkeypatch.setattr(
        "hf_sfda.cli.rank._run", lambda settings, *_, **__: ran.append(settings) or 1 / 0
    )
    line = rank_command(config.to_dict())
    CliRunner().invoke(app, shlex.split(line)[1:])
    assert ran == [config]
    assert rank_command({"dataset": "me/ds", "samples": 2000}) == "hf-sfda rank --dataset me/ds"
    always = rank_command({"dataset": "me/ds", "samples": 2000}, always=["samples"])
    assert always == "hf-sfda rank --dataset me/ds --samples 2000"
