"""Names of models are taken as the tables print them."""

from __future__ import annotations

import pytest

from hf_sfda.errors import ConfigError
from hf_sfda.format import shorten
from hf_sfda.names import find_model, with_short_names
from hf_sfda.types import ModelRow, Ranking

LOCAL = [f".demo/zoo/image/{name}" for name in ("vit-small-224", "vit-small-384", "sub/resnet")]
HUB = ["acme/vit", "me/vit", "acme/a-model-with-a-long-name-384"]


def ranking(*names: str, failed: tuple[str, ...] = ()) -> Ranking:
    rows = [ModelRow(name, None, "ok", rank=i) for i, name in enumerate(names, 1)]
    rows += [ModelRow(name, None, "failed", reason="broken") for name in failed]
    return Ranking({"metric": "sfda_cv"}, {}, tuple(rows))


@pytest.mark.parametrize("name", [*LOCAL, *HUB])
def test_every_printed_name_is_taken(name):
    of = ranking(*LOCAL, *HUB)
    short, _ = with_short_names(of)
    shown = dict(zip((row.model_id for row in of.rows), (r.model_id for r in short.rows)))[name]  # noqa: B905
    assert find_model(of, name).model_id == name
    assert find_model(of, shown).model_id == name
    for width in range(10, 40):
        cut = shorten(shown, width)
        try:
            assert find_model(of, cut).model_id == name
            assert find_model(of, cut.replace("…", "...")).model_id == name
        except ConfigError as error:  # too little is left of it
            assert f"{name}" in str(error)
            assert width < 13


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("resnet", ".demo/zoo/image/sub/resnet"),
        ("image/vit-small-384", ".demo/zoo/image/vit-small-384"),
        ("a-model-with-a-long-name-384", "acme/a-model-with-a-long-name-384"),
        ("acme/a-…384", "acme/a-model-with-a-long-name-384"),
    ],
)
def test_the_last_part_is_enough_where_it_is_the_only_one(name, model):
    assert find_model(ranking(*LOCAL, *HUB), name).model_id == model


@pytest.mark.parametrize("name", ["vit", "…vit", "...vit"])
def test_what_may_be_two_models_names_both(name):
    with pytest.raises(ConfigError, match=r"vit may be acme/vit or me/vit\. Give more"):
        find_model(ranking(*LOCAL, *HUB), name)


def test_a_whole_name_wins_over_the_end_of_another():
    of = ranking("./vit", "acme/./vit")
    assert find_model(of, "./vit").model_id == "./vit"


@pytest.mark.parametrize("name", ["none", "it", "/vit", "", "acme/", ".*"])
def test_a_name_that_is_nobodys_lists_the_ranked(name):
    with pytest.raises(ConfigError, match=r"Ranked are acme/vit, me/vit"):
        find_model(ranking(*HUB), name)


def test_a_model_without_a_rank_says_why():
    with pytest.raises(ConfigError, match=r"acme/bad was not ranked \(failed: broken\)"):
        find_model(ranking(*HUB, failed=("acme/bad",)), "bad")


def test_long_lists_are_cut():
    names = [f"acme/m{i}" for i in range(15)]
    with pytest.raises(ConfigError, match=r"acme/m9, 5 more\."):
        find_model(ranking(*names), "none")


def test_two_revisions_of_a_model_are_told_apart():
    rows = [ModelRow("acme/vit", sha * 40, "ok", rank=i) for i, sha in enumerate("ab", 1)]
    of = Ranking({"metric": "sfda_cv"}, {}, (*rows, ModelRow("a@b/c", None, "ok", rank=3)))
    with pytest.raises(ConfigError, match="vit may be acme/vit@aaaaaaa or acme/vit@bbbbbbb"):
        find_model(of, "acme/vit")
    for name in ("acme/vit@b", "vit@bbbbbbb", f"acme/vit@{'b' * 40}"):
        assert find_model(of, name).revision == "b" * 40
    assert find_model(of, "a@b/c").model_id == "a@b/c"
    with pytest.raises(ConfigError, match="There is no acme/vit@c"):
        find_model(of, "acme/vit@c")
