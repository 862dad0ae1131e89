"""Every model type that transformers lists: alone or in a batch, the features are the same.

A type that cannot be tried is named with its reason; a new one in the next transformers fails here
until somebody looks at it. `make test` tries the types of the most used checkpoints;
`make test-all` tries all.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_sfda.backbones import open_backbone
from hf_sfda.errors import ExtractionError
from hf_sfda.extract.loop import form_batches
from hf_sfda.types import Candidate, TextPair, Word
from tests.backbones.architectures import (
    IMAGE_MAPPINGS,
    IMAGE_NOT_TRIED,
    IMAGE_REFUSED,
    TEXT_MAPPINGS,
    TEXT_NOT_TRIED,
    TEXT_REFUSED,
    types_of,
)
from tests.factories import FILLER, images, tiny_bert
from tests.tiny_models import POSITIONS, save, tiny_model

TEXT_TYPES = types_of(TEXT_MAPPINGS)
IMAGE_TYPES = types_of(IMAGE_MAPPINGS)
HEADS = types_of(("MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",))
OFTEN_USED = {
    "albert", "bart", "bert", "camembert", "clip", "convnext", "convnextv2", "deberta-v2", "deit",
    "dinov2", "distilbert", "electra", "gpt2", "llama", "mobilenet_v2", "modernbert", "mpnet",
    "perceiver", "qwen2", "resnet", "roberta", "siglip", "swin", "t5", "vit", "vit_mae", "whisper",
    "xlm-roberta", "detr", "videomae", "fnet", "longformer", "mixtral",
}  # fmt: skip
PICTURES = images(2, 3)[0]
IMAGE_SIZES = [(64, 64), (70, 50), (40, 90)] * (len(PICTURES) // 3)


def sentences() -> list[str]:
    generator = np.random.default_rng(0)
    lengths = (3, 9, 3, 50, 17, 9, 48, 2)
    return [" ".join(generator.choice(FILLER, length)) for length in lengths]


def pairs() -> list[TextPair]:
    texts = sentences()
    return [TextPair(*both) for both in zip(texts[:4], texts[4:], strict=True)]


def words() -> list[Word]:
    """A word of each sentence, at other places."""
    texts = [text.split() for text in sentences()]
    return [Word(tuple(text), i % len(text)) for i, text in enumerate(texts)]


_NO_STATES = "gives no state for each token"
WORDS_REFUSED = dict.fromkeys(("funnel", "videoprism"), _NO_STATES)
"""Types that cannot be ranked on tags of words with their classifiers."""


def opened(path, modality):
    return open_backbone(
        path,
        Candidate(path.name, "local", path=path),
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_length=4 * POSITIONS,
        modality=modality,
    )


def run(backbone, samples, batches):
    """Stages and logits of all samples, in their order."""
    parts = []
    with torch.inference_mode():
        for batch in batches:
            outputs = backbone.forward(backbone.collate([samples[i] for i in batch]))
            parts.append(
                {**outputs.layers, **({} if outputs.logits is None else {"": outputs.logits})}
            )
    order = np.argsort([i for batch in batches for i in batch])
    return {name: torch.cat([part[name] for part in parts])[order] for name in parts[0]}


def compare(together, alone):
    assert together.keys() == alone.keys()
    for name, values in alone.items():
        error = (together[name] - values).abs().max() / values.abs().max().clamp_min(1e-6)
        assert error < 2e-4, f"{name or 'logits'}: {error:.1e}"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """BERT's, of whole words."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_bert(tmp_path_factory.mktemp("tokenizer")))


def check(model_type, refused, check_it):
    """Run a check, or see that the type is refused with its reason; what the check returns."""
    if model_type not in refused:
        return check_it()
    with pytest.raises(ExtractionError, match=refused[model_type]):
        check_it()
    return None


def compare_batches(backbone, samples):
    batches = form_batches(backbone.costs(samples), 8, backbone.groups(samples))
    alone = run(backbone, samples, [[i] for i in range(len(samples))])
    compare(run(backbone, samples, batches), alone)


def try_texts(path):
    backbone = opened(path, "text")
    for samples in (sentences(), pairs()):
        compare_batches(backbone, samples)
    long = " ".join(["the"] * 3 * POSITIONS)
    assert run(backbone, [long], [[0]])["last"].isfinite().all()
    return backbone


def case(model_type, *more):
    """A parameter of a test; of a type that is seldom used, for `make test-all`."""
    return pytest.param(
        model_type, *more, marks=() if model_type in OFTEN_USED else pytest.mark.slow
    )


@pytest.mark.parametrize("model_type", [case(model_type) for model_type in TEXT_TYPES])
def test_a_text_gives_the_same_alone_and_in_a_batch(model_type, tokenizer, tmp_path):
    """With its classifier, where it has one; also pairs, words, and a text longer than its
    positions.
    """
    if model_type in TEXT_NOT_TRIED:
        pytest.skip(f"{model_type}: {TEXT_NOT_TRIED[model_type]}")
    architecture = HEADS.get(model_type, (None,))[0]
    save(tiny_model(model_type, architecture, len(tokenizer) + 60), tmp_path)
    tokenizer.save_pretrained(tmp_path)
    backbone = check(model_type, TEXT_REFUSED, lambda: try_texts(tmp_path))
    if backbone:
        check(model_type, WORDS_REFUSED, lambda: compare_batches(backbone, words()))


def try_images(path):
    backbone = opened(path, "image")
    samples = [picture.resize(size) for picture, size in zip(PICTURES, IMAGE_SIZES, strict=True)]
    alone = run(backbone, samples, [[i] for i in range(len(samples))])
    compare(run(backbone, samples, [list(range(len(samples)))]), alone)
    assert all(values.ndim == 2 and values.isfinite().all() for values in alone.values())


@pytest.mark.parametrize(
    ("model_type", "architecture"),
    [case(model_type, name) for model_type, names in IMAGE_TYPES.items() for name in names],
)
def test_an_image_gives_the_same_alone_and_in_a_batch(model_type, architecture, tmp_path):
    import transformers

    if model_type in IMAGE_NOT_TRIED:
        pytest.skip(f"{architecture}: {IMAGE_NOT_TRIED[model_type]}")
    save(tiny_model(model_type, architecture, 120), tmp_path)
    size = {"height": 64, "width": 64}
    transformers.ViTImageProcessorPil(size=size).save_pretrained(tmp_path)
    check(model_type, IMAGE_REFUSED, lambda: try_images(tmp_path))


def test_what_is_not_tried_is_still_listed():
    assert OFTEN_USED <= TEXT_TYPES.keys() | IMAGE_TYPES.keys()
    assert {*TEXT_NOT_TRIED, *TEXT_REFUSED, *WORDS_REFUSED} <= TEXT_TYPES.keys()
    assert {*IMAGE_NOT_TRIED, *IMAGE_REFUSED} <= IMAGE_TYPES.keys()
