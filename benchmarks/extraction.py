"""Where the time of an extraction goes, and what each way to do less of it buys.

    python -m demo.build --out .demo
    python -m benchmarks.extraction --demo .demo
    python -m benchmarks.extraction --demo .demo --bare   # against a bare loop of forward passes

Times are CPU seconds of this process on one thread, the least of several rounds in which the
variants take turns, so that a busy machine disturbs the ratios little. Every variant is checked to
give the same features.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hf_sfda.backbones import Backbone, open_backbone
from hf_sfda.dataset import load_target
from hf_sfda.extract import form_batches
from hf_sfda.extract.loop import run_batches
from hf_sfda.types import Candidate, Modality, Target

CPU = torch.device("cpu")
BATCH = 16
Batch = dict[str, torch.Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path(".demo"))
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--bare", action="store_true", help="compare with a bare loop, nothing else"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    emoji = load_target(str(options.demo / "data" / "emoji"), samples=options.samples)
    movie = load_target(str(options.demo / "data" / "movie" / "train.csv"), samples=options.samples)
    if options.bare:
        print_against_bare_loops(options.demo / "zoo", (emoji, movie), options.rounds)
        return
    print("| model | preprocess /s | forward /s | share of preprocessing |\n|---|---|---|---|")
    for target, zoo in ((emoji, "image"), (movie, "text")):
        for path in sorted((options.demo / "zoo" / zoo).iterdir()):
            print_stages(path, target, options.rounds)
    print(
        "\n| question | baseline | variant | speed-up | largest difference |\n|---|---|---|---|---|"
    )
    zoo = options.demo / "zoo"
    for name in ("efficientnet-lite0", "mobilenetv2-nsfw", "opennsfw-resnet50"):
        if (zoo / "image" / name).is_dir():
            print_channels_last(zoo / "image" / name, emoji, options.rounds)
            print_batch_sizes(zoo / "image" / name, emoji, options.rounds)
    print_batch_sizes(zoo / "text" / "minilm-l6", movie, options.rounds)
    print_processors(zoo / "image" / "opennsfw-resnet50", emoji, options.rounds)
    print_similar_lengths(zoo / "text" / "minilm-l6", movie, options.rounds)


def opened(path: Path, modality: Modality) -> Backbone:
    return open_backbone(
        path,
        Candidate(path.name, "local", path=path),
        device=CPU,
        dtype=torch.float32,
        max_length=128,
        modality=modality,
    )


def fastest(rounds: int, *variants: Callable[[], Any]) -> list[float]:
    """Least CPU seconds of each variant; one round warms up, then they take turns."""
    best = [float("inf")] * len(variants)
    for turn in range(rounds + 1):
        for i, variant in enumerate(variants):
            start = time.process_time()
            variant()
            if turn:
                best[i] = min(best[i], time.process_time() - start)
    return best


def collate(backbone: Backbone, target: Target, batches: Sequence[Sequence[int]]) -> list[Batch]:
    return [backbone.collate([target.samples[i] for i in batch]) for batch in batches]


@torch.inference_mode()
def forward(backbone: Backbone, batches: Sequence[Batch]) -> torch.Tensor:
    return torch.cat([backbone.forward(batch).layers["last"] for batch in batches])


def grouped(backbone: Backbone, target: Target) -> list[list[int]]:
    return form_batches(backbone.costs(target.samples), BATCH)


def print_stages(path: Path, target: Target, rounds: int) -> None:
    backbone = opened(path, target.modality)
    groups = grouped(backbone, target)
    batches = collate(backbone, target, groups)
    before, run = fastest(
        rounds,
        lambda: collate(backbone, target, groups),
        lambda: forward(backbone, batches),
    )
    n = len(target)
    share = before / (before + run)
    print(f"| {path.name} | {n / before:,.0f} | {n / run:,.0f} | {share:.0%} |", flush=True)


def print_against_bare_loops(zoo: Path, targets: Sequence[Target], rounds: int) -> None:
    """hf-sfda's extraction of decoded samples, relative to a bare loop of the same forward passes.

    The bare loop calls the network on tensors that are in memory already, in the same batches. The
    extraction also preprocesses, pools every layer and puts the results in order.
    """
    print("| model | extraction / bare loop |\n|---|---|")
    total = [0.0, 0.0]
    for target in targets:
        for path in sorted((zoo / target.modality).iterdir()):
            backbone = opened(path, target.modality)
            groups = grouped(backbone, target)
            batches = collate(backbone, target, groups)

            def bare(backbone: Backbone = backbone, batches: list[Batch] = batches) -> None:
                with torch.inference_mode():
                    for batch in batches:
                        if "x" in batch:  # timm names no argument
                            backbone.module(batch["x"].float())
                        else:
                            backbone.module(**batch)

            def extraction(
                backbone: Backbone = backbone,
                groups: list[list[int]] = groups,
                target: Target = target,
            ) -> None:
                run_batches(backbone, target.samples, groups, device=CPU, workers=0)

            times = fastest(rounds, extraction, bare)
            total = [a + b for a, b in zip(total, times, strict=True)]
            print(f"| {path.name} | {times[0] / times[1]:.3f} |", flush=True)
    print(f"| all | {total[0] / total[1]:.3f} |")


def compare(
    question: str,
    names: tuple[str, str],
    rounds: int,
    old: Callable[[], torch.Tensor],
    new: Callable[[], torch.Tensor],
) -> None:
    difference = (old() - new()).abs().max().item()
    slow, fast = fastest(rounds, old, new)
    print(
        f"| {question} | {names[0]} | {names[1]} | {slow / fast:.2f} x | {difference:.1e} |",
        flush=True,
    )


def print_channels_last(path: Path, target: Target, rounds: int) -> None:
    plain, turned = opened(path, "image"), opened(path, "image")
    plain._model.to(memory_format=torch.contiguous_format)  # type: ignore[attr-defined]
    batches = collate(plain, target, grouped(plain, target))
    compare(
        f"layout, {path.name}",
        ("NCHW", "channels last"),
        rounds,
        lambda: forward(plain, batches),
        lambda: forward(turned, batches),
    )


def print_batch_sizes(path: Path, target: Target, rounds: int) -> None:
    backbone = opened(path, target.modality)
    order = form_batches(backbone.costs(target.samples), len(target))[0]

    def run(size: int) -> Callable[[], torch.Tensor]:
        groups = [order[i : i + size] for i in range(0, len(order), size)]
        batches = collate(backbone, target, groups)
        return lambda: forward(backbone, batches)

    names = ("64", str(BATCH))
    compare(f"batch size, {path.name}", names, rounds, run(64), run(BATCH))


def print_processors(path: Path, target: Target, rounds: int) -> None:
    from transformers import AutoImageProcessor

    def run(backend: str) -> Callable[[], torch.Tensor]:
        processor = AutoImageProcessor.from_pretrained(path, backend=backend)
        pictures = list(target.samples)
        return lambda: processor(images=pictures, return_tensors="pt")["pixel_values"]

    names = ("pil", "torchvision")
    compare("image processor of transformers", names, rounds, run("pil"), run("torchvision"))


def print_similar_lengths(path: Path, target: Target, rounds: int) -> None:
    backbone = opened(path, "text")
    order = [[*range(i, min(i + BATCH, len(target)))] for i in range(0, len(target), BATCH)]
    groups = grouped(backbone, target)

    def run(groups: list[list[int]]) -> Callable[[], torch.Tensor]:
        batches = collate(backbone, target, groups)
        back = torch.argsort(torch.tensor([i for group in groups for i in group]))
        return lambda: forward(backbone, batches)[back]

    names = ("as they come", "similar lengths")
    compare("batches of texts", names, rounds, run(order), run(groups))


if __name__ == "__main__":
    main()
