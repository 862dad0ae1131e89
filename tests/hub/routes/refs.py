"""Branches, tags, pull request refs, and the history behind them."""

from __future__ import annotations

from typing import Any

from tests.hub.pages import paginated
from tests.hub.repo import MAIN, Commit, timestamp
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import State


@route("GET", "/api/{kind}/{repo}/refs")
def refs(hub: State, request: Request) -> Response:
    repo = hub.read(request.params["kind"], request.params["repo"], request.account)

    def under(prefix: str) -> list[dict[str, str]]:
        return [
            {"name": ref.removeprefix(prefix), "ref": ref, "targetCommit": commit.sha}
            for ref, commit in repo.refs.items()
            if ref.startswith(prefix)
        ]

    answer = {
        "branches": under("refs/heads/"),
        "converts": under("refs/convert/"),
        "tags": under("refs/tags/"),
    }
    if request.flag("include_prs"):
        answer["pullRequests"] = under("refs/pr/")
    return json_response(answer)


@route("GET", "/api/{kind}/{repo}/commits/{revision}")
def commits(hub: State, request: Request) -> Response:
    repo = hub.read(request.params["kind"], request.params["repo"], request.account)
    history = repo.resolve(request.params["revision"]).history()

    def encode(commit: Commit) -> dict[str, Any]:
        return {
            "id": commit.sha,
            "title": commit.title,
            "message": commit.message,
            "authors": [{"user": commit.author}],
            "date": timestamp(commit.date),
        }

    headers = {"X-Total-Count": str(len(history))}
    return paginated(hub, request, history, largest=50, encode=encode, headers=headers)


@route("POST", "/api/{kind}/{repo}/branch/{name}")
def create_branch(hub: State, request: Request) -> Response:
    repo = hub.write(request.params["kind"], request.params["repo"], request.account)
    ref = f"refs/heads/{request.params['name']}"
    if ref in repo.refs:
        raise HubError(409, f"Reference already exists: {ref}")
    repo.refs[ref] = repo.resolve(request.json().get("startingPoint", "main"))
    return json_response({})


@route("DELETE", "/api/{kind}/{repo}/branch/{name}")
def delete_branch(hub: State, request: Request) -> Response:
    repo = hub.write(request.params["kind"], request.params["repo"], request.account)
    ref = f"refs/heads/{request.params['name']}"
    if ref == MAIN or ref not in repo.refs:
        raise HubError(403 if ref == MAIN else 404, f"Cannot delete {ref}", "RevisionNotFound")
    del repo.refs[ref]
    return json_response({})


@route("POST", "/api/{kind}/{repo}/tag/{name}")
def create_tag(hub: State, request: Request) -> Response:
    repo = hub.write(request.params["kind"], request.params["repo"], request.account)
    ref = f"refs/tags/{request.json()['tag']}"
    if ref in repo.refs:
        raise HubError(409, f"Tag reference exists already: {ref}")
    repo.refs[ref] = repo.resolve(request.params["name"])
    return json_response({})


@route("DELETE", "/api/{kind}/{repo}/tag/{name}")
def delete_tag(hub: State, request: Request) -> Response:
    repo = hub.write(request.params["kind"], request.params["repo"], request.account)
    ref = f"refs/tags/{request.params['name']}"
    if repo.refs.pop(ref, None) is None:
        raise HubError(404, f"Invalid rev id: {ref}", "RevisionNotFound")
    return json_response({})
