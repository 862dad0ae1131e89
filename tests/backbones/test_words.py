"""One word of a sentence: the feature is the state at the first token of the word."""

from __future__ import annotations

import pickle

import pytest
import torch

from hf_sfda.backbones.text import POOLED, TextCollate
from hf_sfda.compat import ensure_torchvision
from hf_sfda.errors import ExtractionError
from hf_sfda.types import Word
from tests.backbones.test_pairs import bert, every_family, gpt2, letters, opened, roberta, run
from tests.factories import tiny_bert

ensure_torchvision()
import transformers  # noqa: E402

SENTENCE = ("the", "old", "wave", "花", "and", "ships", "sail")
WORDS = [
    *(Word(SENTENCE, i) for i in range(len(SENTENCE))),
    Word(("ship",), 0),
    Word(("wave",) * 30 + ("sea",) + ("ship",) * 50, 30),
    Word(("x", "q" * 90, "ship"), 1),
]
"""The last two are longer than 64 positions: a long sentence, and a long word."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("words")
    return {make.__name__: make(root / make.__name__) for make in (bert, roberta, gpt2)}


def first_tokens(tokenizer, batch):
    places = batch[POOLED].argmax(1)
    ids = batch["input_ids"][torch.arange(len(places)), places]
    return [tokenizer.decode([int(i)]).strip() for i in ids]


@every_family
def test_a_word_gives_the_same_alone_and_in_a_batch(name, folders):
    backbone = opened(folders[name])
    together = run(backbone, WORDS)
    assert max(backbone.costs(WORDS)) == 64
    for i, word in enumerate(WORDS):
        for layer, values in run(backbone, [word]).items():
            torch.testing.assert_close(together[layer][i : i + 1], values, atol=1e-5, rtol=1e-4)


@every_family
def test_the_feature_is_the_state_of_the_first_subword(name, folders):
    """Computed with transformers alone: the number of tokens before a word is its place."""
    path = folders[name]
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModel.from_pretrained(path).eval()
    features = run(opened(path), WORDS[: len(SENTENCE)])["last"]
    special = 0 if name == "gpt2" else 1
    inputs = tokenizer(" ".join(SENTENCE), return_tensors="pt")
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state[0]
    for i in range(len(SENTENCE)):
        before = tokenizer(" ".join(SENTENCE[:i]), add_special_tokens=False)["input_ids"]
        # In byte-level vocabularies without merges, the space before a word is a token of its own.
        space = 1 if i and name != "bert" else 0
        expected = states[special + len(before) + space]
        torch.testing.assert_close(features[i], expected, atol=1e-5, rtol=1e-4)


@every_family
def test_every_layer_is_read_at_the_word(name, folders):
    backbone = opened(folders[name])
    batch = backbone.collate(WORDS[:1])
    with torch.inference_mode():
        outputs = backbone.forward(batch)
        text = {key: value for key, value in batch.items() if key != POOLED}
        means = backbone.forward(text)
    assert (outputs.pooling, means.pooling) == ("first subword", "masked mean")
    assert list(outputs.layers) == list(means.layers)
    for key, values in outputs.layers.items():
        assert (values - means.layers[key]).abs().max() > 1e-3


@every_family
def test_another_word_of_the_sentence_gives_other_features(name, folders):
    features = run(opened(folders[name]), WORDS[: len(SENTENCE)])["last"]
    distances = torch.cdist(features, features) + 9 * torch.eye(len(features))
    assert distances.min() > 1e-3


@every_family
def test_words_become_the_tokens_of_the_text(name, folders):
    """With the spaces between them, which byte-level tokenizers leave out of lists of words."""
    collate = opened(folders[name]).collate
    expected = collate([" ".join(SENTENCE)])
    batch = collate(WORDS[: len(SENTENCE)])
    assert set(batch) == {"input_ids", "attention_mask", POOLED}
    for row in range(len(SENTENCE)):
        assert torch.equal(batch["input_ids"][row], expected["input_ids"][0])
    assert (batch[POOLED].sum(1) == 1).all()
    begins = [word if name == "bert" else word[0] for word in SENTENCE]
    tokens = first_tokens(collate.tokenizer, batch)
    for token, begin, word in zip(tokens, begins, SENTENCE, strict=True):
        assert word == "花" or begin.startswith(token)


def test_the_space_in_a_token_belongs_to_the_next_word():
    """As in the vocabularies of GPT-2 and Llama 3: ``Ġship`` is the first token of the word."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocab = letters("<|endoftext|>") | {"Ġs": 300, "Ġsh": 301}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[("Ġ", "s"), ("Ġs", "h")]))
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<|endoftext|>"
    )
    batch = TextCollate(tokenizer, 32)([Word(("the", "ship"), 1), Word(("the", "ship"), 0)])
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist()) == [
        "t", "h", "e", "Ġsh", "i", "p",
    ]  # fmt: skip
    assert batch[POOLED].argmax(1).tolist() == [3, 0]


