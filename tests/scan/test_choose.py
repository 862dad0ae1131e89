"""Which checkpoints of a listing are taken: different ones first, copies once."""

from __future__ import annotations

import json
import shutil

import pytest

from hf_sfda.config import CandidateOptions
from hf_sfda.errors import ConfigError
from hf_sfda.scan import choose as choosing
from hf_sfda.scan import describe_represented, scan_candidates
from hf_sfda.scan.choose import Entry, choose, words_of
from hf_sfda.types import Candidate, Scan
from tests import factories
from tests.command import run_command


def entries(*rows: tuple[str, str, int, list[str]], skip: tuple[str, ...] = ()) -> list[Entry]:
    """Entries by downloads: id, family, millions of parameters, tags."""
    return [
        Entry(
            Candidate(
                model_id=name,
                revision="0" * 40,
                params=millions * 10**6,
                downloads=1000 - number,
                skip="quantised" if name in skip else None,
            ),
            family,
            tuple(tags),
            {"F32": millions * 10**6},
        )
        for number, (name, family, millions, tags) in enumerate(rows)
    ]


def names(choice) -> list[str]:
    return [candidate.model_id for candidate in choice.candidates if candidate.skip is None]


def test_the_first_of_each_kind_comes_before_a_second():
    listed = entries(
        ("a/vit-base", "vit", 86, ["dataset:in21k"]),
        ("b/vit-base", "vit", 85, ["dataset:in21k"]),
        ("c/vit-large", "vit", 304, ["dataset:in21k"]),
        ("d/vit-base-in1k", "vit", 86, ["dataset:in1k"]),
        ("e/resnet", "resnet", 25, ["dataset:in21k"]),
    )
    assert names(choose(listed, top=4, diverse=True)) == [
        "a/vit-base", "c/vit-large", "d/vit-base-in1k", "e/resnet",
    ]  # fmt: skip
    all_of_them = choose(listed, top=5, diverse=True)
    assert names(all_of_them) == [entry.name for entry in listed], "the second one comes last"
    assert choose(listed, top=4, diverse=True).rejected == {choosing.BEYOND_TOP: 1}
    assert names(choose(listed, top=None, diverse=False)) == [entry.name for entry in listed]


def test_fine_tunes_of_one_base_are_one_candidate():
    tuned = ["base_model:a/vit", "base_model:finetune:a/vit"]
    listed = entries(
        ("a/vit", "vit", 86, []),
        ("b/cars", "vit", 86, [*tuned, "dataset:cars"]),
        ("c/plants", "vit", 86, [*tuned, "dataset:garden-plants"]),
        ("d/again", "vit", 86, ["base_model:c/plants", "base_model:finetune:c/plants"]),
        ("e/other", "swin", 86, ["base_model:gone/swin"]),
        ("f/other", "swin", 86, ["base_model:gone/swin"]),
    )
    plain = choose(listed, top=9, diverse=True)
    assert plain.represents == {
        "a/vit": ("b/cars", "c/plants", "d/again"),
        "e/other": ("f/other",),
    }
    assert plain.rejected == {choosing.FINE_TUNE: 4}
    near = choose(listed, top=9, diverse=True, words=words_of(["me/plants", "garden"]))
    assert names(near) == ["c/plants", "e/other"]
    assert near.represents["c/plants"] == ("a/vit", "b/cars", "d/again")
    assert names(choose(listed, top=None, diverse=False)) == [entry.name for entry in listed]


def test_cards_that_name_each_other_do_not_loop():
    listed = entries(
        ("a/x", "vit", 86, ["base_model:b/y", "base_model:finetune:b/y"]),
        ("b/y", "vit", 86, ["base_model:a/x", "base_model:finetune:a/x"]),
    )
    assert len(names(choose(listed, top=9, diverse=True))) in (1, 2)


@pytest.mark.parametrize("diverse", [True, False])
def test_copies_are_folded_into_what_they_copy(diverse):
    quantised = ["base_model:a/vit", "base_model:quantized:a/vit"]
    adapter = ["base_model:b/cars", "base_model:adapter:b/cars"]
    listed = entries(
        ("q/vit-int8", "vit", 86, quantised),
        ("a/vit", "vit", 86, []),
        ("b/cars", "vit", 86, ["base_model:a/vit", "base_model:finetune:a/vit"]),
        ("p/lora", "", 1, adapter),
        ("p/lost", "", 1, ["base_model:gone/x", "base_model:adapter:gone/x"]),
        skip=("q/vit-int8", "p/lora", "p/lost"),
    )
    choice = choose(listed, top=9, diverse=diverse)
    assert choice.rejected[choosing.COPY] == 2
    others = sorted(name for group in choice.represents.values() for name in group)
    assert others == (["b/cars", "p/lora", "q/vit-int8"] if diverse else ["p/lora", "q/vit-int8"])
    lost = choice.candidates[-1]
    assert (lost.model_id, lost.skip) == ("p/lost", "quantised"), "its base is no candidate"


