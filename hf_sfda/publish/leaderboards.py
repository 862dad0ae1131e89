"""Make leaderboards from result rows, and rankings from leaderboards.

A leaderboard holds only scores that are comparable. Its ranking is the one that ``hf-sfda rank``
would have made.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Any

from hf_sfda.publish.finetuning_rows import finetuned_of
from hf_sfda.publish.row_files import Row, moment_of, split_of, time_of
from hf_sfda.publish.rows import SAME_NAMES
from hf_sfda.publish.track_record import model_of, truth_of
from hf_sfda.tasks import calibration_warning, compared_classes
from hf_sfda.types import Finetuned, Measurement, ModelRow, Ranking, RowWarning, Update
from hf_sfda.uncertainty import (
    agreement_with,
    at_floor,
    coverage_warnings,
    diagnose_row,
    diagnose_rows,
)


@dataclass(frozen=True)
class LeaderboardEntry:
    """One ranked model of a leaderboard.

    Attributes:
        place: ``"4"``, or ``"1-3"`` for tied models.
        row: The row with the metric that sorts the leaderboard; the columns are those of
            :func:`hf_sfda.publish.rows.schema`.
        others: The model's other scores: metric -> value.
        intervals: metric -> (low, high), for the ``others`` that have an interval.
        expected_regret: As in :class:`~hf_sfda.types.ModelRow`. It is about the models of one run,
            so it is ``None`` if the entries come from several runs.
        measurement: What the model reached when it was fine-tuned; ``None`` if it was not.
    """

    place: str
    row: Mapping[str, Any]
    others: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    expected_regret: float | None = None
    measurement: Measurement | None = None

    @property
    def at_floor(self) -> bool:
        """Whether the score is not above the noise floor, the scores with shuffled labels."""
        low = self.row["value"] if self.row["low"] is None else self.row["low"]
        return at_floor(low, self.row["noise_floor"])


@dataclass(frozen=True)
class Leaderboard:
    """All models measured on the same samples with the same settings.

    Attributes:
        about: A row of the newest run; it has the dataset, the split and the settings.
        entries: The ranked models, best first.
        left_out: One row for each model that was skipped or failed.
        metrics: The names of the other metrics, sorted.
        n_runs: Number of runs that the entries come from. Ties are known only within a run.
        n_earlier: Number of runs on the same split that are not comparable with these.
        finetuned: Comparable measured accuracies of the entries, by the rules of
            :mod:`hf_sfda.publish.track_record`; ``None`` if there are none.
    """

    about: Mapping[str, Any]
    entries: tuple[LeaderboardEntry, ...]
    left_out: tuple[Mapping[str, Any], ...]
    metrics: tuple[str, ...]
    n_runs: int
    n_earlier: int
    finetuned: Finetuned | None = None

    @property
    def predicted(self) -> bool:
        """Whether any entry has an expected regret."""
        return any(entry.expected_regret is not None for entry in self.entries)

    @property
    def settings(self) -> dict[str, Any]:
        """The scoring settings of the runs."""
        return dict(json.loads(self.about["config"]))


def make_leaderboards(rows: Iterable[Row], finetuning: Iterable[Row] = ()) -> list[Leaderboard]:
    """Make the newest leaderboard of every (dataset, config, split), sorted by these.

    If a model was measured several times, the newest measurement counts. The older rows stay in
    the results dataset.

    Args:
        rows: The rows of scores.
        finetuning: The rows about fine-tuning.
    """
    leaderboards = []
    finetuning = list(finetuning)
    by_split = sorted(rows, key=lambda row: (split_of(row), _age(row)))
    for _, same_split in groupby(by_split, key=split_of):
        split_rows = list(same_split)
        newest = _settings_key(split_rows[-1])
        current = [row for row in split_rows if _settings_key(row) == newest]
        current_runs = {row["run"] for row in current}
        n_earlier = len({row["run"] for row in split_rows} - current_runs)
        leaderboard = _make_leaderboard(current, n_earlier=n_earlier)
        leaderboards.append(_with_finetuning(leaderboard, finetuning))
    return leaderboards


def history(rows: Iterable[Row], leaderboard: Leaderboard) -> tuple[Update, ...]:
    """The places of all models after each run, oldest run first.

    Args:
        rows: All rows of the results dataset.
        leaderboard: One of its leaderboards. Only runs on the same split, sorted by the same
            metric, belong to its history.

    Returns:
        One update per run. Runs with other samples or other settings are included and marked as
        not comparable.
    """
    split, metric = split_of(leaderboard.about), leaderboard.about["ranked_by"]
    main_rows = [
        row
        for row in rows
        if row["metric"] == row["ranked_by"] == metric and split_of(row) == split
    ]
    main_rows.sort(key=_age)
    current_settings = _settings_key(leaderboard.about)
    latest_by_settings: dict[tuple[Any, ...], dict[str, Row]] = {}
    updates = []
    for (_, run), same_run in groupby(main_rows, key=_age):
        run_rows = list(same_run)
        settings = _settings_key(run_rows[0])
        latest = latest_by_settings.setdefault(settings, {})
        latest.update({row["model"]: row for row in run_rows})
        places = {row["model"]: i for i, row in enumerate(_best_first(latest.values()), 1)}
        comparable = settings == current_settings
        updates.append(Update(run, time_of(run_rows[0]), places, comparable=comparable))
    return tuple(updates)


def _make_leaderboard(rows: list[Row], *, n_earlier: int) -> Leaderboard:
    """Make one leaderboard from comparable rows, which are sorted from oldest to newest."""
    latest_run: dict[str, str] = {row["model"]: row["run"] for row in rows}
    latest = [row for row in rows if latest_run[row["model"]] == row["run"]]
    main_rows = [row for row in latest if row["metric"] == row["ranked_by"]]
    ranked = _best_first(main_rows)
    others: defaultdict[str, dict[str, float]] = defaultdict(dict)
    intervals: defaultdict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for row in latest:
        if row["metric"] != row["ranked_by"] and row["value"] is not None:
            others[row["model"]][row["metric"]] = row["value"]
            if row["low"] is not None:
                intervals[row["model"]][row["metric"]] = row["low"], row["high"]
    left_out = sorted(
        (row for row in main_rows if row["status"] != "ok"),
        key=lambda row: (row["status"], row["model"]),
    )
    return Leaderboard(
        about=rows[-1],
        entries=tuple(
            LeaderboardEntry(place, row, others[row["model"]], intervals[row["model"]])
            for place, row in zip(_places(ranked), ranked, strict=True)
        ),
        left_out=tuple(left_out),
        metrics=tuple(sorted({name for scores in others.values() for name in scores})),
        n_runs=len({row["run"] for row in ranked}),
        n_earlier=n_earlier,
    )


def _with_finetuning(leaderboard: Leaderboard, finetuning: Sequence[Row]) -> Leaderboard:
    """Add what was predicted and what was measured about fine-tuning."""
    if not finetuning or not leaderboard.entries:
        return leaderboard
    models = [model_of(entry.row) for entry in leaderboard.entries]
    truth = truth_of(models, leaderboard.about["dataset_fingerprint"], finetuning)
    finetuned = finetuned_of(list(truth.values()))
    measured = finetuned.measurements if finetuned else ()
    by_model = dict(zip(truth, measured, strict=True))
    regrets = {
        (row["run"], *model_of(row)): row["expected_regret"]
        for row in finetuning
        if leaderboard.n_runs == 1
    }
    entries = tuple(
        replace(
            entry,
            expected_regret=regrets.get((entry.row["run"], *model)),
            measurement=by_model.get(model),
        )
        for entry, model in zip(leaderboard.entries, models, strict=True)
    )
    return replace(leaderboard, entries=entries, finetuned=finetuned)


def _best_first(rows: Iterable[Row]) -> list[Row]:
    """The rows that have a score, best first."""
    return sorted(
        (row for row in rows if row["status"] == "ok"),
        key=lambda row: (-row["value"], row["rank"] or 0, row["model"]),
    )


def _places(ranked: list[Row]) -> list[str]:
    """The place of each row, as text.

    For a single run, tied models share a range of places. For several runs, ties are unknown and
    each model has a place of its own.
    """
    if len({row["run"] for row in ranked}) != 1:
        return [str(i + 1) for i in range(len(ranked))]
    groups: dict[int, list[int]] = {}
    for i, row in enumerate(ranked):
        groups.setdefault(row["tie_group"], []).append(i + 1)
    spans = {group: (places[0], places[-1]) for group, places in groups.items()}
    return [
        str(low) if low == high else f"{low}-{high}"
        for low, high in (spans[row["tie_group"]] for row in ranked)
    ]


def _settings_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Samples, settings and metric; two scores are comparable if these are equal."""
    return row["dataset_fingerprint"], row["config_fingerprint"], row["ranked_by"]


def _age(row: Mapping[str, Any]) -> tuple[datetime, str]:
    """Sort key from the oldest to the newest run."""
    return moment_of(row), row["run"]


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
    if complete:
        warnings += coverage_warnings(
            leaderboard.settings | {"metric": metric}, about["task"], about["n"], about["n_classes"]
        )
    else:  # no P(best) is shown
        warnings += calibration_warning(about["task"])
    return {"agreement": agreement, "warnings": tuple(warnings)}


def _ranked_row(
    entry: LeaderboardEntry, place: int, leaderboard: Leaderboard, *, one_run: bool, complete: bool
) -> ModelRow:
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
        library=row["extractor"],
        samples_per_second=row["samples_per_second"],
        **{name: row[name] for name in SAME_NAMES},
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
