"""ZeroGPU: run the models on a shared GPU; all other steps run without it.

On ZeroGPU, a function decorated with ``spaces.GPU`` runs in a fork of the server that has a GPU.
The seconds are charged to the visitor. So a ranking has three steps: a child process downloads the
sample and the weights; the decorated function runs the models and stores their features; another
child process reads the features and scores them. The fork needs no token, because it reads from
the disk only.

Without ZeroGPU this module is not used.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hf_sfda.config import RankConfig
from hf_sfda.errors import JobError
from hf_sfda.hub import explain
from hf_sfda.ranking.cost import ModelLoad, estimate
from hf_sfda.secrets import redact
from hf_sfda.session import Session
from hf_sfda.space.events import Event, EventProgress, drain
from hf_sfda.space.plan import JobPlan
from hf_sfda.space.samples import read_target
from hf_sfda.space.worker import WorkerInput, extracted, read_candidates, write_candidates

if TYPE_CHECKING:
    from hf_sfda.extract import Extraction
    from hf_sfda.types import Candidate


class GpuJob(Protocol):
    """What this module needs of a :class:`hf_sfda.space.jobs.Job`."""

    directory: Path

    @property
    def planned(self) -> JobPlan | None:
        """The plan, if there is one."""

    @property
    def cancelled(self) -> bool:
        """Whether the visitor cancelled the job."""

    @property
    def too_long(self) -> str:
        """The message for a job that ran out of time."""

    def work(self) -> WorkerInput:
        """The input of a child process of this job, without the token."""

    def run(self, verb: str, deadline: float) -> Generator[Event | None, None, None]:
        """Run a step in a child process."""


GpuStep = Callable[[str, Mapping[str, Any], str, int], Iterator[Event | None]]

_SHORTEST, _LONGEST = 30, 240
"""Limits of the GPU seconds to request. A fork needs many seconds to start; and a visitor's daily
quota is usually a few minutes."""


def is_zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


@cache
def register() -> GpuStep:
    """Decorate :func:`extract` with ``spaces.GPU``; must be called before the Space is launched."""
    import spaces

    step: GpuStep = spaces.GPU(extract, duration=_seconds)
    if is_zero_gpu():
        _import_for_forks()
    return step


def rank_on_gpu(job: GpuJob, deadline: float) -> Generator[Event | None, None, None]:
    """Download, extract on the GPU, then score.

    Args:
        job: A job with a plan.
        deadline: End of the job's time, on the clock of ``time.monotonic``.

    Yields:
        The events of all three steps.

    Raises:
        JobError: No GPU was available, or a step failed as in
            :meth:`hf_sfda.space.jobs.Job.run`.
    """
    store = ""
    for event in job.run("fetch", deadline):
        if event is not None and event["event"] == "fetched":
            store = str(event["store"])
        else:
            yield event
    reasons: dict[str, str | None] = {}
    stopped = "its turn did not come"
    try:
        for event in _extract_on_gpu(job, store, deadline):
            if event is not None and event["event"] == "extracted":
                reasons[str(event["model"])] = event["reason"]
            yield event
    except JobError:
        raise
    # ZeroGPU raises errors of gradio if there is no quota, no free GPU, or no time left.
    except Exception as error:
        stopped = redact(str(getattr(error, "message", None) or explain(error))).rstrip(".")
        if None not in reasons.values():  # no model has features
            raise JobError(f"The GPU could not be used: {stopped}. Try again later.") from error
    candidates = [_with_outcome(c, reasons, stopped) for c in read_candidates(job.directory)]
    write_candidates(job.directory, candidates)
    yield from job.run("rank", deadline)


def _extract_on_gpu(
    job: GpuJob, store: str, deadline: float
) -> Generator[Event | None, None, None]:
    """Run :func:`extract` on the GPU and yield its events.

    Raises:
        JobError: The job was cancelled, ran out of time, or the extraction failed.
    """
    assert job.planned is not None
    config = job.work().config.to_dict()
    step: Any = register()(str(job.directory), config, store, gpu_seconds(job.planned))
    with closing(step) as events:
        for event in events:
            if job.cancelled:
                raise JobError("Cancelled.")
            if time.monotonic() > deadline:
                raise JobError(job.too_long)
            if event is not None and event["event"] == "failed":
                raise JobError(str(event["message"]))
            yield event


def gpu_seconds(plan: JobPlan) -> int:
    """Seconds of GPU to request: the upper estimate for running the models of a plan.

    Downloads and scoring are not included, because they run without the GPU.
    """
    models = [model for model in plan.models if model.skip is None]
    known = {"samples": plan.n_samples, "modality": plan.modality, "device": "gpu", "cores": 1}
    run = estimate([ModelLoad(model.params or 0) for model in models], **known)[1]  # type: ignore[arg-type]
    score = estimate([ModelLoad(0, extracted=True) for _ in models], **known)[1]  # type: ignore[arg-type]
    start = estimate([], **known)[1]  # type: ignore[arg-type]
    return round(min(_LONGEST, max(_SHORTEST, run - score + start)))


def extract(
    directory: str, config: Mapping[str, Any], store: str, seconds: int
) -> Generator[Event | None, None, None]:
    """Run the downloaded models and store their features.

    Arguments and events are JSON values, because they are sent between processes.

    Args:
        directory: Directory of the job.
        config: Configuration of the run.
        store: Root of the feature store.
        seconds: The requested GPU seconds, which :func:`_seconds` returns.

    Yields:
        ``progress`` and ``extracted`` events, and ``failed`` if the extraction as a whole fails;
        ``None`` regularly without events, so that the caller can stop it.
    """
    events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    stop = threading.Event()

    def sink(event: Event) -> None:
        if stop.is_set():
            raise _Stopped
        events.put(event)

    def run() -> None:
        try:
            _extract(Path(directory), config, store, sink)
        except _Stopped:
            pass
        except Exception as error:
            events.put({"event": "failed", "message": f"An unexpected error: {explain(error)}."})
        finally:
            events.put(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield from drain(events)
    finally:
        stop.set()
        thread.join()


def _import_for_forks() -> None:
    """Import heavy libraries in the server, so that no fork spends GPU seconds on it."""
    from hf_sfda.compat import ensure_torchvision

    ensure_torchvision()
    import accelerate
    import transformers.modeling_utils

    del accelerate, transformers


class _Stopped(BaseException):
    """Stops the extraction. Not an ``Exception``, which would count as the failure of one model."""


def _extract(
    directory: Path, config: Mapping[str, Any], store: str, sink: Callable[[Event], None]
) -> None:
    from hf_sfda.extract import extract_all
    from hf_sfda.store import FeatureStore

    def done(extraction: Extraction) -> None:
        extracted(sink, extraction)

    extract_all(
        [candidate for candidate in read_candidates(directory) if candidate.skip is None],
        read_target(directory),
        # No worker processes: the fork is a daemon, which may not start child processes.
        config=RankConfig.from_dict(config).replace(workers=0),
        session=Session(store=FeatureStore(store), progress=EventProgress(sink)),
        on_done=done,
    )


def _seconds(directory: str, config: Mapping[str, Any], store: str, seconds: int) -> int:
    """The duration for ``spaces.GPU``, which calls this with the arguments of :func:`extract`."""
    return seconds


def _with_outcome(
    candidate: Candidate, reasons: Mapping[str, str | None], stopped: str
) -> Candidate:
    """Mark a candidate without features as failed, for the scoring step."""
    if candidate.skip is not None:
        return candidate
    reason = reasons.get(candidate.model_id, f"not run on the GPU: {stopped}")
    return candidate if reason is None else replace(candidate, skip=reason, status="failed")
