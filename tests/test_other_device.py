"""No tensor is on the wrong device, and none becomes an array where it is not on the CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hf_sfda.backbones import open_backbone
from hf_sfda.config import FinetuneConfig
from hf_sfda.extract import form_batches, make_accelerator, run_batches
from hf_sfda.extract.measured import measure_norms
from hf_sfda.finetune import finetune
from hf_sfda.scoring import make_problem, permuted_scores
from hf_sfda.types import Candidate, Sound
from tests.factories import (
    images,
    sounds,
    texts,
    tiny_bert,
    tiny_resnet,
    tiny_timm,
    tiny_vit,
    tiny_wav2vec2,
)
from tests.metrics.test_contract import blobs, every, other_target, scored
from tests.other_device import OnDevice, accelerator, other_device
from tests.targets import make_target

CPU = torch.device("cpu")


def test_the_device_refuses_what_a_gpu_refuses(monkeypatch):
    on_cpu = torch.arange(6.0).view(2, 3)
    with other_device(monkeypatch) as device:
        x = on_cpu.to(device)
        assert isinstance(x, OnDevice) and x.device == device
        with pytest.raises(RuntimeError, match=r"numpy"):
            x.numpy()
        for mixed in (lambda: x + on_cpu, lambda: x @ on_cpu.T, lambda: torch.cat([x, on_cpu])):
            with pytest.raises(RuntimeError, match="on the same device"):
                mixed()
        # As on a GPU: numbers, indices on the CPU, copies in both directions, results in place.
        assert float((x * torch.tensor(2.0)).sum()) == 30
        assert x[torch.tensor([1])].cpu().tolist() == [[3, 4, 5]]
        x[0].add_(10)
        assert x.tolist() == [[10, 11, 12], [3, 4, 5]]
        x.copy_(on_cpu)
        assert np.array_equal(x.cpu().numpy(), on_cpu)
        assert isinstance(torch.zeros(2, device=device) + x.new_ones(2), OnDevice)


@every
def test_metrics_are_the_same_on_another_device(metric, monkeypatch):
    for kind in sorted(metric.tasks - {"token"}):
        for X, y in (blobs(1.0), blobs(1.0, n=60, d=90)):
            labels = y if kind == "single-label" else other_target(kind, X, y)
            one = scored(metric, X, labels, head_labels=y)
            with other_device(monkeypatch) as device:
                other = scored(metric, torch.from_numpy(X).to(device), labels, head_labels=y)
            assert other.value == pytest.approx(one.value, rel=1e-9)


def test_scores_of_shuffled_labels_are_the_same_on_another_device(monkeypatch):
    X, y = blobs(1.0)
    one = permuted_scores(make_problem(X, y))
    with other_device(monkeypatch) as device:
        other = permuted_scores(make_problem(torch.from_numpy(X).to(device), y))
    np.testing.assert_allclose(other, one, rtol=1e-9)


FAMILIES = {
    "vit": (tiny_vit, "image"),
    "resnet": (tiny_resnet, "image"),
    "timm": (tiny_timm, "image"),
    "bert": (tiny_bert, "text"),
    "wav2vec2": (tiny_wav2vec2, "audio"),
}


def samples_of(modality):
    if modality == "audio":
        return [Sound(values, 16_000) for values in sounds(4, 3)[0]]
    return (images(4, 3) if modality == "image" else texts(4, 3))[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_features_are_the_same_on_another_device(family, tmp_path, monkeypatch):
    make, modality = FAMILIES[family]
    make(tmp_path)
    samples = samples_of(modality)

    def run(device):
        backbone = open_backbone(
            tmp_path,
            Candidate(family),
            device=device,
            dtype=torch.float32,
            max_length=32,
            modality=modality,
        )
        batches = form_batches(backbone.costs(samples), 5, backbone.groups(samples))
        parts = [run_batches(backbone, samples, batches, device=device)]
        if modality == "image" and measure_norms(backbone, samples, device=device):
            parts.append(run_batches(backbone, samples, batches, device=device))
        return parts

    on_cpu = run(CPU)
    with other_device(monkeypatch) as device:
        on_device = run(device)
    assert len(on_device) == (2 if family in ("resnet", "timm") else 1)
    for one, other in zip(on_cpu, on_device, strict=True):
        for name, values in one.layers.items():
            np.testing.assert_allclose(other.layers[name], values, rtol=1e-3, atol=1e-4)


# torch warns that nothing is copied into a meta tensor, and copies.
@pytest.mark.filterwarnings("ignore:.*which is a no-op")
@pytest.mark.parametrize(
    "family",
    [
        pytest.param("vit", marks=pytest.mark.slow),
        "resnet",
        pytest.param("bert", marks=pytest.mark.slow),
    ],
)
def test_finetuning_is_the_same_on_another_device(family, tmp_path, monkeypatch):
    make, modality = FAMILIES[family]
    make(tmp_path)
    samples, labels = images(12, 3) if modality == "image" else texts(12, 3)
    target = replace(make_target(samples, modality), labels=np.array(labels, dtype=np.int64))
    config = FinetuneConfig(learning_rates=(1e-3,), epochs=2, min_steps=0, patience=2)
    candidate = Candidate(family, "local", path=tmp_path)
    on_cpu = finetune(candidate, target, config, accelerator=make_accelerator(cpu=True))
    with other_device(monkeypatch):
        on_device = finetune(candidate, target, config, accelerator=accelerator())
    assert on_device.device == "meta"
    np.testing.assert_allclose(
        [epoch.validation_loss for epoch in on_device.curve],
        [epoch.validation_loss for epoch in on_cpu.curve],
        rtol=1e-2,
    )
