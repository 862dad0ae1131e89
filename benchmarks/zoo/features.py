"""Features of every checkpoint on every target of the zoo, with published and re-estimated norms.

``python -m benchmarks.zoo.features --zoo .zoo`` writes one ``.npz`` a pair into ``features/``:
labels, the layers as published (``published/NAME``), and, if the network has batch norms, the
layers after their statistics were measured again on the target (``measured/NAME``). The sample is
the training and validation part of a target: all that fine-tuning sees before its test.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.zoo import grid


def features_of(zoo: Path, modality: str, checkpoint: str, target: str) -> dict[str, Any]:
    """Run one checkpoint on one target."""
    import torch

    from hf_sfda.backbones import norms, open_backbone
    from hf_sfda.extract import make_accelerator
    from hf_sfda.finetune.inputs import Inputs
    from hf_sfda.finetune.parts import Part

    about = grid.targets_in(zoo)[target]
    parts = [grid.load_part(zoo, target, part) for part in ("train", "validation")]
    samples = [sample for part in parts for sample in part.samples]
    classes = parts[0].class_names
    labels = np.concatenate(
        [[classes.index(part.class_names[label]) for label in part.labels] for part in parts]
    )
    candidate = grid.find_candidate(zoo, modality, checkpoint)
    accelerator = make_accelerator(cpu=True)
    backbone = open_backbone(
        zoo / "checkpoints" / modality / checkpoint,
        candidate,
        device=accelerator.device,
        dtype=torch.float32,
        max_length=int(about.get("max_length", 128)),
        modality=modality,
    )
    backbone.module.eval()
    inputs = Inputs(backbone, Part(samples, labels), modality)

    def layers() -> dict[str, np.ndarray]:
        parts: dict[str, list[Any]] = {}
        order: list[int] = []
        with torch.no_grad():
            for rows, batch in inputs.batches(list(range(len(inputs))), 16):
                order += rows
                for name, values in backbone.forward(batch).layers.items():
                    parts.setdefault(name, []).append(values.float().numpy())
        back = np.argsort(order)
        return {name: np.concatenate(values)[back] for name, values in parts.items()}

    shuffled = np.random.default_rng(0).permutation(len(inputs)).tolist()

    def run() -> None:
        with torch.no_grad():
            for _, batch in inputs.batches(shuffled, 64):
                backbone.forward(batch)

    arrays: dict[str, Any] = {"labels": labels, "n_train": len(parts[0])}
    arrays |= {f"published/{name}": values for name, values in layers().items()}
    if norms.batch_norms(backbone.module):
        norms.restore_folded_norms(backbone.module, run)
        norms.reestimate_norms(backbone.module, run)
        arrays |= {f"measured/{name}": values for name, values in layers().items()}
    arrays["params"] = sum(p.numel() for p in backbone.module.parameters())
    return arrays


def main(zoo: Annotated[Path, typer.Option()] = Path(".zoo"), share: str = "0/1") -> None:
    """Write what is missing; ``--share 0/2`` and ``--share 1/2`` divide it between processes."""
    import time

    out = zoo / "features"
    out.mkdir(exist_ok=True)
    number, of = map(int, share.split("/"))
    rows = {**grid.read_truth(), **grid.read_new(zoo)}
    pairs = sorted({(p.modality, p.checkpoint, p.target) for p in rows})
    for modality, checkpoint, target in pairs[number::of]:
        file = out / f"{checkpoint}--{target}.npz"
        if file.exists():
            continue
        start = time.process_time()
        try:
            arrays = features_of(zoo, modality, checkpoint, target)
        except Exception as error:
            print(file.name, "FAILED", error, flush=True)
            continue
        temporary = file.with_suffix(".tmp.npz")
        np.savez(temporary, **arrays)
        temporary.rename(file)
        print(file.name, f"{time.process_time() - start:.1f} s", flush=True)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    typer.run(main)
