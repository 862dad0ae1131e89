"""Sort a ranking by another metric."""

from __future__ import annotations

import math
from dataclasses import replace

from hf_sfda.errors import ConfigError
from hf_sfda.foreign import listing
from hf_sfda.tasks import compared_classes, has_benchmark
from hf_sfda.types import ModelRow, Ranking, RowWarning


def sorted_by(ranking: Ranking, metric: str) -> Ranking:
    """Sort a ranking by another of its metrics.

    Ties, rank intervals, P(best) and the noise floor are known only for the metric of the run, so
    the new ranking has none. In the new ranking only equal scores share a tie group.

    Args:
        ranking: The ranking of a run or of a leaderboard.
        metric: A metric that its rows have.

    Returns:
        The new ranking: first the models that have the metric, best first; then those that lack it,
        as skipped with a reason; then the other rows unchanged. If ``metric`` is the ranking's
        metric already, the ranking itself.

    Raises:
        ConfigError: No ranked model has this metric.
    """
    if metric == ranking.metric:
        return ranking
    scored = [row for row in ranking.ranked if _has(row, metric)]
    if not scored:
        names = dict.fromkeys(name for row in ranking.ranked for name in row.scores)
        raise ConfigError(
            f"No model here has {metric}; this ranking can be sorted by {listing(names, 40) or '-'}"
            "."
        )
    scored.sort(key=lambda row: -row.scores[metric])  # stable: equal scores keep their order
    values = [row.scores[metric] for row in scored]
    ranked = [
        _with_place(row, place, values.index(row.scores[metric]) + 1, ranking, metric)
        for place, row in enumerate(scored, 1)
    ]
    unscored = [_as_skipped(row, metric) for row in ranking.ranked if not _has(row, metric)]
    rows = (*ranked, *unscored, *(row for row in ranking.rows if row.status != "ok"))
    return _with_warnings(
        replace(
            ranking,
            config={**ranking.config, "metric": metric},
            rows=rows,
            learning_curve=None,
        ),
        ranking,
    )


def _with_warnings(new: Ranking, old: Ranking) -> Ranking:
    """Add the agreement and the warnings of the new order."""
    from hf_sfda.uncertainty import agreement_with, coverage_warnings, diagnose_rows

    names = dict.fromkeys(name for row in new.ranked for name in row.scores)
    table = {name: [row.scores.get(name, math.nan) for row in new.ranked] for name in names}
    agreement = agreement_with(new.metric, table)
    size = {
        "n_samples": int(old.dataset["n_samples"]),
        "n_classes": compared_classes(old.dataset.get("task"), old.dataset["n_classes"]),
    }
    outdated = diagnose_rows(old.rows, metric=old.metric, agreement=old.agreement, **size)
    task, n_classes = old.dataset.get("task"), int(old.dataset["n_classes"])
    if has_benchmark(task):  # about the P(best) of the old order
        outdated += coverage_warnings(old.config, task, size["n_samples"], n_classes)
    warnings = (
        f"Sorted by {new.metric}. Ties and noise floors were worked out for {old.metric} only, so "
        "small differences may mean nothing.",
        *diagnose_rows(new.rows, metric=new.metric, agreement=agreement, **size),
        *(warning for warning in old.warnings if warning not in outdated),
    )
    return replace(new, agreement=agreement, warnings=warnings)


def _has(row: ModelRow, metric: str) -> bool:
    return math.isfinite(row.scores.get(metric, math.nan))


def _with_place(row: ModelRow, place: int, group: int, ranking: Ranking, metric: str) -> ModelRow:
    """A row with its new place, tie group and warnings."""
    from hf_sfda.uncertainty import diagnose_row

    size = {
        "n_samples": int(ranking.dataset["n_samples"]),
        "n_classes": compared_classes(ranking.dataset.get("task"), ranking.dataset["n_classes"]),
    }
    metric_warnings = tuple(_named(warning) for warning in row.warnings if warning.metric)
    new = replace(
        row, rank=place, tie_group=group, rank_interval=None, p_best=None, noise_floor=None
    )
    return replace(new, warnings=(*diagnose_row(new, metric=metric, **size), *metric_warnings))


def _named(warning: RowWarning) -> RowWarning:
    """A metric's warning whose text names the metric, now that the rows are sorted by another."""
    if warning.metric is None or warning.metric in warning.text:
        return warning
    return replace(warning, text=f"{warning.metric}: {warning.text}")


def _as_skipped(row: ModelRow, metric: str) -> ModelRow:
    """A row without the metric, as skipped; the reason is the metric's own warning, if any."""
    reasons = [warning.text for warning in row.warnings if warning.metric == metric]
    return replace(
        row,
        status="skipped",
        reason=reasons[0] if reasons else f"it has no {metric}",
        rank=None,
        tie_group=None,
        rank_interval=None,
        p_best=None,
        noise_floor=None,
    )
