"""How much a visitor may ask for."""

from __future__ import annotations

from dataclasses import fields

import pytest

from hf_sfda.errors import ConfigError
from hf_sfda.format import show_bytes, show_count, show_seconds
from hf_sfda.space.settings import Limits, variable


def test_without_variables_the_limits_have_their_defaults():
    assert Limits.from_environment({}) == Limits()
    assert Limits.from_environment({"HF_SFDA_MAX_SAMPLES": " "}) == Limits()


def test_every_limit_has_a_variable():
    given = {variable(field.name): str(100 + i) for i, field in enumerate(fields(Limits))}
    limits = Limits.from_environment(given)
    assert [getattr(limits, field.name) for field in fields(Limits)] == [
        100 + i for i in range(len(fields(Limits)))
    ]
    assert {"HF_SFDA_MAX_DOWNLOAD_BYTES", "HF_SFDA_MAX_SECONDS", "HF_SFDA_QUEUE"} < given.keys()


@pytest.mark.parametrize("value", ["many", "0", "-5", "1.5", "1e6", "3"])
def test_a_bad_variable_is_named_with_its_value_and_what_is_allowed(value):
    with pytest.raises(ConfigError) as caught:
        Limits.from_environment({"HF_SFDA_MAX_SAMPLES": value})
    message = str(caught.value)
    assert "HF_SFDA_MAX_SAMPLES" in message
    assert repr(value) in message
    assert "from 4 up" in message


def test_a_bad_limit_in_code_is_refused():
    with pytest.raises(ConfigError, match=r"seconds is 0.*HF_SFDA_MAX_SECONDS"):
        Limits(seconds=0)


def test_the_sentence_holds_the_numbers_a_visitor_meets():
    text = Limits().describe()
    for message in ("2,000 samples", "12 models", "400 million", "4 GB", "15 minutes", "200 MB"):
        assert message in text
    assert text.count("\n") == 0


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (show_bytes(0), "0 B"),
        (show_bytes(999), "999 B"),
        (show_bytes(12_540_000), "12.5 MB"),
        (show_bytes(4e9), "4 GB"),
        (show_bytes(999_999_999), "1,000 MB"),
        (show_count(86_600_000), "86.6 million"),
        (show_count(1.5e9), "1.5 billion"),
        (show_count(12_000), "12,000"),
        (show_seconds(1), "1 second"),
        (show_seconds(90), "90 seconds"),
        (show_seconds(60), "1 minute"),
        (show_seconds(900), "15 minutes"),
    ],
)
def test_limits_are_shown_in_round_numbers(shown, message):
    assert shown == message