def test_the_hash_of_weights_is_asked_for_equal_sizes_only():
    listed = entries(
        ("a/vit", "vit", 86, []), ("b/copy", "vit", 86, []), ("c/own", "vit", 86, []),
        ("d/small", "vit", 5, []), ("e/swin", "swin", 86, []),
    )  # fmt: skip
    asked = []

    def weights_hash(candidate: Candidate) -> str | None:
        asked.append(candidate.model_id)
        return {"a/vit": "1", "b/copy": "1"}.get(candidate.model_id)

    choice = choose(listed, top=4, diverse=True, weights_hash=weights_hash)
    assert names(choice) == ["a/vit", "c/own", "d/small", "e/swin"]
    assert choice.represents == {"a/vit": ("b/copy",)}
    assert choice.rejected == {choosing.SAME_WEIGHTS: 1}
    assert not {"d/small", "e/swin"} & set(asked)


def test_the_text_about_represented_models_names_at_most_five():
    scan = Scan((), represents={"a/b": tuple(f"c/{n}" for n in range(8)), "d/e": ("f/g",)})
    assert describe_represented(scan, "a/b") == (
        "stands for 8 others that are not run: c/0, c/1, c/2, c/3, c/4 and 3 more"
    )
    assert describe_represented(scan, "d/e") == "stands for another that is not run: f/g"
    assert describe_represented(scan, "x/y") == ""


def test_a_collection_has_no_listing_to_choose_from():
    with pytest.raises(ConfigError, match="diverse chooses from the Hub's listing"):
        CandidateOptions(candidates="diverse", collection="me/mine-1")


# -- over HTTP


@pytest.fixture
def crowd(hub, tmp_path):
    """A base, its copy, a fine-tune and a quantised copy, before another model."""
    vit, timm = tmp_path / "vit", tmp_path / "timm"
    factories.tiny_vit(vit)
    factories.tiny_timm(timm)

    def put(name: str, source, downloads: int, config=None, **card: str) -> None:
        folder = tmp_path / name
        shutil.copytree(source, folder)
        front = {"pipeline_tag": "image-classification", **card}
        lines = "".join(f"{key}: {value}\n" for key, value in front.items())
        (folder / "README.md").write_text(f"---\n{lines}---\n")
        if config:
            stated = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(stated | config))
        hub.put(name, folder, downloads=downloads)

    put("acme/vit", vit, 90)
    put("copy/vit", vit, 80, license="mit")
    factories.tiny_vit(tmp_path / "tuned", seed=5)
    put("me/plants", tmp_path / "tuned", 70, base_model="acme/vit")
    quantised = {"quantization_config": {"quant_method": "gptq"}}
    put("q/vit", vit, 60, quantised, base_model="acme/vit")
    put("you/net", timm, 50, library_name="timm")
    hub.requests.clear()
    return hub


def test_diverse_takes_one_of_each_and_names_the_others(crowd):
    options = CandidateOptions(candidates="diverse", top=2)
    scan = scan_candidates((), options, modality="image")
    assert [c.model_id for c in scan.candidates] == ["acme/vit", "you/net"]
    assert set(scan.represents["acme/vit"]) == {"copy/vit", "me/plants", "q/vit"}
    assert scan.rejected == {
        choosing.FINE_TUNE: 1, choosing.SAME_WEIGHTS: 1, choosing.COPY: 1,
    }  # fmt: skip
    calls = [request.path for request in crowd.requests if request.path != "/api/models"]
    assert len(calls) == 2 and all("paths-info" in path for path in calls)
    near = scan_candidates((), options, modality="image", about=["garden", "me/plants"])
    assert near.represents["me/plants"] == ("acme/vit", "q/vit")


def test_all_takes_more_than_top_and_popular_folds_nothing(crowd):
    scan = scan_candidates((), CandidateOptions(candidates="all", top=1), modality="image")
    assert [c.model_id for c in scan.candidates] == ["acme/vit", "copy/vit", "me/plants", "you/net"]
    assert scan.represents == {"acme/vit": ("q/vit",)}
    assert all(request.path == "/api/models" for request in crowd.requests), "no call a model"
    popular = scan_candidates((), CandidateOptions(), modality="image")
    assert len(popular.candidates) == 5 and popular.represents == {}


def test_the_row_names_the_models_that_it_stands_for(crowd, tmp_path):
    out, _ = run_command("scan", "--modality", "image", "--candidates", "diverse", "--json")
    first = json.loads(out)[0]
    assert first["represents"] == ["me/plants", "copy/vit", "q/vit"]
    data = factories.image_folder(tmp_path / "data")
    out, log = run_command(
        "rank", "-d", str(data), "--candidates", "diverse", "--metric", "knn", "--metrics", "knn",
        "--out", str(tmp_path / "run"), "--format", "human",
    )  # fmt: skip
    assert "left out: it was" in log and choosing.SAME_WEIGHTS in " ".join(log.split())
    rows = {
        row["model_id"]: row
        for row in json.loads((tmp_path / "run/ranking.json").read_text())["rows"]
    }
    assert set(rows) == {"acme/vit", "you/net"}
    assert any("stands for 3 others" in text for text in rows["acme/vit"]["warnings"])
