"""Fine-tune the models of a plan one after the other; each result is stored as soon as it is known.

A killed or stopped command goes on where it was: measured models are not measured again, and the
model in progress resumes at its last epoch.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.config import FinetuneConfig
from hf_sfda.dataset.sample import part_of
from hf_sfda.errors import ConfigError, FinetuneError, StoppedError, StoreError
from hf_sfda.extract import make_accelerator
from hf_sfda.extract.job import free_memory, reason
from hf_sfda.finetune.export import Exported, Trained, export
from hf_sfda.finetune.kept import find_winner, is_winner_kept, keep, read_kept, require_ours
from hf_sfda.finetune.parts import divide, draw_rows
from hf_sfda.finetune.plan import FinetunePlan, PlannedModel, Round, best
from hf_sfda.finetune.result import Measured
from hf_sfda.finetune.run import finetune
from hf_sfda.journal import Journal
from hf_sfda.processes import from_main
from hf_sfda.ranking.measurements import write_measurements
from hf_sfda.session import Session
from hf_sfda.types import BriefMeasurement, Finetuned, Measurement, Target

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
        not_saved: Model -> why its network could not be saved.
        kept: The model whose network is in the folder ``model``; ``None`` if none is.
    """

    finetuned: Finetuned
    failed: Mapping[str, str] = field(default_factory=dict)
    out_of_time: tuple[str, ...] = ()
    not_saved: Mapping[str, str] = field(default_factory=dict)
    kept: str | None = None


