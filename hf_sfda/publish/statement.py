"""What one run says about one model, with the addresses of the proof."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hf_sfda.errors import PublishError
from hf_sfda.foreign import listing
from hf_sfda.publish.access import Repo
from hf_sfda.publish.boards import Board, Entry, make_boards
from hf_sfda.publish.names import is_local_model
from hf_sfda.publish.rows import Row, Run


@dataclass(frozen=True)
class Statement:
    """A model's place in a run.

    Attributes:
        row: The model's row with the metric that sorts.
        entry: Its place and its other scores.
        board: The run as a leaderboard.
        url: The file that holds the row, and the row's number in it.
    """

    row: Row
    entry: Entry
    board: Board
    url: str

    @property
    def name(self) -> str:
        """Of the dataset, with its configuration."""
        config = self.row["dataset_config"]
        return f"{self.row['dataset']}:{config}" if config else str(self.row["dataset"])

    def settings(self) -> dict[str, Any]:
        """What is needed to read the value, or to get it again."""
        row = self.row
        facts = {
            "view": row["view"],
            "n": row["n"],
            "seed": row["seed"],
            "low": _rounded(row["low"]),
            "high": _rounded(row["high"]),
            "confidence": row["confidence"],
            "noise_floor": _rounded(row["noise_floor"]),
            "rank": row["rank"],
            "place": self.entry.place if "-" in self.entry.place else None,
            "candidates": len(self.board.entries),
            "config_fingerprint": row["config_fingerprint"],
            "model_revision": row["model_revision"],
            "tool": f"hf-sfda {row['tool_version']}",
        }
        return {key: value for key, value in facts.items() if value is not None}

    @property
    def value(self) -> float:
        """The score, as precise as its interval deserves."""
        return float(round(self.row["value"], 6))


def make_statement(run: Run, model: str, results: Repo) -> Statement:
    """What a run says about a model.

    Args:
        run: The run.
        model: Hub id.
        results: Where the run is published.

    Raises:
        PublishError: The run has no score for this model, or is about things that nobody else can
            get at.
    """
    if run.rows[0]["dataset_revision"] is None:
        raise PublishError(
            f"The dataset {run.rows[0]['dataset']} is a local one, so nobody could check a score "
            "on it. Push it to the Hub and rank on it there, or publish without cards."
        )
    found = next((row for row in run.ranking.rows if row.model_id == model), None)
    if found is None or is_local_model(found):
        hub_models = [r.model_id for r in run.ranking.ranked if not is_local_model(r)]
        raise PublishError(
            f"{model} is not among the Hub models of this run. "
            f"Ranked were: {listing(hub_models) or 'none'}."
        )
    if found.status != "ok":
        raise PublishError(f"{model} was {found.status} in this run ({found.reason}).")
    (board,) = make_boards(run.rows)
    entry = next(entry for entry in board.entries if entry.row["model"] == model)
    url = f"{results.url}/blob/main/{run.path}#row-{run.row_number(model)}"
    return Statement(row=dict(entry.row), entry=entry, board=board, url=url)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
