"""Scores that run the network again: a small fine-tuning, and features out of gradients.

    python -m benchmarks.zoo.network_scores --zoo .zoo small fashion letters   # minutes a target
    python -m benchmarks.zoo.network_scores --zoo .zoo gradients fashion letters

Both write ``network_scores.csv``, one row a pair, and ``python -m benchmarks.zoo.evaluate``
compares the columns with ``truth.csv``.

``small``: 200 samples of the training part, three epochs, one learning rate for all, validation
accuracy. ``gradients``: for evenly spaced norms of the network, the gradient of two random
projections of the last features with respect to a gain of each channel: the product of activation
and gradient, summed over the positions. A probe on these features is a first-order model of
fine-tuning (Mu, Liang and Li, "Gradients as Features for Deep Representation Learning", ICLR 2020).
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from benchmarks.zoo import grid
from benchmarks.zoo.features import labelled_samples, open_checkpoint
from hf_sfda.files import write_atomically

FILE = Path(__file__).with_name("network_scores.csv")
SAMPLES, EPOCHS, LEARNING_RATE = 200, 3, 1e-4
LAYERS, PROJECTIONS, FEWER = 8, 2, 400
"""Norms that get gains, random projections, and the samples that are run at most."""

Kind = Literal["small", "gradients"]


def small(zoo: Path, modality: str, checkpoint: str, target: str) -> dict[str, float]:
    """A small fine-tuning: validation accuracy and log-likelihood at its best, and at its start."""
    from hf_sfda.config import FinetuneConfig
    from hf_sfda.dataset.sample import part_of
    from hf_sfda.finetune import finetune
    from hf_sfda.finetune.parts import draw_rows

    about = grid.targets_in(zoo)[target]
    whole, validation = (grid.load_part(zoo, target, part) for part in ("train", "validation"))
    rows = draw_rows(whole.labels, min(SAMPLES, len(whole)), 0).tolist()
    options = {"max_length": about["max_length"]} if "max_length" in about else {}
    recipe = FinetuneConfig(
        (LEARNING_RATE,), EPOCHS, min_steps=0, patience=EPOCHS, flip=about["flip"], **options
    )
    measured = finetune(
        grid.find_candidate(zoo, modality, checkpoint),
        part_of(whole, rows),
        recipe,
        validation=validation,
        test=validation,
    )
    curve = measured.trials[0].curve
    return {
        "small/accuracy": max(epoch.validation_value for epoch in curve),
        "small/last_accuracy": curve[-1].validation_value,
        "small/log_likelihood": -min(epoch.validation_loss for epoch in curve),
        "small/start_accuracy": curve[0].validation_value,
        "small/cpu_seconds": measured.cpu_seconds,
    }


@dataclass
class Gains:
    """Gains of one for each sample and channel of some norms; hooks multiply them in.

    Attributes:
        norms: The modules, in the order in which they run.
        made: module -> its gains in the last forward pass, (B, C) with axes of one between.
    """

    norms: list[Any]
    made: dict[Any, Any] = field(default_factory=dict)

    def hook(self, module: Any, inputs: Any, output: Any) -> Any:
        """Multiply the output by its gains."""
        import torch

        shape = [1] * output.ndim
        shape[0] = len(output)
        axis = 1 if output.ndim == 4 else output.ndim - 1  # (B, C, H, W), or (B, T, C), or (B, C)
        shape[axis] = output.shape[axis]
        self.made[module] = torch.ones(shape, dtype=output.dtype, requires_grad=True)
        return output * self.made[module]


def evenly_spaced_norms(module: Any, run: Callable[[], None]) -> list[Any]:
    """At most :data:`LAYERS` norms out of those that run, ending with the last one."""
    order: list[Any] = []
    hooks = [
        part.register_forward_hook(lambda part, *_: order.append(part))
        for part in module.modules()
        if "Norm" in type(part).__name__ and hasattr(part, "weight")
    ]
    run()
    for hook in hooks:
        hook.remove()
    order = list(dict.fromkeys(order))
    chosen = np.linspace(0, len(order) - 1, min(LAYERS, len(order))).round().astype(int)
    return [order[i] for i in chosen]


def gradients(zoo: Path, modality: str, checkpoint: str, target: str) -> dict[str, float]:
    """Probes on gradient features, on the layers, and on both, of the same samples."""
    import time

    from hf_sfda.finetune.batches import Inputs
    from hf_sfda.finetune.objectives import single_label
    from hf_sfda.finetune.parts import Part, draw_rows

    start = time.process_time()
    samples, labels, _ = labelled_samples(zoo, target)
    rows = draw_rows(labels, min(FEWER, len(labels)), 0)
    labels, samples = labels[rows], [samples[row] for row in rows]
    backbone = open_checkpoint(zoo, modality, checkpoint, target)
    for parameter in backbone.module.parameters():
        parameter.requires_grad_(False)
    objective = single_label(int(labels.max()) + 1)
    inputs = Inputs(backbone, Part(samples, labels), modality, objective)  # type: ignore[arg-type]
    layers, gradients_ = _layers_and_gradients(backbone, inputs)
    out = {"gradients/cpu_seconds": time.process_time() - start}
    for name, blocks in {
        "gradients": gradients_,
        "same_layers": layers,
        "gradients_and_layers": [*gradients_, *layers],
    }.items():
        out |= {f"{name}/{k}": v for k, v in _probes(blocks, labels).items()}
    return out


def _layers_and_gradients(backbone: Any, inputs: Any) -> tuple[list[Any], list[Any]]:
    """The layers of all samples, and the gradients of each norm and projection; (N, D) each."""
    import torch

    from hf_sfda.backbones import norms

    def run(rows: Sequence[int]) -> None:
        with torch.no_grad():
            for _, batch in inputs.batches(rows, 32):
                backbone.forward(batch)

    everything = list(range(len(inputs)))
    if norms.batch_norms(backbone.module):
        norms.restore_folded_norms(backbone.module, lambda: run(everything))
    gains = Gains(evenly_spaced_norms(backbone.module, lambda: run([0, 1])))
    hooks = [norm.register_forward_hook(gains.hook) for norm in gains.norms]
    layers: dict[str, list[Any]] = {}
    found: dict[tuple[int, int], list[Any]] = {}
    order: list[int] = []
    random = torch.Generator().manual_seed(0)
    directions: Any = None
    for rows, batch in inputs.batches(everything, 16):
        order += rows
        outputs = backbone.forward(batch)
        for name, values in outputs.layers.items():
            layers.setdefault(name, []).append(values.detach())
        last = outputs.layers["last"]
        if directions is None:
            directions = torch.randn((last.shape[1], PROJECTIONS), generator=random)
        for name, gradient in _of_gains(last @ directions, gains).items():
            found.setdefault(name, []).append(gradient)
    for hook in hooks:
        hook.remove()
    back = np.argsort(order)

    def joined(parts: dict[Any, list[Any]]) -> list[Any]:
        return [torch.cat(values).float().numpy()[back] for values in parts.values()]

    return joined(layers), joined(found)


def _of_gains(projected: Any, gains: Gains) -> dict[tuple[int, int], Any]:
    """(norm, projection) -> gradients (B, C) of the projections (B, K) in the gains."""
    import torch

    used = [gains.made[norm] for norm in gains.norms]
    found = {}
    for k in range(projected.shape[1]):
        more = k + 1 < projected.shape[1]
        totals = projected[:, k].sum()
        results = torch.autograd.grad(totals, used, retain_graph=more, allow_unused=True)
        found |= {(i, k): g.flatten(1) for i, g in enumerate(results) if g is not None}
    return found


def _probes(blocks: Sequence[Any], labels: Any) -> dict[str, float]:
    """Held-out accuracy of a logistic and a Fisher probe; each block has the same total size."""
    from hf_sfda.scoring import make_problem, score_problem_by_all

    scaled = []
    for block in blocks:
        centred = block.astype(np.float64) - block.mean(0, dtype=np.float64)
        size = np.sqrt((centred**2).sum(1).mean())
        if np.isfinite(size) and size > 0:
            scaled.append(centred / size)
    results = score_problem_by_all(
        make_problem(np.concatenate(scaled, 1), labels), ("logistic_probe", "sfda_cv")
    )
    fisher = results["sfda_cv"]
    assert not isinstance(fisher, Exception)
    logistic = results["logistic_probe"]
    assert not isinstance(logistic, Exception)
    return {"logistic": logistic.value, "fisher": float(fisher.details["accuracy"])}


WAYS: dict[Kind, Callable[[Path, str, str, str], dict[str, float]]] = {
    "small": small,
    "gradients": gradients,
}


def read(path: Path = FILE) -> dict[tuple[str, str], dict[str, float]]:
    """(checkpoint, target) -> column -> value."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row.pop("checkpoint"), row.pop("target")): {k: float(v) for k, v in row.items() if v}
            for row in csv.DictReader(file)
        }


