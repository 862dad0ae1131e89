"""The tokens are those of the repository's tokenizer.json, whatever class its settings name."""

from __future__ import annotations

import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, processors, trainers
from tokenizers import pre_tokenizers as pre

from hf_sfda.backbones.tokenizer import open_tokenizer

TEXTS = [
    "In 2023, 650841823 people said: don't 12's",
    "hello  World",
    "\n\nhello there\n",
    " a space before, and after ",
    "café Élan, \uff28\uff25\uff2c\uff2c\uff2f \u2460",
    "",
]
CORPUS = [*TEXTS, "the year 1999, stars 12 34 567 planet rocket", "hello there World café"] * 20
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
BERT_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GPT2 = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "</s>", "eos_token": "</s>"}
BERT = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "pad_token": "[PAD]"}
METASPACE = pre.Metaspace(prepend_scheme="always")


def bytes_of(step, normalizer=None):
    """A byte-level tokenizer, such as those of GPT-2, RoBERTa and Llama 3."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = step
    if normalizer is not None:
        made.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIAL, initial_alphabet=pre.ByteLevel.alphabet()
    )
    return trained(made, trainer, decoders.ByteLevel())


def split(pattern):
    return pre.Sequence(
        [pre.Split(Regex(pattern), "isolated"), pre.ByteLevel(False, use_regex=False)]
    )


def words_of(normalizer):
    """A tokenizer such as BERT's."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizer, pre.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=BERT_SPECIAL)
    made = trained(made, trainer, decoders.WordPiece())
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return made


def pieces_of(normalizer, step=METASPACE):
    """A tokenizer such as those of sentencepiece."""
    made = Tokenizer(models.Unigram())
    made.normalizer, made.pre_tokenizer = normalizer, step
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>")
    made = trained(made, trainer, decoders.Metaspace())
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return made


def trained(made, trainer, decoder):
    trainer.show_progress = False
    made.train_from_iterator(CORPUS, trainer)
    made.decoder = decoder
    return made


def save(path, tokenizer, settings, model_type):
    path.mkdir(exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    if settings is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(settings))
    (path / "config.json").write_text(json.dumps({"model_type": model_type}))
    return path


OF_FILE = {
    "class GPT-2, words and numbers of GPT-4": (bytes_of, split(GPT4), GPT2, "llama"),
    "class GPT-2, single digits": (
        bytes_of,
        pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(False)]),
        GPT2,
        "starcoder2",
    ),
    "class Qwen 2, numbers of GPT-4": (
        bytes_of,
        split(GPT4),
        {"tokenizer_class": "Qwen2Tokenizer"},
        "qwen3",
    ),
    "class Llama, bytes": (
        bytes_of,
        split(GPT4),
        {"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>"},
        "llama",
    ),
    "class RoBERTa, word pieces": (
        words_of,
        normalizers.BertNormalizer(lowercase=False),
        {
            "tokenizer_class": "RobertaTokenizer",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
        },
        "roberta",
    ),
    "class BERT, accents kept by a sequence": (
        words_of,
        normalizers.Sequence(
            [normalizers.NFKC(), normalizers.BertNormalizer(strip_accents=False, lowercase=True)]
        ),
        BERT,
        "bert",
    ),
    "class XLM-R, compatible characters": (
        pieces_of,
        normalizers.NFKC(),
        {"tokenizer_class": "XLMRobertaTokenizer"},
        "bert",
    ),
    "class T5, compatible characters": (
        pieces_of,
        normalizers.NFKC(),
        {"tokenizer_class": "T5Tokenizer", "extra_ids": 0},
        "t5",
    ),
    "class DeBERTa, compatible characters": (
        pieces_of,
        normalizers.Sequence([normalizers.Strip(), normalizers.NFKC()]),
        {"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": False, "vocab_type": "spm"},
        "deberta-v2",
    ),
    "no class": (bytes_of, split(GPT4), {}, "llama"),
}


