"""Does ``hf-sfda finetune --halving`` find the best checkpoint, and with how much less training?

    python -m benchmarks.zoo.halving --zoo .zoo fashion injection  # trains the rounds: minutes
    python -m benchmarks.zoo.halving                               # the table of stored rounds

The rounds are those of the command: the same plan, the same drawing of samples, the same rule for
who goes on. The checkpoints are ordered by the default score (``scores.csv``). The last ones are
not trained again: ``truth.csv`` holds their accuracy by the whole recipe.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.zoo import evaluate, grid
from benchmarks.zoo.evaluate import Target
from hf_sfda.config import FinetuneConfig
from hf_sfda.files import write_atomically
from hf_sfda.finetune.plan import Round, best, plan_rounds, share_of_training

FILE = Path(__file__).with_name("halving.csv")
FINALISTS = 2


@dataclass(frozen=True)
class Brief:
    """A checkpoint in one round: a row of ``halving.csv``.

    Attributes:
        target: The target.
        n_train: Training samples.
        epochs: Most passes over them.
        checkpoint: The checkpoint.
        validation_accuracy: What decides who goes on.
        learning_rate: The best of those that were tried.
        samples_trained: Samples with a forward and a backward pass, over all learning rates.
        cpu_seconds: Processor time of the training.
        processor: Where it ran.
    """

    target: str
    n_train: int
    epochs: int
    checkpoint: str
    validation_accuracy: float
    learning_rate: float
    samples_trained: int
    cpu_seconds: float
    processor: str


@dataclass(frozen=True)
class Result:
    """What halving gives on one target.

    Attributes:
        target: The target.
        models: Number of checkpoints at the start.
        rounds: The rounds before the whole recipe.
        finalists: The checkpoints that get the whole recipe.
        regret: Points of accuracy that the better finalist loses to the best checkpoint.
        first_pick: Points that the first of the predicted order loses.
        planned_share: Training of the plan, relative to the whole recipe for all.
        cpu_share: Processor seconds relative to the whole recipe for all, from ``truth.csv``;
            ``None`` where the learning rate of those rows was not searched, since halving searches.
    """

    target: str
    models: int
    rounds: tuple[Round, ...]
    finalists: tuple[str, ...]
    regret: float
    first_pick: float
    planned_share: float
    cpu_share: float | None


def read(path: Path = FILE) -> list[Brief]:
    """The stored rounds."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Brief(**{f.name: _PARSERS[str(f.type)](row[f.name]) for f in fields(Brief)})
            for row in csv.DictReader(file)
        ]


_PARSERS = {"str": str, "int": int, "float": float}


