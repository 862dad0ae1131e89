"""What a visitor may ask for, and how."""

from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_sfda.errors import ConfigError
from hf_sfda.space.requests import RankRequest, check_dataset, check_model, command, parse_models
from hf_sfda.space.settings import Limits

LIMITS = Limits(samples=1_000, candidates=8, params=1_000_000, upload_bytes=100)

PATHS = [
    "/etc/passwd", "../secrets", "..", ".", "./data", "~/data", "~", "a/../b", "a/b/c", "",
    "C:\\data", "a\\b", "file:///etc/passwd", "org/", "/name", "-a/b", "a b", "a/b\0", "org/name/",
    "hf://datasets/a/b", "http://127.0.0.1/a", "me/data.git",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_a_place_is_neither_a_dataset_nor_a_model(path):
    with pytest.raises(ConfigError, match="not a Hub id"):
        RankRequest(dataset=path).validate(LIMITS)
    with pytest.raises(ConfigError, match="not a Hub id"):
        RankRequest(dataset="me/data", models=(path,)).validate(LIMITS)


@pytest.mark.parametrize("dataset", ["imdb", "me/data", "me/data:plain_text", "a.b/c-d_e"])
def test_hub_datasets_are_taken(dataset, tmp_path):
    config = RankRequest(dataset=dataset).to_config(tmp_path, LIMITS)
    assert config.dataset == dataset
    assert config.revision is None


@pytest.mark.parametrize("dataset", ["me/data:", "me/data:../x", "me/data:a/b", ":a"])
def test_a_config_is_a_name(dataset):
    with pytest.raises(ConfigError, match="org/name:config"):
        check_dataset(dataset)


@pytest.mark.parametrize("model", ["acme/vit", "gpt2", "acme/vit@main", "acme/vit@refs/pr/1"])
def test_hub_models_are_taken(model):
    check_model(model)


@pytest.mark.parametrize("model", ["acme/vit@", "acme/vit@../..", "acme/vit@a//b", "acme/vit@/a"])
def test_a_revision_is_a_name(model):
    with pytest.raises(ConfigError, match="org/name@revision"):
        check_model(model)


@given(st.text(max_size=30))
def test_whatever_is_typed_names_no_place(text):
    for check in (check_dataset, check_model):
        try:
            check(text)
        except ConfigError as error:
            assert "\n" not in str(error)
        else:
            assert ".." not in text
            assert text[0] not in "/~."
            assert "\\" not in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": None}, "neither was given"),
        ({"samples": 1001}, "1,001 samples.* 2 to 1,000"),
        ({"samples": 1}, "1 samples.* 2 to 1,000"),
        ({"top": 9}, "9 candidates.* 1 to 8"),
        ({"top": 0}, "0 candidates.* 1 to 8"),
        ({"models": tuple(f"a/{i}" for i in range(9))}, "9 models.* 0 to 8.*Name fewer"),
        ({"max_params": 2_000_000}, "2 million.* 1 to 1 million"),
        ({"max_params": 0}, "0 parameters"),
        ({"metric": "sdfa"}, "'sdfa'.*sfda_cv"),
    ],
)
def test_what_is_over_a_limit_is_refused_with_the_limit(changes, message):
    with pytest.raises(ConfigError, match=message):
        RankRequest(**{"dataset": "me/data", **changes}).validate(LIMITS)


def test_both_a_dataset_and_an_upload_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="both were given"):
        RankRequest(dataset="me/data", upload=tmp_path).validate(LIMITS)


def test_without_a_size_wish_the_limit_on_parameters_holds(tmp_path):
    assert RankRequest(dataset="a/b").to_config(tmp_path, LIMITS).max_params == 1_000_000
    asked = RankRequest(dataset="a/b", max_params=5).to_config(tmp_path, LIMITS)
    assert asked.max_params == 5


def test_an_upload_is_checked_by_size_and_named_without_its_place(tmp_path):
    file, job = tmp_path / "My flowers (1).zip", tmp_path / "job"
    with pytest.raises(ConfigError, match="Upload it again"):
        RankRequest(upload=file).validate(LIMITS)
    file.write_bytes(b"x" * 101)
    with pytest.raises(ConfigError, match="101 B; at most 100 B"):
        RankRequest(upload=file).validate(LIMITS)
    file.write_bytes(b"x")
    request = RankRequest(upload=file, models=("acme/vit",))
    assert request.upload_name == "My-flowers-1"
    with pytest.raises(ConfigError, match="Upload it again"):
        request.to_config(job, LIMITS)
    (job / "My-flowers-1").mkdir(parents=True)
    assert request.to_config(job, LIMITS).dataset == "My-flowers-1"
    assert str(tmp_path) not in command(request)


def test_an_upload_never_stands_in_front_of_a_model(tmp_path):
    request = RankRequest(upload=tmp_path / "gpt2.zip", models=("gpt2@main",))
    assert request.upload_name == "gpt2-data"


def test_a_request_survives_json(tmp_path):
    for request in (
        RankRequest(dataset="me/data", models=("a/b", "a/c@v1"), label_column="kind"),
        RankRequest(upload=tmp_path / "x.csv", seed=7, max_params=9),
    ):
        assert RankRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request


def test_models_are_read_as_people_paste_them():
    text = """
    acme/vit, acme/bert@v2; acme/vit
    # a comment
    https://hub.example/acme/resnet
    http://127.0.0.1:8999/acme/swin/tree/main?x=1  # as in the address bar
    hub.example/acme/plain/
    gpt2
    """
    assert parse_models(text) == (
        "acme/vit", "acme/bert@v2", "acme/resnet", "acme/swin@main", "acme/plain", "gpt2",
    )  # fmt: skip
    assert parse_models(" \n,") == ()


def test_the_command_repeats_the_request(tmp_path):
    request = RankRequest(
        dataset="me/data:en", models=("a/b", "a/c@v1"), samples=300, metric="logme", seed=3,
        split="validation", label_column="it's",
    )  # fmt: skip
    words = shlex.split(command(request))
    assert words == [
        "hf-sfda", "rank", "--dataset", "me/data:en", "--models", "a/b", "a/c@v1", "--split",
        "validation", "--label-column", "it's", "--samples", "300", "--metric", "logme",
        "--seed", "3",
    ]  # fmt: skip
    assert command(RankRequest(dataset="me/data", top=5, max_params=10)) == (
        "hf-sfda rank --dataset me/data --samples 1000 --top 5 --max-params 10"
    )
    assert command(RankRequest(dataset="me/data"), LIMITS).endswith(" --max-params 1000000")
    pairs = RankRequest(dataset="me/nli", input_column="premise,hypothesis")
    assert " --input-column premise,hypothesis" in command(pairs)
    assert "--dataset ./flowers/ " in command(RankRequest(upload=tmp_path / "flowers.zip"))
    assert "--dataset ./topics.csv " in command(RankRequest(upload=tmp_path / "topics.csv"))


def test_the_command_is_one_that_the_command_line_takes(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from hf_sfda.cli import app, rank

    seen = {}

    def run(settings, token, output, *, yes):
        seen["settings"] = settings
        raise ConfigError("seen")

    monkeypatch.setattr(rank, "_run", run)
    request = RankRequest(dataset="me/data", models=("a/b", "a/c"), metric="logme", max_params=7)
    CliRunner().invoke(app, shlex.split(command(request))[1:])
    config = request.to_config(tmp_path, LIMITS)
    assert seen["settings"] == config.replace(top=20), "named models make no use of top"
