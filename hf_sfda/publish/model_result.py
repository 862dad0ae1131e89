"""The result of one model in one run, with a link to its row in the results dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hf_sfda.errors import PublishError
from hf_sfda.foreign import listing
from hf_sfda.hub.access import Repo
from hf_sfda.publish.leaderboards import Leaderboard, LeaderboardEntry, make_leaderboards
from hf_sfda.publish.names import is_local_model
from hf_sfda.publish.row_files import Row
from hf_sfda.publish.rows import Run


@dataclass(frozen=True)
class ModelResult:
    """The result of one model in one run.

    Attributes:
        row: The model's row with the metric that sorts.
        entry: The model's place and its other scores.
        leaderboard: The run as a leaderboard.
        url: Link to the row's file in the results dataset, with the row's number.
    """

    row: Row
    entry: LeaderboardEntry
    leaderboard: Leaderboard
    url: str

    @property
    def name(self) -> str:
        """The name of the dataset, with its configuration."""
        config = self.row["dataset_config"]
        return f"{self.row['dataset']}:{config}" if config else str(self.row["dataset"])

    def settings(self) -> dict[str, Any]:
        """The facts needed to interpret the value or to reproduce it; values that are known."""
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
            "candidates": len(self.leaderboard.entries),
            "config_fingerprint": row["config_fingerprint"],
            "model_revision": row["model_revision"],
            "tool": f"hf-sfda {row['tool_version']}",
        }
        return {key: value for key, value in facts.items() if value is not None}

    @property
    def value(self) -> float:
        """The score, rounded to six decimals."""
        return float(round(self.row["value"], 6))


def make_model_result(run: Run, model: str, results: Repo) -> ModelResult:
    """Look up the result of a model in a run.

    Args:
        run: The run.
        model: The model's Hub id.
        results: The results dataset that the run is published to.

    Raises:
        PublishError: The run has no score for this model, or its dataset is local, so that nobody
            else could check the score.
    """
    if run.rows[0]["dataset_revision"] is None:
        raise PublishError(
            f"The dataset {run.rows[0]['dataset']} is a local one, so nobody could check a score "
            "on it. Push it to the Hub and rank on it there, or publish without cards."
        )
    row = next((row for row in run.ranking.rows if row.model_id == model), None)
    if row is None or is_local_model(row):
        hub_models = [r.model_id for r in run.ranking.ranked if not is_local_model(r)]
        raise PublishError(
            f"{model} is not among the Hub models of this run. "
            f"Ranked were: {listing(hub_models) or 'none'}."
        )
    if row.status != "ok":
        raise PublishError(f"{model} was {row.status} in this run ({row.reason}).")
    (leaderboard,) = make_leaderboards(run.rows)
    entry = next(entry for entry in leaderboard.entries if entry.row["model"] == model)
    url = f"{results.url}/blob/main/{run.path}#row-{run.row_number(model)}"
    return ModelResult(row=dict(entry.row), entry=entry, leaderboard=leaderboard, url=url)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