def write(rows: Sequence[Brief], path: Path = FILE) -> None:
    """Store the rounds."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Brief)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(path, text.getvalue().encode())


def order_of(target: Target) -> list[str]:
    """The checkpoints, best predicted first."""
    scores = evaluate.three_heads(target)
    return [target.checkpoints[i] for i in np.argsort(-scores, kind="stable")]


def rounds_of(target: Target) -> tuple[tuple[Round, ...], int, int]:
    """The rounds of a target, and the training samples and epochs of the whole recipe."""
    row = next(row for pair, row in grid.read_truth().items() if pair.target == target.name)
    n_train, n_classes = int(row["n_train"]), _classes(target.name)
    epochs = FinetuneConfig().for_samples(n_train).epochs
    rounds = plan_rounds(
        len(target.checkpoints), FINALISTS, n_train=n_train, n_classes=n_classes, epochs=epochs
    )
    return rounds, n_train, epochs


def _classes(target: str) -> int:
    from benchmarks.zoo.calibrate import CLASSES_AND_SAMPLES

    return CLASSES_AND_SAMPLES[target][0]


def result_of(target: Target, rows: Sequence[Brief]) -> Result | None:
    """What halving gives on a target; ``None`` while a round is not trained."""
    rounds, n_train, epochs = rounds_of(target)
    models, cpu = order_of(target), 0.0
    for index, round_ in enumerate(rounds):
        found = {row.checkpoint: row for row in rows if _is_of(row, target, round_)}
        if any(model not in found for model in models):
            return None
        cpu += sum(found[model].cpu_seconds for model in models)
        accuracies = {model: found[model].validation_accuracy for model in models}
        models = best(models, accuracies, _kept(rounds, index))
    truth = dict(zip(target.checkpoints, target.truth, strict=True))
    highest = max(truth.values())
    return Result(
        target.name,
        len(truth),
        rounds,
        tuple(models),
        100 * (highest - max(truth[model] for model in models)),
        100 * (highest - truth[order_of(target)[0]]),
        share_of_training(rounds, len(truth), FINALISTS, n_train=n_train, epochs=epochs),
        _cpu_share(target, models, cpu),
    )


def _is_of(row: Brief, target: Target, round_: Round) -> bool:
    return (row.target, row.n_train, row.epochs) == (target.name, round_.n_train, round_.epochs)


def _kept(rounds: Sequence[Round], index: int) -> int:
    return rounds[index + 1].models if index + 1 < len(rounds) else FINALISTS


def _cpu_share(target: Target, finalists: Sequence[str], brief: float) -> float | None:
    whole = {
        pair.checkpoint: float(row["cpu_seconds"])
        for pair, row in grid.read_truth().items()
        if pair.target == target.name and pair.searches
    }
    if not whole:
        return None
    return (brief + sum(whole[model] for model in finalists)) / sum(
        whole[model] for model in target.checkpoints
    )


def train(zoo: Path, target: Target) -> None:
    """Train the missing models of all rounds of a target; each one is stored at once."""
    rounds, *_ = rounds_of(target)
    models = order_of(target)
    for index, round_ in enumerate(rounds):
        for model in models:
            rows = read()
            if any(_is_of(row, target, round_) and row.checkpoint == model for row in rows):
                continue
            row = _train(zoo, target, round_, model)
            print(f"{target.name} {round_.n_train}x{round_.epochs} {model}: "
                  f"{row.validation_accuracy}, {row.cpu_seconds} s", flush=True)  # fmt: skip
            write([*read(), row])
        found = {row.checkpoint: row for row in read() if _is_of(row, target, round_)}
        accuracies = {model: found[model].validation_accuracy for model in models}
        models = best(models, accuracies, _kept(rounds, index))


def _train(zoo: Path, target: Target, round_: Round, checkpoint: str) -> Brief:
    from hf_sfda.dataset.sample import part_of
    from hf_sfda.finetune import finetune
    from hf_sfda.finetune.parts import draw_rows

    about = grid.targets_in(zoo)[target.name]
    whole, validation = (grid.load_part(zoo, target.name, p) for p in ("train", "validation"))
    rows = draw_rows(whole.labels, round_.n_train, 0).tolist()
    options = {"max_length": about["max_length"]} if "max_length" in about else {}
    measured = finetune(
        grid.find_candidate(zoo, about["modality"], checkpoint),
        part_of(whole, rows),
        FinetuneConfig(epochs=round_.epochs, min_steps=0, flip=about["flip"], **options),
        validation=validation,
        test=validation,
    )
    chosen = {trial.learning_rate: trial.best for trial in measured.trials}
    return Brief(
        target.name,
        round_.n_train,
        round_.epochs,
        checkpoint,
        round(chosen[measured.learning_rate].validation_value, 4),
        measured.learning_rate,
        measured.samples_trained,
        round(measured.cpu_seconds, 1),
        measured.device,
    )


def report(results: Sequence[Result]) -> str:
    """A Markdown table."""
    lines = [
        "| target | checkpoints | first pick of the score loses, points | halving loses, points | "
        "training, of that of all | processor time, of that of all |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        cpu = "-" if result.cpu_share is None else f"1/{1 / result.cpu_share:.1f}"
        lines.append(
            f"| {result.target} | {result.models} | {result.first_pick:.1f} | {result.regret:.1f} "
            f"| 1/{1 / result.planned_share:.1f} | {cpu} |"
        )
    return "\n".join(lines)


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Targets to train rounds of.")] = None,
    zoo: Annotated[Path, typer.Option(help="Folder of benchmarks.zoo.build.")] = Path(".zoo"),
) -> None:
    """Train the rounds of targets, and print what halving gives."""
    targets = {target.name: target for target in evaluate.read()}
    for name in names or []:
        train(zoo, targets[name])
    results = (result_of(target, read()) for target in targets.values())
    print(report([result for result in results if result is not None]))


if __name__ == "__main__":
    typer.run(main)
