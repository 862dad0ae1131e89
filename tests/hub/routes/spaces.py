"""Spaces: secrets, variables, hardware and runtime."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tests.hub.repo import Repo, timestamp
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import Account, State

FREE = "cpu-basic"
_FOR_ALL = "zero-a10g"
_HARDWARE = {
    "cpu-basic": ("CPU Basic", "2 vCPU", "16 GB"),
    "cpu-upgrade": ("CPU Upgrade", "8 vCPU", "32 GB"),
    "zero-a10g": ("ZeroGPU", "dynamic", "dynamic"),
    "t4-small": ("Nvidia T4 - small", "4 vCPU", "15 GB"),
}


def _entry(payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "value": payload["value"],
        "description": payload.get("description"),
        "updatedAt": timestamp(datetime.now(UTC)),
    }


def first_readme(name: str, sdk: str | None) -> str:
    """The card that the Hub writes into a new Space."""
    return f"""---
title: {name.title()}
emoji: 🐠
colorFrom: yellow
colorTo: blue
sdk: {sdk}
sdk_version: 5.49.1
app_file: app.py
pinned: false
---

Check out the configuration reference at https://huggingface.co/docs/hub/spaces-config-reference
"""


def require_payment(account: Account | None, flavor: str, *, new: bool = False) -> None:
    """Refuse hardware that the account has not paid for, or that there is not."""
    if flavor not in _HARDWARE:
        raise HubError(400, f"Invalid hardware flavor: {flavor}")
    costs = flavor != _FOR_ALL and (new or flavor != FREE)
    if costs and (account is None or not account.pays):
        raise HubError(402, f"Payment required to run a Space on {flavor}")


def new_space(payload: dict[str, Any]) -> dict[str, Any]:
    """What a Space remembers besides its files, from the request that creates it."""
    hardware = payload.get("hardware", FREE)
    return {
        "sdk": payload.get("sdk"),
        "secrets": {item["key"]: _entry(item) for item in payload.get("secrets", [])},
        "variables": {item["key"]: _entry(item) for item in payload.get("variables", [])},
        "runtime": {
            "stage": "BUILDING",
            "hardware": {"current": None, "requested": hardware},
            "gcTimeout": payload.get("sleepTimeSeconds"),
            "storage": None,
            "volumes": payload.get("volumes"),
        },
    }


def _space(hub: State, request: Request) -> Repo:
    return hub.write("spaces", request.params["repo"], request.account)


def _secrets(repo: Repo) -> dict[str, Any]:
    """Secrets can be set and listed but never read."""
    return {
        name: {k: v for k, v in entry.items() if k != "value"}
        for name, entry in repo.space["secrets"].items()
    }


@route("GET", "/api/spaces/{repo}/secrets")
def list_secrets(hub: State, request: Request) -> Response:
    return json_response(_secrets(_space(hub, request)))


@route("POST", "/api/spaces/{repo}/secrets")
def set_secret(hub: State, request: Request) -> Response:
    repo, payload = _space(hub, request), request.json()
    repo.space["secrets"][payload["key"]] = _entry(payload)
    return json_response(_secrets(repo))


@route("DELETE", "/api/spaces/{repo}/secrets")
def delete_secret(hub: State, request: Request) -> Response:
    repo = _space(hub, request)
    repo.space["secrets"].pop(request.json()["key"], None)
    return json_response(_secrets(repo))


@route("GET", "/api/spaces/{repo}/variables")
def list_variables(hub: State, request: Request) -> Response:
    return json_response(_space(hub, request).space["variables"])


@route("POST", "/api/spaces/{repo}/variables")
def set_variable(hub: State, request: Request) -> Response:
    repo, payload = _space(hub, request), request.json()
    repo.space["variables"][payload["key"]] = _entry(payload)
    return json_response(repo.space["variables"])


@route("DELETE", "/api/spaces/{repo}/variables")
def delete_variable(hub: State, request: Request) -> Response:
    repo = _space(hub, request)
    repo.space["variables"].pop(request.json()["key"], None)
    return json_response(repo.space["variables"])


@route("GET", "/api/spaces/{repo}/runtime")
def runtime(hub: State, request: Request) -> Response:
    repo = hub.read("spaces", request.params["repo"], request.account)
    return json_response(repo.space["runtime"])


@route("POST", "/api/spaces/{repo}/hardware")
def request_hardware(hub: State, request: Request) -> Response:
    repo, payload = _space(hub, request), request.json()
    require_payment(request.account, payload["flavor"])
    state = repo.space["runtime"]
    state["hardware"]["requested"] = payload["flavor"]
    state["gcTimeout"] = payload.get("sleepTimeSeconds", state["gcTimeout"])
    return json_response(state)


@route("POST", "/api/spaces/{repo}/sleeptime")
def sleep_time(hub: State, request: Request) -> Response:
    state = _space(hub, request).space["runtime"]
    state["gcTimeout"] = request.json()["seconds"]
    return json_response(state)


def _set_stage(hub: State, request: Request, stage: str) -> Response:
    state = _space(hub, request).space["runtime"]
    state["stage"] = stage
    return json_response(state)


@route("POST", "/api/spaces/{repo}/pause")
def pause(hub: State, request: Request) -> Response:
    return _set_stage(hub, request, "PAUSED")


@route("POST", "/api/spaces/{repo}/restart")
def restart(hub: State, request: Request) -> Response:
    return _set_stage(hub, request, "BUILDING")


@route("GET", "/api/spaces/hardware")
def hardware(hub: State, request: Request) -> Response:
    return json_response(
        [
            {"name": name, "prettyName": pretty, "cpu": cpu, "ram": ram, "accelerator": None}
            | {"unitCostMicroUSD": 0, "unitCostUSD": 0.0, "unitLabel": "minute"}
            for name, (pretty, cpu, ram) in _HARDWARE.items()
        ]
    )
