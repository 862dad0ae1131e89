"""The summary of a ranking in sentences, shared by the terminal table and the HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from hf_sfda import tasks
from hf_sfda.config import rank_command, with_current_names
from hf_sfda.format import joined, known, label, points, score, share
from hf_sfda.metrics import BASELINES
from hf_sfda.report import measured
from hf_sfda.tasks import columns_phrase, label_facts
from hf_sfda.types import ModelRow, Ranking
from hf_sfda.uncertainty import Calibration, find_calibration
from hf_sfda.uncertainty.diagnose import AGREEMENT, DISAGREEMENT, FEW_MODELS

SURE = 0.9
"""Probability that the best model is in the shortlist."""

_LONGEST = 5  # models in it


def confidence(ranking: Ranking) -> str:
    """The level of the intervals, such as ``95%``."""
    return f"{float(ranking.config.get('confidence', 0.95)) * 100:g}%"


def heading(ranking: Ranking, metric: str) -> str:
    """The heading of a metric, which says R² where it is no accuracy."""
    return label(metric, skill=not has_classes(ranking))


def has_classes(ranking: Ranking) -> bool:
    """Whether each sample has one class."""
    return tasks.has_classes(tasks.kind_of_task(ranking.dataset.get("task")))


def tie_labels(ranked: Sequence[ModelRow]) -> list[str]:
    """The texts of the column ``#``: the places of each row's tie group, ``1-3`` or ``4``."""
    spans = {place: places for places in _groups(ranked) for place in places}
    return [
        f"{places[0]}-{places[-1]}" if len(places := spans[row.rank or 0]) > 1 else f"{places[0]}"
        for row in ranked
    ]


def target(ranking: Ranking) -> str:
    """The dataset and the sample drawn from it, in one line."""
    data = ranking.dataset
    name, config = str(data["id"]), data.get("config")
    if config and not name.endswith(f":{config}"):
        name += f":{config}"
    revision = f" @ {str(data['revision'])[:7]}" if data.get("revision") else ""
    drawn, available = int(data["n_samples"]), int(data.get("n_available") or data["n_samples"])
    of = f" of {available:,}" if available > drawn else ""
    left_out = sum((data.get("left_out") or {}).values())
    return " · ".join(
        [
            f"{name}{revision}",
            *label_facts(data),
            f"{drawn:,}{of} {data['split']} samples, stratified, seed {data.get('seed', 0)}",
            *([columns] if (columns := columns_phrase(data)) else []),
            *([f"{left_out:,} left out"] if left_out else []),
        ]
    )


def candidates(ranking: Ranking) -> str:
    """How many candidates there were, and how many of them were ranked, skipped or failed."""
    statuses = [row.status for row in ranking.rows]
    total = len(statuses)
    parts = [f"{total} candidate{'s' * (total != 1)}", f"{statuses.count('ok')} ranked"]
    parts += [f"{n} {status}" for status in ("skipped", "failed") if (n := statuses.count(status))]
    return " · ".join(parts)


def ties_known(ranking: Ranking) -> bool:
    """Whether the ranking tested which differences between models are significant.

    It did not if the metric has one number per model without samples, if a leaderboard merges
    several runs, or if the rows are sorted by another metric than the run's.

    There are two signs of a test: rows have P(best), or models with different scores share a tie
    group. The second one is needed for a leaderboard that has lost a model and therefore P(best).
    """
    ranked, metric = ranking.ranked, ranking.metric
    if not ranked:
        return False
    scores = {(row.tie_group, row.scores[metric]) for row in ranked}
    unequal = len(scores) > len({group for group, _ in scores})
    return ranked[0].p_best is not None or unequal


