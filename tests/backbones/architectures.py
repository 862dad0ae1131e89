"""Which model types of transformers are tried, refused or not tried, each with its reason.

``test_every_architecture.py`` holds this against what transformers lists; ``docs/hooks.py`` makes
the page of supported models of it.
"""

from __future__ import annotations

TEXT_MAPPINGS = (
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES",
    "MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES",
)
IMAGE_MAPPINGS = (
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "MODEL_FOR_IMAGE_MAPPING_NAMES",
    "MODEL_FOR_BACKBONE_MAPPING_NAMES",
    "MODEL_FOR_MASK_GENERATION_MAPPING_NAMES",
)

SIZES = "its defaults cannot be scaled down field by field"
LARGE = "its parts cannot be made tiny"
OTHER = "takes no text by itself"
NO_PLAIN = "AutoModel knows no plain class of it"
TESTED = "tested with a configuration of its own in test_odd_networks.py"
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
        ("timm_backbone", "timm_wrapper"), "opened by timm; tested in test_families.py"
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


def types_of(mappings: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Model type -> names of its classes in these auto mappings, in their order."""
    from transformers.models.auto import modeling_auto

    types: dict[str, dict[str, None]] = {}
    for mapping in mappings:
        for model_type, names in getattr(modeling_auto, mapping).items():
            for name in (names,) if isinstance(names, str) else names:
                types.setdefault(model_type, {})[name] = None
    return {model_type: tuple(names) for model_type, names in types.items()}
