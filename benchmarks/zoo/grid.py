"""The pairs of the grid, and the rows that are measured: which are done, which comes next."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_sfda.files import write_atomically
from hf_sfda.types import Candidate, Target

TRUTH = Path(__file__).with_name("truth.csv")

RECIPE = 2
"""Raise it whenever the recipe changes what is measured; rows of another one count as missing."""

CORE = (
    ("emoji", "everyday", "elpv2", "fashion", "letters"),
    ("movie", "injection", "language", "wordnet"),
)
"""Targets that every checkpoint is fine-tuned on, images and texts. The others come after them."""

SEARCH_TARGET = {"image": "fashion", "text": "injection"}
"""On this target the whole grid of learning rates is searched for every checkpoint. On the others
the checkpoint keeps the learning rate that the validation part chose there."""

LARGE = 15_000_000
"""Checkpoints with more parameters come last, and by default not at all on a CPU (text: 40 M, most
of which are embeddings that cost nothing)."""

COLUMNS = (
    "modality",
    "checkpoint",
    "target",
    "seed",
    "accuracy",
    "low",
    "high",
    "probe_accuracy",
    "learning_rate",
    "validation",
    "best_epoch",
    "n_train",
    "n_validation",
    "n_test",
    "seconds",
    "cpu_seconds",
    "device",
    "torch",
    "transformers",
    "timm",
    "recipe",
    "checkpoint_sha256",
    "target_sha256",
)

Row = dict[str, str]


@dataclass(frozen=True, order=True)
class Pair:
    """One fine-tuning of the grid."""

    seed: int
    modality: str
    checkpoint: str
    target: str

    @property
    def name(self) -> str:
        """A file name."""
        return f"{self.checkpoint}--{self.target}--{self.seed}"

    @property
    def is_core(self) -> bool:
        """Whether its target is one of :data:`CORE`."""
        return any(self.target in targets for targets in CORE)

    @property
    def searches(self) -> bool:
        """Whether this pair chooses the checkpoint's learning rate."""
        return self.seed == 0 and self.target == SEARCH_TARGET[self.modality]


def key_of(row: Mapping[str, str]) -> Pair:
    """The pair that a row measured."""
    return Pair(int(row["seed"]), row["modality"], row["checkpoint"], row["target"])


def read_truth(path: Path = TRUTH) -> dict[Pair, Row]:
    """The committed rows of this recipe."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["recipe"] == str(RECIPE)]
    return {key_of(row): row for row in rows}


def read_new(zoo: Path) -> dict[Pair, Row]:
    """The rows measured in this zoo folder, committed or not."""
    rows = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(rows_of(zoo).glob("*.json"))]
    return {key_of(row): row for row in rows if row["recipe"] == str(RECIPE)}


def rows_of(zoo: Path) -> Path:
    """Where new rows lie, one file each, so that processes never write the same file."""
    return zoo / "rows"


def write_row(zoo: Path, row: Row) -> None:
    """Keep one new row."""
    rows_of(zoo).mkdir(parents=True, exist_ok=True)
    content = json.dumps(row, indent=1).encode()
    write_atomically(rows_of(zoo) / f"{key_of(row).name}.json", content)


def collect(zoo: Path, truth: Path = TRUTH) -> int:
    """Merge the new rows into the committed file.

    Returns:
        The number of rows in it.
    """
    rows = {**read_truth(truth), **read_new(zoo)}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for pair in sorted(rows, key=lambda p: (p.modality, p.target, p.checkpoint, p.seed)):
        writer.writerow(rows[pair])
    write_atomically(truth, text.getvalue().encode())
    return len(rows)


def checkpoints_in(zoo: Path) -> dict[str, dict[str, int]]:
    """Modality -> checkpoint -> parameters, of the folders that are built."""
    from safetensors import safe_open

    sizes: dict[str, dict[str, int]] = {}
    for config in sorted(zoo.glob("checkpoints/*/*/config.json")):
        with safe_open(config.with_name("model.safetensors"), framework="numpy") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]
        total = 0
        for shape in shapes:
            size = 1
            for side in shape:
                size *= side
            total += size
        sizes.setdefault(config.parent.parent.name, {})[config.parent.name] = total
    return sizes


def targets_in(zoo: Path) -> dict[str, dict[str, Any]]:
    """Target -> what ``target.json`` says of it."""
    files = sorted(zoo.glob("targets/*/target.json"))
    return {file.parent.name: json.loads(file.read_text(encoding="utf-8")) for file in files}


def load_part(zoo: Path, target: str, part: str) -> Target:
    """A part of a target: ``train``, ``validation`` or ``test``."""
    from hf_sfda.dataset import load_target

    folder = zoo / "targets" / target
    if targets_in(zoo)[target]["modality"] == "image":
        return load_target(str(folder), split=part, samples=100_000)
    return load_target(str(folder / f"{part}.csv"), samples=100_000)


def find_candidate(zoo: Path, modality: str, checkpoint: str) -> Candidate:
    """A checkpoint of the zoo.

    Raises:
        RuntimeError: It cannot be opened.
    """
    from hf_sfda.scan import find_candidates

    (candidate,) = find_candidates([str(zoo / "checkpoints" / modality / checkpoint)])
    if candidate.skip is not None:
        raise RuntimeError(candidate.skip)
    return candidate


def pairs(
    checkpoints: Mapping[str, Mapping[str, int]],
    targets: Mapping[str, Mapping[str, Any]],
    *,
    seeds: Sequence[int],
    large: bool,
) -> list[Pair]:
    """The grid in the order in which it is to be run.

    First seeds first, large checkpoints last, core targets before the others. Then checkpoint after
    checkpoint, from small to large and both modalities side by side, so that a grid that is stopped
    early has the same checkpoints on every target. Of a checkpoint, the pair that chooses its
    learning rate comes first.

    Args:
        checkpoints: modality -> checkpoint -> parameters.
        targets: Target -> its description.
        seeds: Seeds to run.
        large: Whether large checkpoints are wanted.
    """
    every = [
        (Pair(seed, modality, checkpoint, target), size)
        for seed in seeds
        for modality, models in checkpoints.items()
        for checkpoint, size in models.items()
        for target, about in targets.items()
        if about["modality"] == modality and (large or not is_large(modality, size))
    ]

    turns = {
        (modality, name): turn / len(models)
        for modality, models in checkpoints.items()
        for turn, name in enumerate(sorted(models, key=lambda name: (models[name], name)))
    }

    def place(entry: tuple[Pair, int]) -> tuple[Any, ...]:
        pair, size = entry
        is_late = is_large(pair.modality, size)
        turn = turns[pair.modality, pair.checkpoint]
        return pair.seed, is_late, not pair.is_core, turn, not pair.searches, pair

    return [pair for pair, _ in sorted(every, key=place)]


def is_large(modality: str, params: int) -> bool:
    """Whether a checkpoint is meant for a GPU."""
    return params > (LARGE if modality == "image" else 40_000_000)


def eligible(order: Iterable[Pair], done: Mapping[Pair, Row]) -> list[Pair]:
    """The missing pairs whose learning rate is known or will be searched."""
    return [
        pair for pair in order if pair not in done and (pair.searches or search_of(pair) in done)
    ]


def search_of(pair: Pair) -> Pair:
    """The pair that chooses the learning rate for this one."""
    return Pair(0, pair.modality, pair.checkpoint, SEARCH_TARGET[pair.modality])
