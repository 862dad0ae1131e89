"""Single keys of a front matter, and our section: ours change, every other byte stays."""

from __future__ import annotations

import pytest

from hf_sfda.errors import PublishError
from hf_sfda.publish.edits import (
    add_key,
    extend_list,
    parse_card,
    put_section,
    section_key,
    set_key,
)

CARD = """---
# mine
title: "My board"   # a good one
sdk_version: 4.36.0 # old
tags: [a, 'b']  # two
hf_oauth_scopes:
    # as little as possible
    - email

emoji: 🧭
datasets:
- me/old
- me/older
pinned: false
---
Words.
"""


def card(text=CARD):
    return parse_card(text.encode(), "README.md of me/board")


def lines(before: str, after: str) -> tuple[list[str], list[str]]:
    """(gone, new)"""
    old, new = before.splitlines(), after.splitlines()
    return [line for line in old if line not in new], [line for line in new if line not in old]


@pytest.mark.parametrize(
    ("key", "value", "gone", "new"),
    [
        ("sdk_version", "6.31.0", ["sdk_version: 4.36.0 # old"], ["sdk_version: 6.31.0 # old"]),
        ("pinned", True, ["pinned: false"], ["pinned: true"]),
        ("datasets", ["me/new"], ["- me/old", "- me/older"], ["- me/new"]),
        ("datasets", None, ["datasets:", "- me/old", "- me/older"], ["datasets: null"]),
        ("sdk", "gradio", [], ["sdk: gradio"]),
        ("title", "My board", [], []),
    ],
)
def test_a_key_is_set_and_all_else_stays(key, value, gone, new):
    after = set_key(card(), key, value)
    assert lines(CARD, str(after)) == (gone, new)
    assert after.data == {**card().data, key: value}
    assert set_key(after, key, value) == after


def test_text_that_looks_like_a_number_stays_text():
    after = set_key(card(), "python_version", "3.12")
    assert after.data["python_version"] == "3.12"
    assert set_key(card("---\na: 3.12\n---\n"), "a", "3.12").data["a"] == "3.12"


@pytest.mark.parametrize(
    ("key", "values", "new"),
    [
        ("tags", ["b", "c"], ["tags: [a, 'b', \"c\"]  # two"]),
        ("hf_oauth_scopes", ["email", "read-repos"], ["    - read-repos"]),
        ("models", ["a/b"], ["models:", "- a/b"]),
        ("datasets", ["me/old"], []),
    ],
)
def test_a_list_is_made_to_hold_something(key, values, new):
    after = extend_list(card(), key, values)
    assert lines(CARD, str(after))[1] == new
    assert set(after.data[key]) == {*(card().data.get(key) or []), *values}
    assert extend_list(after, key, values) == after


def test_a_single_value_becomes_a_list():
    after = extend_list(card("---\ntags: a\nb: 1\n---\n"), "tags", ["c"])
    assert after.data == {"tags": ["a", "c"], "b": 1}


@pytest.mark.parametrize(
    "text",
    [
        "---\ntags: &x [a]\nb: *x\n---\n",
        "---\n{tags: [a], b: 1}\n---\n",
        "---\nsdk: |\n  gradio\nb: 1\n---\n",
        "---\r\nsdk:\r\n  - x\r\n\r\nb: 1\r\n---\r\nBody\r\n",
        "---\nsdk:\nb: 1\n---\n",
        "---\nb: 1\nsdk:\n---\n",
        "---\nsdk: >-\n  a\n  b\n---\n",
    ],
)
def test_every_style_is_edited_rightly_or_refused(text):
    before = card(text)
    for change in (
        lambda: set_key(before, "sdk", "gradio"),
        lambda: extend_list(before, "tags", ["z"]),
    ):
        try:
            after = change()
        except PublishError as error:
            assert "left as it is" in str(error)
            continue
        assert after.data["b"] == before.data["b"] if "b" in before.data else True
        assert after.data.get("sdk") == "gradio" or "z" in after.data["tags"]
        assert after.body == before.body


def test_a_section_is_found_only_where_its_marker_stands_alone():
    text = "See `<!-- hf-sfda:begin k -->` and <!-- hf-sfda:end k --> here.\n"
    card = parse_card(text.encode(), "card")
    body = put_section(card, "k", "x")
    assert body == text + "\n<!-- hf-sfda:begin k -->\nx\n<!-- hf-sfda:end k -->\n"
    again = put_section(parse_card(body.encode(), "card"), "k", "y")
    assert again == body.replace("\nx\n", "\ny\n")


def test_text_after_a_section_stays():
    card = parse_card(b"a\n<!-- hf-sfda:begin k -->\nx\n<!-- hf-sfda:end k -->\n\nb", "card")
    assert put_section(card, "k", "y\n").endswith("y\n<!-- hf-sfda:end k -->\n\nb")


def test_section_keys_are_safe_in_a_comment():
    assert section_key("me/a", "x--y -->", "train") == "me/a:x-y-:train"
    assert section_key("me/a", None, None) == "me/a"


def test_a_key_is_added_at_the_end_and_never_to_braces():
    card = parse_card(b"---\na: 1 # one\n# two\n---\n", "card")
    assert add_key(card, "b", [{"c": 2}]).yaml == "a: 1 # one\n# two\nb:\n- c: 2"
    with pytest.raises(PublishError, match=r"line 2, column 1: .*\{ \}"):
        add_key(parse_card(b"---\n{a: 1}\n---\n", "card"), "b", 2)
