"""Pairs of texts, as tokenizers with and without a separator encode them."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from tokenizers import normalizers, processors

from hf_sfda.backbones import open_backbone
from hf_sfda.backbones.text import TextCollate
from hf_sfda.compat import ensure_torchvision
from hf_sfda.errors import ExtractionError
from hf_sfda.types import Candidate, TextPair
from tests.backbones import test_tokenizers
from tests.factories import texts, tiny_bert

ensure_torchvision()
import transformers  # noqa: E402

SENTENCES = texts(2, 3, length=8)[0]
LENGTHS = ((3, 25), (12, 12), (30, 4), (1, 1), (300, 300))
"""Characters of the texts. The last pair is too long for 64 positions."""
PAIRS = [
    TextPair((SENTENCES[i] * 8)[:first], (SENTENCES[i + 1] * 8)[:second])
    for i, (first, second) in enumerate(LENGTHS)
]
NAMES = ["input_ids", "attention_mask"]
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 32, "initializer_range": 0.3}  # fmt: skip


def letters(*special):
    """A vocabulary of bytes, as byte-level tokenizers write them."""
    from tokenizers.pre_tokenizers import ByteLevel

    return {token: i for i, token in enumerate([*special, *sorted(ByteLevel.alphabet())])}


def roberta(path):
    vocab = letters("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    config = transformers.RobertaConfig(
        vocab_size=len(vocab),
        pad_token_id=1,
        type_vocab_size=1,
        max_position_embeddings=66,
        **SIZES,
    )
    torch.manual_seed(0)
    transformers.RobertaModel(config).save_pretrained(path)
    transformers.RobertaTokenizer(vocab=vocab, merges=[]).save_pretrained(path)
    return path


def gpt2(path):
    vocab = letters("<|endoftext|>")
    config = transformers.GPT2Config(
        vocab_size=len(vocab), n_embd=16, n_layer=2, n_head=2, n_positions=64,
        initializer_range=0.3, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.GPT2Model(config).save_pretrained(path)
    transformers.GPT2Tokenizer(vocab=vocab, merges=[]).save_pretrained(path)
    (path / "vocab.json").write_text(json.dumps(vocab))  # as in the repository of GPT-2
    return path


def bert(path):
    return tiny_bert(path, initializer_range=0.3)


def opened(path, max_length=128):
    return open_backbone(
        path,
        Candidate(path.name, "local", path=path),
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_length=max_length,
        modality="text",
    )


def run(backbone, samples):
    with torch.inference_mode():
        return backbone.forward(backbone.collate(samples)).layers


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    return {make.__name__: make(root / make.__name__) for make in (bert, roberta, gpt2)}


every_family = pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])


def decoded(backbone, pair):
    return backbone.collate.tokenizer.decode(backbone.collate([pair])["input_ids"][0])


@every_family
def test_a_pair_gives_the_same_alone_and_in_a_batch(name, folders):
    backbone = opened(folders[name])
    together = run(backbone, PAIRS)
    assert len(set(backbone.costs(PAIRS))) > 3 and max(backbone.costs(PAIRS)) == 64
    for i, pair in enumerate(PAIRS):
        for layer, values in run(backbone, [pair]).items():
            torch.testing.assert_close(together[layer][i : i + 1], values, atol=1e-5, rtol=1e-4)


@every_family
def test_costs_are_the_numbers_of_tokens(name, folders):
    backbone = opened(folders[name])
    masks = backbone.collate(PAIRS)["attention_mask"]
    assert backbone.costs(PAIRS) == masks.sum(1).tolist()


@every_family
def test_the_order_of_the_texts_matters(name, folders):
    backbone = opened(folders[name])
    pairs = PAIRS[:3]
    turned = [TextPair(pair.second, pair.first) for pair in pairs]
    difference = run(backbone, pairs)["last"] - run(backbone, turned)["last"]
    assert (difference.abs().amax(1) > 1e-3).all()


@every_family
def test_features_depend_on_where_the_first_text_ends(name, folders):
    backbone = opened(folders[name])
    one, other = run(backbone, [TextPair("the wave", "ship"), TextPair("the", "wave ship")])["last"]
    assert (one - other).abs().max() > 1e-3


@every_family
def test_single_texts_are_encoded_as_before(name, folders):
    """Features in existing stores stay what they were: ids and mask of the plain tokenizer."""
    collate = opened(folders[name]).collate
    sentences = [*SENTENCES, "planet " * 100]
    expected = collate.tokenizer(
        sentences, padding="longest", truncation=True, max_length=64, return_tensors="pt"
    )
    inputs = collate(sentences)
    assert set(inputs) == {"input_ids", "attention_mask"}
    assert all(torch.equal(inputs[key], expected[key]) for key in inputs)


def test_token_types_reach_a_network_that_knows_them(folders):
    backbone = opened(folders["bert"])
    assert set(backbone.collate(PAIRS)) == {"input_ids", "attention_mask", "token_type_ids"}
    pair = TextPair("the wave", "ship")
    inputs = backbone.collate([pair])
    assert inputs["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1]]
    model = transformers.BertModel.from_pretrained(folders["bert"]).eval()
    with torch.inference_mode():
        expected = model(**inputs).last_hidden_state.mean(1)
    torch.testing.assert_close(run(backbone, [pair])["last"], expected, atol=1e-5, rtol=1e-4)
    for name in ("roberta", "gpt2"):
        assert set(opened(folders[name]).collate(PAIRS)) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, True),
        ({"tokenizer_class": "AlbertTokenizer", "cls_token": "<s>", "sep_token": "</s>"}, True),
        ({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": NAMES}, False),
        ({"tokenizer_class": "BertTokenizer", "model_input_names": NAMES}, False),
        ({"tokenizer_class": "BigBirdTokenizer"}, False),
    ],
    ids=str,
)
def test_token_types_are_given_as_in_transformers_4(settings, given, tmp_path):
    """There, all but some classes gave them; in transformers 5, only some classes do."""
    if settings["tokenizer_class"] in ("AlbertTokenizer", "BigBirdTokenizer"):
        tokenizer = test_tokenizers.pieces_of(None)
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>",
            pair="<s> $A </s> $B:1 </s>:1",
            special_tokens=[("<s>", 0), ("</s>", 2)],
        )
    else:
        tokenizer = test_tokenizers.words_of(normalizers.BertNormalizer(lowercase=True))
    test_tokenizers.save(tmp_path, tokenizer, settings, "bert")
    config = transformers.BertConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    transformers.BertModel(config).save_pretrained(tmp_path)
    backbone = opened(tmp_path)
    batch = backbone.collate([TextPair("hello there", "world")])
    assert ("token_type_ids" in batch) is given
    if given:
        expected = tokenizer.encode("hello there", "world").type_ids
        assert batch["token_type_ids"].tolist() == [expected] and 1 in expected
        backbone.collate.tokenizer.save_pretrained(tmp_path)
        again = transformers.AutoTokenizer.from_pretrained(tmp_path)
        assert again("hello there", "world")["token_type_ids"] == expected
    assert "token_type_ids" not in backbone.collate(["hello there"])


def test_token_types_are_kept_from_networks_without_a_table_of_them(tmp_path):
    """GPT-2 would add the embedding of a word for each type."""
    tiny_bert(tmp_path)  # its tokenizer gives token types
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=64
    )
    transformers.GPT2Model(config).save_pretrained(tmp_path)
    assert set(opened(tmp_path).collate(PAIRS)) == {"input_ids", "attention_mask"}


def test_a_separator_stands_between_the_texts(folders):
    pair = TextPair("the wave", "ship")
    assert decoded(opened(folders["bert"]), pair) == "[CLS] the wave [SEP] ship [SEP]"
    assert decoded(opened(folders["roberta"]), pair) == "<s>the wave</s></s>ship</s>"
    assert decoded(opened(folders["gpt2"]), pair) == "the wave\nship"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a" * 50, "bc", "aaaaa\nbc"),
        ("ab", "c" * 50, "ab\nccccc"),
        ("a" * 50, "b" * 50, "aaaa\nbbb"),
        ("abcd", "efg", "abcd\nefg"),
    ],
)
def test_the_longer_text_is_cut_first(folders, first, second, expected):
    pair = TextPair(first, second)
    assert decoded(opened(folders["gpt2"], max_length=8), pair) == expected
    both = decoded(opened(folders["roberta"], max_length=12), pair)
    _, _, rest = both.partition("<s>")
    texts = rest.removesuffix("</s>").split("</s></s>")
    assert len("".join(texts)) <= 8 and all(texts)


def test_a_token_that_begins_each_text_is_no_separator(folders):
    """As in the tokenizers of Llama."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["gpt2"])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A",
        pair="<|endoftext|> $A <|endoftext|> $B",
        special_tokens=[("<|endoftext|>", 0)],
    )
    tokenizer.pad_token = tokenizer.eos_token
    ids = TextCollate(tokenizer, 32)([TextPair("sea", "ship")])["input_ids"][0]
    assert tokenizer.decode(ids) == "<|endoftext|>sea\nship"