@pytest.mark.parametrize("case", OF_FILE)
def test_tokens_are_those_of_the_file(case, tmp_path):
    build, step, settings, model_type = OF_FILE[case]
    of_file = build(step)
    opened = open_tokenizer(save(tmp_path / "m", of_file, settings, model_type))
    for text in TEXTS:
        assert opened(text)["input_ids"] == of_file.encode(text).ids
    assert opened("a", "b")["input_ids"] == of_file.encode("a", "b").ids


@pytest.mark.parametrize("lower", [False, True])
def test_the_settings_decide_about_lower_case(lower, tmp_path):
    """transformers 4 wrote `do_lower_case` over what the file says, and so did its users."""
    of_file = words_of(normalizers.BertNormalizer(lowercase=not lower))
    settings = BERT | {"do_lower_case": lower, "model_max_length": 77}
    opened = open_tokenizer(save(tmp_path, of_file, settings, "bert"))
    assert type(opened).__name__ == "BertTokenizer"
    of_file.normalizer = normalizers.BertNormalizer(lowercase=lower)
    for text in TEXTS:
        assert opened(text)["input_ids"] == of_file.encode(text).ids
    assert opened.model_max_length == 77


def test_the_settings_decide_about_a_space_before_the_text(tmp_path):
    of_file = bytes_of(pre.ByteLevel(add_prefix_space=True))
    opened = open_tokenizer(save(tmp_path, of_file, GPT2 | {"add_prefix_space": False}, "gpt2"))
    of_file.pre_tokenizer = pre.ByteLevel(add_prefix_space=False)
    for text in TEXTS:
        assert opened(text)["input_ids"] == of_file.encode(text).ids


def test_padding_and_truncation_in_the_file_are_not_used(tmp_path):
    """all-MiniLM-L6-v2 has both in its file, with 128 tokens."""
    of_file = words_of(normalizers.BertNormalizer(lowercase=True))
    expected = [of_file.encode(text).ids for text in TEXTS]
    of_file.enable_truncation(6)
    of_file.enable_padding(length=6)
    opened = open_tokenizer(save(tmp_path, of_file, BERT | {"model_max_length": 512}, "bert"))
    assert opened(TEXTS)["input_ids"] == expected
    assert opened(TEXTS, truncation=True, max_length=64)["input_ids"] == expected


def test_a_class_of_other_files_opens_the_one_that_is_there(tmp_path):
    """CodeGen's class names vocab.json and merges.txt only, and reads tokenizer.json, too."""
    of_file = bytes_of(pre.ByteLevel(False))
    settings = GPT2 | {"tokenizer_class": "CodeGenTokenizer"}
    opened = open_tokenizer(save(tmp_path, of_file, settings, "phi"))
    assert opened(TEXTS[0])["input_ids"] == of_file.encode(TEXTS[0]).ids


def test_a_class_that_adds_a_step_on_purpose_is_kept(tmp_path):
    """SigLIP 2 was trained on small letters. Its file, that of Gemma, keeps capitals."""
    of_file = bytes_of(pre.ByteLevel(False), normalizers.Replace(" ", "_"))
    settings = {"tokenizer_class": "Siglip2Tokenizer"}
    opened = open_tokenizer(save(tmp_path, of_file, settings, "siglip2"))
    assert opened("HELLO there")["input_ids"] == opened("hello there")["input_ids"]


def test_the_language_that_a_class_sets_is_kept(tmp_path):
    of_file = pieces_of(None)
    of_file.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    of_file.add_special_tokens(["en_XX", "de_DE"])
    settings = {"tokenizer_class": "MBart50Tokenizer", "src_lang": "de_DE"}
    opened = open_tokenizer(save(tmp_path, of_file, settings, "mbart"))
    assert opened.convert_ids_to_tokens(opened("hello")["input_ids"])[0] == "de_DE"
    assert type(opened).__name__ == "MBart50Tokenizer"
