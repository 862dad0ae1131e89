"""Where the time of a whole command goes, before and after a change.

    python -m demo.build --out .demo
    python -m benchmarks.start --demo .demo
    python -m benchmarks.start --demo .demo --other ../hf-sfda-before --rounds 5

Runs ``hf-sfda rank`` on the demo's texts as a process of its own: a new ``HF_HOME``, no stored
features, no network. It prints the time to the first line on stderr, to the line before the first
model, and to the end, and the seconds of processor time. With ``--other``, another checkout (and
``--python``, its interpreter) takes turns with this one, and the medians of the ratios of the
rounds are printed: a busy machine disturbs them less than the times.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MODELS = ("minilm-l3", "minilm-l6", "minilm-l6-cut1")
COLUMNS = ("first line", "first model", "end", "processor")
HELP = ("--help", "rank --help")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", type=Path, default=Path(".demo"))
    parser.add_argument("--samples", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--other", type=Path, help="another checkout, to compare with")
    parser.add_argument("--python", default=sys.executable, help="the interpreter of the other")
    options = parser.parse_args()
    demo = options.demo.resolve()
    here = (sys.executable, Path(__file__).resolve().parents[1])
    sides = {"here": here}
    if options.other:
        sides["other"] = (options.python, options.other.resolve())
    times: dict[str, list[list[float]]] = {name: [] for name in sides}
    helps: dict[str, list[list[float]]] = {name: [] for name in sides}
    for turn in range(options.rounds):
        for name in sorted(sides, reverse=bool(turn % 2)):
            python, checkout = sides[name]
            run = rank(python, checkout, demo, options.samples, options.threads)
            times[name].append(run)
            helps[name].append([processor(python, checkout, words.split()) for words in HELP])
            print(turn, name, *(f"{seconds:.2f}" for seconds in run), flush=True)
    show(COLUMNS, times)
    show(HELP, helps)


def environment(checkout: Path, home: str, threads: int) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(checkout),
        "HF_HOME": home,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(threads),
    }


def rank(python: str, checkout: Path, demo: Path, samples: int, threads: int) -> list[float]:
    """Seconds of one run: one number for each of :data:`COLUMNS`."""
    with tempfile.TemporaryDirectory() as home:
        before, start = used(), time.perf_counter()
        lines: list[tuple[float, str]] = []
        models = [str(demo / "zoo" / "text" / name) for name in MODELS]
        command = [python, "-m", "hf_sfda", "rank", "--format", "human", "--out", f"{home}/out"]
        command += ["--dataset", str(demo / "data" / "movie" / "train.csv")]
        command += ["--samples", str(samples), "--models", *models]
        with subprocess.Popen(
            command,
            cwd=checkout,
            env=environment(checkout, home, threads),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stderr is not None
            lines = [(time.perf_counter() - start, line) for line in process.stderr]
        end = time.perf_counter() - start
        if process.returncode:
            raise SystemExit("".join(line for _, line in lines))
        scan = next(at for at, line in lines if line.startswith("Scan"))
        return [lines[0][0], scan, end, used() - before]


def processor(python: str, checkout: Path, words: Sequence[str]) -> float:
    """Seconds of processor time of a command that only prints."""
    before = used()
    subprocess.run(
        [python, "-m", "hf_sfda", *words],
        cwd=checkout,
        env=environment(checkout, str(checkout), 1),
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return used() - before


def used() -> float:
    """Seconds of processor time of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def show(names: Sequence[str], rows: dict[str, list[list[float]]]) -> None:
    print(f"\n| | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    table = {f"{side}, s": np.median(measured, axis=0) for side, measured in rows.items()}
    if "other" in rows:
        ratios = np.array(rows["here"]) / np.array(rows["other"])
        table["here / other"] = np.median(ratios, axis=0)
    for name, values in table.items():
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |")


if __name__ == "__main__":
    main()
