"""What each of several processes runs: it extracts checkpoints, and the last may kill itself.

Usage: extract_or_die.py ZOO STORE WAY COUNT dies|lives NAME.... A process that dies does so when it
opens its first checkpoint, as if its machine had run out of memory.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import hf_sfda.extract.job as job
from hf_sfda.config import RankConfig
from hf_sfda.extract import extract_all, make_accelerator
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from tests.extract.distributed.cases import candidates, samples_of
from tests.targets import make_target


def main(zoo: str, store: str, way: str, count: str, fate: str, *names: str) -> None:
    accelerator = make_accelerator(cpu=True)
    plain_open = job.open_backbone

    def open_backbone(*arguments, **options):
        if fate == "dies" and accelerator.is_last_process:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain_open(*arguments, **options)

    job.open_backbone = open_backbone
    rows = extract_all(
        candidates(Path(zoo), names),
        make_target(samples_of("image", int(count)), "image"),
        config=RankConfig("me/test", batch_size=4, work=way),
        session=Session(store=FeatureStore(store)),
        accelerator=accelerator,
    )
    assert [(row.candidate.model_id, row.error) for row in rows] == [(name, None) for name in names]


if __name__ == "__main__":
    main(*sys.argv[1:])
