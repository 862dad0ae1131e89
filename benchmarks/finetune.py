"""``python -m benchmarks.finetune FOLDER ...``: what a training step costs, in processor time.

Steps with and without the faster depthwise gradient (``hf_sfda/finetune/depthwise.py``) run in
turns in one process on one thread; the best of the rounds counts. Read the ratio.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch.nn import functional

from hf_sfda.backbones import open_backbone
from hf_sfda.finetune.classifier import Classifier, Head, training_mode
from hf_sfda.finetune.depthwise import FastDepthwise
from hf_sfda.types import Candidate

BATCH = 16
ROUNDS = 5


def step_seconds(folder: Path) -> dict[str, float]:
    """Forward, backward and update of one batch of random images: the best of some rounds."""
    candidate = Candidate(folder.name, "local", path=folder)
    backbone = open_backbone(
        folder,
        candidate,
        device=torch.device("cpu"),
        dtype=torch.float32,
        max_length=128,
        modality="image",
    )
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (BATCH, 64, 64, 3), dtype=np.uint8)
    batch = dict(backbone.collate([Image.fromarray(pixels) for pixels in noise]))
    with torch.no_grad():
        width = backbone.forward(batch).layers["last"].shape[1]
    classifier = Classifier(backbone, Head(torch.zeros(width), torch.ones(width), 10))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-5, fused=True)
    labels = torch.arange(BATCH) % 10
    best = {"torch": np.inf, "ours": np.inf}
    with training_mode(classifier):
        for _ in range(ROUNDS + 1):
            for name in best:
                started = time.process_time()
                with FastDepthwise() if name == "ours" else nullcontext():
                    loss = functional.cross_entropy(classifier(batch), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                best[name] = min(best[name], time.process_time() - started)
    return best


def main(folders: Annotated[list[Path], typer.Argument(help="Image checkpoints.")]) -> None:
    """Print a line for each checkpoint."""
    torch.set_num_threads(1)
    print("| checkpoint | torch's gradient, ms a sample | ours | ratio |\n|---|---|---|---|")
    for folder in folders:
        best = {name: 1000 * seconds / BATCH for name, seconds in step_seconds(folder).items()}
        ratio = best["torch"] / best["ours"]
        print(f"| {folder.name} | {best['torch']:.1f} | {best['ours']:.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    typer.run(main)
