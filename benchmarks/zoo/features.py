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


def labelled_samples(zoo: Path, target: str) -> tuple[list[Any], Any, int]:
    """The samples of the training and the validation part, their labels, and how many of the
    samples are of the training part.
    """
    parts = [grid.load_part(zoo, target, part) for part in ("train", "validation")]
    classes = parts[0].class_names
    labels = np.concatenate(
        [[classes.index(part.class_names[label]) for label in part.labels] for part in parts]
    )
    return [sample for part in parts for sample in part.samples], labels, len(parts[0])


def open_checkpoint(zoo: Path, modality: str, checkpoint: str, target: str) -> Any:
    """A checkpoint on a CPU, ready to run on a target."""
    import torch

    from hf_sfda.backbones import open_backbone
    from hf_sfda.extract import make_accelerator

    backbone = open_backbone(
        zoo / "checkpoints" / modality / checkpoint,
        grid.find_candidate(zoo, modality, checkpoint),
        device=make_accelerator(cpu=True).device,
        dtype=torch.float32,
        max_length=int(grid.targets_in(zoo)[target].get("max_length", 128)),
        modality=modality,  # type: ignore[arg-type]
    )
    backbone.module.eval()
    return backbone


def features_of(zoo: Path, modality: str, checkpoint: str, target: str) -> dict[str, Any]:
    """Run one checkpoint on one target."""
    import torch

    from hf_sfda.backbones import norms
    from hf_sfda.finetune.batches import Inputs
    from hf_sfda.finetune.objectives import single_label
    from hf_sfda.finetune.parts import Part

    samples, labels, n_train = labelled_samples(zoo, target)
    backbone = open_checkpoint(zoo, modality, checkpoint, target)
    objective = single_label(int(labels.max()) + 1)
    inputs = Inputs(backbone, Part(samples, labels), modality, objective)  # type: ignore[arg-type]

    def layers() -> dict[str, np.ndarray]:
        found: dict[str, list[Any]] = {}
        order: list[int] = []
        with torch.no_grad():
            for rows, batch in inputs.batches(list(range(len(inputs))), 16):
                order += rows
                for name, values in backbone.forward(batch).layers.items():
                    found.setdefault(name, []).append(values.float().numpy())
        back = np.argsort(order)
        return {name: np.concatenate(values)[back] for name, values in found.items()}

    shuffled = np.random.default_rng(0).permutation(len(inputs)).tolist()

    def run() -> None:
        with torch.no_grad():
            for _, batch in inputs.batches(shuffled, 64):
                backbone.forward(batch)

    arrays: dict[str, Any] = {"labels": labels, "n_train": n_train}
    arrays |= {f"published/{name}": values for name, values in layers().items()}
    if norms.batch_norms(backbone.module):
        norms.restore_folded_norms(backbone.module, run)
        norms.reestimate_norms(backbone.module, run)
        arrays |= {f"measured/{name}": values for name, values in layers().items()}
    arrays["params"] = sum(p.numel() for p in backbone.module.parameters())
    return arrays


def main(
    zoo: Annotated[Path, typer.Option()] = Path(".zoo"), share: str = "0/1", only: str = ""
) -> None:
    """Write what is missing; ``--share 0/2`` and ``--share 1/2`` divide it between processes, and
    ``--only emoji`` takes the pairs whose name contains this.
    """
    import time

    out = zoo / "features"
    out.mkdir(exist_ok=True)
    number, of = map(int, share.split("/"))
    rows = {**grid.read_truth(), **grid.read_new(zoo)}
    pairs = sorted({(p.modality, p.checkpoint, p.target) for p in rows})
    for modality, checkpoint, target in pairs[number::of]:
        file = out / f"{checkpoint}--{target}.npz"
        if file.exists() or only not in file.stem:
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
