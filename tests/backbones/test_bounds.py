"""What a repository states is compared with its weights before it decides about memory."""

from __future__ import annotations

import json
import tracemalloc

import pytest
import torch

from hf_sfda.backbones import open_backbone
from hf_sfda.backbones.bounds import blueprint, require_plausible_sizes
from hf_sfda.backbones.checkpoint import Weights
from hf_sfda.errors import ExtractionError
from hf_sfda.types import Candidate
from tests.backbone_zoo import POSITIONS, TRANSFORMER, build, text
from tests.factories import tiny_bert, tiny_resnet, tiny_timm, tiny_vit


def attempt(path, modality="image"):
    return open_backbone(
        path,
        Candidate(path.name, "local", path=path),
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_length=16,
        modality=modality,
    )


def change(path, file="config.json", **changes):
    content = json.loads((path / file).read_text())
    for key, value in changes.items():
        before = content.get(key)
        both = isinstance(value, dict) and isinstance(before, dict)
        content[key] = {**before, **value} if both else value
    (path / file).write_text(json.dumps(content))


def gpt2(path):
    text("GPT2Model", "GPT2Config", n_embd=16, n_layer=1, n_head=2, n_positions=32)(path)


def fnet(path):
    text("FNetModel", "FNetConfig", **TRANSFORMER, **POSITIONS)(path)


def segformer(path):
    build(
        "SegformerModel", "SegformerConfig", hidden_sizes=[8, 8, 8, 8], depths=[1] * 4,
        num_attention_heads=[1] * 4,
    )(path)  # fmt: skip


HOSTILE = {
    "width": (tiny_vit, "image", {"hidden_size": 20_000}),
    "width-of-a-stage": (tiny_resnet, "image", {"hidden_sizes": [8, 2900]}),
    "width-of-segformer": (segformer, "image", {"hidden_sizes": [8, 8, 8, 25_000]}),
    "depth": (tiny_vit, "image", {"num_hidden_layers": 3000}),
    "depth-without-end": (tiny_vit, "image", {"num_hidden_layers": 10**9}),
    "depth-of-a-stage": (tiny_resnet, "image", {"depths": [1, 10**8]}),
    "labels": (tiny_vit, "image", {"num_labels": 10**9, "id2label": None, "label2id": None}),
    "image-size": (tiny_vit, "image", {"image_size": 10**6}),
    "patches": (tiny_vit, "image", {"image_size": 4096, "patch_size": 1}),
    "vocabulary": (tiny_bert, "text", {"vocab_size": 10**9}),
    "positions": (tiny_bert, "text", {"max_position_embeddings": 10**9}),
    "positions-squared": (gpt2, "text", {"n_positions": 10**6}),
    "text-depth": (tiny_bert, "text", {"num_hidden_layers": 10**6}),
    "text-width": (fnet, "text", {"intermediate_size": 10**8}),
    "timm-classes": (tiny_timm, "image", {"num_classes": 10**9}),
    "timm-width": (tiny_timm, "image", {"model_args": {"channels": [32, 32, 48, 40_000]}}),
    "timm-depth": (tiny_timm, "image", {"model_args": {"layers": [1, 1, 1, 10**7]}}),
    "timm-vit-depth": (
        lambda path: tiny_timm(path, "test_vit"), "image", {"model_args": {"depth": 10**7}},
    ),
    "timm-image": (
        tiny_timm, "image", {"pretrained_cfg": {"input_size": [3, 100_000, 100_000]}},
    ),
    "timm-window": (tiny_timm, "image", {"model_args": {"window_size": 10_000}}),
    "timm-crop": (tiny_timm, "image", {"pretrained_cfg": {"crop_pct": 1e-6}}),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_stated_sizes_cost_nothing(name, tmp_path, monkeypatch):
    make, modality, changes = HOSTILE[name]
    make(tmp_path)
    change(tmp_path, **changes)
    (tmp_path / "preprocessor_config.json").touch()
    most, modules = 0, 0
    real = torch.nn.Module.__init__

    def counted(self, *args, **kwargs):
        nonlocal modules
        modules += 1
        real(self, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "__init__", counted)
    tracemalloc.start()
    try:
        with (
            torch.profiler.profile(
                activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
            ) as profile,
            pytest.raises(ExtractionError) as caught,
        ):
            attempt(tmp_path, modality)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    tensors = sum(max(0, event.self_cpu_memory_usage) for event in profile.key_averages())
    reason = str(caught.value)
    assert len(reason) < 300 and "\n" not in reason
    # A library may be imported on the way, which costs some MB once.
    assert most < 64e6, f"{most:,} bytes of Python objects: {reason}"
    assert tensors < 16e6, f"{tensors:,} bytes of tensors: {reason}"
    assert modules < 20_000, f"{modules:,} modules: {reason}"


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 100_000},
        {"size": {"height": 100_000, "width": 100_000}},
        {"size": {"shortest_edge": 100_000}},
        {"crop_size": 100_000},
        {"pad_size": {"height": 10**6, "width": 32}},
        {"crop_pct": 1e-4},
        {"max_num_patches": 10**8},
        {"max_pixels": 10**10},
    ],
    ids=str,
)
def test_processors_state_sizes_that_a_network_could_take(changes):
    settings = {"size": {"height": 224, "width": 224}, **changes}
    with pytest.raises(ExtractionError, match=r"preprocessor_config.json states .* 4,096 x 4,096"):
        require_plausible_sizes(settings, "preprocessor_config.json")


@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"height": 2560, "width": 1920}},  # Donut
        {"size": {"shortest_edge": 256}, "crop_pct": 0.875, "crop_size": 224},
        {"size": {"shortest_edge": 3136, "longest_edge": 12_845_056}, "merge_size": 2},  # Qwen2-VL
        {"max_num_patches": 256, "patch_size": 16},
    ],
    ids=str,
)
def test_processors_of_real_checkpoints_are_plausible(settings):
    require_plausible_sizes(settings, "preprocessor_config.json")


def test_a_hostile_processor_is_a_row(tmp_path):
    tiny_vit(tmp_path)
    change(tmp_path, "preprocessor_config.json", size={"height": 100_000, "width": 100_000})
    with pytest.raises(ExtractionError, match=r"states (height|width) = 100,000"):
        attempt(tmp_path)


def test_a_network_without_parameters_that_never_ends_is_stopped():
    def endless():
        layers = torch.nn.ModuleList()
        while True:
            layers.append(torch.nn.Identity())

    with pytest.raises(ExtractionError, match=r"more than .* modules, but the weights hold only 2"):
        blueprint(endless, Weights((), {"a": (2,), "b": (3,)}))


def test_construction_elsewhere_is_not_counted():
    import threading

    def build_here():
        thread = threading.Thread(
            target=lambda: [torch.nn.Linear(1, 1, device="meta") for _ in range(5000)]
        )
        thread.start()
        thread.join()
        return torch.nn.Linear(2, 1)

    assert blueprint(build_here, Weights((), {"weight": (1, 2), "bias": (1,)})).weight.is_meta
