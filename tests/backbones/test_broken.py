"""Folders that must not be ranked: each becomes one plain reason, and none runs code."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_sfda.backbones import open_backbone
from hf_sfda.errors import ExtractionError
from hf_sfda.types import Candidate
from tests.backbone_zoo import drop_weights, dual, edit_weights
from tests.factories import images, tiny_bert, tiny_timm, tiny_vit


@dataclass(frozen=True)
class Broken:
    """A good folder, what is done to it, and what the reason must say.

    Attributes:
        name: Of the test.
        make: Writes the good folder.
        spoil: Breaks it.
        says: Every one of these is in the reason.
        modality: What is asked of the folder.
    """

    name: str
    make: Callable[[Path], Any]
    spoil: Callable[[Path], Any]
    says: tuple[str, ...]
    modality: str = "image"


def set_config(**changes: Any):
    def spoil(path: Path) -> None:
        config = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps({**config, **changes}))

    return spoil


def set_processor(**changes: Any):
    def spoil(path: Path) -> None:
        file = path / "preprocessor_config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return spoil


def set_timm(**changes: Any):
    """Change what a checkpoint of timm states about its preprocessing and its head."""

    def spoil(path: Path) -> None:
        config = json.loads((path / "config.json").read_text())
        config["pretrained_cfg"].update(changes)
        (path / "config.json").write_text(json.dumps(config))

    return spoil


def write(name: str, content: str):
    return lambda path: (path / name).write_text(content)


def remove(*names: str):
    return lambda path: [(path / name).unlink() for name in names]


def fill(part: str, value: float):
    """Put one value into the first tensor whose name ends with ``part``."""

    def spoil(path: Path) -> None:
        def edit(weights: dict[str, torch.Tensor]) -> None:
            name = next(name for name in weights if name.endswith(part))
            weights[name].view(-1)[0] = value

        edit_weights(path, edit)

    return spoil


def reshape(part: str):
    def spoil(path: Path) -> None:
        def edit(weights: dict[str, torch.Tensor]) -> None:
            name = next(name for name in weights if name.endswith(part))
            weights[name] = torch.zeros(3, 5)

        edit_weights(path, edit)

    return spoil


def truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def drop(part: str):
    return lambda path: drop_weights(path, part)


def index_without_shard(path: Path) -> None:
    (path / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"x": "model-00001-of-00002.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def same_tensors_in_two_shards(path: Path) -> None:
    file = path / "model.safetensors"
    shards = [path / f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for shard in shards:
        shard.write_bytes(file.read_bytes())
    file.unlink()
    index = {"metadata": {}, "weight_map": {"x": shards[0].name, "y": shards[1].name}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def cast(dtype: torch.dtype):
    def spoil(path: Path) -> None:
        def edit(weights: dict[str, torch.Tensor]) -> None:
            weights.update({name: tensor.to(dtype) for name, tensor in weights.items()})

        edit_weights(path, edit)

    return spoil


def index_that_climbs(path: Path) -> None:
    (path / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"x": "../../secret.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def quantise(part: str, dtype: torch.dtype, scale: str):
    """Store the weights whose names end with ``part`` divided by a scale of their own."""

    def spoil(path: Path) -> None:
        def edit(weights: dict[str, torch.Tensor]) -> None:
            for name in [name for name in weights if name.endswith(part)]:
                factor = weights[name].abs().max() / 100
                weights[scale.format(name=name, module=name.rpartition(".")[0])] = factor
                weights[name] = (weights[name] / factor).to(dtype)

        edit_weights(path, edit)

    return spoil


def add(*names: str):
    """Add weights of these names."""

    def spoil(path: Path) -> None:
        def edit(weights: dict[str, torch.Tensor]) -> None:
            weights.update({name: torch.ones(2, 2) for name in names})

        edit_weights(path, edit)

    return spoil


def pack(path: Path) -> None:
    """Four bits a value, as in checkpoints of GPTQ whose settings lie in a file of their own."""

    def edit(weights: dict[str, torch.Tensor]) -> None:
        weights["bert.encoder.layer.0.attention.self.query.qweight"] = weights.pop(
            "bert.encoder.layer.0.attention.self.query.weight"
        ).to(torch.int32)

    edit_weights(path, edit)


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def pickle_only(path: Path) -> None:
    (path / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pth"):
        (path / name).write_bytes(pickle.dumps(Trap(path / "sprung")))


NAN, INF = float("nan"), float("inf")

BROKEN = (
    Broken("no-config", tiny_vit, remove("config.json"), ("no config.json",)),
    Broken("config-no-json", tiny_vit, write("config.json", "{"), ("config.json cannot be read",)),
    Broken("config-list", tiny_vit, write("config.json", "[]"), ("holds a list",)),
    Broken("no-model-type", tiny_vit, write("config.json", "{}"), ("neither model_type nor arch",)),
    Broken("nan", tiny_vit, fill("layernorm_after.weight", NAN), ("layernorm_after", "NaN")),
    Broken("infinity", tiny_vit, fill("cls_token", INF), ("cls_token", "infinity")),
    Broken("truncated", tiny_vit, truncate, ("model.safetensors is truncated",)),
    Broken("empty-file", tiny_vit, write("model.safetensors", ""), ("truncated or damaged",)),
    Broken("shape", tiny_vit, reshape("cls_token"), ("cls_token", "[3, 5]", "[1, 1, 16]")),
    Broken("hole", tiny_vit, drop("encoder.layer.1."), ("does not fill", "more", "partly random")),
    *(
        Broken(f"vit-{field}-{value}", tiny_vit, set_config(**{field: value}), says)
        for field, value, says in (
            ("num_hidden_layers", 1, ("leaves out", "layers.1.", "13 more", "the weights hold")),
            ("num_hidden_layers", 0, ("leaves out", "layers.0.", "the weights hold")),
            ("num_hidden_layers", -1, ("num_hidden_layers = -1",)),
            ("num_attention_heads", -2, ("num_attention_heads = -2",)),
            ("qkv_bias", False, ("leaves out", "k_proj.bias", "the weights hold")),
            ("model_type", ["vit"], ("model_type = ['vit']", "no name")),
            ("transformers_weights", "other.safetensors", ("other weights, 'other.safetensors'",)),
            ("transformers_weights", "adapter_model.bin", ("other weights, 'adapter_model.bin'",)),
        )
    ),
    Broken(
        "bert-layers",
        tiny_bert,
        set_config(num_hidden_layers=1),
        ("leaves out", "encoder.layer.1."),
        "text",
    ),
    # transformers 5 has no relative positions for BERT, and says nothing of them.
    Broken(
        "relative-positions",
        tiny_bert,
        add("bert.encoder.layer.0.attention.self.distance_embedding.weight"),
        ("leaves out", "distance_embedding.weight"),
        "text",
    ),
    Broken(
        "lora",
        tiny_bert,
        add("bert.encoder.layer.0.attention.self.query.lora_A.weight"),
        ("leaves out", "lora_A.weight"),
        "text",
    ),
    Broken("pickle-only", tiny_vit, pickle_only, ("no model.safetensors", "pytorch_model.bin")),
    Broken("no-weights", tiny_vit, remove("model.safetensors"), ("weights found: none",)),
    Broken("shard", tiny_vit, index_without_shard, ("00001-of-00002.safetensors is missing",)),
    Broken("twice", tiny_vit, same_tensors_in_two_shards, ("classifier.bias is in several files",)),
    Broken("truth-values", tiny_vit, cast(torch.bool), ("quantised", "holds BOOL")),
    Broken("complex", tiny_vit, cast(torch.complex64), ("holds complex numbers (C64)",)),
    Broken("climbing-index", tiny_vit, index_that_climbs, ("points outside its folder",)),
    Broken("unknown-type", tiny_vit, set_config(model_type="vit9"), ("'vit9'", "unknown to")),
    Broken(
        "remote-code",
        tiny_vit,
        set_config(model_type="my_vit", auto_map={"AutoModel": "modeling.MyViT"}),
        ("never run", "trust_remote_code"),
    ),
    Broken(
        "invalid-config",
        tiny_vit,
        set_config(hidden_size="wide"),
        ("not a valid vit configuration",),
    ),
    Broken(
        "quantised",
        tiny_vit,
        set_config(quantization_config={"quant_method": "bitsandbytes"}),
        ("quantised (bitsandbytes)", "rank the model it was made from"),
    ),
    Broken(
        "quantised-tower",
        dual("CLIP"),
        set_config(text_config={"quantization_config": {"quant_method": "gptq"}}),
        ("quantised (gptq)",),
    ),
    Broken(
        "quantised-older-name",
        tiny_vit,
        set_config(compression_config={"quant_method": "compressed-tensors"}),
        ("quantised (compressed-tensors)",),
    ),
    Broken(
        "int8-unsaid",
        tiny_bert,
        quantise("query.weight", torch.int8, "{module}.SCB"),
        ("quantised", "query.SCB"),
        "text",
    ),
    Broken(
        "fp8-unsaid",
        tiny_bert,
        quantise("query.weight", torch.float8_e4m3fn, "{name}_scale_inv"),
        ("quantised", "query.weight", "F8"),
        "text",
    ),
    Broken("packed-unsaid", tiny_bert, pack, ("quantised", "query.qweight holds I32"), "text"),
    Broken(
        "timm-int8-unsaid",
        tiny_timm,
        quantise("conv1.weight", torch.int8, "{name}_scale"),
        ("quantised", "conv1.weight holds I8"),
    ),
    Broken(
        "no-processor", tiny_vit, remove("preprocessor_config.json"), ("preprocessor_config.json",)
    ),
    *(
        Broken(f"processor-{field}-{value}", tiny_vit, set_processor(**{field: value}), says)
        for field, value, says in (
            ("resample", 99, ("image processor cannot prepare", "KeyError: 99")),
            ("size", {"longest_edge": 32}, ("image processor cannot prepare", "longest_edge=32")),
            ("image_mean", [0.5] * 4, ("image processor cannot prepare", "preprocessor_config")),
            ("image_mean", "x", ("image processor cannot prepare", "preprocessor_config")),
            ("image_std", [0, 0, 0], ("values that are no numbers", "image_std")),
            ("rescale_factor", 0, ("image processor cannot prepare", "ZeroDivisionError")),
            ("image_processor_type", "Wav2Vec2FeatureExtractor", ("cannot prepare an image",)),
        )
    ),
    Broken(
        "no-tokenizer",
        tiny_bert,
        remove("tokenizer.json", "tokenizer_config.json"),
        ("tokenizer",),
        "text",
    ),
    Broken("text-nan", tiny_bert, fill("key.weight", NAN), ("key.weight", "NaN"), "text"),
    Broken("text-hole", tiny_bert, drop("word_embeddings"), ("word_embeddings",), "text"),
    Broken("tower-hole", dual("CLIP"), drop("vision_model.encoder.layers.0"), ("does not fill",)),
    Broken("timm-nan", tiny_timm, fill("conv1.weight", NAN), ("conv1.weight holds NaN",)),
    Broken("timm-statistics", tiny_timm, fill("running_var", INF), ("running_var", "inf")),
    Broken("timm-shape", tiny_timm, reshape("layer1.0.conv1.weight"), ("layer1.0.conv1", "[3, 5]")),
    Broken("timm-hole", tiny_timm, drop("layer2.0.conv1"), ("layer2.0.conv1.weight",)),
    Broken("timm-truncated", tiny_timm, truncate, ("truncated",)),
    Broken(
        "timm-layers",
        lambda path: tiny_timm(path, "resnet18"),
        set_config(model_args={"layers": [1, 1, 1, 1]}),
        ("leaves out", "layer1.1.", "the weights hold"),
    ),
    Broken(
        "timm-bias",
        lambda path: tiny_timm(path, "vit_tiny_patch16_224"),
        set_config(model_args={"qkv_bias": False}),
        ("leaves out", "attn.qkv.bias"),
    ),
    Broken("timm-unknown", tiny_timm, set_config(architecture="net9"), ("'net9'", "unknown")),
    Broken("timm-arguments", tiny_timm, set_config(model_args={"x": 1}), ("cannot be built",)),
    Broken("timm-number", tiny_timm, set_config(architecture=5), ("architecture = 5", "no name")),
    Broken(
        "timm-maps-only",
        tiny_timm,
        set_config(model_args={"features_only": True}),
        ("asks for feature maps only", "features_only"),
    ),
    *(
        Broken(f"timm-{field}-{value}", tiny_timm, set_timm(**{field: value}), says)
        for field, value, says in (
            ("interpolation", "weird", ("preprocessing", "pretrained_cfg", "weird")),
            ("std", [0, 0, 0], ("preprocessing", "pretrained_cfg")),
            ("std", "x", ("preprocessing", "pretrained_cfg")),
            ("mean", [0.5] * 4, ("preprocessing", "pretrained_cfg")),
            ("mean", [NAN] * 3, ("preprocessing", "mean = ")),
            ("crop_pct", -1, ("preprocessing", "pretrained_cfg")),
            ("input_size", [3, 0, 0], ("input_size = ", "channels, height, width")),
            ("input_size", [3, 32.5, 32], ("input_size = ", "channels, height, width")),
            ("input_size", "abc", ("input_size", "channels, height, width")),
            ("classifier", 5, ("classifier = 5", "no name")),
        )
    ),
    Broken("timm-pickle-only", tiny_timm, pickle_only, ("no model.safetensors", "model.pth")),
    Broken("timm-for-text", tiny_timm, lambda path: None, ("no text checkpoint",), "text"),
    Broken("bert-for-pictures", tiny_bert, lambda path: None, ("no preprocessor_config",)),
    Broken("vit-for-text", tiny_vit, lambda path: None, ("takes no input_ids",), "text"),
)


def attempt(path: Path, modality: str) -> Any:
    return open_backbone(
        path,
        Candidate(path.name, "local", path=path),
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_length=16,
        modality=modality,
    )


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_a_bad_folder_is_one_plain_reason(case, tmp_path):
    case.make(tmp_path)
    case.spoil(tmp_path)
    with pytest.raises(ExtractionError) as caught:
        attempt(tmp_path, case.modality)
    reason = str(caught.value)
    assert all(part in reason for part in case.says), reason
    assert len(reason) < 300
    assert "\n" not in reason
    assert not (tmp_path / "sprung").exists()


def test_the_trap_springs_when_it_is_unpickled(tmp_path):
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


def test_a_hole_in_the_other_tower_does_not_matter(tmp_path):
    dual("CLIP")(tmp_path)
    drop_weights(tmp_path, "text_model.encoder.layers.0")
    attempt(tmp_path, "image")
    with pytest.raises(ExtractionError, match="does not fill"):
        attempt(tmp_path, "text")


def test_a_sharded_checkpoint_opens(tmp_path):
    import transformers

    tiny_vit(tmp_path / "whole")
    model = transformers.ViTForImageClassification.from_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "sharded", max_shard_size="10KB")
    names = ("preprocessor_config.json",)
    for name in names:
        (tmp_path / "sharded" / name).write_text((tmp_path / "whole" / name).read_text())
    assert len(list((tmp_path / "sharded").glob("model-*.safetensors"))) > 1
    attempt(tmp_path / "sharded", "image")


def test_eight_bit_floats_without_scales_are_weights(tmp_path):
    tiny_bert(tmp_path)

    def edit(weights: dict[str, torch.Tensor]) -> None:
        for name, tensor in weights.items():
            weights[name] = tensor.to(torch.float8_e4m3fn) if tensor.ndim == 2 else tensor

    edit_weights(tmp_path, edit)
    attempt(tmp_path, "text")


def test_a_configuration_may_say_that_nothing_is_quantised(tmp_path):
    tiny_vit(tmp_path)
    set_config(quantization_config=None)(tmp_path)
    attempt(tmp_path, "image")


@pytest.mark.parametrize(
    "name",
    [
        "bert.encoder.layer.0.attention.self.bias",  # a mask of older versions
        "bert.encoder.layer.0.crossattention.self.query.weight",
        "bert.embeddings.position_ids",
        "qa_outputs.weight",
        "cls.predictions.bias",
    ],
)
def test_weights_of_what_is_not_run_do_not_matter(name, tmp_path):
    tiny_bert(tmp_path)
    add(name)(tmp_path)
    attempt(tmp_path, "text")


def run(path: Path, modality: str) -> Any:
    samples = images(1, 2)[0] if modality == "image" else ["the the", "the"]
    backbone = attempt(path, modality)
    with torch.inference_mode():
        return backbone.forward(backbone.collate(samples))


@pytest.mark.parametrize(
    ("make", "modality", "changes"),
    [
        (tiny_vit, "image", {"return_dict": False}),
        (tiny_bert, "text", {"return_dict": False}),
        (tiny_bert, "text", {"chunk_size_feed_forward": 7}),
    ],
)
def test_how_outputs_are_handed_over_changes_nothing(make, modality, changes, tmp_path):
    make(tmp_path)
    before = run(tmp_path, modality)
    set_config(**changes)(tmp_path)
    after = run(tmp_path, modality)
    assert all(torch.equal(after.layers[name], v) for name, v in before.layers.items())


@pytest.mark.parametrize("classes", [0, -1])
def test_a_classifier_without_classes_has_no_logits(classes, tmp_path):
    """Its hidden states pass as if they were logits."""
    tiny_vit(tmp_path)
    assert run(tmp_path, "image").logits.shape == (2, 10)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["id2label"], config["label2id"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_labels": classes}))
    outputs = run(tmp_path, "image")
    assert outputs.logits is None
    assert outputs.pooling == "class token"
