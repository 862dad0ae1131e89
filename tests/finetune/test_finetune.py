"""Fine-tuning: the recipe against a plain loop, and each of its parts against a reference."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from hf_sfda.backbones import norms, open_backbone
from hf_sfda.config import FinetuneConfig
from hf_sfda.dataset import load_target
from hf_sfda.errors import ConfigError, FinetuneError, TargetError
from hf_sfda.extract import make_accelerator
from hf_sfda.finetune import Epoch, Trial, finetune
from hf_sfda.finetune.batches import Runner, augment
from hf_sfda.finetune.classifier import Head, fit_probe, fold_input_scale, training_mode
from hf_sfda.finetune.depthwise import FastDepthwise
from hf_sfda.finetune.objectives import single_label
from hf_sfda.finetune.parts import divide
from hf_sfda.finetune.run import best_trial, climb
from hf_sfda.finetune.train import schedule
from hf_sfda.progress import NoProgress
from hf_sfda.types import Candidate, Target
from hf_sfda.uncertainty import wilson
from tests.factories import images, texts, tiny_bert, tiny_resnet, tiny_timm, tiny_vit
from tests.targets import make_target

ROOT = Path(__file__).parents[2]


def target_of(modality: str, n_per_class: int, seed: int = 0, classes: int = 3) -> Target:
    """A learnable target with its samples in shuffled order."""
    make = images if modality == "image" else texts
    samples, labels = make(n_per_class, classes, seed=seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    names = tuple("abcdefgh"[:classes])
    return replace(
        make_target([samples[i] for i in order], modality, name=f"{modality}-{seed}"),
        labels=np.asarray(labels, dtype=np.int64)[order],
        class_names=names,
    )


def local(path: Path) -> Candidate:
    """A candidate for a folder."""
    return Candidate(path.name, "local", revision=f"sha256:{path.name}", path=path)


# -- parts


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(2, 30), min_size=2, max_size=6),
    seed=st.integers(0, 99),
    test_share=st.floats(0.05, 0.9),
    validation_share=st.floats(0.05, 0.9),
)
def test_parts_share_no_sample_and_training_keeps_every_class(
    counts, seed, test_share, validation_share
):
    labels = np.repeat(np.arange(len(counts)), counts)
    whole = replace(
        make_target([str(i) for i in range(len(labels))], "text"),
        labels=labels,
        class_names=tuple(map(str, range(len(counts)))),
        seed=seed,
    )
    options = {"test_share": test_share, "validation_share": validation_share}
    try:
        parts = divide(whole, validation=None, test=None, **options)
    except TargetError as error:
        assert "too few to divide" in str(error)
        return
    every = [*parts.train.samples, *parts.validation.samples, *parts.test.samples]
    assert sorted(every, key=int) == list(whole.samples)
    assert set(parts.train.labels) == set(labels)
    for part in (parts.train, parts.validation, parts.test):
        assert [labels[int(s)] for s in part.samples] == part.labels.tolist()


def test_given_parts_are_read_by_class_name():
    train = make_target(list("uvwxyz"), "text")
    other = replace(
        make_target(list("pq"), "text"), labels=np.array([0, 1]), class_names=("c", "a")
    )
    parts = divide(train, validation=other, test=other, validation_share=0.2, test_share=0.2)
    assert parts.test.labels.tolist() == [2, 0]
    assert len(parts.train) == 6


@pytest.mark.parametrize("unnamed", ["train", "test"])
def test_given_parts_are_read_by_number_where_only_one_names_the_numbers(tmp_path, unnamed):
    """Test splits often hide the names, or name other classes than the numbers are."""
    from datasets import Dataset

    parts = {}
    for name in ("train", "test"):
        data = {"text": [f"text {i} of the {name} part" for i in range(30)]}
        data["label"] = [i % 3 for i in range(30)]
        data["label_text"] = ["" if name == unnamed else "zyx"[i % 3] for i in range(30)]
        Dataset.from_dict(data).to_parquet(tmp_path / "x.parquet")
        parts[name] = load_target(str(tmp_path / "x.parquet"), input_column="text")
    named = "train" if unnamed == "test" else "test"
    assert (parts[named].class_names, parts[unnamed].class_names) == (tuple("zyx"), tuple("012"))
    given = parts["test"]
    divided = divide(
        parts["train"], validation=given, test=given, validation_share=0.2, test_share=0.2
    )
    assert divided.test.labels.tolist() == given.labels.tolist()


def test_a_class_that_training_lacks_is_refused():
    train = make_target(list("uvwxyz"), "text")
    other = replace(train, class_names=("a", "b", "dog"))
    with pytest.raises(TargetError, match=r"test part has 1 classes .*'dog'"):
        divide(train, validation=train, test=other, validation_share=0.2, test_share=0.2)


# -- preparation


class Small(nn.Module):
    """Two convolutions with batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 4, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(4)

    def forward(self, x):
        """(B, 3, H, W) -> (B, 4)."""
        x = self.norm(self.stem(x)).relu()
        return self.norm2(self.second(x)).relu().mean((2, 3))


