"""Convert a leaderboard of the results dataset to a :class:`~hf_sfda.types.Ranking`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hf_sfda.publish.leaderboards import Leaderboard, LeaderboardEntry
from hf_sfda.publish.row_files import time_of
from hf_sfda.tasks import calibration_warning, compared_classes
from hf_sfda.types import ModelRow, Ranking, RowWarning


def to_ranking(leaderboard: Leaderboard) -> Ranking:
    """The ranking that ``hf-sfda rank`` would have made, from the rows of a results dataset.

    Ties, rank intervals and P(best) are relations between models of one run. If the leaderboard
    merges several runs, or some models of its run were measured again later, they are unknown: the
    ranking omits them and has a warning. Class names, class sizes and the requested candidates are
    not in the rows, so they are always missing.
    """
    about = leaderboard.about
    places = range(1, len(leaderboard.entries) + 1)
    one_run = leaderboard.n_runs <= 1
    complete = one_run and [entry.row["rank"] for entry in leaderboard.entries] == list(places)
    rows = [
        _ranked_row(entry, place, leaderboard, one_run=one_run, complete=complete)
        for place, entry in zip(places, leaderboard.entries, strict=True)
    ]
    return Ranking(
        config=leaderboard.settings
        | {
            "dataset": about["dataset"],
            "metric": about["ranked_by"],
            "fingerprint": about["config_fingerprint"],
        },
        dataset={
            "id": about["dataset"],
            "revision": about["dataset_revision"],
            "config": about["dataset_config"],
            "split": about["dataset_split"],
            "task": about["task"],
            "n_samples": about["n"],
            "n_classes": about["n_classes"],
            "seed": about["seed"],
            "fingerprint": about["dataset_fingerprint"],
        },
        rows=(*rows, *(_left_out(row) for row in leaderboard.left_out)),
        **_agreement_and_warnings(leaderboard, rows, one_run=one_run, complete=complete),
        tool_version=about["tool_version"] or "",
        versions=json.loads(about["versions"] or "{}"),
        created_at=time_of(about),
        finetuned=leaderboard.finetuned,
    )


def _agreement_and_warnings(
    leaderboard: Leaderboard, rows: Sequence[ModelRow], *, one_run: bool, complete: bool
) -> dict[str, Any]:
    """Compute the metrics' agreement and the ranking's warnings, which the rows do not store."""
    from hf_sfda.uncertainty import agreement_with, diagnose_rows

    about, warnings = leaderboard.about, []
    metric = about["ranked_by"]
    table = {
        name: [row.scores.get(name, math.nan) for row in rows]
        for name in (metric, *leaderboard.metrics)
    }
    agreement = agreement_with(metric, table) if rows else {}
    if not one_run:
        warnings.append(
            f"{leaderboard.n_runs} runs with the same settings on the same samples are joined "
            "here, the newest measurement of each model. Ties are known only within a run, so none "
            "are shown."
        )
    elif not complete:
        warnings.append(
            "Models that were ranked with these have been measured again since, without a score. "
            "Rank ranges and P(best) counted them, so none are shown."
        )
    warnings += diagnose_rows(
        rows,
        metric=metric,
        n_samples=about["n"],
        n_classes=compared_classes(about["task"], about["n_classes"]),
        agreement=agreement,
    )
    warnings += calibration_warning(about["task"])
    return {"agreement": agreement, "warnings": tuple(warnings)}


def _ranked_row(
    entry: LeaderboardEntry, place: int, leaderboard: Leaderboard, *, one_run: bool, complete: bool
) -> ModelRow:
    from hf_sfda.uncertainty import diagnose_row

    row, metric = entry.row, leaderboard.about["ranked_by"]
    limits = {} if row["low"] is None else {metric: (row["low"], row["high"])}
    ranks = (row["rank_low"], row["rank_high"])
    ranked = replace(
        _unranked_row(row),
        rank=place,
        tie_group=row["tie_group"] if one_run else place,
        scores={metric: row["value"], **entry.others},
        intervals={**limits, **entry.intervals},
        rank_interval=ranks if complete and row["rank_low"] is not None else None,
        p_best=row["p_best"] if complete else None,
        expected_regret=entry.expected_regret if complete else None,
        noise_floor=row["noise_floor"],
    )
    hazards = diagnose_row(
        ranked,
        metric=metric,
        n_samples=leaderboard.about["n"],
        n_classes=compared_classes(leaderboard.about["task"], leaderboard.about["n_classes"]),
    )
    known = leaderboard.settings.get("metrics") or [metric, *leaderboard.metrics]
    return replace(ranked, warnings=_split(row["warnings"], hazards, known))


def _left_out(row: Mapping[str, Any]) -> ModelRow:
    warnings = (RowWarning(None, row["warnings"]),) if row["warnings"] else ()
    return replace(_unranked_row(row), reason=row["reason"], warnings=warnings)


def _unranked_row(row: Mapping[str, Any]) -> ModelRow:
    return ModelRow(
        model_id=row["model"],
        revision=row["model_revision"],
        status=row["status"],
        params=row["params"],
        feature_dim=row["feature_dim"],
        download_bytes=row["download_bytes"],
        samples_per_second=row["samples_per_second"],
        license=row["license"],
        downloads=row["downloads"],
        library=row["extractor"],
        feature_key=row["feature_key"],
    )


def _split(
    joined: str | None, hazards: Sequence[RowWarning], metrics: Sequence[str]
) -> tuple[RowWarning, ...]:
    """Split the text of a row's warnings, which are joined with semicolons.

    A warning may contain a semicolon itself. So the diagnoses are recognised by their text, and the
    metrics' own warnings, which follow, by the metric's name at their start.

    Args:
        joined: The text in the column ``warnings``.
        hazards: The diagnoses that the row's scores give.
        metrics: Names of the metrics.
    """
    rest, diagnoses = joined or "", []
    for hazard in hazards:
        if rest == hazard.text or rest.startswith(f"{hazard.text}; "):
            diagnoses.append(hazard)
            rest = rest[len(hazard.text) :].removeprefix("; ")
    names = "|".join(map(re.escape, metrics))
    parts = [part for part in re.split(rf"; (?=(?:{names})\b)", rest) if part]
    return (*diagnoses, *(RowWarning.of_text(part, metrics) for part in parts))