def finetune_shortlist(
    plan: FinetunePlan,
    *,
    session: Session | None = None,
    accelerator: Accelerator | None = None,
    on_measured: Callable[[Finetuned], None] = lambda finetuned: None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Fine-tune what is missing of a plan, best ranked first.

    Args:
        plan: The plan.
        session: Its token is used, and its progress receives every epoch.
        accelerator: Made here if not given.
        on_measured: Called in the main process after every measurement, once it is stored.
        clock: Seconds, for the time budget.

    Returns:
        What was measured, and what was not. The failure of one model does not end the others.

    Raises:
        ConfigError: Another command is fine-tuning in the same run directory, or its folder
            ``model`` holds something else.
        StoreError: The measurements cannot be written.
    """
    accelerator = accelerator or make_accelerator()
    budget = plan.shortlist.time_budget
    end = None if budget is None else clock() + budget

    def is_over() -> bool:
        return end is not None and clock() >= end

    should_stop = None if end is None else is_over
    work = _Work(plan, session or Session(), accelerator, should_stop)
    main = accelerator.is_main_process
    if plan.shortlist.save:
        from_main(accelerator, lambda: require_ours(plan.directory))
    with _lock(plan.directory, accelerator):
        models = list(plan.available)
        for index, round_ in enumerate(plan.rounds):
            keep = (*plan.rounds, None)[index + 1]
            models = work.halve(models, round_, keep.models if keep else plan.shortlist.top)
        for model in models:
            if work.finetuned.of(model.row) is None and work.measure(model) and main:
                on_measured(work.finetuned)
        if plan.shortlist.save and work.train_winner_again() and main:
            on_measured(work.finetuned)
        work.save()  # the latest settings, even if nothing is new
    kept = read_kept(plan.directory) if main and plan.shortlist.save else None
    return Outcome(
        work.finetuned,
        work.failed,
        tuple(work.out_of_time),
        work.not_saved,
        kept.model_id if kept else None,
    )


class _Work:
    """The state of a plan that is carried out: what is measured, failed and out of time."""

    def __init__(
        self,
        plan: FinetunePlan,
        session: Session,
        accelerator: Accelerator,
        should_stop: Callable[[], bool] | None,
    ) -> None:
        self.finetuned = plan.finetuned
        self.failed = plan.unavailable
        self.out_of_time: list[str] = []
        self.not_saved: dict[str, str] = {}
        self._plan, self._should_stop = plan, should_stop
        self._session, self._accelerator = session, accelerator
        self._journal = Journal(plan.directory if accelerator.is_main_process else None)

    def save(self) -> None:
        """Store what is measured."""
        if self._accelerator.is_main_process and (
            self.finetuned.measurements or self.finetuned.rounds
        ):
            write_measurements(self._plan.directory, self.finetuned)

    def measure(self, model: PlannedModel) -> bool:
        """Fine-tune a model by the whole recipe; whether this gave a measurement.

        If the network of the best model is kept, this one is kept if it is the best so far.
        """
        plan = self._plan
        folder = _progress_of(plan.directory, model).with_suffix(".model")
        exported: list[Exported] = []

        def save(trained: Trained) -> None:
            exported.extend(self._export(model, trained, folder))

        measured = self._finetune(
            model,
            plan.target,
            plan.recipe,
            test=plan.test,
            on_trained=save if plan.shortlist.save else None,
        )
        if measured is None:
            return False
        measurement = _measurement(model, measured)
        others = tuple(m for m in self.finetuned.measurements if m.model_id != model.row.model_id)
        self.finetuned = replace(self.finetuned, measurements=(*others, measurement))
        self.save()
        if exported and find_winner(plan.ranking, self.finetuned) == model.row:
            keep(plan.directory, folder, self.finetuned, measurement, exported[0])
        shutil.rmtree(folder, ignore_errors=True)
        self._journal.write("finetuned", model=model.row.model_id, accuracy=measured.value)
        return True

    def train_winner_again(self) -> bool:
        """Fine-tune the best model again if its network was not kept when it was measured."""
        plan = self._plan

        def missing() -> str | None:
            row = find_winner(plan.ranking, self.finetuned)
            if row is None or row.model_id in self.not_saved:
                return None
            kept = is_winner_kept(plan.directory, plan.ranking, self.finetuned)
            return None if kept else row.model_id

        name = from_main(self._accelerator, missing)
        return any(m.row.model_id == name and self.measure(m) for m in plan.available)

    def _export(self, model: PlannedModel, trained: Trained, folder: Path) -> list[Exported]:
        """Save a network; if that is impossible, note the reason."""
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
            return [export(trained, folder)]
        except (FinetuneError, OSError) as error:
            self.not_saved[model.row.model_id] = reason(error)
            return []

    def halve(self, models: Sequence[PlannedModel], round_: Round, keep: int) -> list[PlannedModel]:
        """Train models briefly; those that go on, or none if the time is over."""
        train, validation = _parts_of_round(self._plan, round_)
        config = replace(self._plan.recipe, epochs=round_.epochs, min_steps=0)
        values: dict[PlannedModel, float] = {}
        for model in models:
            brief = self._brief(model, round_)
            if brief is None:
                measured = self._finetune(
                    model, train, config, validation=validation, test=validation
                )
                if measured is None:
                    continue
                brief = _brief_measurement(model, round_, measured)
                self.finetuned = replace(self.finetuned, rounds=(*self.finetuned.rounds, brief))
                self.save()
            values[model] = brief.validation_value
        if self.out_of_time:
            waiting = [m.row.model_id for m in models if m in values]
            self.out_of_time = list(dict.fromkeys([*waiting, *self.out_of_time]))
            return []
        return best(models, values, keep)

    def _brief(self, model: PlannedModel, round_: Round) -> BriefMeasurement | None:
        """What an earlier command measured in this round."""
        key = (model.row.model_id, model.row.revision, round_.n_train, round_.epochs)
        for brief in self.finetuned.rounds:
            if (brief.model_id, brief.revision, brief.n_train, brief.epochs) == key:
                return brief
        return None

    def _finetune(
        self,
        model: PlannedModel,
        target: Target,
        config: FinetuneConfig,
        *,
        validation: Target | None = None,
        test: Target | None = None,
        on_trained: Callable[[Trained], None] | None = None,
    ) -> Measured | None:
        """Fine-tune a model; ``None`` if it failed or the time is over, which is noted."""
        name = model.row.model_id
        if self._should_stop and from_main(self._accelerator, self._should_stop):
            self.out_of_time.append(name)
            return None
        folder = _progress_of(self._plan.directory, model)
        try:
            measured = finetune(
                model.candidate,
                target,
                config,
                validation=validation,
                test=test,
                token=self._session.token,
                accelerator=self._accelerator,
                progress=self._session.progress,
                directory=folder,
                should_stop=self._should_stop,
                on_trained=on_trained,
            )
        except StoppedError:
            self.out_of_time.append(name)
            return None
        except Exception as error:
            self.failed[name] = reason(error)
            self._journal.write("finetune failed", model=name, reason=self.failed[name])
            return None
        finally:
            free_memory()
        if self._accelerator.is_main_process:
            with suppress(OSError):
                folder.rmdir()
        return measured


def _parts_of_round(plan: FinetunePlan, round_: Round) -> tuple[Target, Target]:
    """Some samples of the training part, and the validation part, as targets."""
    positions = divide(
        replace(plan.target, samples=range(len(plan.target))),
        validation=None,
        test=plan.test and replace(plan.test, samples=range(len(plan.test))),
        validation_share=plan.recipe.validation_share,
        test_share=plan.recipe.test_share,
    )
    drawn = draw_rows(positions.train.labels, round_.n_train, plan.target.seed)
    train = [positions.train.samples[row] for row in drawn]
    return (
        part_of(plan.target, train),
        part_of(plan.target, positions.validation.samples),
    )


def _brief_measurement(model: PlannedModel, round_: Round, measured: Measured) -> BriefMeasurement:
    return BriefMeasurement(
        model_id=model.row.model_id,
        revision=model.row.revision,
        n_train=round_.n_train,
        epochs=round_.epochs,
        validation_value=measured.best.validation_value,
        learning_rate=measured.learning_rate,
        samples_trained=measured.samples_trained,
        seconds=round(measured.seconds, 1),
    )


def _measurement(model: PlannedModel, measured: Measured) -> Measurement:
    return Measurement(
        model_id=model.row.model_id,
        revision=model.row.revision,
        value=measured.value,
        interval=measured.interval,
        probe_value=measured.probe_value,
        learning_rate=measured.learning_rate,
        epoch=measured.best.number,
        samples_trained=measured.samples_trained,
        seconds=round(measured.seconds, 1),
        device=measured.device,
        per_sample=measured.per_sample,
        measure=measured.measure,
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
