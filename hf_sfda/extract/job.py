"""The steps that both ways of dividing the work share: open a model, run it, store its features."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hf_sfda.backbones import Backbone, open_backbone
from hf_sfda.config import RankConfig
from hf_sfda.errors import SfdaError, StoreError
from hf_sfda.extract.downloads import Downloads
from hf_sfda.extract.features import Part
from hf_sfda.extract.known import Known
from hf_sfda.extract.loop import form_batches, run_batches
from hf_sfda.extract.measured import measure_norms
from hf_sfda.hub import explain
from hf_sfda.progress import Progress
from hf_sfda.secrets import redact
from hf_sfda.store import FeatureKey, FeatureStore
from hf_sfda.types import Candidate, Features, Target
from hf_sfda.versions import library_versions

if TYPE_CHECKING:
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

# A CPU is 1.3 to 1.6 times as fast with batches whose activations stay in its cache; see
# benchmarks/README.md.
_CPU_BATCH = 16

# Shared memory of a preprocessing worker. It prepares two batches ahead, and 64 images of 384
# pixels are 113 MB. Containers often have 64 MB in all: a worker that exceeds it is killed.
_ROOM_FOR_WORKER = 256 << 20

_UNITS = {"image": "img", "text": "texts", "audio": "sounds"}

# The first line with which a DataLoader reports the traceback of a worker.
_FROM_WORKER = re.compile(r"^Caught \w+ in DataLoader worker process")


@dataclass(frozen=True, eq=False)
class Job:
    """The inputs of an extraction, the same in every process of a launch."""

    target: Target
    config: RankConfig
    store: FeatureStore
    accelerator: Accelerator
    downloads: Downloads
    progress: Progress
    deadline: float | None = None
    known: Mapping[Candidate, Known] = field(default_factory=dict)

    @property
    def is_late(self) -> bool:
        """Whether no further model may be started."""
        return self.deadline is not None and time.monotonic() > self.deadline


@dataclass(frozen=True, slots=True)
class Task:
    """A model to run: its index in the list, its candidate, and the key of its features."""

    index: int
    candidate: Candidate
    key: FeatureKey


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of running one model.

    Attributes:
        error: Why it failed, or ``None``.
        cached: Whether the features were stored already.
        features: The features, only where they could not be stored.
        late: Whether it was not run because the time was up.
        passes: Samples that ran through the network; 0 if it failed.
    """

    error: str | None = None
    cached: bool = False
    features: Features | None = None
    late: bool = False
    passes: int = 0


@dataclass(frozen=True, eq=False)
class Batches:
    """Positions of the samples of every batch.

    Attributes:
        new: Of the samples whose features are not known.
        everything: Of all samples, to be run once more if batch norms are measured.
    """

    new: Sequence[Sequence[int]]
    everything: Sequence[Sequence[int]]


LATE = "not reached within the time budget"
NOT_REACHED = Outcome(error=LATE, late=True)


def open_model(job: Job, candidate: Candidate) -> Backbone:
    """Download a checkpoint and open it on the device of this process."""
    import torch

    return open_backbone(
        job.downloads.wait(candidate),
        candidate,
        device=job.accelerator.device,
        dtype=getattr(torch, job.config.dtype),
        max_length=job.config.max_length,
        modality=job.target.modality,
    )


def known_parts(job: Job, task: Task) -> list[Part]:
    """The features of a model that need not be extracted."""
    known = job.known.get(task.candidate)
    try:
        return [] if known is None else known.parts(job.store)
    except StoreError as error:
        logger.warning("%s: all its features are extracted. %s", _name(task), error)
        return []


