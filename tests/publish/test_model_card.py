"""Edits of somebody else's card: our lines in, every other byte as it was."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_sfda.errors import PublishError
from hf_sfda.hub.access import Repo
from hf_sfda.publish.edits import parse_card
from hf_sfda.publish.model_card import edit_card
from hf_sfda.publish.model_result import (
    SOURCE,
    TASK_TYPE,
    ModelResult,
    eval_result,
    make_model_result,
    put_result,
)
from hf_sfda.publish.rows import make_run
from tests.publishing import DATASET_SHA, make_ranking

RESULTS = Repo("me/results", "dataset")
MODEL = Repo("me/resnet")

AUTHOR = """---
# Licensed generously.
license:   mit   # see LICENSE
tags: ['vision', "beans",   plain]
language:
    - en
    - 'no'      # Norwegian, not false
model-index:
-   name: "My ResNet"
    results:
    # measured by hand
    -   task: {type: image-classification, name: 'Image Classification'}
        dataset:
            name: Plants
            type: me/plants
            split: train
            revision: dddddddddddddddddddddddddddddddddddddddd
        metrics:
        - {type: accuracy, value: 0.9130, name: "Accuracy"}
        - type: f1
          value: 9.0e-1
        source: {name: The author, url: https://example.org/eval}
    # measured by a friend
    -   task:
            type: image-classification
        dataset: {name: Beans, type: beans}
        metrics:
        -   type: accuracy
            value: 0.5   # poor
# the end
pipeline_tag: image-classification
---
# My ResNet

Trailing spaces stay.  \nSo do tabs\t.
"""


@cache
def model_result(value: float = 0.5, **options: Any) -> ModelResult:
    scores = {"acme/vit": 0.58, "me/resnet": value, "me/noise": 0.12}
    return make_model_result(make_run(make_ranking(scores, **options)), "me/resnet", RESULTS)


def edited(text: str, other: ModelResult | None = None) -> str:
    return edit_card(text.encode(), MODEL, other or model_result()).decode()


def lost_lines(before: str, after: str) -> list[str]:
    """Lines of the author that are gone or changed."""
    diff = difflib.ndiff(before.splitlines(keepends=True), after.splitlines(keepends=True))
    return [line[2:] for line in diff if line.startswith("- ")]


def results_of(text: str) -> list[EvalResult]:
    card = parse_card(text.encode(), "card")
    return model_index_to_eval_results(card.data["model-index"])[1]


def test_the_authors_bytes_rows_and_sources_survive():
    after = edited(AUTHOR)
    assert lost_lines(AUTHOR, after) == []
    *theirs, ours = results_of(after)
    assert theirs == results_of(AUTHOR)
    assert [row.source_name for row in theirs] == ["The author", "The author", None]
    assert (ours.source_name, ours.task_type) == (SOURCE, TASK_TYPE)
    before, now = parse_card(AUTHOR.encode(), "a"), parse_card(after.encode(), "b")
    assert {k: v for k, v in now.data.items() if k != "model-index"} == {
        k: v for k, v in before.data.items() if k != "model-index"
    }


def test_our_row_says_what_is_needed_to_check_it():
    (*_, ours) = results_of(edited(AUTHOR))
    assert (ours.dataset_type, ours.dataset_split) == ("me/plants", "train")
    assert ours.dataset_revision == DATASET_SHA
    assert (ours.metric_type, ours.metric_value) == ("sfda_cv", 0.5)
    arguments = ours.metric_args
    assert arguments["view"] == "all"
    assert (arguments["n"], arguments["seed"], arguments["rank"]) == (1270, 0, 2)
    assert (arguments["low"], arguments["high"]) == (0.48, 0.52)
    assert arguments["config_fingerprint"] == make_ranking().config["fingerprint"]
    run = make_run(make_ranking())
    assert ours.source_url == f"{RESULTS.url}/blob/main/{run.path}#row-3"
    assert run.rows[3]["model"] == "me/resnet"
    assert run.rows[3]["metric"] == "sfda_cv"
    assert ours == eval_result(model_result())


def test_other_tools_do_not_mix_up_our_row_and_the_authors():
    """The trap: huggingface_hub groups rows by task and dataset, and keeps the first source."""
    card = ModelCard(edited(AUTHOR))
    more = EvalResult(
        task_type="image-classification",
        dataset_type="me/plants",
        dataset_name="Plants",
        dataset_split="train",
        dataset_revision=DATASET_SHA,
        metric_type="recall",
        metric_value=0.8,
        source_name="The author",
        source_url="https://example.org/eval",
    )
    card.data.eval_results = [*card.data.eval_results, more]
    sources = {
        (row.task_type, row.metric_type): row.source_name
        for row in results_of(str(card))
        if row.dataset_type == "me/plants"
    }
    assert sources == {
        ("image-classification", "accuracy"): "The author",
        ("image-classification", "f1"): "The author",
        ("image-classification", "recall"): "The author",
        (TASK_TYPE, "sfda_cv"): SOURCE,
    }


def test_saying_it_twice_changes_nothing_and_a_new_score_replaces_the_old_one_in_place():
    once = edited(AUTHOR)
    assert edited(once) == once
    follower = once.replace(
        "# the end",
        "    - task: {type: x}\n      dataset: {type: y, name: y}\n      metrics: []\n# the end",
    )
    again = edited(follower, model_result(0.45, dataset_sha="c" * 40))
    assert len(results_of(again)) == len(results_of(follower))
    assert "revision: " + "c" * 40 in again
    assert again.index("# measured by a friend") < again.index("c" * 40) < again.index("{type: y,")
    assert edited(again).count("<!-- hf-sfda:begin") == 1
    assert edited(again, model_result()) == follower


def test_another_dataset_gets_a_row_and_a_section_of_its_own():
    both = edited(edited(AUTHOR), model_result(0.3, dataset="me/birds"))
    assert [row.dataset_type for row in results_of(both)][-2:] == ["me/plants", "me/birds"]
    assert both.count("<!-- hf-sfda:begin me/plants:train -->") == 1
    assert both.count("<!-- hf-sfda:begin me/birds:train -->") == 1
    assert lost_lines(edited(AUTHOR), both) == []


def _model_index(results: str) -> str:
    index = f"model-index:\n- name: x\n  results:{results}\n"
    return f"---\nlicense: mit\n{index}tags: [a]  # b\n---\nHi\n"


CARDS = {
    "nothing": "",
    "body only": "# Hi\n\nno end of line",
    "empty front matter": "---\n\n---\n# Hi\n",
    "only a comment": "---\n# todo\n---\n# Hi\n",
    "no model-index": "---\nlicense: 'mit'  # c\n\n\n---\nHi",
    "windows": AUTHOR.replace("\n", "\r\n"),
    "byte order mark": "\ufeff" + AUTHOR,
    "byte order mark, no front matter": "\ufeff# Hi\n",
    "nothing after": "---\nlicense: mit\n---",
    "indented to the same column": _model_index(
        "\n  - task: {type: a}\n    dataset: {type: b, name: c}\n    metrics: [{type: d, value: 1}]"
    ),
    "ends with a comment": _model_index(
        "\n  - task: {type: a}\n    dataset: {type: b, name: c}\n    metrics:\n    - type: d\n"
        "      value: 1 # one\n  # nothing more\n"
    ),
    "a text over several lines": _model_index(
        "\n  - task: {type: a}\n    dataset: {type: b, name: c}\n    metrics:\n    - type: d\n"
        "      value: |\n        one\n        two\n"
    ),
    "folded and quoted": _model_index(
        "\n  - metrics:\n    - value: 'it''s\n        long'\n      type: d\n"
        "    task: {type: a}\n    dataset:\n      type: b\n      name: >-\n        c\n        d\n"
    ),
    "json style": _model_index(
        ' [{"task": {"type": "a"}, "dataset": {"type": "b", "name": "c"}, '
        '"metrics": [{"type": "d", "value": 1}]}]'
    ),
    "all json": '---\nmodel-index: [{"name": "x", "results": []}]\nlicense: mit\n---\n',
    "index last": "---\nlicense: mit\nmodel-index:\n  - name: x\n    results:\n      - task:\n"
    "          type: a\n        dataset:\n          type: b\n          name: c\n"
    "        metrics:\n          - type: d\n            value: 1\n---\n",
    "umlauts": "---\nlicense: mit\nauthor: Zoë 🌱\n---\n# Grüße\n",
    "ends in a block text": "---\nlicense: mit\nnote: |\n  one\n\n  two\n---\nHi\n",
}


@pytest.mark.parametrize("name", CARDS)
def test_a_result_is_added_to_cards_of_every_style(name):
    before = CARDS[name]
    after = edited(before)
    lost = [x for x in lost_lines(before.strip("\ufeff"), after.strip("\ufeff")) if x.strip()]
    assert "json" in name or lost in ([], before.splitlines()[-1:]), "gained a line break at most"
    card = parse_card(after.encode(), "card")
    was = parse_card(before.encode(), "card")
    theirs = (was.data.get("model-index") or [{"results": []}])[0]["results"]
    now = card.data["model-index"][0]["results"]
    assert now[: len(theirs)] == theirs
    assert len(now) == len(theirs) + 1
    assert {**card.data, "model-index": 0} == {**was.data, "model-index": 0}
    assert was.body.strip("\ufeff") in card.body
    assert edited(after) == after, "a second time changes nothing"
    changed = edited(after, model_result(0.45))
    assert len(parse_card(changed.encode(), "").data["model-index"][0]["results"]) == len(now)
    assert edited(changed) == after, "and back"
    if "\r\n" in before:
        assert "\n" not in after.replace("\r\n", "")
    if not before.startswith("\ufeff"):
        assert ModelCard(after).data.eval_results[-1].source_name == SOURCE


@pytest.mark.parametrize("index", ["model-index: []", "model-index:\n- name: x\n  results: []"])
def test_an_empty_index_such_as_trainers_write_is_filled(index):
    after = edited(f"---\nlicense: mit\n{index}  # later\ntags: [a]\n---\n")
    (ours,) = results_of(after)
    assert ours.source_name == SOURCE
    assert "# later" in after
    assert "tags: [a]\n---" in after


# name -> (card, where the message points)
BROKEN = {
    "unclosed quote": (
        "---\nlicense: mit\ntags: ['a\nx: y\n---\nHi\n",
        "line 3, column 8, found unexpected end of stream at line 4",
    ),
    "tab": ("---\nlicense: mit\ntags:\n\t- a\n---\nHi\n", "line 4, column 1"),
    "colon": ("---\nlicense: mit: no\n---\nHi\n", "line 2, column 13"),
    "a list": ("---\n- license\n---\nHi\n", "list"),
    "no such date": ("---\ndate: 2024-99-99\n---\nHi\n", "month"),
    "control character": ("---\nlicense: \x01\n---\nHi\n", "special characters"),
    "no results": ("---\nmodel-index:\n- name: x\n---\n", "line 3, column 3: `model-index[0]`"),
    "a row without metrics": (
        "---\nmodel-index:\n- name: x\n  results:\n  - task: {type: a}\n"
        "    dataset: {type: b, name: c}\n---\n",
        "line 5, column 5: `model-index[0].results[0]` lacks 'metrics'",
    ),
    "index is a word": ("---\nmodel-index: none\n---\n", "line 2, column 14"),
    "index is empty": ("---\nmodel-index:\n---\n", "line 2"),
    "source without url": (
        "---\nmodel-index:\n- name: x\n  results:\n  - task: {type: a}\n    dataset: {type: b, "
        "name: c}\n    metrics: [{type: d, value: 1}]\n    source: {name: me}\n---\n",
        "line 5",
    ),
    "marker without end": ("# Hi\n<!-- hf-sfda:begin me/plants:train -->\n", "line 2"),
    "markers twice": (
        "\n<!-- hf-sfda:begin me/plants:train -->\n<!-- hf-sfda:end me/plants:train -->" * 2,
        "2 x",
    ),
    "an alias we would have to follow": (
        "---\nbase: &b {type: d, value: 1}\nmodel-index:\n- name: x\n  results:\n"
        "  - task: {type: a}\n    dataset: {type: b, name: c}\n    metrics:\n    - *b\n---\n",
        "cannot be extended",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_card_that_cannot_be_read_is_left_alone_and_the_place_is_named(name):
    text, where = BROKEN[name]
    with pytest.raises(PublishError) as caught:
        edited(text)
    message = str(caught.value)
    assert where in message
    assert "left as it is" in message
    assert "README.md of model me/resnet" in message


def test_a_card_that_is_not_utf8_is_refused():
    with pytest.raises(PublishError, match=r"not UTF-8 text \(byte 2\)"):
        edit_card(b"# \xff\xfe", MODEL, model_result())


scalars = st.one_of(
    st.text(alphabet="ab: #-'\"\n|>é", max_size=8), st.integers(-9, 9), st.booleans(), st.none()
)


@given(
    before=st.dictionaries(st.sampled_from(["license", "tags", "zz"]), scalars, max_size=3),
    rows=st.lists(
        st.fixed_dictionaries(
            {
                "task": st.fixed_dictionaries({"type": st.text("ab #:", min_size=1, max_size=4)}),
                "dataset": st.fixed_dictionaries({"type": scalars, "name": scalars}),
                "metrics": st.lists(
                    st.fixed_dictionaries({"type": scalars, "value": scalars}), max_size=2
                ),
            }
        ),
        max_size=3,
    ),
    flow=st.sampled_from([None, False, True]),
    indent=st.sampled_from([2, 4]),
    style=st.sampled_from([None, "'", '"', "|", ">"]),
    width=st.sampled_from([20, 1000]),
    last=st.booleans(),
)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@pytest.mark.slow
def test_any_yaml_a_dumper_writes_keeps_its_meaning_or_is_refused(
    before, rows, flow, indent, style, width, last
):
    index = {"model-index": [{"name": "x", "results": rows}]}
    data = {**before, **index} if last else {**index, **before}
    text = yaml.safe_dump(
        data,
        default_flow_style=flow,
        indent=indent,
        default_style=style,
        width=width,
        sort_keys=False,
        allow_unicode=True,
    )
    card = parse_card(f"---\n{text}---\n# Hi\n".encode(), "card")
    if card.data != data:
        return  # a `---` inside a text: the Hub itself would cut it there
    ours = eval_result(model_result())
    if rows and flow is True and card.yaml.lstrip().startswith("{"):
        assert put_result(card, "x", ours).data["model-index"][0]["results"][:-1] == rows
        return
    try:
        after = put_result(card, "x", ours)
    except PublishError as error:
        assert "left as it is" in str(error)
        return
    assert after.data["model-index"][0]["results"][:-1] == rows
    assert {**after.data, "model-index": 0} == {**data, "model-index": 0}
    assert put_result(after, "x", ours) == after


def test_results_that_nobody_can_check_are_refused_for_a_card():
    run = make_run(make_ranking())
    with pytest.raises(PublishError, match=r"acme/nan was failed .* \(layer.3.weight holds NaN\)"):
        make_model_result(run, "acme/nan", RESULTS)
    with pytest.raises(PublishError, match=r"me/other is not among .* acme/vit, me/resnet"):
        make_model_result(run, "me/other", RESULTS)
    local = make_run(make_ranking(dataset="/data/plants", dataset_sha=None))
    with pytest.raises(PublishError, match="dataset plants is a local one"):
        make_model_result(local, "me/resnet", RESULTS)
