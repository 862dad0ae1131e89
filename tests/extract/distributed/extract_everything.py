"""What each of two processes runs: extract a small zoo for several sample counts in both ways.

Then extract a part of the samples before the whole, and run a race on ``OUT/shapes``.

Usage: extract_everything.py ZOO OUT. Every process writes what it saw to ``OUT/<rank>.json``, and
of the rest to ``OUT/<rank>-known.json`` and ``OUT/<rank>-race.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from accelerate import Accelerator

import hf_sfda.extract.job as job
from hf_sfda.config import RankConfig
from hf_sfda.dataset.sample import part_of
from hf_sfda.extract import extract_all, make_accelerator
from hf_sfda.extract.known import Known
from hf_sfda.pipeline import run
from hf_sfda.ranking import race
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from tests.extract.distributed.cases import (
    CASES,
    KNOWN_CASES,
    KNOWN_ROWS,
    WAYS,
    candidates,
    race_config,
    samples_of,
)
from tests.targets import make_target


def main(zoo: Path, out: Path) -> None:
    accelerator = make_accelerator(cpu=True)
    rank = accelerator.process_index
    opened: list[str] = []
    ran: list[dict] = []
    plain_open, plain_run = job.open_backbone, job.run_batches

    def open_backbone(path, candidate, **options):
        opened.append(candidate.model_id)
        if candidate.model_id == "flaky" and rank == 1:
            raise RuntimeError("this process has lost its disk")
        return plain_open(path, candidate, **options)

    def run_batches(backbone, samples, batches, **options):
        part = plain_run(backbone, samples, batches, **options)
        ran.append({"batches": len(batches), "rows": part.ids.tolist()})
        return part

    job.open_backbone, job.run_batches = open_backbone, run_batches
    report = []
    for way in WAYS:
        for modality, count, names in CASES:
            opened.clear()
            ran.clear()
            heard: list[str] = []
            rows = extract_all(
                candidates(zoo, names),
                make_target(samples_of(modality, count), modality),
                config=RankConfig("me/test", batch_size=4, work=way),
                session=Session(store=FeatureStore(out / way)),
                accelerator=accelerator,
                on_done=lambda row, heard=heard: heard.append(row.candidate.model_id),
            )
            report.append(
                {
                    "way": way,
                    "case": [modality, count, list(names)],
                    "rows": [[row.candidate.model_id, row.cached, row.error] for row in rows],
                    "opened": list(opened),
                    "ran": list(ran),
                    "heard": heard,
                }
            )
    (out / f"{rank}.json").write_text(json.dumps(report))
    job.open_backbone, job.run_batches = plain_open, plain_run
    rows = [row for way in WAYS for row in with_known(zoo, out, way, accelerator)]
    (out / f"{rank}-known.json").write_text(json.dumps(rows))
    race.ALPHA = 0.9  # so that something is dropped on so few samples
    session = Session(store=FeatureStore(out / "race-store"))
    ranking = run(race_config(out), session, accelerator=accelerator, directory=out / "race")
    (out / f"{rank}-race.json").write_text(json.dumps(ranking.to_dict()))


def with_known(zoo: Path, out: Path, way: str, accelerator: Accelerator) -> list[list]:
    """Extract some samples, then all; what is said about all."""
    rows = []
    for modality, count, names in KNOWN_CASES:
        target = make_target(samples_of(modality, count), modality)
        racers, store = candidates(zoo, names), FeatureStore(out / f"{way}-known")
        config = RankConfig("me/test", batch_size=4, work=way)
        options = {"session": Session(store=store), "accelerator": accelerator}
        known = {racer: Known() for racer in racers}
        for part in map(np.array, KNOWN_ROWS):
            quick = config.replace(batch_norms="published")
            for done in extract_all(racers, part_of(target, part), config=quick, **options):
                known[done.candidate] = known[done.candidate].with_part(part, done)
        for row in extract_all(racers, target, config=config, known=known, **options):
            rows.append([row.candidate.model_id, row.error, row.passes])
    return rows


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
