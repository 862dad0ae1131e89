"""From a candidate and a target to a measured value."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_sfda.backbones import Backbone, norms, open_backbone
from hf_sfda.config import FinetuneConfig
from hf_sfda.extract import make_accelerator
from hf_sfda.finetune.batches import Inputs, Runner, is_image
from hf_sfda.finetune.classifier import (
    LARGEST_INPUT,
    Classifier,
    Probe,
    fit_probe,
    fold_input_scale,
    last_features,
    switch_off_masking,
)
from hf_sfda.finetune.export import Trained
from hf_sfda.finetune.objectives import Objective, objective_of
from hf_sfda.finetune.parts import divide
from hf_sfda.finetune.result import Measured, Trial
from hf_sfda.finetune.train import Checkpoint, cpu_state, evaluate, normalised_outputs, train
from hf_sfda.finetune.train import Progress as TrialProgress
from hf_sfda.hub import download_model
from hf_sfda.processes import from_main, in_all, main_first
from hf_sfda.progress import NoProgress, Progress
from hf_sfda.session import Session
from hf_sfda.types import Candidate, Target
from hf_sfda.versions import library_versions

if TYPE_CHECKING:
    from accelerate import Accelerator


def finetune(
    candidate: Candidate,
    target: Target,
    config: FinetuneConfig | None = None,
    *,
    validation: Target | None = None,
    test: Target | None = None,
    token: str | None = None,
    accelerator: Accelerator | None = None,
    progress: Progress | None = None,
    directory: Path | None = None,
    should_stop: Callable[[], bool] | None = None,
    on_trained: Callable[[Trained], None] | None = None,
) -> Measured:
    """Fine-tune all weights of a checkpoint on a target and measure it on the test part.

    The recipe is described in :mod:`hf_sfda.finetune`. Under ``accelerate launch`` the processes
    share every batch; the result is the same in each. The same seed on the same device and number
    of processes gives the same result. Token and progress become the
    :class:`~hf_sfda.session.Session` of the download.

    Args:
        candidate: One that :func:`hf_sfda.scan.find_candidates` did not leave out.
        target: Images, texts or sounds to train on, with one class, several labels or a value
            each; parts that are not given are drawn from it.
        config: The recipe; its defaults by default.
        validation: Samples that choose learning rate and epoch.
        test: Samples that measure the result. They are read once, after everything is chosen.
        token: Hub token; ``None`` uses the current login.
        accelerator: Made here if not given.
        progress: Receives the download and every epoch; ``None`` shows nothing.
        directory: Where progress is kept, so that the same call resumes after an interruption;
            ``None`` keeps none.
        should_stop: Asked before every training step, in the main process; ``True`` ends the work.
        on_trained: Called in the main process with the network that was measured, at the end.

    Returns:
        The measure (:mod:`hf_sfda.finetune.objectives`) with its interval, what a linear model of
        the frozen features reaches, and the learning curves.

    Raises:
        ExtractionError: The checkpoint cannot be opened or run.
        TargetError: The target cannot be divided, or the parts do not share their classes.
        FinetuneError: A single sample does not fit in memory.
        StoppedError: ``should_stop`` said so; with ``directory``, the same call resumes.
    """
    started, started_cpu = time.perf_counter(), time.process_time()
    config = config or FinetuneConfig()
    accelerator = accelerator or make_accelerator()
    listener = (progress if accelerator.is_main_process else None) or NoProgress()
    session = Session(token, progress=listener)
    path = main_first(accelerator, lambda: download_model(candidate, session))
    parts = divide(
        target,
        validation=validation,
        test=test,
        validation_share=config.validation_share,
        test_share=config.test_share,
    )
    config = config.for_samples(len(parts.train))
    with torch.random.fork_rng(devices=_cuda_devices(accelerator)):
        torch.manual_seed(config.seed)
        backbone = in_all(
            accelerator,
            lambda: open_backbone(
                path,
                candidate,
                device=accelerator.device,
                dtype=torch.float32,
                max_length=config.max_length,
                modality=target.modality,
            ),
        )
        runner = Runner(accelerator)
        objective = objective_of(target, parts.train.labels, config.label_smoothing)
        data = _Data(
            train=Inputs(backbone, parts.train, target.modality, objective),
            validation=Inputs(backbone, parts.validation, target.modality, objective),
            test=Inputs(backbone, parts.test, target.modality, objective),
            objective=objective,
        )
        switch_off_masking(backbone.module)
        backbone.module.eval()
        published = _probe(runner, backbone, data)
        probe_value = _value_of_probe(runner, backbone, data, published)
        start, preparation = _prepare(runner, backbone, data, published)
        classifier = Classifier(backbone, start.head).to(accelerator.device)
        checkpoint = Checkpoint(
            directory,
            _identity(candidate, target, validation, test, config),
            write=accelerator.is_main_process,
        )
        trials, winner = _search(
            runner, classifier, data, config, checkpoint, listener, candidate, should_stop
        )
        classifier.load_state_dict(winner)
        outputs = normalised_outputs(runner, classifier, data.test, objective)
        labels = data.test.labels(range(len(data.test)))
        per_sample = objective.per_sample(outputs, labels)
        trained = Trained(
            backbone=backbone,
            classifier=classifier,
            objective=objective,
            source=path,
            output_names=target.class_names or (target.label_column,),
            input_scale=preparation["input_scale"],
            samples=tuple(parts.test.samples[row] for row in range(min(16, len(parts.test)))),
        )
        if on_trained is not None:
            from_main(accelerator, lambda: on_trained(trained))
    checkpoint.remove()
    return Measured(
        model_id=candidate.model_id,
        measure=objective.measure,
        value=float(per_sample.mean()),
        interval=objective.interval(per_sample, labels),
        probe_value=probe_value,
        learning_rate=best_trial(trials).learning_rate,
        trials=trials,
        n_train=len(parts.train),
        n_validation=len(parts.validation),
        n_test=len(parts.test),
        seed=config.seed,
        per_sample=tuple(per_sample.tolist()),
        seconds=time.perf_counter() - started,
        cpu_seconds=time.process_time() - started_cpu,
        device=_device_name(accelerator),
        preparation=preparation,
        versions=library_versions(),
    )


@dataclass(frozen=True, eq=False)
class _Data:
    train: Inputs
    validation: Inputs
    test: Inputs
    objective: Objective

    @property
    def parts(self) -> tuple[Inputs, Inputs, Inputs]:
        return self.train, self.validation, self.test


def _probe(runner: Runner, backbone: Backbone, data: _Data) -> Probe:
    """Fit the head on the features as they are now."""

    def features(inputs: Inputs) -> torch.Tensor:
        return runner.outputs(inputs, lambda batch: last_features(backbone, batch))

    def labels(inputs: Inputs) -> torch.Tensor:
        return inputs.labels(range(len(inputs)))

    return fit_probe(
        data.objective,
        features(data.train),
        labels(data.train),
        features(data.validation),
        labels(data.validation),
    )


def _value_of_probe(runner: Runner, backbone: Backbone, data: _Data, probe: Probe) -> float:
    features = runner.outputs(data.test, lambda batch: last_features(backbone, batch))
    with torch.no_grad():
        outputs = data.objective.normalised(probe.head(features))
    labels = data.test.labels(range(len(data.test)))
    return float(data.objective.per_sample(outputs, labels).mean())


def _prepare(
    runner: Runner, backbone: Backbone, data: _Data, published: Probe
) -> tuple[Probe, dict[str, float]]:
    """Make the checkpoint ready for training; see :mod:`hf_sfda.finetune.classifier`
    and :mod:`hf_sfda.backbones.norms`.

    Returns:
        The probe whose head training starts from, and what was changed.
    """
    # If samples were sorted by class, each batch would have the statistics of one class.
    order = np.random.default_rng(0).permutation(len(data.train)).tolist()

    def run() -> None:
        for _, batch in data.train.batches(order, runner.limit):
            backbone.forward(runner.move(batch))

    def run_first() -> None:
        backbone.forward(runner.move(first))

    _, first = next(data.train.batches(order, 16))
    scale = 1.0
    images = [t for t in first.values() if is_image(t)] if data.train.are_images else []
    spread = float(images[0].std()) if images else 1.0
    if spread > LARGEST_INPUT:
        moved = runner.move({"image": images[0]})["image"]
        if fold_input_scale(backbone.module, moved, spread, run_first):
            scale = spread
            for inputs in data.parts:
                inputs.rescale(scale)
    module = backbone.module
    restored = runner.within_memory(lambda: norms.restore_folded_norms(module, run))
    before = norms.statistics(module)
    measured = runner.within_memory(lambda: norms.reestimate_norms(module, run))
    start = _probe(runner, backbone, data) if measured else published
    if measured and start.validation_value <= published.validation_value:
        norms.set_back(module, before)
        start, measured = published, 0
    changes = {"input_scale": scale, "restored_norms": restored, "reestimated_norms": measured}
    return start, {name: float(value) for name, value in changes.items()}


def _search(
    runner: Runner,
    classifier: Classifier,
    data: _Data,
    config: FinetuneConfig,
    checkpoint: Checkpoint,
    listener: Progress,
    candidate: Candidate,
    should_stop: Callable[[], bool] | None,
) -> tuple[tuple[Trial, ...], dict[str, torch.Tensor]]:
    """Train at several learning rates; the trials and the weights of the best one."""
    start = cpu_state(classifier)
    epoch_zero = evaluate(runner, classifier, data.validation, data.objective, 0)

    def stop() -> bool:
        return should_stop is not None and from_main(runner.accelerator, should_stop)

    def run(learning_rate: float) -> Trial:
        for trial in checkpoint.trials:
            if trial.learning_rate == learning_rate:
                return trial
        current = checkpoint.current
        if current is None or current.learning_rate != learning_rate:
            current = TrialProgress(learning_rate, [epoch_zero], best=start, weights=start)
        name = f"{candidate.model_id} at {learning_rate:g}"
        with listener.task("finetune", name, total=config.epochs, unit="epochs") as advance:
            train(
                runner,
                classifier,
                data.train,
                data.validation,
                data.objective,
                config,
                current,
                on_epoch=checkpoint.save,
                advance=advance,
                should_stop=stop,
            )
        trial = current.trial
        checkpoint.trials.append(trial)
        if best_trial(checkpoint.trials) is trial:
            checkpoint.winner = current.best
        checkpoint.save(None)
        return trial

    trials = climb(config.learning_rates, run)
    assert checkpoint.winner is not None
    return trials, checkpoint.winner


def _identity(
    candidate: Candidate,
    target: Target,
    validation: Target | None,
    test: Target | None,
    config: FinetuneConfig,
) -> dict[str, Any]:
    recipe = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
    return {
        "model": candidate.revision or candidate.model_id,
        "data": [part.fingerprint if part else "" for part in (target, validation, test)],
        "recipe": recipe,
    }


def _cuda_devices(accelerator: Accelerator) -> list[int]:
    return [accelerator.device.index or 0] if accelerator.device.type == "cuda" else []


def _device_name(accelerator: Accelerator) -> str:
    if accelerator.device.type == "cuda":
        return str(torch.cuda.get_device_name(accelerator.device))
    return str(accelerator.device.type)


def climb(learning_rates: Sequence[float], run: Callable[[float], Trial]) -> tuple[Trial, ...]:
    """Try learning rates until both neighbours of the best one are worse, or its end is reached.

    Validation accuracy over the learning rate has one peak in practice: too low does not get far
    enough, too high destroys the checkpoint. So the far side of a worse value is not tried. Of a
    grid of five, three or four values are.

    Args:
        learning_rates: The grid, in any order.
        run: Trains at one learning rate.

    Returns:
        The trials in the order in which they were run.
    """
    grid = sorted(set(learning_rates))
    middle = len(grid) // 2
    trials = [run(grid[middle])]
    best = trials[0]
    for direction in (1, -1):
        index = middle + direction
        climbed = False
        while 0 <= index < len(grid):
            trials.append(run(grid[index]))
            if not trials[-1].best.better_than(best.best):
                break
            best, climbed = trials[-1], True
            index += direction
        if climbed:
            break
    return tuple(trials)


def best_trial(trials: Sequence[Trial]) -> Trial:
    """The trial with the best epoch; of equal ones the first."""
    best = trials[0]
    for trial in trials[1:]:
        if trial.best.better_than(best.best):
            best = trial
    return best
