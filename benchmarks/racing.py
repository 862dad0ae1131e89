"""What ``hf-sfda rank --race`` saves: ``python -m benchmarks.racing --demo .demo``.

Races the image checkpoints of the demo and twenty shuffled or shaken copies of them on the demo's
emoji, then ranks all of them on the whole sample, each with an empty store. Prints the sample
passes (samples that ran through a network, as the journal counts them) of both, and both orders.
``--modality text`` does the same with the film reviews of the demo. The copies are made with fixed
seeds.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from hf_sfda.config import RankConfig
from hf_sfda.journal import read_events
from hf_sfda.pipeline import run
from hf_sfda.report import save_ranking
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore

COPIES = 20
WAYS = ("shuffled", "shaken 0.3", "shaken 1.0")
DATASETS = {"image": "emoji", "text": "movie"}


def make_copies(models: Path, out: Path) -> None:
    """Write the copies: weights shuffled within each tensor, or with noise added to them."""
    from safetensors.numpy import load_file, save_file

    folders = sorted(folder for folder in models.iterdir() if folder.is_dir())
    for number in range(COPIES):
        folder, way = folders[number % len(folders)], WAYS[number // len(folders) % len(WAYS)]
        copy = out / f"{folder.name}-{way.replace(' ', '-')}-{number}"
        shutil.copytree(folder, copy)
        random = np.random.default_rng(number)
        weights: dict[str, Any] = load_file(copy / "model.safetensors")
        for name, values in weights.items():
            if values.ndim < 2 or values.dtype.kind != "f":
                continue  # biases and norms stay
            if way == "shuffled":
                weights[name] = random.permutation(values.ravel()).reshape(values.shape)
            else:
                noise = random.normal(size=values.shape) * values.std() * float(way.split()[1])
                weights[name] = (values + noise).astype(values.dtype)
        save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})


def passes_of(directory: Path) -> int:
    """Sample passes of a run: those of its rounds, if any, and those on the whole sample."""
    rounds = sum(event["passes"] for event in read_events(directory, "race"))
    return rounds + sum(event["passes"] for event in read_events(directory, "extracted"))


def main(
    demo: Annotated[Path, typer.Option(help="Folder of demo.build.")] = Path(".demo"),
    modality: Annotated[str, typer.Option(help="image or text.")] = "image",
    samples: Annotated[int, typer.Option(help="Size of the sample.")] = 2000,
    batch_norms: Annotated[str, typer.Option(help="both or published.")] = "both",
    out: Annotated[Path, typer.Option(help="Folder for the two runs.")] = Path("runs"),
) -> None:
    """Race, rank everything, compare."""
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        shutil.copytree(demo / "zoo" / modality, models)
        make_copies(demo / "zoo" / modality, models)
        results = {}
        for name, race in (("race", True), ("full", False)):
            config = RankConfig(
                str(demo / "data" / DATASETS[modality]),
                (str(models),),
                samples=samples,
                batch_norms=batch_norms,  # type: ignore[arg-type]
                race=race,
                metrics=("three_heads", "knn"),
            )
            directory = out / f"racing-{modality}-{name}"
            shutil.rmtree(directory, ignore_errors=True)
            start = time.perf_counter()
            ranking = run(
                config,
                Session(store=FeatureStore(Path(folder) / name)),
                log=print,
                directory=directory,
            )
            seconds = time.perf_counter() - start
            save_ranking(ranking, directory)
            results[name] = passes_of(directory)
            order = [Path(row.model_id).name for row in ranking.ranked]
            print(
                f"{name}: {results[name]:,} sample passes, {seconds:.0f} s, first {order[:4]}, "
                f"{len(order)} on the whole sample"
            )
        print(f"{results['full'] / results['race']:.1f} times fewer")


if __name__ == "__main__":
    typer.run(main)
