"""One tiny checkpoint per family, each with the features it ought to give, worked out by hand.

A reference opens the folder with the plainest class there is and says in one line what "last" is;
it shares no code with the backbones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_sfda.backbones import Backbone
from hf_sfda.compat import ensure_torchvision
from hf_sfda.extract import form_batches, merge_parts, run_batches
from hf_sfda.types import Features
from tests.factories import tiny_bert, tiny_resnet, tiny_timm, tiny_vit

ensure_torchvision()
import transformers  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

STD = {"initializer_range": 0.1}
TRANSFORMER = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
VIT = {**TRANSFORMER, **STD, "image_size": 32, "patch_size": 8}
CONV = {"num_stages": 2, "hidden_sizes": [8, 16], "depths": [1, 1], **STD}
SWIN = {
    "image_size": 32,
    "patch_size": 4,
    "embed_dim": 8,
    "depths": [1, 1],
    "num_heads": [2, 2],
    "window_size": 4,
    **STD,
}


def extract(backbone: Backbone, samples: list[Any], batch_size: int = 64) -> Features:
    """All samples through a backbone, in this process, as a run does it."""
    batches = form_batches(backbone.costs(samples), batch_size, backbone.groups(samples))
    part = run_batches(backbone, samples, batches, device=torch.device("cpu"))
    return merge_parts([part], len(samples), params=backbone.params)


@dataclass(frozen=True)
class Case:
    """A checkpoint and what must come out of it.

    Attributes:
        name: Of the test.
        modality: What it takes.
        make: Writes the folder.
        last: (folder, inputs) -> (B, D), the expected ``"last"``.
        layers: Widths of the stages before ``"last"``.
        classes: Width of the source logits, or ``None``.
    """

    name: str
    modality: str
    make: Callable[[Path], Any]
    last: Callable[[Path, dict[str, torch.Tensor]], torch.Tensor]
    layers: tuple[int, ...]
    classes: int | None = None


def build(architecture: str, config: str, processor: bool = True, **fields: Any):
    """A function that writes a random checkpoint of this class, with its image processor."""

    def make(path: Path) -> None:
        torch.manual_seed(0)
        made = getattr(transformers, config)(**fields)
        _save(getattr(transformers, architecture)(made), path)
        if processor:
            transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(
                path
            )

    return make


def dual(name: str, **extra: Any):
    """A function that writes a CLIP-like pair of towers with a processor and a tokenizer."""

    def make(path: Path) -> None:
        tiny_bert(path)
        vocabulary = len(AutoTokenizer.from_pretrained(path))
        config = getattr(transformers, f"{name}Config")(
            text_config={
                **TRANSFORMER,
                "vocab_size": vocabulary,
                "max_position_embeddings": 24,
                "eos_token_id": 3,
                **extra,
            },
            vision_config=VIT,
        )
        torch.manual_seed(0)
        _save(getattr(transformers, f"{name}Model")(config), path)
        _processor().save_pretrained(path)

    return make


def text(architecture: str, config: str, *, pad: bool = True, **fields: Any):
    """A function that writes a random text checkpoint with BERT's tiny tokenizer."""

    def make(path: Path) -> None:
        tiny_bert(path)
        tokenizer = AutoTokenizer.from_pretrained(path)
        torch.manual_seed(0)
        made = getattr(transformers, config)(vocab_size=len(tokenizer), **fields)
        _save(getattr(transformers, architecture)(made), path)
        if not pad:
            tokenizer.pad_token = None
            tokenizer.save_pretrained(path)

    return make


def _processor() -> Any:
    return transformers.ViTImageProcessorPil(size={"height": 32, "width": 32})


def _save(model: Any, path: Path) -> None:
    # Fresh biases and norms are zeros and ones, which would hide a swapped one.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(path)