@pytest.fixture
def small():
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture
def pixels():
    torch.manual_seed(1)
    return 255 * torch.rand(40, 3, 8, 8)


def test_the_input_scale_moves_into_the_first_layer(small, pixels):
    before = small(pixels)
    scale = float(pixels.std())
    assert fold_input_scale(small, pixels, scale, lambda: small(pixels))
    torch.testing.assert_close(small(pixels / scale), before, rtol=1e-4, atol=1e-5)


def test_without_a_single_first_layer_nothing_is_folded(pixels):
    class Two(Small):
        def forward(self, x):
            return super().forward(x) + self.stem(x).mean()

    class Branches(Small):
        def __init__(self):
            super().__init__()
            self.other = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return super().forward(x) + self.other(x).mean((2, 3))

    branches = Branches().eval()
    before = branches(pixels)
    assert not fold_input_scale(branches, pixels, 70.0, lambda: branches(pixels))
    torch.testing.assert_close(branches(pixels), before)
    twice = Two().eval()  # one layer that is called twice is still one layer
    before = twice(pixels)
    assert fold_input_scale(twice, pixels, 70.0, lambda: twice(pixels))
    torch.testing.assert_close(twice(pixels / 70), before, rtol=1e-4, atol=1e-4)


def test_folded_norms_get_real_statistics_and_compute_the_same(small, pixels):
    for norm in (small.norm, small.norm2):
        norm.running_var.fill_(1 - norm.eps)
        norm.bias.data.uniform_(0.1, 1)
    before = small(pixels)
    entering = small.stem(pixels)

    def run():
        for part in pixels.split(7):
            small(part)

    assert norms.restore_folded_norms(small, run) == 2
    torch.testing.assert_close(small(pixels), before, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(small.norm.running_mean, entering.mean((0, 2, 3)))
    torch.testing.assert_close(
        small.norm.running_var, entering.var((0, 2, 3), correction=0), rtol=1e-4, atol=1e-4
    )


def test_norms_with_statistics_and_untrained_norms_are_not_folded(small, pixels):
    assert norms.restore_folded_norms(small, lambda: small(pixels)) == 0  # no bias: untrained
    small.norm.running_mean.fill_(0.5)
    small.norm.bias.data.fill_(1)
    assert norms.restore_folded_norms(small, lambda: small(pixels)) == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_new_statistics_leave_the_function_unchanged(seed):
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(5).double().eval()
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor.copy_(torch.rand(5, generator=generator) + 0.1)
    x = torch.randn(3, 5, 2, 2, generator=generator).double()
    before = norm(x)
    mean = torch.randn(5, generator=generator)
    norms.set_statistics(norm, mean, torch.rand(5, generator=generator) * 4)
    torch.testing.assert_close(norm(x), before)
    torch.testing.assert_close(norm.running_mean, mean.double())


def test_statistics_are_averages_over_batches(small, pixels):
    batches = pixels.split(10)

    def run():
        for part in batches:
            small(part)

    assert norms.reestimate_norms(small, run) == 2
    entering = [small.stem(part) for part in batches]
    mean = torch.stack([e.mean((0, 2, 3)) for e in entering]).mean(0)
    variance = torch.stack([e.var((0, 2, 3)) for e in entering]).mean(0)
    torch.testing.assert_close(small.norm.running_mean, mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(small.norm.running_var, variance, rtol=1e-4, atol=1e-3)
    assert not small.norm.training
    assert small.norm.momentum == 0.1


def test_training_mode_keeps_the_statistics_frozen(small, pixels):
    before = small.norm.running_mean.clone()
    with training_mode(small):
        assert small.training
        small(pixels)
    assert not small.training
    torch.testing.assert_close(small.norm.running_mean, before)


# -- the gradient of depthwise convolutions


@settings(max_examples=40, deadline=None)
@given(
    channels=st.integers(2, 9),
    side=st.integers(1, 5),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    bias=st.booleans(),
)
def test_fast_depthwise_convolutions_have_the_same_gradients(
    channels, side, kernel, stride, dilation, bias
):
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(
        channels, channels, kernel, stride, padding, dilation, groups=channels, bias=bias
    ).double()
    x = torch.randn(2, channels, side, side, dtype=torch.double, requires_grad=True)
    plain = layer(x)
    with FastDepthwise():
        fast = layer(x)
    assert type(fast.grad_fn) is not type(plain.grad_fn)
    torch.testing.assert_close(fast, plain)
    upstream = torch.randn_like(plain)
    inputs = [x, *layer.parameters()]
    for one, other in zip(
        torch.autograd.grad(fast, inputs, upstream),
        torch.autograd.grad(plain, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("layer", "side"),
    [(nn.Conv2d(4, 4, 3, padding=1), 4), (nn.Conv2d(4, 4, 3, padding=1, groups=4), 16)],
    ids=["not depthwise", "large map"],
)
def test_other_convolutions_are_left_alone(layer, side):
    x = torch.randn(2, 4, side, side, requires_grad=True)
    with FastDepthwise():
        assert "Convolution" in type(layer(x).grad_fn).__name__


# -- augmentation


def test_a_sample_is_cropped_alike_in_any_batch():
    batch = {"x": torch.rand(4, 3, 16, 16), "mask": torch.ones(4, 5)}
    together = augment(batch, [5, 6, 7, 8], flip=True)
    alone = augment({"x": batch["x"][2:3]}, [7], flip=True)
    torch.testing.assert_close(together["x"][2:3], alone["x"])
    assert together["mask"] is batch["mask"]
    assert not torch.equal(together["x"][0], augment(batch, [9, 6, 7, 8], flip=True)["x"][0])


def test_images_are_mirrored_only_with_flip():
    ramp = torch.linspace(0, 1, 16).expand(200, 1, 16, 16)
    rising = [
        (images[:, 0, :, -1] > images[:, 0, :, 0]).all(1).float().mean()
        for images in (augment({"x": ramp}, range(200), flip=f)["x"] for f in (False, True))
    ]
    assert rising[0] == 1
    assert 0.3 < rising[1] < 0.7


# -- head, search, schedule, interval


@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_the_probe_is_scikit_learns_logistic_regression(spread):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    X = spread * (rng.normal(size=(300, 12)) + np.eye(4, 12)[labels] * 1.5).astype(np.float32)
    train, validation = slice(200), slice(200, 300)
    probe = fit_probe(
        single_label(4),
        torch.from_numpy(X[train]),
        torch.from_numpy(labels[train]),
        torch.from_numpy(X[validation]),
        torch.from_numpy(labels[validation]),
    )
    Z = (X - X[train].mean(0)) / X[train].std(0)
    # The penalty has no unit: features are divided by their mean length.
    length = np.sqrt((Z[train] ** 2).sum(1).mean())
    oracle = LogisticRegression(C=1 / (200 * probe.penalty), max_iter=5000, tol=1e-8)
    oracle.fit(Z[train] / length, labels[train])
    with torch.no_grad():
        P = torch.softmax(probe.head(torch.from_numpy(X)), 1)
    np.testing.assert_allclose(P, oracle.predict_proba(Z / length), atol=2e-3)
    assert probe.validation_value == oracle.score(Z[validation] / length, labels[validation])


def test_features_that_do_not_vary_do_not_break_the_probe():
    X = torch.ones(20, 3)
    labels = torch.arange(20) % 2
    probe = fit_probe(single_label(2), X, labels, X, labels)
    assert torch.isfinite(probe.head(X)).all()


def trial(rate: float, accuracy: float) -> Trial:
    """A trial with one epoch."""
    return Trial(rate, (Epoch(0, None, accuracy, 1 - accuracy),))


@given(peak=st.integers(0, 6), size=st.integers(1, 7))
def test_the_search_finds_the_peak_of_any_curve_with_one(peak, size):
    peak = min(peak, size - 1)
    grid = [10.0**-i for i in range(size)]
    tried = []

    def run(rate):
        tried.append(rate)
        return trial(rate, 1 - abs(grid.index(rate) - peak) / 10)

    trials = climb(grid, run)
    assert best_trial(trials).learning_rate == grid[peak]
    assert len(tried) == len(set(tried))
    if size == 5:
        assert 3 <= len(tried) <= 4


def test_equal_accuracies_are_parted_by_the_loss():
    assert Epoch(1, 0.1, 0.5, 0.9).better_than(Epoch(0, None, 0.5, 1.0))
    assert not Epoch(1, 0.1, 0.5, 1.0).better_than(Epoch(0, None, 0.5, 1.0))
    curve = (Epoch(0, None, 0.5, 1.0), Epoch(1, 0.1, 0.6, 1.0), Epoch(2, 0.1, 0.6, 1.0))
    assert Trial(1e-3, curve).best is curve[1]


def test_the_learning_rate_rises_and_falls():
    values = [schedule(share, 0.1) for share in np.linspace(0, 0.999, 50)]
    top = int(np.argmax(values))
    assert 0.99 < values[top] <= 1
    assert np.all(np.diff(values[: top + 1]) > 0)
    assert np.all(np.diff(values[top:]) < 0)
    assert values[-1] < 1e-3


@given(n=st.integers(1, 2000), share=st.floats(0, 1))
def test_the_interval_is_wilsons(n, share):
    from scipy.stats import binomtest

    k = round(share * n)
    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson(k / n, n), (expected.low, expected.high), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rates": ()}, "one or more positive numbers"),
        ({"learning_rates": (-1.0,)}, "one or more positive numbers"),
        ({"epochs": 0}, "at least 1"),
        ({"min_steps": -1}, "at least 0"),
        ({"test_share": 1.0}, r"in \(0, 1\)"),
        ({"warmup": 1.0}, r"in \[0, 1\)"),
        ({"weight_decay": -0.1}, "not be negative"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FinetuneConfig(**options)


def test_a_small_training_part_gets_more_epochs_and_waits_longer():
    config = FinetuneConfig(epochs=8, patience=3, min_steps=300, batch_size=16)
    few = config.for_samples(200)  # 13 steps an epoch
    assert (few.epochs, few.patience) == (24, 9)
    many = config.for_samples(600)  # 38 steps an epoch
    assert (many.epochs, many.patience) == (8, 3)
    assert few.for_samples(200) == few, "applied twice, it changes nothing"


def test_the_steps_of_a_small_training_part_are_run(tmp_path):
    path = tiny_vit(tmp_path / "vit")
    config = replace(PLAIN, epochs=1, min_steps=19)
    parts = {"validation": target_of("image", 8), "test": target_of("image", 8, seed=1)}
    measured = finetune(local(path), target_of("image", 16, seed=2), config, **parts)
    assert len(measured.curve) == 5  # epoch 0, and four epochs of six steps


# -- the whole


PLAIN = FinetuneConfig(
    learning_rates=(3e-3,),
    epochs=3,
    min_steps=0,
    batch_size=8,
    augment=False,
    patience=9,
    weight_decay=0.1,
)


def test_the_recipe_gives_the_result_of_a_plain_loop(tmp_path):
    """A ViT has neither batch norm nor dropout here, so everything can be written out."""
    path = tiny_vit(tmp_path / "vit")
    from transformers import AutoImageProcessor, ViTForImageClassification

    train, validation, test = (target_of("image", n, seed=i) for i, n in enumerate((10, 8, 20)))
    measured = finetune(local(path), train, PLAIN, validation=validation, test=test)

    processor = AutoImageProcessor.from_pretrained(path)
    network = ViTForImageClassification.from_pretrained(path)
    X, V, T = (
        processor(images=list(t.samples), return_tensors="pt")["pixel_values"]
        for t in (train, validation, test)
    )
    y, v, t = (torch.from_numpy(t.labels) for t in (train, validation, test))

    def features(images):
        return network.vit(images).last_hidden_state[:, 0]

    network.eval()
    with torch.no_grad():
        head = fit_probe(single_label(3), features(X), y, features(V), v).head
    parameters = [*network.vit.parameters(), *head.parameters()]
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    )
    losses, states, step, steps = [], [], 0, 4
    for epoch in range(4):
        if epoch:
            order = np.random.default_rng([0, epoch, 1]).permutation(30)
            for rows in np.array_split(order, steps):
                for group in optimizer.param_groups:
                    group["lr"] = 3e-3 * schedule(step / (3 * steps), 0.1)
                loss = nn.functional.cross_entropy(
                    head(features(X[rows])), y[rows], label_smoothing=0.1
                )
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                step += 1
        with torch.no_grad():
            losses.append(float(nn.functional.cross_entropy(head(features(V)), v)))
            states.append(float((head(features(T)).argmax(1) == t).float().mean()))
    np.testing.assert_allclose([e.validation_loss for e in measured.curve], losses, atol=1e-4)
    best = measured.trials[0].best.number
    assert measured.value == pytest.approx(states[best], abs=1e-6)
    assert measured.probe_value == pytest.approx(states[0], abs=1e-6)
    assert measured.preparation["reestimated_norms"] == 0


@pytest.mark.parametrize(
    ("make", "modality"),
    [
        (tiny_vit, "image"),
        (tiny_resnet, "image"),
        pytest.param(
            lambda path: tiny_timm(path, "test_efficientnet", size=64),
            "image",
            marks=pytest.mark.slow,
        ),
        (tiny_bert, "text"),
    ],
    ids=["vit", "resnet", "timm", "bert"],
)
def test_every_kind_of_checkpoint_learns_and_is_deterministic(make, modality, tmp_path):
    path = make(tmp_path / "model")
    train, test = target_of(modality, 24), target_of(modality, 20, seed=1)
    config = FinetuneConfig(learning_rates=(3e-4, 3e-3), epochs=3, min_steps=0, max_length=32)
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    measured = finetune(local(path), train, config, test=test)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert measured.n_train + measured.n_validation == len(train)
    assert measured.value > 0.45  # a third is chance
    low, high = measured.interval
    assert low < measured.value < high or measured.value == 1
    assert len(measured.trials) == 2
    assert measured.learning_rate == best_trial(measured.trials).learning_rate
    again = finetune(local(path), train, config, test=test)
    assert again.trials == measured.trials
    assert again.value == measured.value
    json.dumps(measured.to_dict())


class Interrupt(NoProgress):
    """Raises KeyboardInterrupt after a number of epochs."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def task(self, kind, name, *, total, unit):
        """Count the epochs."""
        from contextlib import contextmanager

        @contextmanager
        def counting():
            yield self.count if kind == "finetune" else lambda amount: None

        return counting()

    def count(self, amount):
        """One epoch more."""
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_to_the_same_result(tmp_path):
    path = tiny_bert(tmp_path / "bert")  # it has dropout
    target = target_of("text", 24)
    config = FinetuneConfig(
        learning_rates=(1e-3, 3e-3), epochs=3, min_steps=0, patience=3, max_length=32
    )
    undisturbed = finetune(local(path), target, config)
    for epochs in (1, 2, 1):
        with pytest.raises(KeyboardInterrupt):
            finetune(
                local(path),
                target,
                config,
                progress=Interrupt(epochs),
                directory=tmp_path / "run",
            )
    resumed = finetune(local(path), target, config, directory=tmp_path / "run")
    assert resumed.trials == undisturbed.trials
    assert resumed.value == undisturbed.value
    assert not list((tmp_path / "run").iterdir())


def test_the_progress_of_another_recipe_is_not_used(tmp_path):
    path = tiny_vit(tmp_path / "vit")
    target = target_of("image", 12)
    config = FinetuneConfig(learning_rates=(1e-3,), epochs=2, min_steps=0, patience=2)
    with pytest.raises(KeyboardInterrupt):
        finetune(local(path), target, config, progress=Interrupt(1), directory=tmp_path)
    other = replace(config, label_smoothing=0.3)
    resumed = finetune(local(path), target, other, directory=tmp_path)
    assert resumed.trials == finetune(local(path), target, other).trials


def test_a_batch_that_does_not_fit_is_taken_in_pieces(tmp_path, monkeypatch):
    path = tiny_resnet(tmp_path / "resnet")
    target = target_of("image", 16)
    config = replace(PLAIN, epochs=2)
    whole = finetune(local(path), target, config)

    from hf_sfda.backbones.vision import VisionBackbone

    plain, sizes = VisionBackbone.forward, []

    def limited(self, batch):
        size = len(batch["pixel_values"])
        if torch.is_grad_enabled():
            sizes.append(size)
            if size > 3:
                raise RuntimeError("CUDA out of memory. Tried to allocate 1 TiB")
        return plain(self, batch)

    monkeypatch.setattr(VisionBackbone, "forward", limited)
    pieces = finetune(local(path), target, config)
    assert max(sizes) > 3 >= max(sizes[-5:])
    np.testing.assert_allclose(
        [e.validation_loss for e in pieces.curve],
        [e.validation_loss for e in whole.curve],
        atol=1e-3,
    )


def test_a_single_sample_that_does_not_fit_ends_with_a_reason():
    def work():
        raise RuntimeError("CUDA out of memory. Tried to allocate 1 TiB")

    runner = Runner(make_accelerator(cpu=True))
    with pytest.raises(FinetuneError, match="a single sample does not fit"):
        runner.within_memory(work)


def test_another_error_is_not_taken_for_lack_of_memory():
    def work():
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        Runner(make_accelerator(cpu=True)).within_memory(work)


def test_a_run_that_diverges_ends_and_the_start_is_kept(tmp_path):
    path = tiny_vit(tmp_path / "vit")
    config = FinetuneConfig(learning_rates=(1e6,), epochs=4, min_steps=0, patience=1)
    measured = finetune(local(path), target_of("image", 16), config)
    assert len(measured.curve) < 5
    assert np.isfinite(measured.value)


def test_the_scale_of_raw_pixels_is_folded(tmp_path):
    path = tiny_resnet(tmp_path / "resnet")
    settings_file = path / "preprocessor_config.json"
    document = json.loads(settings_file.read_text())
    document |= {"do_rescale": False, "do_normalize": False}
    settings_file.write_text(json.dumps(document))
    target = target_of("image", 16)
    measured = finetune(local(path), target, replace(PLAIN, learning_rates=(1e-4,), epochs=1))
    assert measured.preparation["input_scale"] > 8


def test_statistics_that_make_the_features_worse_are_not_kept(tmp_path, monkeypatch):
    path = tiny_resnet(tmp_path / "resnet")
    target = target_of("image", 40)
    config = replace(PLAIN, epochs=1)
    plain = finetune(local(path), target, config)

    def ruin(module, run):
        layers = norms.batch_norms(module)
        for norm in layers:
            norm.running_mean.fill_(1e6)  # all that follows the next ReLU is zero
        return len(layers)

    monkeypatch.setattr(norms, "reestimate_norms", ruin)
    kept = finetune(local(path), target, config)
    assert kept.preparation["reestimated_norms"] == 0
    assert kept.probe_value == plain.probe_value
    assert kept.curve[0].validation_value > 0.5


SCRIPT = """
import json, sys
from pathlib import Path
from hf_sfda.extract import make_accelerator
from hf_sfda.finetune import finetune
from tests.finetune.test_finetune import PLAIN, local, target_of
accelerator = make_accelerator(cpu=True)
candidate, target = local(Path(sys.argv[1])), target_of("image", 11)
measured = finetune(candidate, target, PLAIN, accelerator=accelerator)
if accelerator.is_main_process:
    Path(sys.argv[2]).write_text(json.dumps(measured.to_dict()))
"""


def launch_two(folder: Path, script: str, *arguments: object) -> None:
    """Run a script in two processes of ``accelerate launch``."""
    (folder / "script.py").write_text(script)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    command += ["--dynamo_backend", "no", "--main_process_port", str(port)]
    done = subprocess.run(
        [*command, str(folder / "script.py"), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


FAILING_SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from hf_sfda.extract import make_accelerator
from hf_sfda.finetune import finetune, train
from tests.finetune.test_finetune import PLAIN, local, target_of
accelerator = make_accelerator(cpu=True)
rank = accelerator.process_index
candidate, target = local(Path(sys.argv[1])), target_of("image", 11)
plain, lines = train.augment, []

def broken(*arguments, **options):
    raise OSError("the disk is gone")

for place in (train, None):  # one process fails in a training step, then none
    if place and rank == 1:
        train.augment = broken
    try:
        finetune(candidate, target, replace(PLAIN, augment=True), accelerator=accelerator)
        lines.append("measured")
    except Exception as error:
        lines.append(f"{type(error).__name__}: {error}")
    train.augment = plain
Path(sys.argv[2], str(rank)).write_text("\\n".join(lines))
"""


@pytest.mark.slow
def test_if_one_of_two_processes_fails_both_go_on_with_the_next_model(tmp_path):
    path = tiny_vit(tmp_path / "vit")
    launch_two(tmp_path, FAILING_SCRIPT, path, tmp_path)
    first, second = ((tmp_path / str(rank)).read_text().split("\n") for rank in range(2))
    assert first == ["SfdaError: Process 1 failed: OSError: the disk is gone", "measured"]
    assert second == ["OSError: the disk is gone", "measured"]


@pytest.mark.slow
def test_two_processes_train_what_one_trains(tmp_path):
    path, out = tiny_vit(tmp_path / "vit"), tmp_path / "out.json"
    launch_two(tmp_path, SCRIPT, path, out)
    two = json.loads(out.read_text())
    one = finetune(local(path), target_of("image", 11), PLAIN)
    losses = [epoch["validation_loss"] for epoch in two["trials"][0]["curve"]]
    np.testing.assert_allclose(losses, [e.validation_loss for e in one.curve], atol=1e-4)
    assert two["value"] == pytest.approx(one.value, abs=1 / one.n_test + 1e-9)


def test_gradients_flow_through_every_backbone(tmp_path):
    for make, modality in ((tiny_vit, "image"), (tiny_bert, "text"), (tiny_timm, "image")):
        path = make(tmp_path / make.__name__)
        backbone = open_backbone(
            path,
            local(path),
            device=torch.device("cpu"),
            dtype=torch.float32,
            max_length=32,
            modality=modality,
        )
        batch = backbone.collate(target_of(modality, 2).samples)
        backbone.forward(batch).layers["last"].square().sum().backward()
        reached = [p.grad is not None for p in backbone.module.parameters()]
        assert sum(reached) > 0.5 * len(reached)


def test_the_head_is_the_function_of_the_probe():
    head = Head(torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0]), 3)
    x = torch.randn(5, 2)
    expected = ((x - torch.tensor([1.0, 2.0])) / torch.tensor([2.0, 4.0])) @ head.linear.weight.T
    torch.testing.assert_close(head(x), expected + head.linear.bias)
