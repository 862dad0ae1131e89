"""The plan of ``hf-sfda finetune``: which models of a run, on which parts, in about what time.

With successive halving, all models are trained briefly on few samples; the better half goes on with
twice the samples and twice the epochs, four times the training; the last ones get the whole recipe
(Jamieson and Talwalkar, AISTATS 2016, arXiv:1502.07943). Models are compared on the validation
part: the test part measures the last ones only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hf_sfda.config import FinetuneConfig, ShortlistConfig
from hf_sfda.dataset import target_of
from hf_sfda.errors import ConfigError
from hf_sfda.finetune.parts import Sizes, divide
from hf_sfda.names import find_model
from hf_sfda.processes import from_main, main_first
from hf_sfda.ranking.measurements import read_measurements
from hf_sfda.ranking.runs import config_of, load_ranked_target, read_ranking
from hf_sfda.scan import find_candidates
from hf_sfda.session import Session
from hf_sfda.types import Candidate, Finetuned, ModelRow, Ranking, Target

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")

SMALLEST_CLASS = 4
"""Training samples per class in the first round, at least: fewer say little about a checkpoint."""

REGRESSION_STRATA = 10
"""A regression has no classes; its values count as so many."""

TRAINING_STEP = 3.0
"""Cost of a training step relative to a forward pass: the backward pass computes the gradients of
activations and of weights, about a forward pass each."""


@dataclass(frozen=True, eq=False)
class PlannedModel:
    """A model of the shortlist.

    Attributes:
        row: Its row in the ranking.
        candidate: The checkpoint; it has a reason in ``skip`` if it cannot be fine-tuned.
        seconds: Estimated time, if no learning rate ends early; ``None`` if the speed is unknown.
        measured: Whether an earlier command has measured it by the same settings.
    """

    row: ModelRow
    candidate: Candidate
    seconds: float | None
    measured: bool


@dataclass(frozen=True, eq=False)
class FinetunePlan:
    """What ``hf-sfda finetune`` will do.

    Attributes:
        directory: The run directory.
        ranking: The ranking of the run.
        models: The shortlist, in the order of the ranking.
        shortlist: The options.
        recipe: How each model is fine-tuned.
        target: The samples to train on; parts that are not given are drawn from it.
        test: The dataset's own test split, if it was asked for.
        sizes: Number of samples in each part.
        finetuned: The settings, with what was measured by the same settings before.
        rounds: Rounds of successive halving before the whole recipe; empty without it.
    """

    directory: Path
    ranking: Ranking
    models: tuple[PlannedModel, ...]
    shortlist: ShortlistConfig
    recipe: FinetuneConfig
    target: Target
    test: Target | None
    sizes: Sizes
    finetuned: Finetuned
    rounds: tuple[Round, ...] = ()

    @property
    def available(self) -> tuple[PlannedModel, ...]:
        """The models that can be fine-tuned."""
        return tuple(m for m in self.models if m.candidate.skip is None)

    @property
    def missing(self) -> tuple[PlannedModel, ...]:
        """The models that can be fine-tuned and are not measured yet."""
        return tuple(m for m in self.available if not m.measured)

    @property
    def share_of_training(self) -> float:
        """Training relative to the whole recipe for all models; 1 without halving."""
        if not self.rounds:
            return 1.0
        whole = self.recipe.for_samples(self.sizes.train)
        return share_of_training(
            self.rounds,
            len(self.available),
            self.shortlist.top,
            n_train=self.sizes.train,
            epochs=whole.epochs,
        )

    @property
    def unavailable(self) -> dict[str, str]:
        """Model -> why it cannot be fine-tuned."""
        return {m.row.model_id: m.candidate.skip for m in self.models if m.candidate.skip}

    @property
    def seconds(self) -> float | None:
        """Estimated time for all that is missing; ``None`` if unknown."""
        times = [model.seconds for model in self.missing]
        if None in times:
            return None
        return self.share_of_training * sum(t for t in times if t is not None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {
            "run": str(self.directory),
            "models": [
                {
                    "model_id": model.row.model_id,
                    "revision": model.row.revision,
                    "rank": model.row.rank,
                    "estimated_seconds": model.seconds,
                    "measured": model.measured,
                    "reason": model.candidate.skip,
                }
                for model in self.models
            ],
            "rounds": [asdict(round_) for round_ in self.rounds],
            "share_of_training": self.share_of_training,
            "data": dict(self.finetuned.data),
            "recipe": dict(self.finetuned.recipe),
            "time_budget": self.shortlist.time_budget,
            "estimated_seconds": self.seconds,
        }


def plan_finetuning(
    directory: str | Path,
    shortlist: ShortlistConfig | None = None,
    recipe: Mapping[str, Any] | None = None,
    *,
    session: Session | None = None,
    accelerator: Accelerator | None = None,
) -> FinetunePlan:
    """Plan the fine-tuning of the first models of a run. Nothing is trained or written.

    The dataset is read again at the commit that was ranked, and divided by the rules of
    :mod:`hf_sfda.finetune.parts`: the parts are the same for every model.

    Args:
        directory: The directory that ``hf-sfda rank`` wrote.
        shortlist: Which models and samples; the defaults by default.
        recipe: Fields of :class:`~hf_sfda.config.FinetuneConfig` that differ from the defaults.
            The length of texts is that of the run.
        session: Its token is used, and its progress shows what is read.
        accelerator: Made here if not given.

    Raises:
        ConfigError: There is no finished run, a model is not ranked, or an option is wrong.
        TargetError: The dataset cannot be read, is not what was ranked, or is too small to divide.
    """
    from hf_sfda.extract import make_accelerator

    session, accelerator = session or Session(), accelerator or make_accelerator()
    shortlist = shortlist or ShortlistConfig()
    directory = Path(directory)
    ranking = read_ranking(directory)
    _check_split(ranking, shortlist)
    config = FinetuneConfig(**{"max_length": config_of(ranking).max_length, **(recipe or {})})
    rows = _rows(ranking, shortlist)
    target, test = main_first(accelerator, lambda: _load(ranking, shortlist, session))
    # Rows instead of samples: nothing is decoded to count them.
    sizes = divide(
        replace(target, samples=range(len(target))),
        validation=None,
        test=test and replace(test, samples=range(len(test))),
        validation_share=config.validation_share,
        test_share=config.test_share,
    ).sizes
    finetuned = _earlier(directory, _settings(ranking, target, test, sizes, config))
    candidates = from_main(
        accelerator, lambda: [_candidate(row, target, session.token) for row in rows]
    )
    work = most_forward_passes(config, sizes)
    models = tuple(
        PlannedModel(
            row,
            candidate,
            work / row.samples_per_second if row.samples_per_second else None,
            finetuned.of(row) is not None,
        )
        for row, candidate in zip(rows, candidates, strict=True)
    )
    plan = FinetunePlan(
        directory, ranking, models, shortlist, config, target, test, sizes, finetuned
    )
    if not shortlist.halving:
        return plan
    rounds = plan_rounds(
        len(plan.available),
        shortlist.top,
        n_train=sizes.train,
        n_classes=target.n_classes or REGRESSION_STRATA,
        epochs=config.for_samples(sizes.train).epochs,
    )
    return replace(plan, rounds=rounds)


def _check_split(ranking: Ranking, shortlist: ShortlistConfig) -> None:
    if shortlist.test_split and ranking.dataset.get("split") == "test":
        raise ConfigError(
            "This run ranked the test split, so it cannot be the unseen test part. Leave out "
            "--test-split: the test part is then held out of the sample."
        )


def _rows(ranking: Ranking, shortlist: ShortlistConfig) -> tuple[ModelRow, ...]:
    """The models of the shortlist, in the order of the ranking.

    Raises:
        ConfigError: A model is not ranked, or none is.
    """
    if not ranking.ranked:
        raise ConfigError("No model was ranked in this run, so there is none to fine-tune.")
    if not shortlist.models:
        return ranking.ranked if shortlist.halving else ranking.ranked[: shortlist.top]
    named = [find_model(ranking, name) for name in shortlist.models]
    return tuple(row for row in ranking.ranked if row in named)


def _load(
    ranking: Ranking, shortlist: ShortlistConfig, session: Session
) -> tuple[Target, Target | None]:
    """Read the samples, and the test split if it was asked for."""
    config = config_of(ranking)
    config = config.replace(revision=ranking.dataset.get("revision") or config.revision)
    if shortlist.samples in (None, config.samples):
        target = load_ranked_target(ranking, session)
    else:
        assert shortlist.samples is not None
        config = config.replace(samples=shortlist.samples)
        target = target_of(config, session)
    if not shortlist.test_split:
        return target, None
    columns = {"input_column": target.input_column, "label_column": target.label_column}
    return target, target_of(config.replace(split="test", **columns), session)


def _settings(
    ranking: Ranking,
    target: Target,
    test: Target | None,
    sizes: Sizes,
    config: FinetuneConfig,
) -> Finetuned:
    data = {
        "fingerprint": target.fingerprint,
        "test": "test split" if test else "held out",
        "test_fingerprint": test.fingerprint if test else None,
        "n_train": sizes.train,
        "n_validation": sizes.validation,
        "n_test": sizes.test,
    }
    recipe = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(config).items()}
    return Finetuned(str(ranking.dataset["fingerprint"]), data, recipe)


def _earlier(directory: Path, settings: Finetuned) -> Finetuned:
    """The settings, with what was measured by the same ones."""
    same = [s for s in read_measurements(directory) if s.has_settings_of(settings)]
    return same[-1] if same else settings


def _candidate(row: ModelRow, target: Target, token: str | None) -> Candidate:
    """The checkpoint of a row at the revision that was ranked, or why it is not there."""
    local = (row.revision or "").startswith("sha256:")
    if local and not Path(row.model_id).expanduser().is_dir():
        reason = "the folder is not here; run the command where the models were ranked"
        return Candidate(row.model_id, revision=row.revision, skip=reason)
    entry = row.model_id if local else f"{row.model_id}@{row.revision}"
    candidates = find_candidates([entry], modality=target.modality, token=token)
    if len(candidates) != 1:
        return Candidate(row.model_id, revision=row.revision, skip="no such model was found")
    [candidate] = candidates
    if candidate.skip is None and candidate.revision != row.revision:
        return replace(candidate, skip="it has changed since it was ranked; rank again")
    return candidate


@dataclass(frozen=True, slots=True)
class Round:
    """A round of the plan.

    Attributes:
        models: Number of models that are trained in it.
        n_train: Training samples of each.
        epochs: Most passes over them.
    """

    models: int
    n_train: int
    epochs: int


def plan_rounds(
    models: int, finalists: int, *, n_train: int, n_classes: int, epochs: int
) -> tuple[Round, ...]:
    """The rounds before the whole recipe, from small to large.

    Args:
        models: Number of models at the start.
        finalists: Number of models that get the whole recipe.
        n_train: Training samples of the whole recipe.
        n_classes: Number of classes.
        epochs: Epochs of the whole recipe.

    >>> plan_rounds(24, 3, n_train=800, n_classes=5, epochs=8)
    (Round(models=24, n_train=100, epochs=1), Round(models=12, n_train=200, epochs=2), \
Round(models=6, n_train=400, epochs=4))
    >>> plan_rounds(3, 3, n_train=800, n_classes=5, epochs=8)
    ()
    """
    counts = []
    while models > finalists:
        counts.append(models)
        models = max(finalists, math.ceil(models / 2))
    smallest = min(n_train, SMALLEST_CLASS * n_classes)
    rounds = []
    for index, count in enumerate(counts):
        divisor = 2 ** (len(counts) - index)
        size, length = round(n_train / divisor), round(epochs / divisor)
        rounds.append(Round(count, max(smallest, size), max(1, length)))
    return tuple(rounds)


def best(models: Sequence[T], values: Mapping[T, float], keep: int) -> list[T]:
    """The models that go on, in the order in which they were given.

    Args:
        models: The models of a round, best predicted first: of equal values the first goes on.
        values: Model -> its value on the validation part; a model without one does not go on.
        keep: How many go on.

    >>> best(["a", "b", "c", "d"], {"a": 0.5, "b": 0.7, "c": 0.5}, 2)
    ['a', 'b']
    """
    measured = [model for model in models if model in values]
    chosen = sorted(measured, key=lambda model: -values[model])[:keep]
    return [model for model in measured if model in chosen]


def share_of_training(
    rounds: Sequence[Round], models: int, finalists: int, *, n_train: int, epochs: int
) -> float:
    """Training of the plan, relative to the whole recipe for all models."""
    work = sum(round_.models * round_.n_train * round_.epochs for round_ in rounds)
    whole = n_train * epochs
    return (work + min(finalists, models) * whole) / (models * whole)


def most_trials(n_learning_rates: int) -> int:
    """The largest number of learning rates that :func:`~hf_sfda.finetune.run.climb` tries.

    >>> [most_trials(n) for n in (1, 2, 3, 5)]
    [1, 2, 3, 4]
    """
    down = n_learning_rates // 2
    up = n_learning_rates - 1 - down
    return 1 + max(up, min(up, 1) + down)


def most_forward_passes(config: FinetuneConfig, sizes: Sizes) -> float:
    """The work of one fine-tuning, in forward passes of one sample, if nothing ends early.

    Args:
        config: The recipe.
        sizes: Number of samples in each part.
    """
    config = config.for_samples(sizes.train)
    epoch = TRAINING_STEP * sizes.train + sizes.validation
    training = most_trials(len(config.learning_rates)) * config.epochs * epoch
    # Fitted twice: on the published statistics of batch norms and on those of the target.
    heads = 2 * (sizes.train + sizes.validation) + sizes.train
    return training + heads + 2 * sizes.test
