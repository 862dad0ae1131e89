"""Run by ``accelerate launch``: extract a small zoo for several sample counts in both work modes.

Usage: extract_everything.py ZOO OUT. Every process writes what it saw to ``OUT/<rank>.json``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import hf_sfda.extract.job as job
from hf_sfda.config import RankConfig
from hf_sfda.extract import extract_all, make_accelerator
from hf_sfda.store import FeatureStore
from tests.extract.distributed.cases import CASES, WAYS, candidates, samples_of
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
                store=FeatureStore(out / way),
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


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