@every_family
def test_a_max_length_without_room_for_a_pair_is_refused(name, folders):
    special = {"bert": 3, "roberta": 4, "gpt2": 1}[name]
    backbone = opened(folders[name], max_length=special + 1)
    with pytest.raises(ExtractionError, match=rf"adds {special} tokens; raise --max-length"):
        backbone.costs(PAIRS)
    assert opened(folders[name], max_length=special + 2).costs(PAIRS[:1]) == [special + 2]


def test_texts_are_lower_cased_in_pairs(folders):
    tokenizer = opened(folders["gpt2"]).collate.tokenizer
    collate = TextCollate(tokenizer, 32, lower=True)
    ids = collate([TextPair("The SEA", "Ship")])["input_ids"][0]
    assert tokenizer.decode(ids) == "the sea\nship"


@every_family
def test_collate_travels_to_a_worker(name, folders):
    collate = opened(folders[name]).collate
    first = collate(PAIRS)
    again = pickle.loads(pickle.dumps(collate))(PAIRS)
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_a_tokenizer_that_takes_no_pairs_gets_joined_texts(folders):
    """As those of mistral-common, which raise ValueError."""

    class NoPairs:
        def __init__(self, tokenizer):
            self.tokenizer = tokenizer

        def __call__(self, text, text_pair=None, **options):
            if text_pair is not None:
                raise ValueError("`text_pair` is not supported")
            return self.tokenizer(text, **options)

        def num_special_tokens_to_add(self):
            return self.tokenizer.num_special_tokens_to_add()

    tokenizer = opened(folders["roberta"]).collate.tokenizer
    ids = TextCollate(NoPairs(tokenizer), 32)([TextPair("sea", "ship")])["input_ids"][0]
    assert tokenizer.decode(ids) == "<s>sea\nship</s>"
