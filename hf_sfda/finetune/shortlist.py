"""Fine-tune the models of a plan one after the other; each result is stored as soon as it is known.

A killed or stopped command goes on where it was: measured models are not measured again, and the
model in progress resumes at its last epoch.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.errors import ConfigError, StoppedError, StoreError
from hf_sfda.extract import make_accelerator
from hf_sfda.extract.job import free_memory, reason
from hf_sfda.finetune.plan import FinetunePlan, PlannedModel
from hf_sfda.finetune.result import Measured
from hf_sfda.finetune.run import finetune
from hf_sfda.journal import Journal
from hf_sfda.measurements import write_measurements
from hf_sfda.processes import from_main
from hf_sfda.progress import Progress
from hf_sfda.types import Finetuned, Measurement

if TYPE_CHECKING:
    from accelerate import Accelerator

_PROGRESS = ".finetuning"


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of carrying out a plan.

    Attributes:
        finetuned: All measurements by these settings, earlier ones too.
        failed: Model -> why it could not be fine-tuned.
        out_of_time: Models that the time budget left without a result.
    """

    finetuned: Finetuned
    failed: Mapping[str, str] = field(default_factory=dict)
    out_of_time: tuple[str, ...] = ()


def finetune_shortlist(
    plan: FinetunePlan,
    *,
    token: str | None = None,
    accelerator: Accelerator | None = None,
    progress: Progress | None = None,
    on_measured: Callable[[Finetuned], None] = lambda finetuned: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Fine-tune what is missing of a plan, best ranked first.

    Args:
        plan: The plan.
        token: Hub token.
        accelerator: Made here if not given.
        progress: Told every epoch.
        on_measured: Called in the main process after every measurement, once it is stored.
        clock: Seconds, for the time budget.

    Returns:
        What was measured, and what was not. The failure of one model does not end the others.

    Raises:
        ConfigError: Another command is fine-tuning in the same run directory.
        StoreError: The measurements cannot be written.
    """
    accelerator = accelerator or make_accelerator()
    budget = plan.shortlist.time_budget
    end = None if budget is None else clock() + budget

    def is_over() -> bool:
        return end is not None and clock() >= end

    finetuned, failed = plan.finetuned, dict(plan.unavailable)
    out_of_time: list[str] = []
    journal = Journal(plan.directory if accelerator.is_main_process else None)
    with _lock(plan.directory, accelerator):
        for model in plan.missing:
            name = model.row.model_id
            if from_main(accelerator, is_over):
                out_of_time.append(name)
                continue
            folder = _progress_of(plan.directory, model)
            try:
                measured = finetune(
                    model.candidate,
                    plan.target,
                    plan.recipe,
                    test=plan.test,
                    token=token,
                    accelerator=accelerator,
                    progress=progress,
                    directory=folder,
                    should_stop=is_over if end is not None else None,
                )
            except StoppedError:
                out_of_time.append(name)
                continue
            except Exception as error:
                failed[name] = reason(error)
                journal.write("finetune failed", model=name, reason=failed[name])
                continue
            finally:
                free_memory()
            measurement = _measurement(model, measured)
            finetuned = replace(finetuned, measurements=(*finetuned.measurements, measurement))
            if accelerator.is_main_process:
                write_measurements(plan.directory, finetuned)
                with suppress(OSError):
                    folder.rmdir()
                journal.write("finetuned", model=name, accuracy=measured.accuracy)
                on_measured(finetuned)
        if accelerator.is_main_process and finetuned.measurements:
            write_measurements(plan.directory, finetuned)  # the latest, even if none is new
    return Outcome(finetuned, failed, tuple(out_of_time))


def _measurement(model: PlannedModel, measured: Measured) -> Measurement:
    return Measurement(
        model_id=model.row.model_id,
        revision=model.row.revision,
        accuracy=measured.accuracy,
        interval=measured.interval,
        probe_accuracy=measured.probe_accuracy,
        learning_rate=measured.learning_rate,
        epoch=measured.best.number,
        samples_trained=measured.samples_trained,
        seconds=round(measured.seconds, 1),
        device=measured.device,
        correct="".join("01"[right] for right in measured.correct),
        versions=dict(measured.versions),
    )


def _progress_of(directory: Path, model: PlannedModel) -> Path:
    """The folder with the progress of one model."""
    identity = f"{model.row.model_id}@{model.row.revision}"
    return directory / _PROGRESS / hashlib.sha256(identity.encode()).hexdigest()[:16]


@contextmanager
def _lock(directory: Path, accelerator: Accelerator) -> Iterator[None]:
    """Keep a second command out of the run directory.

    Raises:
        ConfigError: Another process holds the lock.
    """
    from filelock import FileLock, Timeout

    folder = directory / _PROGRESS
    lock = FileLock(folder / "lock")

    def acquire() -> None:
        try:
            folder.mkdir(exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            raise ConfigError(
                f"Another `hf-sfda finetune` is at work in {directory}. Wait until it has ended."
            ) from None
        except OSError as error:
            raise StoreError(
                f"Cannot write the run directory {directory}: {error.strerror or error}."
            ) from error

    from_main(accelerator, acquire)
    try:
        yield
    finally:
        lock.release()