def ties(ranking: Ranking) -> str:
    """Which models are tied for a place; empty for one model or if ties are unknown."""
    ranked = ranking.ranked
    if len(ranked) < 2 or not ties_known(ranking):
        return ""
    level, groups = confidence(ranking), _groups(ranked)
    first, shared = groups[0], any(len(places) > 1 for places in groups[1:])
    if len(first) > 1:
        word = "and" if len(first) == 2 else "to"
        rest = " Nor can others that share a place." if shared else ""
        return f"{first[0]} {word} {first[-1]} cannot be told apart at {level}.{rest}"
    if shared:
        return f"1 is ahead of the next at {level}; models that share a place cannot be told apart."
    return f"Each model can be told from the next at {level}."


def agreement(ranking: Ranking) -> str:
    """Whether the baselines agree with the order; empty if there are too few models."""
    taus = {
        name: tau for name, tau in ranking.agreement.items() if name in BASELINES and known(tau)
    }
    if not taus or len(ranking.ranked) < FEW_MODELS:
        return ""
    names = joined([_name_in_sentence(ranking, name) for name in taus])
    values = ", ".join(share(tau) for tau in taus.values())
    plural = "" if len(taus) > 1 else "s"
    if min(taus.values()) >= AGREEMENT:
        verb = f"agree{plural}"
    elif max(taus.values()) < DISAGREEMENT:
        verb = f"disagree{plural}"
    else:
        verb = f"agree{plural} in part"
    subject = names.replace("the", "The", 1) if names.startswith("the") else names
    return f"{subject} {verb} with the order (weighted tau {values})."


def learning_curve(ranking: Ranking) -> str:
    """Whether more samples would change the order; empty if the run did not measure it."""
    curve = ranking.learning_curve
    if curve is None:
        return ""
    tau = sum(curve.reproducibility[-1]) / len(curve.reproducibility[-1])
    if not known(tau):
        return "The models score alike on every sample: there is no order that could move."
    facts = (
        f"two disjoint samples of {curve.sizes[-1]:,} agree with a weighted tau of {tau:.2f}, "
        f"and {curve.top_kept[-1]:.0%} of them put the same model first"
    )
    if curve.settled:
        return f"The order has settled: {facts}. More samples would change little."
    return f"The order is still moving: {facts}. More samples would help."


def choice(ranking: Ranking) -> ModelRow | None:
    """The model to fine-tune: the first one, or the best one if several were fine-tuned.

    A tie means that the order is not certain, not that the models are equal: on the film reviews of
    the demo the smallest of the tie ends 3.8 points below the first (benchmarks/zoo/truth.csv).
    """
    if best := measured.best(ranking):
        return best.row
    return ranking.ranked[0] if ranking.ranked else None


def is_calibrated(ranking: Ranking) -> bool:
    """Whether P(best) and ties are about fine-tuned accuracy, and not about the score alone."""
    return (
        len(ranking.ranked) > 1
        and _calibration(ranking) is not None
        and all(row.p_best is not None for row in ranking.ranked)
    )


def reliability(ranking: Ranking) -> tuple[tuple[float, float, int], ...]:
    """How often the benchmark's predictions were right, see
    :class:`hf_sfda.uncertainty.Calibration`; empty if the score is not calibrated.
    """
    calibration = _calibration(ranking)
    return calibration.reliability if calibration and is_calibrated(ranking) else ()


def _calibration(ranking: Ranking) -> Calibration | None:
    return find_calibration(with_current_names(ranking.config), ranking.dataset.get("task"))


def shortlist(ranking: Ranking) -> tuple[list[ModelRow], float]:
    """The models to fine-tune, and the probability that the best one is among them.

    These are the fewest models that contain the best one with a probability of :data:`SURE`, at
    most :data:`_LONGEST`, in the order of the ranking.
    """
    rows = sorted(ranking.ranked, key=lambda row: -(row.p_best or 0))
    chosen, probability = rows[:1], rows[0].p_best or 0.0
    for row in rows[1:_LONGEST]:
        if probability > SURE - 1e-9:
            break
        chosen.append(row)
        probability += row.p_best or 0.0
    return sorted(chosen, key=lambda row: row.rank or 0), min(probability, 1.0)


