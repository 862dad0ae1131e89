"""What the test Hub says about repositories, as huggingface_hub reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from huggingface_hub import (
    HfApi,
    get_safetensors_metadata,
)
from huggingface_hub.errors import (
    BadRequestError,
    NotASafetensorsRepoError,
)

from tests.factories import model_files, safetensors_bytes
from tests.hub.server import HubServer

# -- what the Hub says about a model


def test_information_comes_from_the_files(hub: HubServer, api: HfApi) -> None:
    files = model_files(base_model="google/vit", datasets=["mnist"], language="en")
    sha = hub.put("me/vit", files, downloads=12, likes=3, last_modified="2026-01-02T03:04:05+00:00")
    info = api.model_info("me/vit")
    assert (info.sha, info.author, info.private, info.gated) == (sha, "me", False, False)
    assert (info.downloads, info.likes) == (12, 3)
    assert info.last_modified is not None
    assert info.last_modified.isoformat() == "2026-01-02T03:04:05+00:00"
    assert (info.library_name, info.pipeline_tag) == ("transformers", "image-classification")
    assert info.config == {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
    }
    assert info.transformers_info is not None
    assert info.transformers_info.auto_model == "AutoModelForImageClassification"
    assert info.transformers_info.processor == "AutoImageProcessor"
    assert info.transformers_info.custom_class is None
    assert info.safetensors is not None
    assert (info.safetensors.parameters, info.safetensors.total) == ({"F32": 15}, 15)
    assert info.card_data is not None
    assert info.card_data.license == "mit"
    assert {
        "license:mit",
        "tiny",
        "safetensors",
        "base_model:google/vit",
        "base_model:finetune:google/vit",
        "dataset:mnist",
        "en",
    } <= set(info.tags or [])
    assert [s.rfilename for s in info.siblings or []] == sorted([*files, ".gitattributes"])
    sizes = {name: len(data) for name, data in files.items()}
    blobs = api.model_info("me/vit", files_metadata=True).siblings or []
    assert {s.rfilename: s.size for s in blobs if s.rfilename in sizes} == sizes
    assert [s.rfilename for s in blobs if s.lfs] == ["model.safetensors"]


def test_expand_gives_what_was_asked_and_nothing_else(hub: HubServer, api: HfApi) -> None:
    hub.put("me/vit", model_files(base_model="google/vit"), downloads=7)
    hub.put("google/vit", model_files())
    names = "safetensors config downloadsAllTime baseModels usedStorage childrenModelCount".split()
    info = api.model_info("me/vit", expand=names)
    assert (info.sha, info.tags, info.siblings) == (None, None, None)
    assert info.downloads_all_time == 7
    assert info.used_storage > sum(map(len, model_files().values()))
    assert info.base_models == {
        "relation": "finetune",
        "models": [{"_id": "google/vit", "id": "google/vit"}],
    }
    assert info.children_model_count == 0
    assert api.model_info("google/vit", expand=names).children_model_count == 1
    with pytest.raises(BadRequestError, match="Invalid expand"):
        api.model_info("me/vit", expand=["nonsense"])  # type: ignore[list-item]


def test_remote_code_adapters_and_quantised_models_show(hub: HubServer, api: HfApi) -> None:
    config = {"architectures": ["MyModel"], "model_type": "mine"}
    auto_map = {"AutoModel": "modeling_mine.MyModel"}
    hub.put("x/code", {"config.json": json.dumps(config | {"auto_map": auto_map})})
    hub.put(
        "x/adapter",
        {
            "adapter_config.json": json.dumps({"base_model_name_or_path": "x/base"}),
            "README.md": "---\nbase_model: x/base\n---\n",
        },
    )
    quantised = config | {"quantization_config": {"quant_method": "gptq"}}
    hub.put(
        "x/quant", {"config.json": json.dumps(quantised), "README.md": "---\nbase_model: b\n---"}
    )
    hub.put("x/pickle", {"config.json": json.dumps(config), "pytorch_model.bin": b"\x80"})
    info = {
        m.id.split("/")[1]: m
        for m in api.list_models(
            expand=[
                "config",
                "tags",
                "transformersInfo",
                "baseModels",
                "library_name",
                "safetensors",
            ]
        )
    }
    assert info["code"].config["auto_map"] == auto_map
    assert info["code"].transformers_info.custom_class == "modeling_mine.MyModel"
    assert "custom_code" in info["code"].tags
    assert info["adapter"].library_name == "peft"
    assert info["adapter"].config["peft"]["base_model_name_or_path"] == "x/base"
    assert info["adapter"].base_models["relation"] == "adapter"
    assert info["quant"].base_models["relation"] == "quantized"
    assert info["pickle"].safetensors is None
    assert "pytorch" in info["pickle"].tags


def test_sharded_and_mixed_safetensors_are_counted(hub: HubServer, api: HfApi) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    hub.put(
        "me/sharded",
        {
            "model.safetensors.index.json": json.dumps(index),
            "model-1.safetensors": safetensors_bytes(4),
            "model-2.safetensors": safetensors_bytes(2, 3, dtype="float16"),
            "other.safetensors": safetensors_bytes(100),
        },
    )
    counts = api.model_info("me/sharded").safetensors
    assert counts is not None
    assert (counts.parameters, counts.total) == ({"F32": 4, "F16": 6}, 10)
    assert get_safetensors_metadata("me/sharded").parameter_count == {"F32": 4, "F16": 6}
    hub.put("me/broken", {"model.safetensors": b"\xff" * 4})
    assert api.model_info("me/broken").safetensors is None
    hub.put("me/none", {"config.json": "{}"})
    with pytest.raises(NotASafetensorsRepoError):
        get_safetensors_metadata("me/none")


def test_a_dataset_has_tags_of_its_files_and_its_card(hub: HubServer, api: HfApi) -> None:
    front = {
        "license": "cc0-1.0",
        "task_categories": ["image-classification"],
        "dataset_info": {"features": [{"name": "image", "dtype": "image"}]},
    }
    readme = f"---\n{yaml.safe_dump(front)}---\n"
    hub.put("me/pets", {"README.md": readme, "a.parquet": b"PAR1"}, repo_type="dataset")
    info = api.dataset_info("me/pets")
    assert {
        "modality:image",
        "format:parquet",
        "license:cc0-1.0",
        "task_categories:image-classification",
    } <= set(info.tags or [])
    assert [d.id for d in api.list_datasets(task_categories="image-classification")] == ["me/pets"]
    assert list(api.list_datasets(benchmark=True)) == []
    hub.set("me/pets", benchmark=True)
    assert [d.id for d in api.list_datasets(benchmark=True)] == ["me/pets"]


# -- listings


@pytest.fixture
def zoo(hub: HubServer) -> HubServer:
    """Five models, popular in the order c, a, d, b, e."""
    for name, downloads, tag in zip(
        "abcde", [40, 20, 50, 30, 10], ["x", "x", "y", "x", "y"], strict=True
    ):
        hub.put(f"acme/{name}", model_files(tags=[tag]), downloads=downloads)
    hub.put(
        "me/bert", {"config.json": '{"architectures": ["BertForMaskedLM"], "model_type": "bert"}'}
    )
    return hub


def test_listing_filters_and_sorts(zoo: HubServer, api: HfApi) -> None:
    def names(**query: Any) -> str:
        found = api.list_models(**query)
        return "".join(m.id.removeprefix("acme/") for m in found)

    assert names(author="acme", sort="downloads") == "cadbe"
    assert names(author="acme", sort="downloads", limit=2) == "ca"
    assert names(filter="y", sort="downloads") == "ce"
    assert names(filter=["x", "license:mit"], sort="downloads") == "adb"
    assert names(filter=["x", "y"]) == ""
    assert names(pipeline_tag="fill-mask") == "me/bert"
    assert names(search="BER") == "me/bert"
    assert names(num_parameters="min:10,max:1K", author="acme", sort="downloads") == "cadbe"
    assert names(num_parameters="min:1K") == ""
    zoo.set("acme/a", gated="auto")
    assert names(gated=True) == "a"
    zoo.set("acme/d", last_modified="2030-01-01T00:00:00+00:00")
    assert names(sort="last_modified", limit=1) == "d"


def test_listing_with_expand_is_one_request(zoo: HubServer, api: HfApi) -> None:
    names = ["sha", "safetensors", "siblings", "downloads", "cardData"]
    models = list(api.list_models(author="acme", expand=names))
    assert all(m.sha and m.safetensors and m.siblings and m.card_data for m in models)
    assert len(models) == 5
    assert len(zoo.requests) == 1
    assert zoo.requests[0].query["expand"] == names
    assert zoo.requests[0].with_token


def test_listing_pages_by_link_header(zoo: HubServer, api: HfApi) -> None:
    zoo.state.page_size = 2
    ids = [m.id for m in api.list_models(author="acme", sort="downloads", expand=["downloads"])]
    assert ids == [f"acme/{name}" for name in "cadbe"]
    assert len(zoo.seen("GET", "^/api/models$")) == 3
    zoo.requests.clear()
    assert len(list(api.list_models(author="acme", sort="downloads", limit=3))) == 3
    assert len(zoo.requests) == 2


def test_listings_hold_what_was_asked_for(zoo: HubServer, api: HfApi) -> None:
    short = next(iter(api.list_models(author="acme")))
    assert short.tags
    assert (short.sha, short.config, short.card_data, short.siblings) == (None,) * 4
    full = next(iter(api.list_models(author="acme", full=True, cardData=True, fetch_config=True)))
    assert all((full.sha, full.config, full.card_data, full.siblings))
