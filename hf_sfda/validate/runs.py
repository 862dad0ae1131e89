"""Compare the scores of finished runs with fine-tuned accuracies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hf_sfda.errors import ConfigError
from hf_sfda.metrics.prior import prior
from hf_sfda.types import Candidate, ModelRow, Ranking
from hf_sfda.validate.evaluate import Scores, by_target
from hf_sfda.validate.measures import (
    Measure,
    kendall,
    recall,
    regret,
    spearman,
    tau_truth_sided,
    tau_two_sided,
)
from hf_sfda.validate.over_targets import Mean, mean_over_targets, noise_ceiling, static_list
from hf_sfda.validate.truth import Truth, match

STATIC_LIST = "static list"
"""The order of the models on the other targets of the truth, see :func:`static_list`."""

FACTS = ("params", "downloads")
"""Facts of a candidate that serve as scores."""

RANDOM = "random"
"""An order by chance: the expected measures, by which tau is 0."""

CEILING = "noise ceiling"
"""A perfect score, judged by one fine-tuning run of each model, see :func:`noise_ceiling`."""


@dataclass(frozen=True)
class ScoreQuality:
    """How well one score predicts fine-tuning.

    Attributes:
        score: Name of the metric, or of a baseline.
        measures: measure -> its mean over the targets.
    """

    score: str
    measures: Mapping[str, Mean]


@dataclass(frozen=True)
class Validation:
    """The scores of runs, compared with a truth.

    Attributes:
        scores: How well each score predicts fine-tuning, the highest weighted tau first.
        targets: Target of the truth -> number of models that were compared there.
        unmatched_runs: Runs whose dataset the truth does not have.
        unmatched_models: Target -> ranked models that the truth does not have.
        missing_models: Target -> models of the truth that were not ranked.
    """

    scores: tuple[ScoreQuality, ...]
    targets: Mapping[str, int]
    unmatched_runs: tuple[str, ...]
    unmatched_models: Mapping[str, tuple[str, ...]]
    missing_models: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measures(k: int) -> dict[str, Measure]:
    """The measures of a table; regret is in points of accuracy."""
    return {
        "weighted_tau": tau_two_sided,
        "weighted_tau_by_truth": tau_truth_sided,
        "kendall": kendall,
        "spearman": spearman,
        f"recall_at_{k}": lambda truth, score: recall(truth, score, k),
        "regret_at_1": lambda truth, score: 100 * regret(truth, score),
        f"regret_at_{k}": lambda truth, score: 100 * regret(truth, score, k),
    }


def validate_runs(
    runs: Mapping[str, Ranking],
    truth: Truth,
    *,
    k: int = 3,
    target: str | None = None,
    noise: float | None = None,
) -> Validation:
    """Compare every score of the runs with the accuracies of the truth.

    A run belongs to the target with the name of its dataset, or else of its run directory; names
    are compared whole, then by their last part (:func:`hf_sfda.validate.truth.match`).

    Args:
        runs: Directory of a run -> its ranking.
        truth: Target -> model -> accuracy in 0..1.
        k: Size of the shortlist of recall and regret.
        target: The target of the truth for a single run, if the names do not match.
        noise: Standard deviation of the accuracy of one fine-tuning run; with it, the noise ceiling
            is among the scores.

    Raises:
        ConfigError: No run or no two models of a run have an accuracy, or ``target`` is unknown.
    """
    if target is not None and (target not in truth or len(runs) != 1):
        raise ConfigError(
            f"--target {target} must be a target of the truth, and needs exactly one run. Targets: "
            f"{', '.join(sorted(truth))}."
        )
    scores: dict[str, dict[str, dict[str, float]]] = {}
    compared: dict[str, int] = {}
    unmatched: list[str] = []
    unknown: dict[str, tuple[str, ...]] = {}
    missing: dict[str, tuple[str, ...]] = {}
    for run, ranking in runs.items():
        name = target or _target_of(run, ranking, truth)
        if name is None:
            unmatched.append(run)
            continue
        if name in compared:
            raise ConfigError(f"Two runs belong to the target {name}. Give one run a target.")
        models = match([row.model_id for row in ranking.ranked], list(truth[name]))
        rows = {row.model_id: row for row in ranking.ranked}
        compared[name] = len(models)
        unknown[name] = tuple(sorted(rows.keys() - models.keys()))
        missing[name] = tuple(sorted(truth[name].keys() - set(models.values())))
        for model, known in models.items():
            row = rows[model]
            facts = {fact: getattr(row, fact) for fact in FACTS}
            facts |= {RANDOM: 0.0, "prior": _prior(row, ranking)}
            for score, value in {**facts, **row.scores}.items():
                if value is not None:
                    scores.setdefault(score, {}).setdefault(name, {})[known] = float(value)
    if not any(number > 1 for number in compared.values()):
        raise ConfigError(
            "No run shares two models or more with the truth. Runs: "
            f"{', '.join(runs)}. Targets of the truth: {', '.join(sorted(truth))}. "
            "If one of them is the data of a single run under another name: --target NAME."
        )
    predictors: dict[str, Scores] = {**scores, STATIC_LIST: _static_scores(truth, compared)}
    qualities = [_quality_of(name, values, truth, k) for name, values in predictors.items()]
    if noise is not None:
        qualities.append(_ceiling(truth, compared, scores[RANDOM], noise, k))
    qualities = [quality for quality in qualities if quality.measures["weighted_tau"].n_targets]
    qualities.sort(key=lambda quality: -quality.measures["weighted_tau"].value)
    return Validation(tuple(qualities), compared, tuple(unmatched), unknown, missing)


def _quality_of(name: str, scores: Scores, truth: Truth, k: int) -> ScoreQuality:
    values = {
        measure: mean_over_targets(list(by_target(truth, scores, function).values()))
        for measure, function in measures(k).items()
    }
    if name == RANDOM:  # a constant has no correlation; that of an order by chance is 0
        n_targets = max(mean.n_targets for mean in values.values())
        none = Mean(0.0, None, None, n_targets)
        values = {measure: mean if mean.n_targets else none for measure, mean in values.items()}
    return ScoreQuality(name, values)


def _ceiling(
    truth: Truth, targets: Mapping[str, int], ranked: Scores, noise: float, k: int
) -> ScoreQuality:
    accuracies = [
        np.array([truth[name][model] for model in ranked[name]])
        for name, number in targets.items()
        if number > 1
    ]
    values = {
        measure: mean_over_targets([noise_ceiling(a, noise, function) for a in accuracies])
        for measure, function in measures(k).items()
    }
    return ScoreQuality(CEILING, values)


def _prior(row: ModelRow, ranking: Ranking) -> float | None:
    """The metric ``prior``, from the name of an image model."""
    score = prior(Candidate(row.model_id, pipeline_tag=ranking.dataset.get("task")))
    return None if score is None else score.value


def _target_of(run: str, ranking: Ranking, truth: Truth) -> str | None:
    for name in (str(ranking.dataset.get("id", "")), run):
        if matched := match([name], list(truth)):
            return matched[name]
    return None


def _static_scores(truth: Truth, targets: Sequence[str] | Mapping[str, int]) -> Scores:
    names = sorted(truth)
    models = sorted({model for accuracies in truth.values() for model in accuracies})
    table = np.array([[truth[t].get(m, np.nan) for m in models] for t in names])
    lists = static_list(table)
    return {
        name: dict(zip(models, lists[names.index(name)].tolist(), strict=True)) for name in targets
    }
