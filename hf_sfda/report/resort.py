"""The same models in the order of another metric."""

from __future__ import annotations

import math
from dataclasses import replace

from hf_sfda.errors import ConfigError
from hf_sfda.foreign import listing
from hf_sfda.types import ModelRow, Ranking


def sorted_by(ranking: Ranking, metric: str) -> Ranking:
    """Order a ranking by a metric that its rows have.

    Ties, rank intervals, the chance to be best and the noise floor were worked out for the metric
    that the run ranked by, and go; what the new order is worth beside equal scores is not known.
    Only equal scores share a tie group.

    Args:
        ranking: As a run or a board gives it.
        metric: One of its scores.

    Returns:
        The ranked models that have the metric, best first; then those that lack it, as skipped,
        with the reason; then the others as they were. The ranking itself if it is sorted by this
        metric already.

    Raises:
        ConfigError: No ranked model has this metric.
    """
    if metric == ranking.metric:
        return ranking
    having = [row for row in ranking.ranked if _has(row, metric)]
    if not having:
        known = dict.fromkeys(name for row in ranking.ranked for name in row.scores)
        raise ConfigError(
            f"No model here has {metric}; this ranking can be sorted by {listing(known, 40) or '-'}"
            "."
        )
    having.sort(key=lambda row: -row.scores[metric])  # stable: equal scores stay as they were
    values = [row.scores[metric] for row in having]
    ranked = [
        _placed(row, place, values.index(row.scores[metric]) + 1, ranking, metric)
        for place, row in enumerate(having, 1)
    ]
    lacking = [_lacking(row, metric) for row in ranking.ranked if not _has(row, metric)]
    rows = (*ranked, *lacking, *(row for row in ranking.rows if row.status != "ok"))
    return _judged(
        replace(ranking, config={**ranking.config, "metric": metric}, rows=rows), ranking
    )


def _judged(new: Ranking, old: Ranking) -> Ranking:
    """With agreement and warnings that belong to the new order."""
    from hf_sfda.uncertainty import agreement_with, diagnose_rows

    names = dict.fromkeys(name for row in new.ranked for name in row.scores)
    table = {name: [row.scores.get(name, math.nan) for row in new.ranked] for name in names}
    agreement = agreement_with(new.metric, table)
    size = {
        "n_samples": int(old.dataset["n_samples"]),
        "n_classes": int(old.dataset["n_classes"]),
    }
    said = diagnose_rows(old.rows, metric=old.metric, agreement=old.agreement, **size)
    warnings = (
        f"Sorted by {new.metric}. Ties and noise floors were worked out for {old.metric} only, so "
        "small differences may mean nothing.",
        *diagnose_rows(new.rows, metric=new.metric, agreement=agreement, **size),
        *(warning for warning in old.warnings if warning not in said),
    )
    return replace(new, agreement=agreement, warnings=warnings)


def _has(row: ModelRow, metric: str) -> bool:
    return math.isfinite(row.scores.get(metric, math.nan))


def _placed(row: ModelRow, place: int, group: int, ranking: Ranking, metric: str) -> ModelRow:
    from hf_sfda.uncertainty import diagnose_row

    size = {
        "n_samples": int(ranking.dataset["n_samples"]),
        "n_classes": int(ranking.dataset["n_classes"]),
    }
    old = diagnose_row(row, metric=ranking.metric, **size)
    said = tuple(
        # What the run's own metric said about itself now needs its name.
        text if text.startswith(tuple(row.scores)) else f"{ranking.metric}: {text}"
        for text in row.warnings
        if text not in old
    )
    new = replace(
        row, rank=place, tie_group=group, rank_interval=None, p_best=None, noise_floor=None
    )
    return replace(new, warnings=(*diagnose_row(new, metric=metric, **size), *said))


def _lacking(row: ModelRow, metric: str) -> ModelRow:
    told = [text for text in row.warnings if text.startswith(f"{metric}: ")]
    return replace(
        row,
        status="skipped",
        reason=told[0] if told else f"it has no {metric}",
        rank=None,
        tie_group=None,
        rank_interval=None,
        p_best=None,
        noise_floor=None,
    )