def edit_weights(path: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    """Change the tensors of a folder's ``model.safetensors`` in place."""
    from safetensors.torch import load_file, save_file

    file = path / "model.safetensors"
    weights = load_file(file)
    edit(weights)
    save_file(weights, file, metadata={"format": "pt"})


def drop_weights(path: Path, part: str) -> None:
    """Take the tensors whose names hold ``part`` out of a folder."""
    before = (path / "model.safetensors").stat().st_size
    edit_weights(path, lambda weights: [weights.pop(n) for n in list(weights) if part in n])
    assert (path / "model.safetensors").stat().st_size < before


def opened(cls: str, path: Path) -> Any:
    """The checkpoint in the class the reference wants."""
    return getattr(transformers, cls).from_pretrained(path).eval()


def pooler(cls: str):
    return lambda path, inputs: opened(cls, path)(**inputs).pooler_output.flatten(1)


def class_token(cls: str):
    return lambda path, inputs: opened(cls, path)(**inputs).last_hidden_state[:, 0]


def token_mean(cls: str):
    return lambda path, inputs: opened(cls, path)(**inputs).last_hidden_state.mean(1)


def masked_mean(cls: str, tower: str = ""):
    def reference(path: Path, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        model = opened(cls, path)
        names = ("input_ids", "attention_mask")
        states = (model.get_submodule(tower) if tower else model)(
            **{name: inputs[name] for name in names}
        ).last_hidden_state
        rows = zip(states, inputs["attention_mask"].bool(), strict=True)
        return torch.stack([row[mask].mean(0) for row, mask in rows])

    return reference


def dinov2_head(path: Path, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    states = opened("Dinov2Model", path)(**inputs).last_hidden_state
    return torch.cat([states[:, 0], states[:, 1:].mean(1)], dim=1)


def vit_mae_unmasked(path: Path, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    model = transformers.ViTMAEModel.from_pretrained(path, mask_ratio=0.0).eval()
    return model(**inputs).last_hidden_state[:, 0]


def timm_features(path: Path, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    import timm

    model = timm.create_model(f"local-dir:{path}", pretrained=True, num_classes=0).eval()
    return model(inputs["x"])


IMAGES = (
    Case("vit-classifier", "image", tiny_vit, class_token("ViTModel"), (16, 16), 10),
    Case(
        "vit-with-pooler",
        "image",
        lambda path: tiny_vit(path, architecture="ViTModel"),
        pooler("ViTModel"),
        (16, 16),
    ),
    Case(
        "vit-without-pooler",
        "image",
        lambda path: tiny_vit(path, architecture="ViTForMaskedImageModeling"),
        class_token("ViTModel"),
        (16, 16),
    ),
    Case(
        "vit-deep",
        "image",
        lambda path: tiny_vit(path, num_hidden_layers=6),
        class_token("ViTModel"),
        (16, 16, 16, 16),
        10,
    ),
    Case("resnet-classifier", "image", tiny_resnet, pooler("ResNetModel"), (8, 16), 10),
    Case(
        "resnet-body",
        "image",
        lambda path: tiny_resnet(path, architecture="ResNetModel"),
        pooler("ResNetModel"),
        (8, 16),
    ),
    Case(
        "convnext",
        "image",
        build("ConvNextForImageClassification", "ConvNextConfig", num_labels=4, **CONV),
        pooler("ConvNextModel"),
        (8, 16),
        4,
    ),
    Case(
        "swin",
        "image",
        build("SwinForImageClassification", "SwinConfig", num_labels=4, **SWIN),
        pooler("SwinModel"),
        (16, 16),
        4,
    ),
    Case(
        "beit",
        "image",
        build("BeitForImageClassification", "BeitConfig", num_labels=4, **VIT),
        pooler("BeitModel"),
        (16, 16),
        4,
    ),
    Case(
        "dinov2",
        "image",
        build("Dinov2Model", "Dinov2Config", **VIT),
        pooler("Dinov2Model"),
        (16, 16),
    ),
    Case(
        "dinov2-classifier",
        "image",
        build("Dinov2ForImageClassification", "Dinov2Config", num_labels=4, **VIT),
        dinov2_head,
        (16, 16),
        4,
    ),
    Case(
        "mobilenet-v2",
        "image",
        build(
            "MobileNetV2ForImageClassification",
            "MobileNetV2Config",
            image_size=32,
            depth_multiplier=0.25,
            initializer_range=0.3,
            num_labels=4,
        ),
        pooler("MobileNetV2Model"),
        (8, 8, 24, 80),
        4,
    ),
    Case(
        "vit-mae",
        "image",
        build(
            "ViTMAEForPreTraining",
            "ViTMAEConfig",
            **VIT,
            decoder_hidden_size=16,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=16,
        ),
        vit_mae_unmasked,
        (16, 16),
    ),
    Case("clip", "image", dual("CLIP"), pooler("CLIPVisionModel"), (16, 16)),
    Case(
        "clip-vision-alone",
        "image",
        build("CLIPVisionModel", "CLIPVisionConfig", **VIT),
        pooler("CLIPVisionModel"),
        (16, 16),
    ),
    Case("siglip", "image", dual("Siglip"), pooler("SiglipVisionModel"), (16, 16)),
    Case("timm-resnet", "image", tiny_timm, timm_features, (32, 32, 48, 192, 96), 10),
    Case(
        "timm-vit",
        "image",
        lambda path: tiny_timm(path, "test_vit"),
        timm_features,
        (64, 64, 64, 64),
        10,
    ),
    Case(
        "timm-efficientnet",
        "image",
        lambda path: tiny_timm(path, "test_efficientnet"),
        timm_features,
        (16, 24, 32, 48, 64),
        10,
    ),
    Case(
        "timm-without-classifier",
        "image",
        lambda path: tiny_timm(path, "test_convnext", num_classes=0),
        timm_features,
        (24, 32, 48, 64),
    ),
)

POSITIONS = {"max_position_embeddings": 32}
BART = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "init_std": 0.1,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "decoder_start_token_id": 3,
    **POSITIONS,
}
ROBERTA = {**TRANSFORMER, **POSITIONS, **STD}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
GPT2 = {
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 32,
    "bos_token_id": 2,
    "eos_token_id": 3,
}

TEXTS = (
    Case("bert", "text", tiny_bert, masked_mean("BertModel"), (16, 16)),
    Case(
        "bert-with-pooler",
        "text",
        lambda path: tiny_bert(path, architecture="BertModel"),
        masked_mean("BertModel"),
        (16, 16),
    ),
    Case(
        "bert-classifier",
        "text",
        lambda path: tiny_bert(path, architecture="BertForSequenceClassification", num_labels=3),
        masked_mean("BertModel"),
        (16, 16),
        3,
    ),
    Case(
        "bert-deep",
        "text",
        lambda path: tiny_bert(path, num_hidden_layers=6),
        masked_mean("BertModel"),
        (16, 16, 16, 16),
    ),
    Case(
        "distilbert",
        "text",
        text(
            "DistilBertModel",
            "DistilBertConfig",
            dim=16,
            n_layers=2,
            n_heads=2,
            hidden_dim=32,
            **POSITIONS,
        ),
        masked_mean("DistilBertModel"),
        (16, 16),
    ),
    Case(
        "roberta",
        "text",
        text(
            "RobertaForMaskedLM", "RobertaConfig", pad_token_id=1, **TRANSFORMER, **POSITIONS, **STD
        ),
        masked_mean("RobertaModel"),
        (16, 16),
    ),
    Case(
        "t5",
        "text",
        text("T5ForConditionalGeneration", "T5Config", **T5),
        masked_mean("T5EncoderModel"),
        (16, 16),
    ),
    Case(
        "t5-encoder-alone",
        "text",
        text("T5EncoderModel", "T5Config", **T5),
        masked_mean("T5EncoderModel"),
        (16, 16),
    ),
    Case(
        "bart",
        "text",
        text("BartForConditionalGeneration", "BartConfig", **BART),
        masked_mean("BartModel", "encoder"),
        (16, 16),
    ),
    Case(
        "gpt2-without-pad-token",
        "text",
        text("GPT2LMHeadModel", "GPT2Config", pad=False, **GPT2),
        masked_mean("GPT2Model"),
        (16, 16),
    ),
    Case(
        "gpt2-classifier",
        "text",
        text("GPT2ForSequenceClassification", "GPT2Config", pad=False, num_labels=3, **GPT2),
        masked_mean("GPT2Model"),
        (16, 16),
        3,
    ),
    Case("clip-text", "text", dual("CLIP"), masked_mean("CLIPTextModel"), (16, 16)),
    Case("siglip-text", "text", dual("Siglip"), masked_mean("SiglipTextModel"), (16, 16)),
)
