"""The plan of ``hf-sfda finetune``: which models of a run, on which parts, in about what time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.config import FinetuneConfig, ShortlistConfig
from hf_sfda.dataset import target_of
from hf_sfda.errors import ConfigError
from hf_sfda.finetune.cost import most_forward_passes
from hf_sfda.finetune.halving import REGRESSION_STRATA, Round, plan_rounds, share_of_training
from hf_sfda.finetune.parts import Sizes, divide
from hf_sfda.measurements import read_measurements
from hf_sfda.names import find_model
from hf_sfda.processes import from_main, main_first
from hf_sfda.progress import Progress
from hf_sfda.runs import config_of, load_ranked_target, read_ranking
from hf_sfda.scan import find_candidates
from hf_sfda.types import Candidate, Finetuned, ModelRow, Ranking, Target

if TYPE_CHECKING:
    from accelerate import Accelerator


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
    token: str | None = None,
    accelerator: Accelerator | None = None,
    progress: Progress | None = None,
) -> FinetunePlan:
    """Plan the fine-tuning of the first models of a run. Nothing is trained or written.

    The dataset is read again at the commit that was ranked, and divided by the rules of
    :mod:`hf_sfda.finetune.parts`: the parts are the same for every model.

    Args:
        directory: The directory that ``hf-sfda rank`` wrote.
        shortlist: Which models and samples; the defaults by default.
        recipe: Fields of :class:`~hf_sfda.config.FinetuneConfig` that differ from the defaults.
            The length of texts is that of the run.
        token: Hub token.
        accelerator: Made here if not given.
        progress: Told what is read.

    Raises:
        ConfigError: There is no finished run, a model is not ranked, or an option is wrong.
        TargetError: The dataset cannot be read, is not what was ranked, or is too small to divide.
    """
    from hf_sfda.extract import make_accelerator

    accelerator = accelerator or make_accelerator()
    shortlist = shortlist or ShortlistConfig()
    directory = Path(directory)
    ranking = read_ranking(directory)
    _check_split(ranking, shortlist)
    config = FinetuneConfig(**{"max_length": config_of(ranking).max_length, **(recipe or {})})
    rows = _rows(ranking, shortlist)
    target, test = main_first(
        accelerator, lambda: _load(ranking, shortlist, token=token, progress=progress)
    )
    # Rows instead of samples: nothing is decoded to count them.
    sizes = divide(
        replace(target, samples=range(len(target))),
        validation=None,
        test=test and replace(test, samples=range(len(test))),
        validation_share=config.validation_share,
        test_share=config.test_share,
    ).sizes
    finetuned = _earlier(directory, _settings(ranking, target, test, sizes, config))
    candidates = from_main(accelerator, lambda: [_candidate(row, target, token) for row in rows])
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
    ranking: Ranking,
    shortlist: ShortlistConfig,
    *,
    token: str | None,
    progress: Progress | None,
) -> tuple[Target, Target | None]:
    """Read the samples, and the test split if it was asked for."""
    config = config_of(ranking)
    config = config.replace(revision=ranking.dataset.get("revision") or config.revision)
    if shortlist.samples in (None, config.samples):
        target = load_ranked_target(ranking, token=token, progress=progress)
    else:
        assert shortlist.samples is not None
        config = config.replace(samples=shortlist.samples)
        target = target_of(config, token=token, progress=progress)
    if not shortlist.test_split:
        return target, None
    columns = {"input_column": target.input_column, "label_column": target.label_column}
    test = target_of(config.replace(split="test", **columns), token=token, progress=progress)
    return target, test


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
