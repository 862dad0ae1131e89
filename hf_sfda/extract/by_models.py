"""Divide the work by models: no process waits for another until all are done.

A slow process blocks no other one, features stay in the process that computed them, and a failure
concerns one model only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from hf_sfda.extract.claims import open_claims
from hf_sfda.extract.features import merge_parts
from hf_sfda.extract.job import (
    NOT_REACHED,
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

logger = logging.getLogger(__name__)


def run_by_models(
    job: Job, tasks: Sequence[Task], done: Callable[[Task, Outcome], None]
) -> dict[str, Outcome]:
    """Run every task in one of the processes.

    Args:
        job: The inputs, the same in every process.
        tasks: The models to run, the same list in every process.
        done: Called with the result of each task: at once in the process that ran it, at the end in
            the others.

    Returns:
        digest -> outcome of every task, in every process.
    """
    claims = open_claims(job.store.root, job.accelerator)
    mine: dict[str, Outcome] = {}

    def finish(task: Task, outcome: Outcome) -> None:
        mine[task.key.digest] = outcome
        done(task, outcome)

    # Every process begins at another model, so that they first download different ones.
    first = job.accelerator.process_index * len(tasks) // job.accelerator.num_processes
    order = [*tasks[first:], *tasks[:first]]
    busy: list[Task] = []
    for place, task in enumerate(order):
        if not claims.take(task.key.digest, task.index):
            continue
        outcome = _run_in_time(job, order[place : place + 2], first=not mine)
        if outcome is None:
            busy.append(task)
        else:
            finish(task, outcome)
    for task in busy:
        logger.info("waiting for another run to finish %s", task.candidate.model_id)
        finish(task, _run(job, task, wait=True) or Outcome(error="its lock could not be acquired"))

    everyone = _gather(job, mine)
    if job.accelerator.is_main_process:
        claims.close()
    for task in tasks:
        if task.key.digest not in mine:
            done(task, everyone[task.key.digest])
    return everyone


def _gather(job: Job, mine: dict[str, Outcome]) -> dict[str, Outcome]:
    """The outcomes of all processes. Only here do they wait for each other."""
    from accelerate.utils import gather_object

    if job.accelerator.num_processes == 1:
        return mine
    everyone: dict[str, Outcome] = {}
    for outcomes in gather_object([mine]):
        for digest, outcome in outcomes.items():
            # Nodes without a common file system may both have run it; one success is enough.
            if digest not in everyone or everyone[digest].error is not None:
                everyone[digest] = outcome
    return everyone


def _run_in_time(job: Job, tasks: Sequence[Task], *, first: bool) -> Outcome | None:
    """Run the first of some tasks, while the next one is downloaded, unless the time is up."""
    if job.is_late and not first:
        return NOT_REACHED
    if len(tasks) > 1:
        for task in tasks:
            job.downloads.start(task.candidate)
    return _run(job, tasks[0], wait=False)


def _run(job: Job, task: Task, *, wait: bool) -> Outcome | None:
    """Run a model in this process; ``None`` if another launch is running it now."""
    with entry_lock(job, task, wait=wait) as free:
        if not free:
            return None
        if is_stored(job, task.key):
            return Outcome(cached=True)
        try:
            return _extract(job, task)
        except Exception as error:
            logger.debug("%s failed", task.candidate.model_id, exc_info=True)
            return Outcome(error=reason(error))
        finally:
            free_memory()


def _extract(job: Job, task: Task) -> Outcome:
    backbone = open_model(job, task.candidate)
    known = known_parts(job, task)
    part = run_model(job, task, backbone, batches_of(job, backbone, ids_of(known)))
    features = merge_parts(
        [part],
        len(job.target),
        known=known,
        dtype=job.config.dtype,
        params=backbone.params,
        **provenance(job, backbone),
    )
    return store_features(job, task, features, part.passes)