def collect(zoo: Path, path: Path = FILE) -> int:
    """Merge what is measured in a zoo into the committed table."""
    rows = read(path)
    for file in sorted((zoo / "network").glob("*.json")):
        checkpoint, target, _ = file.stem.split("--")
        rows.setdefault((checkpoint, target), {}).update(json.loads(file.read_text()))
    columns = sorted({column for row in rows.values() for column in row})
    text = io.StringIO()
    writer = csv.DictWriter(text, ["checkpoint", "target", *columns], lineterminator="\n")
    writer.writeheader()
    for (checkpoint, target), row in sorted(rows.items(), key=lambda item: item[0][::-1]):
        values = {name: f"{value:.5g}" for name, value in row.items()}
        writer.writerow({"checkpoint": checkpoint, "target": target, **values})
    write_atomically(path, text.getvalue().encode())
    return len(rows)


def main(
    kind: Annotated[str, typer.Argument(help="small or gradients.")],
    names: Annotated[list[str] | None, typer.Argument(help="Targets.")] = None,
    zoo: Annotated[Path, typer.Option(help="Folder of benchmarks.zoo.build.")] = Path(".zoo"),
) -> None:
    """Score the pairs of some targets that are in the truth, then merge all that is measured."""
    import time

    way = WAYS[kind]  # type: ignore[index]
    (zoo / "network").mkdir(exist_ok=True)
    pairs = sorted({(p.modality, p.checkpoint, p.target) for p in grid.read_truth()})
    for target in names or []:
        for modality, checkpoint, of in pairs:
            file = zoo / "network" / f"{checkpoint}--{target}--{kind}.json"
            if of != target or file.exists():
                continue
            start = time.process_time()
            try:
                values = way(zoo, modality, checkpoint, target)
            except Exception as error:
                print(file.name, "FAILED", repr(error)[:300], flush=True)
                continue
            write_atomically(file, json.dumps(values, indent=1).encode())
            print(file.name, f"{time.process_time() - start:.1f} s", values, flush=True)
    print(collect(zoo), "pairs in", FILE.name)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    typer.run(main)
