"""Filters: what the Hub's listing applies, what is checked on its fields, what is counted."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta

import pytest
from huggingface_hub import HfApi

from hf_sfda import find_candidates
from hf_sfda.config import PERMISSIVE_LICENSES, CandidateOptions
from hf_sfda.errors import ConfigError, ScanError
from hf_sfda.scan import describe_rejected, scan_candidates
from hf_sfda.scan.filters import Facts, listing_query, rejection
from tests import factories
from tests.command import run_command


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    return factories.tiny_vit(tmp_path_factory.mktemp("vit"))


CARDS = {
    "acme/mit": {"license": "mit", "datasets": ["imagenet-1k"]},
    "acme/nc": {"license": "cc-by-nc-4.0", "language": ["de", "en"]},
    "me/apache": {"license": "apache-2.0", "base_model": "acme/mit"},
    "you/none": {"datasets": ["imagenet-21k"], "language": "en"},
    "you/gemma": {"license": "gemma", "base_model": "acme/nc", "base_model_relation": "finetune"},
}


@pytest.fixture
def zoo(hub, vit, tmp_path):
    """Five models, the first one downloaded most and made first."""
    start = datetime(2024, 1, 1, tzinfo=UTC)
    for number, (name, card) in enumerate(CARDS.items()):
        folder = tmp_path / name
        shutil.copytree(vit, folder)
        front = {"pipeline_tag": "image-classification", **card}
        lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in front.items())
        (folder / "README.md").write_text(f"---\n{lines}---\n")
        made = start + timedelta(days=30 * number)
        hub.put(name, folder, downloads=50 - 10 * number, created=made)
    hub.requests.clear()
    return hub


def names(found) -> list[str]:
    return [candidate.model_id for candidate in found.candidates if candidate.skip is None]


@pytest.mark.parametrize(
    ("options", "expected", "rejected"),
    [
        ({}, list(CARDS), 0),
        ({"license": "mit"}, ["acme/mit"], 0),
        ({"license": ["permissive"]}, ["acme/mit", "me/apache"], 3),
        ({"license": ["mit", "gemma"]}, ["acme/mit", "you/gemma"], 3),
        ({"author": "you"}, ["you/none", "you/gemma"], 0),
        ({"author": ["you", "me"]}, ["me/apache", "you/none", "you/gemma"], 0),
        ({"language": "en"}, ["acme/nc", "you/none"], 0),
        ({"language": ["de", "fr"]}, ["acme/nc"], 4),
        ({"trained_on": "imagenet-1k"}, ["acme/mit"], 0),
        ({"trained_on": ["imagenet-1k", "imagenet-21k"]}, ["acme/mit", "you/none"], 3),
        ({"base_model": "acme/nc"}, ["you/gemma"], 0),
        ({"search": "NC"}, ["acme/nc"], 0),
        ({"exclude": ["acme/*", "you/none"]}, ["me/apache", "you/gemma"], 3),
        ({"created_after": "2024-03-01"}, ["me/apache", "you/none", "you/gemma"], 2),
        ({"min_downloads": 30}, ["acme/mit", "acme/nc", "me/apache"], 0),
        ({"library": "transformers", "license": "gemma"}, ["you/gemma"], 0),
        ({"library": "timm"}, [], 0),
        ({"pipeline_tag": "image-segmentation"}, [], 0),
        ({"min_params": 10**9}, [], 0),
        ({"min_params": 10**5}, [], 5),
        ({"license": "permissive", "exclude": "*/mit"}, ["me/apache"], 4),
    ],
)
def test_the_filters_of_a_query_leave_out_and_count(zoo, options, expected, rejected):
    found = scan_candidates((), CandidateOptions(**options), modality="image")
    assert names(found) == expected
    assert sum(found.rejected.values()) == rejected
    assert all(request.path == "/api/models" for request in zoo.requests), "no call a model"
    assert (describe_rejected(found) != "") == (rejected > 0)


def test_what_the_hub_filters_is_given_to_it(zoo):
    options = CandidateOptions(
        license=("mit",), library=("transformers",), author=("acme",), search="mi",
        trained_on=("imagenet-1k",), max_params=4_700_000, top=1,
    )  # fmt: skip
    assert names(scan_candidates((), options, modality="image")) == ["acme/mit"]
    for request in zoo.requests:
        assert request.query["filter"] == ["transformers", "license:mit", "dataset:imagenet-1k"]
        assert request.query["author"] == ["acme"]
        assert request.query["search"] == ["mi"]
        assert request.query["num_parameters"] == ["max:5M"]


@pytest.mark.parametrize(
    ("least", "most", "text"),
    [
        (None, 300_000_000, "max:300M"),
        (1, 999, "max:1M"),
        (1_999_999, 7_000_000_001, "min:1M,max:7001M"),
    ],
)
def test_the_range_for_the_hub_is_never_narrower(least, most, text):
    options = CandidateOptions(min_params=least, max_params=most)
    assert listing_query(options) == {"num_parameters": text}


def test_rejected_models_are_counted_by_reason_and_do_not_count_as_found(zoo):
    found = scan_candidates(
        (), CandidateOptions(license=("permissive",), exclude=("acme/mit",), top=1),
        modality="image",
    )  # fmt: skip
    assert names(found) == ["me/apache"]
    assert found.rejected == {
        "excluded by name": 1,
        "its licence is not among those asked for": 1,
    }
    assert (found.listed, found.unseen) == (3, True)
    assert describe_rejected(found).startswith("2 of 3 listed are no candidates: ")


def test_a_filter_that_the_hub_does_not_apply_looks_further_down(hub, vit):
    for number in range(130):
        hub.put(f"acme/m{number:03d}", vit, downloads=1000 - number)
        hub.set(f"acme/m{number:03d}", created="2024-01-01T00:00:00+00:00")
    hub.set("acme/m129", created="2025-01-01T00:00:00+00:00")
    options = CandidateOptions(created_after="2024-06-30", top=1)
    found = scan_candidates((), options, modality="image")
    assert names(found) == ["acme/m129"]
    assert found.rejected == {"it is older than asked for": 129}


def test_named_models_that_do_not_pass_have_a_row(zoo, vit, tmp_path):
    local = tmp_path / "mine"
    shutil.copytree(vit, local)
    (local / "README.md").write_text("---\nlicense: mit\ndatasets: imagenet-1k\n---\n")
    models = ["acme/mit", "acme/nc", str(local)]
    found = find_candidates(models, license=["mit"])
    assert [c.skip for c in found] == [None, "its licence is not among those asked for", None]
    assert find_candidates([str(local)], trained_on=["imagenet-1k"])[0].skip is None
    made = find_candidates([str(local)], created_after="2020-01-01")[0]
    assert (made.status, made.skip) == (
        "skipped", "when it was made is not known, and a date is asked for",
    )  # fmt: skip
    assert "not known" in find_candidates([str(local)], min_downloads=5)[0].skip
    assert find_candidates(["acme/mit"], min_params=10**9)[0].skip == (
        "it has fewer parameters than asked for"
    )


def test_a_collection_takes_the_place_of_the_query(zoo):
    api = HfApi()
    slug = api.create_collection("Mine", namespace="me").slug
    for name in ("you/gemma", "me/apache", "acme/mit"):
        api.add_collection_item(slug, item_id=name, item_type="model")
    zoo.requests.clear()
    found = scan_candidates((), CandidateOptions(collection=slug, top=2), modality="image")
    assert names(found) == ["acme/mit", "me/apache"]
    assert (found.listed, found.unseen) == (3, True)
    assert len(zoo.requests) == 1 + 3
    options = CandidateOptions(collection=f"https://huggingface.co/collections/{slug}")
    assert len(names(scan_candidates((), options))) == 3
    with pytest.raises(ConfigError, match="Both models and a collection"):
        find_candidates(["acme/mit"], collection=slug)
    with pytest.raises(ScanError, match=r"me/nothing-1 cannot be read: .*OWNER/TITLE-ID"):
        find_candidates(collection="me/nothing-1")


def test_an_unknown_option_says_what_is_allowed():
    with pytest.raises(ConfigError, match=r"Unknown option licence\. .*Did you mean license"):
        find_candidates(licence="mit")


def test_the_permissive_group_asks_for_little():
    assert {"mit", "apache-2.0", "cc0-1.0"} <= set(PERMISSIVE_LICENSES)
    restrictive = ("gpl", "-nc", "-nd", "-sa", "llama", "gemma", "rail", "other")
    assert not [name for name in PERMISSIVE_LICENSES for word in restrictive if word in name]


def test_a_filter_never_passes_what_it_does_not_know():
    nothing = Facts("folder", frozenset())
    for option in (
        {"author": ("a",)}, {"library": ("timm",)}, {"license": ("mit",)}, {"language": ("en",)},
        {"created_after": "2024-01-01"}, {"min_downloads": 1}, {"min_params": 1},
        {"trained_on": ("x",)}, {"base_model": ("a/b",)}, {"pipeline_tag": ("fill-mask",)},
    ):  # fmt: skip
        assert rejection(nothing, CandidateOptions(**option)), option


def test_the_command_takes_the_filters_and_counts(zoo):
    out, log = run_command(
        "scan", "--modality", "image", "--license", "permissive,gemma", "--exclude", "acme/*",
        "--format", "human",
    )  # fmt: skip
    assert "me/apache" in out and "you/gemma" in out and "acme/mit" not in out
    assert "3 of 5 listed are no candidates: excluded by name (2); its licence is not" in log
    out, _ = run_command("scan", "--pipeline-tag", "image-classification", "-q", "--search", "nc")
    assert out.split() == ["acme/nc"]
