"""Tiny random checkpoints of any model type of transformers, for a walk over all of them.

A configuration starts from the defaults of its class; every number that decides a size is replaced
by a small one, by the field's name. That fits most types; :data:`OVERRIDES` has the exceptions.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from hf_sfda.compat import ensure_torchvision

ensure_torchvision()
import transformers  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING  # noqa: E402

POSITIONS = 64
MOST_PARAMETERS = 3 * 10**7

_EXACT: dict[str, Any] = {
    "altup_active_idx": 0,
    "attention_window": 4,
    "attn_layer_offset": 1,
    "attn_layer_period": 2,
    "conv_dim": 16,
    "d_head": 8,
    "d_kv": 8,
    "depth_coefficient": 0.25,
    "depth_multiplier": 0.25,
    "expert_layer_offset": 0,
    "expert_layer_period": 2,
    "global_block_size": 4,
    "global_head_dim": 8,
    "head_dim": 8,
    "hidden_size_per_layer_input": 8,
    "image_size": 64,
    "img_size": 64,
    "index_head_dim": 8,
    "index_n_heads": 2,
    "index_topk": 64,
    "intra_bottleneck_size": 32,
    "kv_channels": 8,
    "kv_lora_rank": 16,
    "laurel_rank": 4,
    "linear_key_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_value_head_dim": 8,
    "local_radius": 3,
    "lru_width": 32,
    "mamba_d_head": 8,
    "mamba_d_ssm": 64,
    "mamba_head_dim": 8,
    "mamba_n_groups": 1,
    "mamba_n_heads": 8,
    "mamba_num_heads": 8,
    "moe_topk": 2,
    "n_group": 1,
    "n_routed_experts": 4,
    "num_buckets": 4,
    "num_expert_groups": 1,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_frames": 2,
    "num_key_value_heads": 4,
    "num_kv_shared_layers": 0,
    "num_landmarks": 64,
    "num_local_experts": 4,
    "output_channels": 16,
    "patch_size": 8,
    "q_lora_rank": 16,
    "qk_head_dim": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "rope_dim": 8,
    "rotary_dim": 4,
    "state_size": 8,
    "topk_group": 1,
    "true_hidden_size": 32,
    "v_head_dim": 8,
    "width_coefficient": 0.25,
    "window_size": 4,
}
_WHERE_NONE: dict[str, Any] = {
    "head_dim": 8,
    "num_key_value_heads": 4,
    "default_language": "en_XX",
}
_ALWAYS: dict[str, Any] = {
    "mrope_section": [2, 1, 1],
    "attention_types": [[["global", "local"], 1]],
    "attn_layer_indices": [1],
}
_DROPPED = ("out_features", "out_indices", "_out_features", "_out_indices", "per_layer_config")
_PATTERNS: tuple[tuple[str, int | None], ...] = (
    (
        r"(^|_)max_position_embeddings$|^n_positions$|^n_ctx$|^max_seq_len$|^block_size$"
        r"|^max_seq_length$",
        POSITIONS,
    ),
    (r"vocab_size", None),
    (
        r"(^|_)(n_|num_)?(hidden_)?layers?$|^n_layers?$|^(encoder|decoder)_layers$|^depth$"
        r"|^num_(encoder|decoder)_layers$|num_blocks$",
        2,
    ),
    (r"(attention_heads|n_heads?|num_heads|_heads)$", 4),
    (
        r"(intermediate_size|ffn_dim|d_ff|d_inner|n_inner|mlp_dim|hidden_dim|inner_dim"
        r"|feed_forward.*(dim|size)|expert_hidden.*)$",
        32,
    ),
    (
        r"(hidden_size|d_model|^dim|n_embd|embed_dim|embedding_size|projection_dim|emb_dim|_dim"
        r"|embedding_dim|hidden_width|d_embed|model_dim|proj_size|d_latents)$",
        32,
    ),
)

_MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}

OVERRIDES: dict[str, dict[str, Any]] = {
    "bit": {"num_groups": 4},
    "deepseek_v2": {"topk_method": "greedy", "num_experts_per_tok": 2},
    "efficientnet": {"hidden_dim": 320},
    "esm": {"pad_token_id": 1, "mask_token_id": 4},
    "donut-swin": {"patch_size": 4, "window_size": 2},
    "funnel": {"block_sizes": [1, 1], "block_repeats": [1, 1]},
    "gpt_neo": {"attention_layers": ["global", "local"]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "levit": {"patch_size": 16},
    "maskformer-swin": {"patch_size": 4, "window_size": 2},
    "mamba2": {"num_heads": 8, "n_groups": 1},
    "mobilevit": {"hidden_sizes": [16, 24, 32]},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "swin": {"patch_size": 4, "window_size": 2},
    **{
        name: {"text_config": {"rope_parameters": _MROPE}}
        for name in (
            "glm46v",
            "glm4v",
            "glm_ocr",
            "glmga",
            "paddleocr_vl",
            "qwen2_5_vl",
            "qwen2_vl",
        )
    },
}
"""Model type -> fields of the configuration that have to be given."""


def tiny_config(model_type: str, vocabulary: int) -> Any:
    """A configuration of this type that makes a small network."""
    cls = CONFIG_MAPPING[model_type]
    values = _shrunk(cls().to_dict(), vocabulary)
    values.pop("transformers_version", None)
    for name, value in OVERRIDES.get(model_type, {}).items():
        both = isinstance(value, dict) and isinstance(values.get(name), dict)
        values[name] = {**values[name], **value} if both else value
    return cls.from_dict(values)


def tiny_model(model_type: str, architecture: str | None, vocabulary: int) -> Any:
    """A random network whose features depend on what goes in; ``None`` for the plain class."""
    config = tiny_config(model_type, vocabulary)
    cls = transformers.AutoModel if architecture is None else getattr(transformers, architecture)
    build = getattr(cls, "from_config", cls)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in build(config).parameters())
    if size > MOST_PARAMETERS:
        raise MemoryError(f"cannot be made tiny: {size:,} parameters")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(3)
                elif parameter.is_floating_point():
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def save(model: Any, path: Path) -> Path:
    """Write a checkpoint without a word on the terminal."""
    model.save_pretrained(path)
    return path


def _shrunk(values: dict[str, Any], vocabulary: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in values.items():
        if key in _DROPPED:
            continue
        result[key] = _shrunk_value(key, value, vocabulary, result)
    return result


def _shrunk_value(key: str, value: Any, vocabulary: int, before: dict[str, Any]) -> Any:
    if key in _ALWAYS:
        return _ALWAYS[key]
    if value is None:
        return vocabulary if key == "vocab_size" else _WHERE_NONE.get(key)
    if isinstance(value, dict):
        nested = key.endswith("config") or "model_type" in value or key == "rope_parameters"
        return _shrunk(value, vocabulary) if nested else value
    if key.endswith("layer_types"):
        kinds = list(dict.fromkeys(value))
        return (kinds * 2)[:2]
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and key.endswith(("_token_id", "token_index", "_token")):
        others = sum(name.endswith(("_token_id", "token_index", "_token")) for name in before)
        return value if value < vocabulary - 40 else vocabulary - 1 - others % 30
    if key in _EXACT and isinstance(value, int | float):
        return min(_EXACT[key], value)
    if isinstance(value, int):
        return _shrunk_number(key, value, vocabulary)
    if isinstance(value, list | tuple) and value and all(type(item) is int for item in value):
        return _shrunk_list(key, list(value))
    return value


def _shrunk_number(key: str, value: int, vocabulary: int) -> int:
    if key in ("num_encoder_blocks", "num_stages"):
        return value
    for pattern, small in _PATTERNS:
        if re.search(pattern, key):
            return vocabulary if small is None else min(value, small) if value > 0 else value
    return value


def _shrunk_list(key: str, value: list[int]) -> list[int]:
    if re.search(r"depths|layers|num_blocks|repeats|stage_num", key):
        return [1] * len(value)
    if "heads" in key:
        different = len(set(value)) > 1
        return [min(2**i, 8) if different else 4 for i in range(len(value))]
    if re.search(r"image_size|img_size", key):
        return [64] * len(value)
    if re.search(r"hidden|embed|dims|channels|sizes|dim", key) and max(value) >= 64:
        factor = max(1, min(v for v in value if v) // 8)
        return [max(1, v // factor) for v in value]
    return value
