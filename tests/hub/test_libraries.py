"""The test Hub against datasets, transformers, timm and the command line server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import HfApi, get_safetensors_metadata, snapshot_download

from hf_sfda.compat import ensure_torchvision
from tests.factories import (
    image_dataset,
    image_folder,
    model_files,
    text_dataset,
    tiny_bert,
    tiny_resnet,
    tiny_timm,
    tiny_vit,
    write_card,
)
from tests.hub.server import HubServer


@pytest.fixture(autouse=True, scope="module")
def _torchvision() -> None:
    ensure_torchvision()


@pytest.fixture(autouse=True)
def _no_route_is_missing(hub: HubServer) -> Iterator[None]:
    yield
    assert hub.unknown == []


# -- datasets


def test_an_image_dataset_round_trips(hub: HubServer) -> None:
    import datasets

    made = datasets.DatasetDict(train=image_dataset(4, 3), test=image_dataset(2, 3, seed=1))
    made.push_to_hub("me/pets")
    loaded = datasets.load_dataset("me/pets")
    assert {split: len(data) for split, data in loaded.items()} == {"train": 12, "test": 6}
    assert loaded["train"].features == made["train"].features
    for mine, theirs in zip(made["train"], loaded["train"], strict=True):
        assert mine["label"] == theirs["label"]
        assert np.array_equal(np.asarray(mine["image"]), np.asarray(theirs["image"]))
    streamed = datasets.load_dataset("me/pets", split="test", streaming=True)
    assert [row["label"] for row in streamed] == made["test"]["label"][:]
    info = HfApi().dataset_info("me/pets")
    assert {"modality:image", "format:parquet"} <= set(info.tags or [])


def test_configurations_and_features_are_read_without_a_download(hub: HubServer) -> None:
    import datasets

    small, large = text_dataset(2, 2), text_dataset(5, 3)
    small.push_to_hub("me/text", config_name="small")
    sha = HfApi().dataset_info("me/text").sha
    large.push_to_hub("me/text", config_name="large")
    assert set(datasets.get_dataset_config_names("me/text")) == {"small", "large"}
    assert datasets.get_dataset_config_names("me/text", revision=sha) == ["small"]
    assert len(datasets.load_dataset("me/text", "large", split="train")) == 15
    hub.requests.clear()
    builder = datasets.load_dataset_builder("me/text", "large")
    assert builder.info.features["label"].names == large.features["label"].names
    assert not any(r.method == "GET" and r.path.endswith(".parquet") for r in hub.requests)


def test_an_image_folder_on_the_hub_is_a_dataset(hub: HubServer, tmp_path: Path) -> None:
    import datasets

    folder = image_folder(tmp_path / "train", 3, ["cat", "dog"])
    hub.put("me/folder", folder.parent, repo_type="dataset")
    data = datasets.load_dataset("me/folder", split="train")
    assert data.features["label"].names == ["cat", "dog"]
    assert sorted(data["label"][:]) == [0] * 3 + [1] * 3


# -- checkpoints


def test_a_model_pushed_by_transformers_is_loaded_again(hub: HubServer, tmp_path: Path) -> None:
    import torch
    import transformers

    folder = tiny_vit(tmp_path / "vit", seed=3, num_labels=7)
    model = transformers.AutoModelForImageClassification.from_pretrained(folder)
    model.push_to_hub("me/vit")
    transformers.AutoImageProcessor.from_pretrained(folder).push_to_hub("me/vit")
    info = HfApi().model_info("me/vit")
    assert info.pipeline_tag == "image-classification"
    assert info.safetensors is not None
    assert info.safetensors.total == sum(p.numel() for p in model.parameters())
    assert get_safetensors_metadata("me/vit").parameter_count == info.safetensors.parameters
    config = transformers.AutoConfig.from_pretrained("me/vit")
    assert (config.model_type, config.num_labels) == ("vit", 7)
    again = transformers.AutoModelForImageClassification.from_pretrained("me/vit")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    assert transformers.AutoImageProcessor.from_pretrained("me/vit").size["height"] == 32


def test_a_pinned_revision_survives_a_later_push(hub: HubServer, tmp_path: Path) -> None:
    import torch
    import transformers

    first = hub.put("me/bert", tiny_bert(tmp_path / "a", seed=0))
    hub.put("me/bert", tiny_bert(tmp_path / "b", seed=1))
    name = "embeddings.word_embeddings.weight"

    def weight(revision: str) -> torch.Tensor:
        model = transformers.AutoModel.from_pretrained("me/bert", revision=revision)
        return model.state_dict()[name]

    assert not torch.equal(weight(first), weight("main"))
    assert HfApi().model_info("me/bert").pipeline_tag == "fill-mask"
    tokenizer = transformers.AutoTokenizer.from_pretrained("me/bert")
    assert tokenizer.tokenize("the rocket xy") == ["the", "rocket", "x", "##y"]


def test_a_model_pushed_by_timm_is_loaded_again(hub: HubServer, tmp_path: Path) -> None:
    import timm
    import torch

    folder = tiny_timm(tmp_path / "timm", "test_vit", seed=2)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    timm.models.push_to_hf_hub(model, "me/timm", safe_serialization=True)
    info = HfApi().model_info("me/timm")
    assert (info.library_name, info.pipeline_tag) == ("timm", "image-classification")
    assert info.safetensors is not None
    again = timm.create_model("hf-hub:me/timm", pretrained=True, num_classes=0).eval()
    picture = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        assert torch.equal(
            again(picture), model.forward_head(model.forward_features(picture), pre_logits=True)
        )


def test_the_hub_knows_a_timm_folder_without_a_card(hub: HubServer, tmp_path: Path) -> None:
    hub.put("me/timm", tiny_timm(tmp_path / "timm"))
    assert HfApi().model_info("me/timm").library_name == "timm"


# -- factories


@pytest.mark.parametrize("factory", [tiny_vit, tiny_resnet, tiny_bert, tiny_timm])
def test_checkpoints_depend_on_the_seed_alone(factory: object, tmp_path: Path) -> None:
    def weights(name: str, seed: int) -> bytes:
        return (factory(tmp_path / name, seed=seed) / "model.safetensors").read_bytes()  # type: ignore[operator]

    one = weights("a", 1)
    assert weights("b", 1) == one
    assert weights("c", 2) != one


def test_cards_are_read_back(hub: HubServer, tmp_path: Path) -> None:
    folder = tiny_resnet(tmp_path / "resnet")
    write_card(folder, license="mit", pipeline_tag="image-feature-extraction")
    hub.put("me/resnet", folder)
    info = HfApi().model_info("me/resnet")
    assert info.pipeline_tag == "image-feature-extraction"
    assert "license:mit" in (info.tags or [])


@pytest.mark.parametrize("modality", ["image", "text"])
def test_data_can_be_learned_but_not_perfectly(modality: str) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    if modality == "image":
        data = image_dataset(20, 4)
        inputs = np.stack([np.asarray(x.resize((4, 4))).ravel() / 255 for x in data["image"]])
    else:
        data = text_dataset(20, 4)
        inputs = CountVectorizer().fit_transform(data["text"][:]).toarray()
    accuracy = cross_val_score(LogisticRegression(), inputs, data["label"][:]).mean()
    assert 0.4 < accuracy < 1  # chance is 0.25


# -- other processes


def test_a_subprocess_works_against_the_hub(hub: HubServer, hub_env: dict[str, str]) -> None:
    hub.put("me/model", {"config.json": "{}"})
    code = (
        "from huggingface_hub import hf_hub_download, whoami;"
        "print(whoami()['name'], hf_hub_download('me/model', 'config.json'))"
    )
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, env=hub_env, capture_output=True, text=True, check=True)
    name, path = answer.stdout.split()
    assert name == "me"
    assert path.startswith(hub_env["HF_HOME"])


def test_the_client_hf_lists_and_describes_models(hub: HubServer, hub_env: dict[str, str]) -> None:
    hub.put("me/model", model_files(), downloads=5)
    hf = Path(sys.executable).parent / "hf"

    def run(*arguments: str) -> Any:
        command = [str(hf), *arguments, "--format", "json"]
        answer = subprocess.run(command, env=hub_env, capture_output=True, text=True, check=True)
        return json.loads(answer.stdout)

    assert [(m["id"], m["downloads"]) for m in run("models", "list", "--author", "me")] == [
        ("me/model", 5)
    ]
    assert run("models", "info", "me/model")["sha"] == hub.repo("me/model").head.sha


def test_the_module_serves_a_folder_by_hand(
    hub: HubServer, hub_env: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "root" / "models" / "acme" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    command = [sys.executable, "-m", "tests.hub", "--port", "0"]
    server = subprocess.Popen(
        [*command, "--root", str(tmp_path / "root")],
        env=hub_env,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    try:
        assert server.stdout is not None
        lines = []
        while not lines or "# model acme/model" not in lines[-1]:
            line = server.stdout.readline()
            assert line, "the server ended early"
            lines.append(line)
        (endpoint,) = (line.split("=")[1].strip() for line in lines if "HF_ENDPOINT" in line)
        assert endpoint != os.environ["HF_ENDPOINT"]
        snapshot = snapshot_download("acme/model", endpoint=endpoint)
        assert (Path(snapshot) / "config.json").read_text() == "{}"
    finally:
        server.kill()
        server.wait()
