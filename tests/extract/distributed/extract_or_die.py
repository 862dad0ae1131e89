"""What each of several processes runs: it extracts checkpoints; the last one may kill itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import hf_sfda.extract.job as job
from hf_sfda.config import RankConfig
from hf_sfda.extract import extract_all, make_accelerator
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from tests.extract.distributed.cases import candidates, samples_of
from tests.targets import make_target


def main(
    zoo: Path, store: Path, way: str, count: int, names: Sequence[str], dies: bool = False
) -> None:
    """Extract ``count`` samples.

    A process that dies does so when it opens its first checkpoint, as if its machine had run out of
    memory.
    """
    accelerator = make_accelerator(cpu=True)
    plain_open = job.open_backbone

    def open_backbone(*arguments, **options):
        if dies and accelerator.is_last_process:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain_open(*arguments, **options)

    job.open_backbone = open_backbone
    rows = extract_all(
        candidates(zoo, names),
        make_target(samples_of("image", count), "image"),
        config=RankConfig("me/test", batch_size=4, work=way),
        session=Session(store=FeatureStore(store)),
        accelerator=accelerator,
    )
    assert [(row.candidate.model_id, row.error) for row in rows] == [(name, None) for name in names]