def smaller_option(ranking: Ranking) -> ModelRow | None:
    """The smallest model that is tied with the first one, if it is at most half its size."""
    tied = first_group(ranking)
    if any(row.params is None for row in tied):
        return None
    smallest = min(tied, key=lambda row: row.params or 0)
    return smallest if 2 * (smallest.params or 0) <= (tied[0].params or 0) else None


def first_group(ranking: Ranking) -> list[ModelRow]:
    """The models that are tied for the first place."""
    ranked = ranking.ranked
    return [row for row in ranked if row.tie_group == ranked[0].tie_group]


def advice(ranking: Ranking) -> str:
    """The recommended next step with its reason, as one sentence."""
    chosen = choice(ranking)
    if chosen is None:
        return "Nothing could be ranked; the reasons stand beside each candidate."
    return f"Fine-tune {chosen.model_id}: {reason(ranking)}."


def reason(ranking: Ranking) -> str:
    """Why :func:`choice` selects its model, as a clause without the model's name."""
    if best := measured.best(ranking):
        return f"the best of the {best.among} that were fine-tuned"
    ranked = ranking.ranked
    if len(ranked) == 1:
        return "the only model ranked"
    tied = first_group(ranking)
    if is_calibrated(ranking):
        return _by_probability(ranking)
    if len(tied) == 1:
        return f"first by {label(ranking.metric)}"
    others = "one other" if len(tied) == 2 else f"{len(tied) - 1} others"
    smaller = smaller_option(ranking)
    if smaller is None:
        return f"first, in a tie with {others}"
    behind = score(tied[0].scores[ranking.metric] - smaller.scores[ranking.metric])
    return f"first, in a tie with {others}; {_in_size(smaller, tied[0])} is {behind} behind"


def _by_probability(ranking: Ranking) -> str:
    """The reason where the score is calibrated: probabilities, and the price of a smaller model."""
    first, total = ranking.ranked[0], len(ranking.ranked)
    models, probability = shortlist(ranking)
    text = f"best of the {total} after fine-tuning with probability {share(first.p_best)}"
    if len(models) > 1:
        names = [row.model_id for row in models]
        text += (
            f"; fine-tune {len(models)} to have it with probability {share(probability)}: "
            f"{joined(names)}"
        )
    smaller = smaller_option(ranking)
    if smaller is not None and smaller.expected_regret is not None:
        behind = smaller.expected_regret - (first.expected_regret or 0.0)
        text += f"; {_in_size(smaller, first)} is {points(behind)} behind it in expectation"
    return text


def _in_size(smaller: ModelRow, first: ModelRow) -> str:
    times = (first.params or 0) / (smaller.params or 1)
    return f"{smaller.model_id}, {times:.2g} times smaller,"


def command(ranking: Ranking) -> str:
    """The command that repeats the run, with all options that differ from the defaults."""
    return rank_command(with_current_names(ranking.config))


def hazards(row: ModelRow) -> list[str]:
    """The hazards of the model's place, and why a metric has no score.

    What a metric warned of beside its score is only in the long report.
    """
    return [warning.text for warning in row.warnings if warning.metric not in row.scores]


def _groups(ranked: Sequence[ModelRow]) -> list[list[int]]:
    """The places of each tie group, best group first."""
    return [
        [row.rank or 0 for row in members]
        for _, members in groupby(ranked, key=lambda row: row.tie_group)
    ]


def _name_in_sentence(ranking: Ranking, metric: str) -> str:
    name = heading(ranking, metric)
    return name if metric == "knn" else f"the {name}"


_UNITS = {"image": "img/s", "text": "texts/s", "audio": "sounds/s"}


def speed_unit(ranking: Ranking) -> str:
    """The unit of the throughput, for example ``img/s``."""
    task = str(ranking.dataset.get("task", ""))
    return next((unit for word, unit in _UNITS.items() if word in task), "samples/s")