def test_a_token_of_a_space_is_not_the_word():
    """As in the vocabularies of T5 and Llama 2, at the beginning and inside of a sentence."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = ["<unk>", "<pad>", "▁the", "▁ship", "▁", "wave", "s"]
    core = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.decoder = decoders.Metaspace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", unk_token="<unk>"
    )
    sentence = ("wave", "the", "wave", "ships")
    batch = TextCollate(tokenizer, 32)([Word(sentence, i) for i in range(4)])
    tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist())
    assert tokens == ["▁", "wave", "▁the", "▁", "wave", "▁ship", "s"]
    assert batch[POOLED].argmax(1).tolist() == [1, 2, 4, 5]


# -- long sentences


def test_words_at_the_left_are_left_out_as_far_as_needed(folders):
    collate = opened(folders["bert"], max_length=6).collate
    sentence = tuple("the old wave and ship".split())
    kept = {
        0: "[CLS] the old wave and [SEP]",
        3: "[CLS] the old wave and [SEP]",
        4: "[CLS] old wave and ship [SEP]",
    }
    for position, text in kept.items():
        ids = collate([Word(sentence, position)])["input_ids"][0]
        assert collate.tokenizer.decode(ids) == text
    # The whole word is kept where it fits: "ab" has two tokens.
    batch = collate([Word(("the", "old", "wave", "ab"), 3)])
    assert collate.tokenizer.decode(batch["input_ids"][0]) == "[CLS] old wave ab [SEP]"
    batch = collate([Word(("the", "abcdefghi", "old"), 1)])
    assert collate.tokenizer.decode(batch["input_ids"][0]) == "[CLS] abcd [SEP]"
    assert batch[POOLED].tolist() == [[0, 1, 0, 0, 0, 0]]


@every_family
def test_the_word_is_in_every_window(name, folders):
    sentence = tuple("the old wave and ship".split() * 20)
    for length in (4, 7, 20):
        collate = opened(folders[name], max_length=length).collate
        words = [Word(sentence, i) for i in range(len(sentence))]
        batch = collate(words)
        assert batch["input_ids"].shape[1] <= length and (batch[POOLED].sum(1) == 1).all()
        tokens = first_tokens(collate.tokenizer, batch)
        assert all(w.words[w.position].startswith(t) for w, t in zip(words, tokens, strict=True))
        assert all(tokens)


# -- what cannot be read


def test_a_word_without_a_token_is_an_error(folders):
    collate = opened(folders["bert"]).collate
    with pytest.raises(ExtractionError, match=r"gives no token for the word in 'the \[\\u200b\]"):
        collate([Word(("the", "\u200b", "ship"), 1)])
    assert first_tokens(collate.tokenizer, collate([Word(("the", "\u200b", "ship"), 2)])) == [
        "ship"
    ]


def test_a_tokenizer_without_places_is_refused(folders):
    class Slow:
        is_fast = False

    with pytest.raises(
        ExtractionError, match=r"Slow.* does not tell which tokens belong to a word"
    ):
        TextCollate(Slow(), 32)(WORDS)


def test_a_network_without_a_state_for_each_token_is_refused(folders):
    backbone = opened(folders["bert"])
    batch = backbone.collate(WORDS[:2])
    backbone.module.register_forward_pre_hook(
        lambda module, args, kwargs: (args, {k: v[:, ::2] for k, v in kwargs.items()}),
        with_kwargs=True,
    )
    with pytest.raises(ExtractionError, match="gives no state for each token"):
        backbone.forward(batch)


def test_a_head_for_texts_gives_no_logits_for_words(tmp_path):
    backbone = opened(tiny_bert(tmp_path, architecture="BertForSequenceClassification"))
    with torch.inference_mode():
        assert backbone.forward(backbone.collate(["the ship"])).logits is not None
        assert backbone.forward(backbone.collate(WORDS[:1])).logits is None


def test_words_are_lower_cased(folders):
    collate = TextCollate(opened(folders["gpt2"]).collate.tokenizer, 32, lower=True)
    batch = collate([Word(("The", "İSEA", "Ship"), 2)])
    assert first_tokens(collate.tokenizer, batch) == ["s"]


@every_family
def test_collate_travels_to_a_worker(name, folders):
    collate = opened(folders[name]).collate
    first = collate(WORDS)
    again = pickle.loads(pickle.dumps(collate))(WORDS)
    assert all(torch.equal(first[key], again[key]) for key in first)
