"""Leaderboards out of result rows: what may be compared is put together, nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from hf_sfda.publish.rows import Row
from hf_sfda.types import Ranking, Update

_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One model of a board: its row with the metric that sorts, and its other scores.

    Attributes:
        place: ``"4"``, or ``"1-3"`` for models that cannot be told apart.
        row: As :func:`hf_sfda.publish.rows.schema` says.
        others: metric -> value.
        intervals: metric -> (low, high), of those ``others`` that have one.
    """

    place: str
    row: Mapping[str, Any]
    others: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def at_floor(self) -> bool:
        """Whether shuffled labels score as well as this."""
        # The rule of hf_sfda.uncertainty.at_floor, without the seconds that scipy takes to load.
        low = self.row["value"] if self.row["low"] is None else self.row["low"]
        return self.row["noise_floor"] is not None and bool(low <= self.row["noise_floor"])


@dataclass(frozen=True)
class Board:
    """All models measured on the same samples with the same settings.

    Attributes:
        about: Any row of the newest run: dataset, split, settings.
        entries: The ranked models, best first.
        left_out: A row for each model that was skipped or failed.
        metrics: The other metrics, in a fixed order.
        n_runs: How many runs the entries come from; ties are known only inside one.
        n_earlier: Runs on the same split that cannot be compared with these.
    """

    about: Mapping[str, Any]
    entries: tuple[Entry, ...]
    left_out: tuple[Mapping[str, Any], ...]
    metrics: tuple[str, ...]
    n_runs: int
    n_earlier: int

    @property
    def settings(self) -> dict[str, Any]:
        """The scoring settings of the runs."""
        return dict(json.loads(self.about["config"]))

    def ranking(self) -> Ranking:
        """The board as a ranking, for whatever shows or uses one: plots, tables, ensembles."""
        from hf_sfda.publish.board_ranking import ranking_of

        return ranking_of(self)


def make_boards(rows: Iterable[Row]) -> list[Board]:
    """The newest board of every (dataset, config, split), ordered by name.

    A model measured again replaces its older measurement; the rows themselves stay in the dataset.
    """
    boards = []
    by_split = sorted(rows, key=lambda row: (_split_of(row), _age(row)))
    for _, same_split in groupby(by_split, key=_split_of):
        of_split = list(same_split)
        newest = _comparable(of_split[-1])
        current = [row for row in of_split if _comparable(row) == newest]
        comparable = {row["run"] for row in current}
        n_earlier = len({row["run"] for row in of_split} - comparable)
        boards.append(_board(current, n_earlier=n_earlier))
    return boards


def history(rows: Iterable[Row], board: Board) -> tuple[Update, ...]:
    """How the order came about: the board as it stood after each run, oldest first.

    Args:
        rows: Of the whole results dataset.
        board: One of its boards; runs on another dataset, split or by another metric are no part
            of its history.

    Returns:
        One update a run. After a change of samples or settings the board began anew; the updates
        before it are there too, marked as not comparable.
    """
    split, metric = _split_of(board.about), board.about["ranked_by"]
    heads = [
        row
        for row in rows
        if row["metric"] == row["ranked_by"] == metric and _split_of(row) == split
    ]
    heads.sort(key=_age)
    today = _comparable(board.about)
    standing: dict[tuple[Any, ...], dict[str, Row]] = {}
    updates = []
    for (_, run), same_run in groupby(heads, key=_age):
        of_run = list(same_run)
        kind = _comparable(of_run[0])
        latest = standing.setdefault(kind, {})
        latest.update({row["model"]: row for row in of_run})
        places = {row["model"]: i for i, row in enumerate(_in_order(latest.values()), 1)}
        updates.append(Update(run, time_of(of_run[0]), places, comparable=kind == today))
    return tuple(updates)


def time_of(row: Mapping[str, Any]) -> str:
    """UTC time at which a row was made, ISO 8601; empty where it is not known."""
    moment, _ = _age(row)
    return "" if moment == _LONG_AGO else moment.isoformat(timespec="seconds")


def _board(rows: list[Row], *, n_earlier: int) -> Board:
    latest: dict[str, str] = {row["model"]: row["run"] for row in rows}  # rows are oldest first
    kept = [row for row in rows if latest[row["model"]] == row["run"]]
    heads = [row for row in kept if row["metric"] == row["ranked_by"]]
    ranked = _in_order(heads)
    others: dict[str, dict[str, float]] = {row["model"]: {} for row in ranked}
    intervals: dict[str, dict[str, tuple[float, float]]] = {row["model"]: {} for row in ranked}
    for row in kept:
        if row["metric"] != row["ranked_by"] and row["value"] is not None:
            others.setdefault(row["model"], {})[row["metric"]] = row["value"]
            if row["low"] is not None:
                limits = row["low"], row["high"]
                intervals.setdefault(row["model"], {})[row["metric"]] = limits
    left_out = sorted(
        (row for row in heads if row["status"] != "ok"),
        key=lambda row: (row["status"], row["model"]),
    )
    return Board(
        about=rows[-1],
        entries=tuple(
            Entry(place, row, others[row["model"]], intervals[row["model"]])
            for place, row in zip(_places(ranked), ranked, strict=True)
        ),
        left_out=tuple(left_out),
        metrics=tuple(sorted({name for scores in others.values() for name in scores})),
        n_runs=len({row["run"] for row in ranked}),
        n_earlier=n_earlier,
    )


def _in_order(heads: Iterable[Row]) -> list[Row]:
    """The rows that have a score, best first."""
    return sorted(
        (row for row in heads if row["status"] == "ok"),
        key=lambda row: (-row["value"], row["rank"] or 0, row["model"]),
    )


def _places(ranked: list[Row]) -> list[str]:
    """Ties of one run as it found them; over several runs only the order of the values is known."""
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


def _split_of(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["dataset"], row["dataset_config"] or "", row["dataset_split"] or ""


def _comparable(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Scores mean the same if the samples and the settings are the same."""
    return row["dataset_fingerprint"], row["config_fingerprint"], row["ranked_by"]


def _age(row: Mapping[str, Any]) -> tuple[datetime, str]:
    moment = row["created_at"] or _LONG_AGO
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)), row["run"]
