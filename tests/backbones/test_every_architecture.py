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
from hf_sfda.types import Candidate
from tests.factories import FILLER, images, tiny_bert
from tests.tiny_models import (
    IMAGE_MAPPINGS,
    POSITIONS,
    TEXT_MAPPINGS,
    save,
    tiny_model,
    types_of,
)

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


SIZES = "its defaults cannot be scaled down field by field"
LARGE = "its parts cannot be made tiny"
OTHER = "takes no text by itself"
NO_PLAIN = "AutoModel knows no plain class of it"
TESTED = "tested with a configuration of its own in test_backbones_odd.py"
TEXT_NOT_TRIED = {
    **dict.fromkeys(
        (
            "bailing_hybrid", "chameleon", "cohere_compass", "cohere_compass_text", "dbrx",
            "deepseek_ocr2", "diffusion_gemma", "dots1", "dots3_note", "emu3", "ernie4_5_vl_moe",
            "fun_asr_nano", "gemma3n", "gemma3n_text", "gemma4_assistant", "glm4v_moe",
            "granite4_vision", "hrm_text", "hunyuan_vl", "kimi_linear", "kyutai_speech_to_text",
            "laguna", "layoutlmv3", "lfm2_moe", "lilt", "mimo_v2_flash", "mistral4",
            "mistral_large4", "molmo2", "muse_spark", "neomme", "perception_lm",
            "qwen2_5_omni_thinker", "qwen4_exp", "qwen4_exp_text", "step3p7", "xlstm", "zamba",
            "zamba2",
        ),
        SIZES,
    ),
    **dict.fromkeys(("blt", "dots3_note_text", "fast_vlm", "janus", "vibevoice_asr"), LARGE),
    **dict.fromkeys(("idefics", "musicgen", "musicgen_melody", "pi0", "udop"), OTHER),
    "voxtral_realtime": OTHER,
    **dict.fromkeys(
        (
            "encoder-decoder", "evolla", "gemma4_unified_assistant", "nemotron_h_omni",
            "pix2struct", "pp_chart2table", "pp_formulanet", "qwen2_5_omni", "qwen3_omni_moe",
            "shieldgemma2", "trocr", "vision-encoder-decoder",
        ),
        NO_PLAIN,
    ),
    "layoutlmv2": "needs detectron2",
    "hyperclovax_vision_v2": "takes another tokenizer than the one of this test",
    "inkling2": "is quantised by default",
}  # fmt: skip
TEXT_REFUSED = {"perceiver": "gives no hidden states", "whisper": "takes no input_ids"}
IMAGE_NOT_TRIED = {
    **dict.fromkeys(("dinat",), "needs natten"),
    **dict.fromkeys(
        ("depth_pro", "edgetam", "edgetam_video", "llama4", "mllama", "perceiver", "shieldgemma2"),
        SIZES,
    ),
    **dict.fromkeys(("hgnet_v2", "sam2", "sam2_video", "siglip2", "textnet"), TESTED),
    **dict.fromkeys(
        ("timm_backbone", "timm_wrapper"), "opened by timm; tested in test_backbones.py"
    ),
    "imagegpt": "its processor, which makes tokens of colours, comes with the checkpoint",
}
IMAGE_REFUSED = {
    **dict.fromkeys(
        ("conditional_detr", "dab-detr", "deformable_detr", "detr", "table-transformer"),
        "takes no pixel_values, so it cannot be run by itself",
    ),
    **dict.fromkeys(
        ("timesformer", "videomae", "videoprism_vision_model", "vivit"), "takes videos"
    ),
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """BERT's, of whole words."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_bert(tmp_path_factory.mktemp("tokenizer")))


def check(model_type, refused, check_it):
    """Run a check, or see that the type is refused with its reason."""
    if model_type in refused:
        with pytest.raises(ExtractionError, match=refused[model_type]):
            check_it()
    else:
        check_it()


def try_texts(path):
    backbone = opened(path, "text")
    samples = sentences()
    batches = form_batches(backbone.costs(samples), 8, backbone.groups(samples))
    alone = run(backbone, samples, [[i] for i in range(len(samples))])
    compare(run(backbone, samples, batches), alone)
    long = " ".join(["the"] * 3 * POSITIONS)
    assert run(backbone, [long], [[0]])["last"].isfinite().all()


def case(model_type, *more):
    """A parameter of a test; of a type that is seldom used, for `make test-all`."""
    return pytest.param(
        model_type, *more, marks=() if model_type in OFTEN_USED else pytest.mark.slow
    )


@pytest.mark.parametrize("model_type", [case(model_type) for model_type in TEXT_TYPES])
def test_a_text_gives_the_same_alone_and_in_a_batch(model_type, tokenizer, tmp_path):
    """With its classifier, where it has one; also a text that is longer than its positions."""
    if model_type in TEXT_NOT_TRIED:
        pytest.skip(f"{model_type}: {TEXT_NOT_TRIED[model_type]}")
    architecture = HEADS.get(model_type, (None,))[0]
    save(tiny_model(model_type, architecture, len(tokenizer) + 60), tmp_path)
    tokenizer.save_pretrained(tmp_path)
    check(model_type, TEXT_REFUSED, lambda: try_texts(tmp_path))


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
    assert {*TEXT_NOT_TRIED, *TEXT_REFUSED} <= TEXT_TYPES.keys()
    assert {*IMAGE_NOT_TRIED, *IMAGE_REFUSED} <= IMAGE_TYPES.keys()
