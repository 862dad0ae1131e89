"""Creating, deleting, moving and configuring repositories."""

from __future__ import annotations

from typing import Any

from tests.hub.commits import apply_files
from tests.hub.routes.spaces import FREE, first_readme, new_space, require_payment
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import State


def _kind_and_id(hub: State, request: Request, payload: dict[str, Any]) -> tuple[str, str]:
    account = hub.writer(request.account)
    namespace = payload.get("organization") or account.name
    return f"{payload.get('type') or 'model'}s", f"{namespace}/{payload['name']}"


def _private(payload: dict[str, Any], default: bool = False) -> bool:
    if "visibility" in payload:
        return bool(payload["visibility"] != "public")
    return bool(payload.get("private", default))


@route("POST", "/api/repos/create")
def create(hub: State, request: Request) -> Response:
    payload = request.json()
    kind, repo_id = _kind_and_id(hub, request, payload)
    hub.require_owner(repo_id.split("/")[0], request.account)
    prefix = "" if kind == "models" else f"{kind}/"
    url = f"{request.base_url}/{prefix}{repo_id}"
    if (kind, repo_id) in hub.repos:
        message = f"You already created this {kind[:-1]} repo"
        return json_response({"error": message, "url": url}, 409, {"X-Error-Message": message})
    if kind == "spaces":
        require_payment(request.account, payload.get("hardware", FREE), new=True)
    repo = hub.create(kind, repo_id, private=_private(payload))
    if kind == "spaces":
        repo.space = new_space(payload)
        readme = first_readme(payload["name"], payload.get("sdk"))
        apply_files(repo, {"README.md": readme.encode()}, title="initial commit")
    return json_response({"url": url, "name": repo_id, "id": repo_id})


@route("DELETE", "/api/repos/delete")
def delete(hub: State, request: Request) -> Response:
    kind, repo_id = _kind_and_id(hub, request, request.json())
    hub.write(kind, repo_id, request.account)
    del hub.repos[kind, repo_id]
    return json_response({})


@route("POST", "/api/repos/move")
def move(hub: State, request: Request) -> Response:
    payload = request.json()
    kind, target = f"{payload.get('type') or 'model'}s", payload["toRepo"]
    repo = hub.write(kind, payload["fromRepo"], request.account)
    hub.require_owner(target.split("/")[0], request.account)
    if (kind, target) in hub.repos:
        raise HubError(409, f"{target} exists already")
    hub.repos[kind, target] = hub.repos.pop((kind, repo.id))
    repo.id = target
    return json_response({})


@route("PUT", "/api/{kind}/{repo}/settings")
def settings(hub: State, request: Request) -> Response:
    repo = hub.write(request.params["kind"], request.params["repo"], request.account)
    payload = request.json()
    repo.private = _private(payload, repo.private)
    repo.gated = payload.get("gated", repo.gated)
    return json_response({"private": repo.private, "gated": repo.gated})


@route("POST", "/api/{kind}/{repo}/user-access-request/grant")
def grant(hub: State, request: Request) -> Response:
    repo = hub.write(request.params["kind"], request.params["repo"], request.account)
    repo.granted.add(request.json()["user"])
    return json_response({})