def batches_of(job: Job, backbone: Backbone, known: Collection[int] = ()) -> Batches:
    """The batches of the target, the same in every process.

    Args:
        job: The inputs.
        backbone: The open checkpoint.
        known: Positions of the samples whose features are known.
    """
    size = job.config.batch_size
    if job.accelerator.device.type == "cpu":
        size = min(size, _CPU_BATCH)
    samples = job.target.samples
    costs, groups = backbone.costs(samples), backbone.groups(samples)
    everything = form_batches(costs, size, groups)
    if not known:
        return Batches(everything, everything)
    unknown = [i for i in range(len(samples)) if i not in known]
    own = None if groups is None else [groups[i] for i in unknown]
    new = form_batches([costs[i] for i in unknown], size, own)
    return Batches([[unknown[i] for i in batch] for batch in new], everything)


def run_model(job: Job, task: Task, backbone: Backbone, batches: Batches) -> Part:
    """Run some batches of the target, with a progress bar; twice if batch norms are measured."""
    samples, device, workers = job.target.samples, job.accelerator.device, _workers(job)
    unit = _UNITS[job.target.modality]

    def run(name: str, batches: Sequence[Sequence[int]]) -> Part:
        total = sum(len(batch) for batch in batches)
        with job.progress.task("extract", name, total=total, unit=unit) as advance:
            return run_batches(
                backbone, samples, batches, device=device, workers=workers, advance=advance
            )

    part = run(_name(task), batches.new)
    if task.key.batch_norms == "published":
        return part
    passes = measure_norms(backbone, samples, device=device, workers=workers)
    if not passes:
        return part
    measured = run(f"{_name(task)}, batch norms measured", batches.everything)
    return replace(part, measured=measured, passes=part.passes + passes + measured.passes)


def provenance(job: Job, backbone: Backbone) -> dict[str, str]:
    """Versions, device and preprocessing, stored with the features."""
    return {
        **library_versions(),
        "device": str(job.accelerator.device),
        "model_class": backbone.model_class,
        "preprocessing": backbone.preprocessing,
    }


def store_features(job: Job, task: Task, features: Features, passes: int) -> Outcome:
    """Store features. If that fails they stay in memory, so that this run can still use them."""
    try:
        job.store.put(task.key, features)
    except StoreError as error:
        logger.warning("%s: its features are not kept for later runs. %s", _name(task), error)
        return Outcome(features=features, passes=passes)
    return Outcome(passes=passes)


def is_stored(job: Job, key: FeatureKey) -> bool:
    """Whether complete, readable features are stored; a damaged entry is removed."""
    try:
        return job.store.has(key) and job.store.get(key) is not None
    except StoreError as error:
        logger.warning("%s", error)
        return False


@contextmanager
def entry_lock(job: Job, task: Task, *, wait: bool) -> Iterator[bool]:
    """Hold the store's lock of a model, so that no other launch runs it at the same time.

    Yields:
        Whether this process may run the model. It may if no folder for locks can be made: then
        nothing is shared either.
    """
    from filelock import Timeout

    try:
        lock = job.store.lock(task.key)
        lock.acquire(blocking=wait)
    except Timeout:
        yield False
        return
    except (StoreError, OSError):
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def reason(error: Exception) -> str:
    """One line for the row of a model that failed."""
    if isinstance(error, SfdaError):
        return redact(str(error))
    message = str(error).strip()
    if _FROM_WORKER.match(message):
        return redact(message.splitlines()[-1])
    return explain(error)


def free_memory() -> None:
    """Free the memory of a model before the next one is opened."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)


def _workers(job: Job) -> int:
    if job.config.workers is not None:
        return job.config.workers
    return default_workers(job.accelerator)


def default_workers(accelerator: Accelerator) -> int:
    """Preprocessing workers of this process, where the settings do not state their number."""
    if accelerator.device.type == "cpu":
        return 0
    processes: int = accelerator.num_processes
    workers = (os.cpu_count() or 1) // processes
    if (room := _shared_memory()) is not None:
        workers = min(workers, room // (processes * _ROOM_FOR_WORKER))
    return min(8, workers)


def _shared_memory() -> int | None:
    """Free bytes of the memory through which workers return batches; ``None`` if not limited."""
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:
        return None


def _name(task: Task) -> str:
    return task.candidate.model_id
