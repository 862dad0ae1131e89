"""Webhooks. None is sent: what would be watched and started is kept."""

from __future__ import annotations

from typing import Any

from tests.hub.routes.jobs import new_id, shown_spec
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import State

_KINDS = {"user", "org", "model", "dataset", "space", "bucket"}


@route("GET", "/api/settings/webhooks")
def list_webhooks(hub: State, request: Request) -> Response:
    name = hub.writer(request.account).name
    return json_response([_shown(hook) for hook in hub.webhooks.values() if hook["owner"] == name])


@route("POST", "/api/settings/webhooks")
def create(hub: State, request: Request) -> Response:
    name = hub.writer(request.account).name
    hook = {"id": new_id(), "owner": name, "disabled": False}
    hub.webhooks[hook["id"]] = hook | _checked(hub, request.json())
    return json_response({"webhook": _shown(hub.webhooks[hook["id"]])})


@route("POST", "/api/settings/webhooks/{webhook}")
def update(hub: State, request: Request) -> Response:
    hook = _find(hub, request)
    hook |= _checked(hub, request.json(), new=False)
    return json_response({"webhook": _shown(hook)})


@route("DELETE", "/api/settings/webhooks/{webhook}")
def delete(hub: State, request: Request) -> Response:
    del hub.webhooks[_find(hub, request)["id"]]
    return json_response({})


def _find(hub: State, request: Request) -> dict[str, Any]:
    name = hub.writer(request.account).name
    hook = hub.webhooks.get(request.params["webhook"])
    if hook is None or hook["owner"] != name:
        raise HubError(404, "Webhook not found")
    return hook


def _checked(hub: State, payload: dict[str, Any], *, new: bool = True) -> dict[str, Any]:
    """The settings in a request."""
    if not payload["watched"] or any(item["type"] not in _KINDS for item in payload["watched"]):
        raise HubError(400, "Nothing, or something unknown, to watch.")
    settings = {
        key: payload[key] for key in ("watched", "domains", "url", "secret") if key in payload
    }
    if source := payload.get("jobSourceId"):
        if source not in hub.jobs:
            raise HubError(404, "Job not found")
        # The Job's own secrets are not copied.
        spec = hub.jobs[source]["spec"]
        settings["job"] = {**spec, "secrets": payload.get("secrets", {})}
    elif new and "url" not in payload:
        raise HubError(400, "A webhook needs a url or a job.")
    return settings


def _shown(hook: dict[str, Any]) -> dict[str, Any]:
    shown = {key: hook.get(key) for key in ("id", "watched", "domains", "url", "disabled")}
    return shown | {"job": shown_spec(hook["job"]) if "job" in hook else None}
