"""Divide the work by samples: every process opens the model and runs its part of the batches.

For fewer models than processes. The processes synchronise exactly twice a model, also after an
error: once to agree on whether it is to be run, once to exchange rows or the reason why there are
none. So a failure in one process becomes the same row in all of them, and no process waits forever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from hf_sfda.extract.features import Part, merge_parts
from hf_sfda.extract.job import (
    NOT_REACHED,
    Batches,
    Job,
    Outcome,
    Task,
    batches_of,
    entry_lock,
    free_memory,
    is_stored,
    known_parts,
    open_model,
    provenance,
    reason,
    run_model,
    store_features,
)
from hf_sfda.extract.known import ids_of
from hf_sfda.processes import from_main

logger = logging.getLogger(__name__)

_Share = tuple[Part, int, dict[str, str]]  # rows, parameters, provenance


def run_by_samples(
    job: Job, tasks: Sequence[Task], done: Callable[[Task, Outcome], None]
) -> dict[str, Outcome]:
    """Run every task in all processes together.

    Args:
        job: The inputs, the same in every process.
        tasks: The models to run, the same list in every process.
        done: Called with the result of each task, in every process.

    Returns:
        digest -> outcome of every task, in every process.
    """
    outcomes: dict[str, Outcome] = {}
    for place, task in enumerate(tasks):
        if outcomes and _is_late(job):
            outcome = NOT_REACHED
        else:
            job.downloads.start(task.candidate)
            for following in tasks[place + 1 : place + 2]:
                job.downloads.start(following.candidate)
            outcome = _run(job, task)
        outcomes[task.key.digest] = outcome
        done(task, outcome)
    return outcomes


def _is_late(job: Job) -> bool:
    """Whether the time is up, by the clock of the main process."""
    return from_main(job.accelerator, lambda: job.is_late)


def _run(job: Job, task: Task) -> Outcome:
    from accelerate.utils import gather_object

    with ExitStack() as stack:
        known: list[Part] = []  # only in the main process, which assembles the features

        def look() -> frozenset[int] | None:
            stack.enter_context(entry_lock(job, task, wait=True))
            if is_stored(job, task.key):
                return None
            known.extend(known_parts(job, task))
            return ids_of(known)

        known_ids = from_main(job.accelerator, look)
        if known_ids is None:
            return Outcome(cached=True)
        share: _Share | str
        try:
            share = _run_share(job, task, known_ids)
        except Exception as error:
            logger.debug("%s failed", task.candidate.model_id, exc_info=True)
            share = reason(error)
        free_memory()
        shares = gather_object([share])
        # Only the main process assembles and stores, so only its disk can be full.
        return from_main(job.accelerator, lambda: _combine(job, task, shares, known))


def _run_share(job: Job, task: Task, known_ids: frozenset[int]) -> _Share:
    backbone = open_model(job, task.candidate)
    batches = batches_of(job, backbone, known_ids)
    mine = Batches(_share_of(job, batches.new), _share_of(job, batches.everything))
    part = run_model(job, task, backbone, mine)
    return part, backbone.params, provenance(job, backbone)


def _share_of(job: Job, batches: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """The batches of this process."""
    # Every n-th batch, so that the long texts, which come first, are spread over all processes.
    n = job.accelerator.num_processes
    shares = [batches[process::n] for process in range(n)]
    with job.accelerator.split_between_processes(shares) as own:
        return [batch for share in own for batch in share]


def _combine(
    job: Job, task: Task, shares: Sequence[_Share | str], known: Sequence[Part]
) -> Outcome:
    reasons = [share for share in shares if isinstance(share, str)]
    if reasons:
        return Outcome(error=reasons[0])
    complete = [share for share in shares if not isinstance(share, str)]
    parts = [part for part, _, _ in complete]
    _, params, meta = complete[0]
    try:
        features = merge_parts(
            parts,
            len(job.target),
            known=known,
            dtype=job.config.dtype,
            params=params,
            **meta,
        )
    except Exception as error:
        return Outcome(error=reason(error))
    return store_features(job, task, features, sum(part.passes for part in parts))
