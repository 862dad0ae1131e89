"""A leaderboard read back as the ranking it was made of, or would be made of."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hf_sfda.publish.boards import time_of
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    from hf_sfda.publish.boards import Board, Entry


def ranking_of(board: Board) -> Ranking:
    """What ``hf-sfda rank`` would have written, as far as rows of a results dataset tell.

    Models of one run keep their ties, rank intervals and chance to be best. These are relations
    between models: where the board joins several runs, or models of its run have gone elsewhere
    since, they are not known, and a warning says so. What rows never hold is absent: class names,
    sizes of classes, and which candidates were asked for.
    """
    about = board.about
    places = range(1, len(board.entries) + 1)
    one_run = board.n_runs <= 1
    whole = one_run and [entry.row["rank"] for entry in board.entries] == list(places)
    rows = [
        _ranked(entry, place, board, one_run=one_run, whole=whole)
        for place, entry in zip(places, board.entries, strict=True)
    ]
    return Ranking(
        config=board.settings
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
        rows=(*rows, *(_left_out(row) for row in board.left_out)),
        **_judgement(board, rows, one_run=one_run, whole=whole),
        tool_version=about["tool_version"] or "",
        versions=json.loads(about["versions"] or "{}"),
        created_at=time_of(about),
    )


def _judgement(
    board: Board, rows: Sequence[ModelRow], *, one_run: bool, whole: bool
) -> dict[str, Any]:
    """Agreement and warnings, which are not kept and follow from the rows."""
    from hf_sfda.uncertainty import agreement_with, diagnose_rows

    about, warnings = board.about, []
    metric = about["ranked_by"]
    table = {
        name: [row.scores.get(name, math.nan) for row in rows] for name in (metric, *board.metrics)
    }
    agreement = agreement_with(metric, table) if rows else {}
    if not one_run:
        warnings.append(
            f"{board.n_runs} runs with the same settings on the same samples are joined here, the "
            "newest measurement of each model. Ties are known only within a run, so none are shown."
        )
    elif not whole:
        warnings.append(
            "Models that were ranked with these have been measured again since, without a score. "
            "Rank ranges and P(best) counted them, so none are shown."
        )
    warnings += diagnose_rows(
        rows,
        metric=metric,
        n_samples=about["n"],
        n_classes=about["n_classes"],
        agreement=agreement,
    )
    return {"agreement": agreement, "warnings": tuple(warnings)}


def _ranked(entry: Entry, place: int, board: Board, *, one_run: bool, whole: bool) -> ModelRow:
    from hf_sfda.uncertainty import diagnose_row

    row, metric = entry.row, board.about["ranked_by"]
    limits = {} if row["low"] is None else {metric: (row["low"], row["high"])}
    ranks = (row["rank_low"], row["rank_high"])
    made = replace(
        _about_model(row),
        rank=place,
        tie_group=row["tie_group"] if one_run else place,
        scores={metric: row["value"], **entry.others},
        intervals={**limits, **entry.intervals},
        rank_interval=ranks if whole and row["rank_low"] is not None else None,
        p_best=row["p_best"] if whole else None,
        noise_floor=row["noise_floor"],
    )
    hazards = diagnose_row(
        made, metric=metric, n_samples=board.about["n"], n_classes=board.about["n_classes"]
    )
    known = board.settings.get("metrics") or [metric, *board.metrics]
    return replace(made, warnings=_split(row["warnings"], hazards, known))


def _left_out(row: Mapping[str, Any]) -> ModelRow:
    made = replace(_about_model(row), reason=row["reason"])
    return replace(made, warnings=(row["warnings"],)) if row["warnings"] else made


def _about_model(row: Mapping[str, Any]) -> ModelRow:
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


def _split(joined: str | None, hazards: Sequence[str], metrics: Sequence[str]) -> tuple[str, ...]:
    """The warnings of a row, which are kept as one text: hazards first, then what metrics said.

    A warning may hold a semicolon itself; but each of a metric begins with the metric's name.
    """
    rest, found = joined or "", []
    for hazard in hazards:
        if rest == hazard or rest.startswith(f"{hazard}; "):
            found.append(hazard)
            rest = rest[len(hazard) :].removeprefix("; ")
    names = "|".join(map(re.escape, metrics))
    return (*found, *(part for part in re.split(rf"; (?=(?:{names})\b)", rest) if part))
