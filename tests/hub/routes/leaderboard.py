"""The leaderboard of a benchmark dataset, from the models' ``.eval_results``."""

from __future__ import annotations

from typing import Any

from tests.hub.metadata import eval_results, model_facts
from tests.hub.repo import Commit, Repo
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import State


def _rows(
    repo: Repo, commit: Commit, dataset: str, pull_request: int | None
) -> list[dict[str, Any]]:
    return [
        {
            "modelId": repo.id,
            "value": entry["data"]["value"],
            "filename": entry["filename"],
            "verified": False,
            "source": entry["data"].get("source"),
            "author": {"name": repo.owner, "type": "user"},
            "pullRequest": pull_request,
            "notes": entry["data"].get("notes"),
        }
        for entry in eval_results(commit)
        if "data" in entry and entry["data"]["dataset"]["id"] == dataset
    ]


@route("GET", "/api/datasets/{repo}/leaderboard")
def leaderboard(hub: State, request: Request) -> Response:
    dataset = hub.read("datasets", request.params["repo"], request.account)
    if not dataset.benchmark:
        raise HubError(404, f"{dataset.id} is not a registered benchmark", "EntryNotFound")
    originals_only = request.first("base_model", "true").lower() == "true"
    rows: list[dict[str, Any]] = []
    for repo in hub.repos.values():
        if repo.kind != "models" or not hub.visible(repo, request.account):
            continue
        if originals_only and model_facts(repo.head)["baseModels"]:
            continue
        rows += _rows(repo, repo.head, dataset.id, None)
        for discussion in repo.discussions:
            if discussion.is_pull_request and discussion.status in ("open", "draft"):
                community = _rows(repo, repo.refs[discussion.ref], dataset.id, discussion.num)
                rows += [row for row in community if row["filename"] not in repo.head.files]
    rows.sort(key=lambda row: -row["value"])
    return json_response([{"rank": i + 1, **row} for i, row in enumerate(rows)])
