"""The status of a leaderboard: its pools, and what the next update would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_sfda.hub import hub_api
from hf_sfda.hub.access import Repo, who_am_i
from hf_sfda.leaderboard.state import State, read_state
from hf_sfda.leaderboard.update import DatasetUpdate, plan_datasets

if TYPE_CHECKING:
    from hf_sfda.publish.row_files import Row


def leaderboard_status(repo_id: str, token: str | None = None) -> dict[str, Any]:
    """Report the status of a leaderboard; write nothing.

    Args:
        repo_id: The results dataset.
        token: Hub token.

    Returns:
        A JSON document: the repository, and for each dataset the ranked pool, the candidates
        without a score and why, the candidates to measure, and the time of the last update.

    Raises:
        PublishError: There is no leaderboard, or a request fails.
        ConfigError: ``leaderboard.yaml`` is invalid.
        TargetError: None of the datasets can be loaded.
    """
    api = hub_api(token)
    state = read_state(api, Repo(repo_id, "dataset"))
    updates, warnings = plan_datasets(api, who_am_i(api), state, token)
    return {
        "leaderboard": repo_id,
        "revision": state.head,
        "datasets": [_dataset(state, update) for update in updates],
        "updates": len({event.get("time") for event in state.events}),
        "warnings": warnings,
    }


def _dataset(state: State, update: DatasetUpdate) -> dict[str, Any]:
    snapshot, decision = update.snapshot, update.decision
    event = state.last_event(snapshot.folder)
    run = event["run"] if event else None
    rows: list[Row] = [
        row for row in state.rows if row["run"] == run and row["metric"] == row["ranked_by"]
    ]
    ranked = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: row["rank"])
    return {
        "dataset": snapshot.config.dataset,
        "revision": snapshot.target.revision,
        "metric": snapshot.config.metric,
        "last_update": event.get("time") if event else None,
        "pool": [
            {
                "model": row["model"],
                "revision": row["model_revision"],
                "rank": row["rank"],
                "tie_group": row["tie_group"],
                "value": row["value"],
            }
            for row in ranked
        ],
        "without_score": {row["model"]: row["reason"] for row in rows if row["status"] != "ok"},
        "changed": [candidate.model_id for candidate in decision.changed],
        "new": [candidate.model_id for candidate in decision.new],
        "next_update_measures": [candidate.model_id for candidate in update.measure],
    }
