"""ZeroGPU: the one step that needs the GPU, in a function that borrows it.

There a GPU belongs to a fork of the server for as long as a function decorated with ``spaces.GPU``
runs, and every second counts against the visitor. So a child process fetches the sample and the
weights first, the decorated function only runs the models and stores their features, and another
child finds these in the store and scores. The fork needs no token: all it reads is on disk.

Off ZeroGPU the decorator changes nothing, and none of this is used.
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
from typing import TYPE_CHECKING, Any

from hf_sfda.config import RankConfig
from hf_sfda.errors import JobError
from hf_sfda.hub import explain, redact
from hf_sfda.space.child import TICK
from hf_sfda.space.events import Event, EventProgress
from hf_sfda.space.handover import read_handover
from hf_sfda.space.plan import Load, Plan, estimate
from hf_sfda.space.worker import extracted, read_candidates, write_candidates

if TYPE_CHECKING:
    from hf_sfda.extract import Extraction
    from hf_sfda.space.jobs import Job
    from hf_sfda.types import Candidate

Step = Callable[[str, Mapping[str, Any], str, int], Iterator[Event | None]]

_SHORTEST, _LONGEST = 30, 240
"""Seconds to ask for. Less is not worth a fork, which imports transformers first; more than a few
minutes is more than most visitors have in a day."""


def is_zero_gpu() -> bool:
    """Whether this is a ZeroGPU Space."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


@cache
def register() -> Step:
    """The step that borrows the GPU. A Space must have made it before it is launched."""
    import spaces

    step: Step = spaces.GPU(extract, duration=_seconds)
    if is_zero_gpu():
        _import_what_a_fork_needs()
    return step


def rank_on_gpu(job: Job, deadline: float) -> Generator[Event | None, None, None]:
    """Fetch, extract on the GPU, score.

    Args:
        job: Planned.
        deadline: By ``time.monotonic``.

    Yields:
        Events of all three, as if they were one process.

    Raises:
        JobError: No GPU could be had, or as :meth:`hf_sfda.space.jobs.Job.run`.
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
        for event in _borrowed(job, store, deadline):
            if event is not None and event["event"] == "extracted":
                reasons[str(event["model"])] = event["reason"]
            yield event
    except JobError:
        raise
    # What ZeroGPU raises is made for gradio: no quota, no GPU free, time is up.
    except Exception as error:
        stopped = redact(str(getattr(error, "message", None) or explain(error))).rstrip(".")
        if None not in reasons.values():  # nobody has features
            raise JobError(f"The GPU could not be used: {stopped}. Try again later.") from error
    left = [_judged(c, reasons, stopped) for c in read_candidates(job.directory)]
    write_candidates(job.directory, left)
    yield from job.run("rank", deadline)


def _borrowed(job: Job, store: str, deadline: float) -> Generator[Event | None, None, None]:
    """The events of :func:`extract`, until the job is cancelled or out of time."""
    assert job.planned is not None
    config = job.work().config.to_dict()
    step: Any = register()(str(job.directory), config, store, ask_for(job.planned))
    with closing(step) as events:
        for event in events:
            if job.cancelled:
                raise JobError("Cancelled.")
            if time.monotonic() > deadline:
                raise JobError(job.too_long)
            if event is not None and event["event"] == "failed":
                raise JobError(str(event["message"]))
            yield event


def ask_for(plan: Plan) -> int:
    """Seconds of GPU to ask for: enough to run the models at the slow end of the estimate.

    Downloads and scoring happen elsewhere and are taken out.
    """
    models = [model for model in plan.models if model.skip is None]
    known = {"samples": plan.n_samples, "modality": plan.modality, "device": "gpu", "cores": 1}
    run = estimate([Load(model.params or 0) for model in models], **known)[1]  # type: ignore[arg-type]
    score = estimate([Load(0, extracted=True) for _ in models], **known)[1]  # type: ignore[arg-type]
    start = estimate([], **known)[1]  # type: ignore[arg-type]
    return round(min(_LONGEST, max(_SHORTEST, run - score + start)))


def extract(
    directory: str, config: Mapping[str, Any], store: str, seconds: int
) -> Generator[Event | None, None, None]:
    """Run the models that were fetched; the features go to the store.

    Arguments and events are plain values: they travel between processes.

    Args:
        directory: Of the job.
        config: Of the run.
        store: Root of the feature store.
        seconds: What was asked for, for :func:`_seconds`.

    Yields:
        ``progress`` and ``extracted`` events, ``failed`` if all is lost; ``None`` where nothing
        happens, so that it can be stopped.
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
        while True:
            try:
                event = events.get(timeout=TICK)
            except queue.Empty:
                yield None
                continue
            if event is None:
                return
            yield event
    finally:
        stop.set()
        thread.join()


def _import_what_a_fork_needs() -> None:
    """Once in the server, and not in every fork, in seconds of GPU."""
    from hf_sfda.compat import ensure_torchvision

    ensure_torchvision()
    import accelerate
    import transformers.modeling_utils

    del accelerate, transformers


class _Stopped(BaseException):
    """Not an ``Exception``: an extraction would take that for the failure of one model."""


def _extract(
    directory: Path, config: Mapping[str, Any], store: str, sink: Callable[[Event], None]
) -> None:
    from hf_sfda.extract import extract_all
    from hf_sfda.store import FeatureStore

    def done(extraction: Extraction) -> None:
        extracted(sink, extraction)

    extract_all(
        [candidate for candidate in read_candidates(directory) if candidate.skip is None],
        read_handover(directory),
        # The borrowing process is a daemon, and those may not start processes of their own.
        config=RankConfig.from_dict(config).replace(workers=0),
        store=FeatureStore(store),
        progress=EventProgress(sink),
        on_done=done,
    )


def _seconds(directory: str, config: Mapping[str, Any], store: str, seconds: int) -> int:
    """How long :func:`extract` may take, from its own arguments, as ``spaces.GPU`` asks."""
    return seconds


def _judged(candidate: Candidate, reasons: Mapping[str, str | None], stopped: str) -> Candidate:
    """The candidate as the last step takes it: with features in the store, or failed."""
    if candidate.skip is not None:
        return candidate
    reason = reasons.get(candidate.model_id, f"not run on the GPU: {stopped}")
    return candidate if reason is None else replace(candidate, skip=reason, status="failed")
