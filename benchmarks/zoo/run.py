"""``python -m benchmarks.zoo.run``: fine-tune the pairs of the grid that are still missing.

Processes, also on several machines, share a zoo folder by file locks. Every measured pair becomes
a row at once; a stopped run loses only the pair it was at. Rows are merged into ``truth.csv``.

    python -m benchmarks.zoo.build --out .zoo
    nohup python -m benchmarks.zoo.run --processes 2 --idle &   # in the background, for hours
    python -m benchmarks.zoo.run --pause                        # before timings and tests
    python -m benchmarks.zoo.run --resume
    python -m benchmarks.zoo.run --status                       # what is left, and how long
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.zoo import grid
from benchmarks.zoo.grid import Pair, Row

_LOOK_SECONDS = 2.0


def measure(zoo: Path, pair: Pair, done: dict[Pair, Row]) -> Row:
    """Fine-tune one pair and describe the result as a row of ``truth.csv``."""
    from hf_sfda.config import FinetuneConfig
    from hf_sfda.finetune import finetune

    about = grid.targets_in(zoo)[pair.target]
    parts = {
        part: grid.load_part(zoo, pair.target, part) for part in ("train", "validation", "test")
    }
    options: dict[str, Any] = {"seed": pair.seed, "flip": about["flip"]}
    options |= {name: about[name] for name in ("max_length", "min_steps") if name in about}
    if not pair.searches:
        options["learning_rates"] = (float(done[grid.search_of(pair)]["learning_rate"]),)
    candidate = grid.find_candidate(zoo, pair.modality, pair.checkpoint)
    measured = finetune(
        candidate,
        parts["train"],
        FinetuneConfig(**options),
        validation=parts["validation"],
        test=parts["test"],
        progress=_PausedProgress(zoo),
    )
    best = {trial.learning_rate: trial.best for trial in measured.trials}
    values = {
        "modality": pair.modality,
        "checkpoint": pair.checkpoint,
        "target": pair.target,
        "seed": pair.seed,
        "accuracy": f"{measured.value:.4f}",
        "low": f"{measured.interval[0]:.4f}",
        "high": f"{measured.interval[1]:.4f}",
        "probe_accuracy": f"{measured.probe_value:.4f}",
        "learning_rate": f"{measured.learning_rate:g}",
        "validation": " ".join(
            f"{rate:g}:{epoch.validation_value:.4f}" for rate, epoch in sorted(best.items())
        ),
        "best_epoch": best[measured.learning_rate].number,
        "n_train": measured.n_train,
        "n_validation": measured.n_validation,
        "n_test": measured.n_test,
        "seconds": f"{measured.seconds:.0f}",
        "cpu_seconds": f"{measured.cpu_seconds:.0f}",
        "device": measured.device,
        "torch": measured.versions.get("torch", ""),
        "transformers": measured.versions.get("transformers", ""),
        "timm": measured.versions.get("timm", ""),
        "recipe": grid.RECIPE,
        "checkpoint_sha256": (candidate.revision or "").removeprefix("sha256:")[:16],
        "target_sha256": str(about["sha256"])[:16],
    }
    return {column: str(values[column]) for column in grid.COLUMNS}


class _PausedProgress:
    """Waits after an epoch for as long as the grid is paused."""

    def __init__(self, zoo: Path) -> None:
        self._flag = _pause_flag(zoo)

    @contextmanager
    def task(self, kind: str, name: str, *, total: float | None, unit: str) -> Iterator[Any]:
        """Part of the Progress protocol."""

        def advance(amount: float) -> None:
            while self._flag.exists():
                time.sleep(_LOOK_SECONDS)

        advance(0)
        yield advance


def _pause_flag(zoo: Path) -> Path:
    return zoo / "paused"


def work(zoo: Path, order: list[Pair], rows: int, truth: Path = grid.TRUTH) -> None:
    """Measure missing pairs until none is left, or so many are measured."""
    from filelock import FileLock, Timeout

    failed: set[Pair] = set()
    (zoo / "locks").mkdir(parents=True, exist_ok=True)
    while rows > 0:
        done = {**grid.read_truth(truth), **grid.read_new(zoo)}
        others_work = False
        for pair in grid.eligible(order, done):
            if pair in failed:
                continue
            lock = FileLock(zoo / "locks" / f"{pair.name}.lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                others_work = True
                continue
            with lock:
                if pair in grid.read_new(zoo):  # measured since the list was made
                    break
                try:
                    row = measure(zoo, pair, done)
                except Exception as error:
                    failed.add(pair)
                    print(f"{pair.name}: FAILED {type(error).__name__}: {error}", flush=True)
                else:
                    grid.write_row(zoo, row)
                    rows -= 1
                    print(
                        f"{pair.name}: {row['accuracy']} (probe {row['probe_accuracy']}), learning "
                        f"rate {row['learning_rate']}, {row['cpu_seconds']} processor seconds",
                        flush=True,
                    )
                break
        else:
            # What is left failed here, or is being measured by others, or waits for their results.
            if not others_work:
                return
            time.sleep(10 * _LOOK_SECONDS)


def become_idle() -> None:
    """Give way to everything else on the machine.

    Where every session is a scheduling group of its own (autogroup), only the group's niceness
    counts against other groups, so it is lowered too.
    """
    if hasattr(os, "sched_setscheduler"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.nice(19)
    with suppress(OSError):
        os.setsid()
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")


def status(zoo: Path, order: list[Pair], truth: Path = grid.TRUTH) -> str:
    """What is measured, what is left, and how long it takes."""
    done = {**grid.read_truth(truth), **grid.read_new(zoo)}
    lines = []
    for seed in sorted({pair.seed for pair in order}):
        of_seed = [pair for pair in order if pair.seed == seed]
        measured = [pair for pair in of_seed if pair in done]
        core = [pair for pair in of_seed if pair.is_core]
        lines.append(
            f"seed {seed}: {len(set(core) & set(measured))} of {len(core)} core pairs measured, "
            f"{len(measured)} of {len(of_seed)} in all"
        )
    seconds: dict[str, list[float]] = {}
    for pair in order:
        if pair in done:
            seconds.setdefault(pair.modality, []).append(float(done[pair]["cpu_seconds"]))
    left = sum(
        sum(seconds[p.modality]) / len(seconds[p.modality])
        for p in order
        if p not in done and p.modality in seconds
    )
    lines.append(f"about {left / 3600:.1f} hours of one processor are left")
    return "\n".join(lines)


def main(
    zoo: Annotated[Path, typer.Option(help="Folder of benchmarks.zoo.build.")] = Path(".zoo"),
    truth: Annotated[Path, typer.Option(help="File of measured rows.")] = grid.TRUTH,
    processes: Annotated[int, typer.Option(min=1, help="Processes to start.")] = 1,
    rows: Annotated[int, typer.Option(min=1, help="Rows to measure in each process.")] = 100_000,
    seeds: Annotated[int, typer.Option(min=1, help="Run seeds 0 to this number minus 1.")] = 1,
    only: Annotated[str, typer.Option(help="Only pairs whose name contains this.")] = "",
    gpu: Annotated[bool, typer.Option(help="Include the large checkpoints.")] = False,
    idle: Annotated[bool, typer.Option(help="Run at the lowest priority.")] = False,
    pause: Annotated[bool, typer.Option("--pause", help="Let running processes wait.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Let them go on.")] = False,
    show: Annotated[bool, typer.Option("--status", help="Show what is left, and stop.")] = False,
) -> None:
    """Fine-tune the missing pairs of the grid, or steer processes that do."""
    if pause:
        zoo.mkdir(parents=True, exist_ok=True)
        _pause_flag(zoo).touch()
        return
    if resume:
        _pause_flag(zoo).unlink(missing_ok=True)
        return
    order = [
        pair
        for pair in grid.pairs(
            grid.checkpoints_in(zoo), grid.targets_in(zoo), seeds=range(seeds), large=gpu
        )
        if only in pair.name
    ]
    if not order:
        raise typer.BadParameter(f"no pair in {zoo}; build it with python -m benchmarks.zoo.build")
    if show:
        print(status(zoo, order, truth))
        return
    if idle:
        become_idle()
    if processes > 1:
        # One thread each: two processes with one thread do more than one with two.
        own = sys.argv[1:]
        at = own.index("--processes")
        del own[at : at + 2]
        command = [sys.executable, "-m", "benchmarks.zoo.run", *own]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = [subprocess.Popen(command, env=environment) for _ in range(processes)]
        for process in started:
            process.wait()
    else:
        work(zoo, order, rows, truth)
    print(f"{grid.collect(zoo, truth)} rows in {truth.name}", flush=True)
    print(status(zoo, order, truth), flush=True)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched here
    typer.run(main)
