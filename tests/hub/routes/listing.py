"""Searching repositories, and the information page of one."""

from __future__ import annotations

import re
from typing import Any

from tests.hub.fields import describe, list_fields, page_fields, view
from tests.hub.metadata import dataset_tags, model_facts
from tests.hub.pages import paginated
from tests.hub.repo import Repo
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import State

_SORTS = {
    "createdAt": lambda repo: repo.created,
    "downloads": lambda repo: repo.downloads,
    "lastModified": lambda repo: repo.last_modified,
    "likes": lambda repo: repo.likes,
    "trendingScore": lambda repo: repo.trending_score,
}
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


def _tags(repo: Repo) -> list[str]:
    if repo.kind == "models":
        return list(model_facts(repo.head)["tags"])
    tags = list(dataset_tags(repo.head))
    return [*tags, "benchmark:official"] if repo.benchmark else tags


def _bounds(text: str) -> tuple[float, float]:
    """``min:6M,max:300M`` as numbers."""
    low, high = 0.0, float("inf")
    for side, number, unit in re.findall(r"(min|max):([\d.]+)([KMBT]?)", text):
        value = float(number) * _UNITS[unit]
        low, high = (value, high) if side == "min" else (low, value)
    return low, high


def _matches(repo: Repo, request: Request) -> bool:
    tags = set(_tags(repo))
    wanted_tags = [tag for value in request.many("filter") for tag in value.split(",")]
    if not tags.issuperset(wanted_tags):
        return False
    author = request.first("author", "")
    if author and repo.owner != author:
        return False
    if any(word.lower() not in repo.id.lower() for word in request.many("search")):
        return False
    if "gated" in request.query and bool(repo.gated) != request.flag("gated"):
        return False
    return repo.kind != "models" or _matches_model(repo, request)


def _matches_model(repo: Repo, request: Request) -> bool:
    facts = model_facts(repo.head)
    if request.first("pipeline_tag", "") not in ("", facts["pipeline_tag"]):
        return False
    if "num_parameters" in request.query:
        low, high = _bounds(request.first("num_parameters", ""))
        total = (facts["safetensors"] or {}).get("total")
        return total is not None and low <= total <= high
    return True


@route("GET", "/api/{kind}")
def search(hub: State, request: Request) -> Response:
    kind = request.params["kind"]
    sort = request.first("sort", "trendingScore")
    if sort not in _SORTS:
        raise HubError(400, f"Invalid sort {sort!r}; expected one of {sorted(_SORTS)}")
    repos = [
        repo
        for repo in hub.repos.values()
        if repo.kind == kind and hub.visible(repo, request.account) and _matches(repo, request)
    ]
    repos.sort(key=_SORTS[sort], reverse=request.first("direction", "-1") == "-1")
    fields = request.many("expand") or list_fields(
        kind,
        full=request.flag("full"),
        config=request.flag("config"),
        card=request.flag("cardData"),
    )

    def encode(repo: Repo) -> dict[str, Any]:
        return describe(view(hub, repo), fields)

    return paginated(hub, request, repos, encode=encode)


def _info(hub: State, request: Request, revision: str) -> Response:
    repo = hub.read(request.params["kind"], request.params["repo"], request.account)
    fields = request.many("expand") or page_fields(repo.kind)
    subject = view(hub, repo, repo.resolve(revision), blobs=request.flag("blobs"))
    info = describe(subject, fields)
    if request.flag("securityStatus"):
        info["securityRepoStatus"] = {"scansDone": True, "filesWithIssues": []}
    return json_response(info)


@route("GET", "/api/{kind}/{repo}")
def info(hub: State, request: Request) -> Response:
    return _info(hub, request, "main")


@route("GET", "/api/{kind}/{repo}/revision/{revision}")
def info_at(hub: State, request: Request) -> Response:
    return _info(hub, request, request.params["revision"])
