"""What a leaderboard knows, and what an update would do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_sfda.hub import hub_api
from hf_sfda.leaderboard.state import State, read_state
from hf_sfda.leaderboard.update import Work, survey_all
from hf_sfda.publish.access import Repo, who_am_i

if TYPE_CHECKING:
    from hf_sfda.publish.rows import Row


def leaderboard_status(repo_id: str, token: str | None = None) -> dict[str, Any]:
    """Look at a leaderboard; reads only.

    Args:
        repo_id: The results dataset.
        token: Hub token.

    Returns:
        Plain values: the repository, and for each dataset the pool in order, who has no score and
        why, who waits, and when it was last updated.

    Raises:
        PublishError: There is no leaderboard, or the Hub is ill.
        ConfigError: ``leaderboard.yaml`` is not in order.
        TargetError: None of the datasets can be had.
    """
    api = hub_api(token)
    state = read_state(api, Repo(repo_id, "dataset"))
    works, warnings = survey_all(api, who_am_i(api), state, token)
    return {
        "leaderboard": repo_id,
        "revision": state.head,
        "datasets": [_dataset(state, work) for work in works],
        "updates": len({event.get("time") for event in state.events}),
        "warnings": warnings,
    }


def _dataset(state: State, work: Work) -> dict[str, Any]:
    survey, decision = work.survey, work.decision
    event = state.last_event(survey.folder)
    run = event["run"] if event else None
    rows: list[Row] = [
        row for row in state.rows if row["run"] == run and row["metric"] == row["ranked_by"]
    ]
    ranked = sorted((row for row in rows if row["status"] == "ok"), key=lambda row: row["rank"])
    return {
        "dataset": survey.config.dataset,
        "revision": survey.target.revision,
        "metric": survey.config.metric,
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
        "next_update_measures": [candidate.model_id for candidate in work.measure],
    }
