"""Collections and their items."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime
from typing import Any

from tests.hub.pages import paginated
from tests.hub.repo import timestamp
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import State

Collection = dict[str, Any]


def _public(collection: Collection) -> Collection:
    items = [item | {"position": i} for i, item in enumerate(collection["items"])]
    return collection | {"items": items}


def _find(hub: State, request: Request, *, write: bool) -> Collection:
    slug = f"{request.params['owner']}/{request.params['name']}"
    collection = hub.collections.get(slug)
    account = request.account
    owner = collection["owner"]["name"] if collection else ""
    hidden = collection and collection["private"] and not (account and account.owns(owner))
    if collection is None or hidden:
        raise HubError(404, f"Collection not found: {slug}")
    if write:
        hub.require_owner(owner, account)
        collection["lastUpdated"] = timestamp(datetime.now(UTC))
    return collection


def _item(collection: Collection, request: Request) -> dict[str, Any]:
    items: list[dict[str, Any]] = collection["items"]
    for item in items:
        if item["_id"] == request.params["item"]:
            return item
    raise HubError(404, f"Item not found: {request.params['item']}")


@route("GET", "/api/collections")
def search(hub: State, request: Request) -> Response:
    owner, wanted = request.many("owner"), request.many("item")

    def matches(collection: Collection) -> bool:
        ids = {f"{item['type']}s/{item['id']}" for item in collection["items"]}
        account, name = request.account, collection["owner"]["name"]
        visible = not collection["private"] or (account is not None and account.owns(name))
        return visible and (not owner or name in owner) and (not wanted or bool(ids & {*wanted}))

    found = [c for c in hub.collections.values() if matches(c)]
    # A listing shows the position of the collection itself, and at most four of its items.
    return paginated(
        hub,
        request,
        found,
        largest=100,
        encode=lambda c: {k: v for k, v in _public(c).items() if k != "position"},
    )


@route("POST", "/api/collections")
def create(hub: State, request: Request) -> Response:
    payload = request.json()
    namespace, title = payload["namespace"], payload["title"]
    account = hub.require_owner(namespace, request.account)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    for slug, known in hub.collections.items():
        if known["owner"]["name"] == namespace and known["title"] == title:
            return json_response({"error": "Collection already exists", "slug": slug}, 409)
    collection: Collection = {
        "slug": f"{namespace}/{words}-{secrets.token_hex(12)}",
        "title": title,
        "description": payload.get("description"),
        "owner": {"name": namespace, "type": "user" if namespace == account.name else "org"},
        "items": [],
        "lastUpdated": timestamp(datetime.now(UTC)),
        "position": 0,
        "private": bool(payload.get("private")),
        "theme": "green",
        "upvotes": 0,
    }
    hub.collections[collection["slug"]] = collection
    return json_response(_public(collection))


@route("GET", "/api/collections/{owner}/{name}")
def show(hub: State, request: Request) -> Response:
    return json_response(_public(_find(hub, request, write=False)))


@route("PATCH", "/api/collections/{owner}/{name}")
def update(hub: State, request: Request) -> Response:
    collection = _find(hub, request, write=True)
    collection |= request.json()
    return json_response({"data": _public(collection)})


@route("DELETE", "/api/collections/{owner}/{name}")
def delete(hub: State, request: Request) -> Response:
    del hub.collections[_find(hub, request, write=True)["slug"]]
    return json_response({})


@route("POST", "/api/collections/{owner}/{name}/items")
def add_item(hub: State, request: Request) -> Response:
    collection = _find(hub, request, write=True)
    payload = request.json()
    kind, item_id = payload["item"]["type"], payload["item"]["id"]
    if kind in ("model", "dataset", "space"):
        hub.read(f"{kind}s", item_id, request.account)
    if any((item["type"], item["id"]) == (kind, item_id) for item in collection["items"]):
        raise HubError(409, f"{kind} {item_id} is in the collection already")
    item = {"_id": secrets.token_hex(12), "id": item_id, "type": kind}
    if payload.get("note"):
        item["note"] = {"text": payload["note"]}
    collection["items"].append(item)
    return json_response(_public(collection))


@route("PATCH", "/api/collections/{owner}/{name}/items/{item}")
def update_item(hub: State, request: Request) -> Response:
    collection = _find(hub, request, write=True)
    item, payload = _item(collection, request), request.json()
    if "note" in payload:
        item["note"] = {"text": payload["note"]}
    if "position" in payload:
        collection["items"].remove(item)
        collection["items"].insert(payload["position"], item)
    return json_response({})


@route("DELETE", "/api/collections/{owner}/{name}/items/{item}")
def delete_item(hub: State, request: Request) -> Response:
    collection = _find(hub, request, write=True)
    collection["items"].remove(_item(collection, request))
    return json_response({})
