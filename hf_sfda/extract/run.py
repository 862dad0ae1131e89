"""Extract the features of all candidates; a candidate that fails gets a reason instead."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from hf_sfda.backbones import EXTRACTOR_VERSION
from hf_sfda.config import RankConfig
from hf_sfda.extract.by_models import run_by_models
from hf_sfda.extract.by_samples import run_by_samples
from hf_sfda.extract.downloads import Downloads
from hf_sfda.extract.extraction import Extraction
from hf_sfda.extract.job import Job, Outcome, Task, is_stored
from hf_sfda.extract.known import Known
from hf_sfda.processes import from_main
from hf_sfda.session import Session
from hf_sfda.store import FeatureKey
from hf_sfda.types import Candidate, Target

if TYPE_CHECKING:
    from accelerate import Accelerator

# A process that has finished its models waits this long for the others.
_TIMEOUT_HOURS = 48

# Two schedulers, not one over (model, shard), because they synchronise in opposite ways. By models,
# processes meet once, at the end. By samples, they meet twice a model, because the rows of the
# shards must become one entry. Free shards would keep the rows of all models in memory until the
# end, or need a second store for parts. What both do alike is in `job.py`.
_SCHEDULES = {"models": run_by_models, "samples": run_by_samples}


def make_accelerator(*, cpu: bool = False) -> Accelerator:
    """The processes and devices that the launcher started; one process without a launcher.

    ``accelerate launch --multi_gpu --num_processes N`` and ``torchrun --nproc_per_node N`` start N
    processes, also on a machine without a GPU. ``accelerate launch --cpu`` starts a single one,
    whatever number it is given, unless MPI is set up.

    Args:
        cpu: Use the CPU even if there is a GPU.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    # Without cpu=True, accelerate treats several processes without a GPU as unrelated ones. Each
    # would do all the work and act as the main process.
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    cpu = cpu or (several and not torch.accelerator.is_available())
    timeout = InitProcessGroupKwargs(timeout=timedelta(hours=_TIMEOUT_HOURS))
    accelerator = Accelerator(cpu=cpu, kwargs_handlers=[timeout])
    if accelerator.num_processes > 1:
        # A process group that still exists when the interpreter ends sometimes aborts it. All work
        # is done then, but the launcher reports a crash.
        atexit.register(accelerator.state.destroy_process_group)
    return accelerator


def feature_key(candidate: Candidate, target: Target, config: RankConfig) -> FeatureKey:
    """Key of the features of a candidate on a target."""
    return FeatureKey(
        model=candidate.revision or f"unpinned:{candidate.model_id}",
        inputs=target.inputs_fingerprint,
        modality=target.modality,
        dtype=config.dtype,
        max_length=config.max_length if target.modality == "text" else None,
        extractor=EXTRACTOR_VERSION,
        batch_norms=config.batch_norms if target.modality == "image" else "published",
    )


def extract_all(
    candidates: Sequence[Candidate],
    target: Target,
    *,
    config: RankConfig,
    session: Session,
    accelerator: Accelerator | None = None,
    on_done: Callable[[Extraction], None] | None = None,
    deadline: float | None = None,
    known: Mapping[Candidate, Known] | None = None,
) -> list[Extraction]:
    """Extract the features of every candidate that the store does not hold.

    All processes of a launch call this with the same arguments. Features are stored model by model,
    so nothing is lost if the run ends early.

    Args:
        candidates: The candidates, without those that the scan left out.
        target: The samples.
        config: ``batch_size``, ``dtype``, ``max_length``, ``work`` and ``workers``.
        session: Token, feature store and progress.
        accelerator: Created here if it is ``None``.
        on_done: Called once for each candidate, in each process as soon as the result is known.
        deadline: Time of ``time.monotonic`` after which no candidate is started; the first one of
            each process is started in any case.
        known: Stored features of some samples, which are not extracted again.

    Returns:
        One extraction a candidate, in their order, the same in every process. No failure of a
        model leaves this function as an exception.
    """
    accelerator = accelerator or make_accelerator()
    store, downloads = session.feature_store, Downloads(session)
    job = Job(
        target, config, store, accelerator, downloads, session.progress, deadline, known or {}
    )
    keys = [feature_key(candidate, target, config) for candidate in candidates]

    # Of candidates with the same content only the first is run, and has the passes.
    first: dict[str, int] = {}
    for i, key in enumerate(keys):
        first.setdefault(key.digest, i)

    def extraction_of(i: int, outcome: Outcome) -> Extraction:
        passes = outcome.passes if first[keys[i].digest] == i else 0
        return _extraction(candidates[i], keys[i], replace(outcome, passes=passes))

    def done(key: FeatureKey, outcome: Outcome) -> None:
        for i, own_key in enumerate(keys):
            if on_done is not None and own_key == key:
                on_done(extraction_of(i, outcome))

    # One process looks into the store, so that all agree on what is left to do.
    stored = from_main(
        accelerator, lambda: [digest for digest, i in first.items() if is_stored(job, keys[i])]
    )
    outcomes = {digest: Outcome(cached=True) for digest in stored}
    for digest, outcome in outcomes.items():
        done(keys[first[digest]], outcome)
    pending = sorted(i for digest, i in first.items() if digest not in outcomes)
    tasks = [Task(index, candidates[i], keys[i]) for index, i in enumerate(pending)]
    run = _SCHEDULES[_schedule(config, len(tasks), accelerator.num_processes)]
    outcomes |= run(job, tasks, lambda task, outcome: done(task.key, outcome))
    return [extraction_of(i, outcomes[key.digest]) for i, key in enumerate(keys)]


def _schedule(config: RankConfig, models: int, processes: int) -> Literal["models", "samples"]:
    if config.work != "auto":
        return config.work
    return "samples" if models < processes else "models"


def _extraction(candidate: Candidate, key: FeatureKey, outcome: Outcome) -> Extraction:
    return Extraction(
        candidate,
        key,
        outcome.cached,
        outcome.error,
        outcome.features,
        outcome.late,
        outcome.passes,
    )
