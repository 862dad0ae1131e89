"""Jobs, once and on a schedule. Nothing is run: what would run is kept."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.hub.repo import timestamp
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import State

_NUMBERS = itertools.count(1)
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,100}")
_SCHEDULE = re.compile(r"@(annually|yearly|monthly|weekly|daily|hourly)|\S+( \S+){4}")
_PUBLIC = ("command", "arguments", "environment", "flavor", "labels", "dockerImage")


def new_id() -> str:
    """24 hex digits, growing."""
    return f"{next(_NUMBERS):024x}"


def owner_of(hub: State, request: Request) -> dict[str, str]:
    """Whose Jobs these are, if the caller may manage them."""
    namespace = request.params["namespace"]
    account = hub.require_owner(namespace, request.account)
    return {
        "id": namespace,
        "name": namespace,
        "type": "user" if namespace == account.name else "org",
    }


def check_spec(spec: dict[str, Any]) -> None:
    """What the Hub refuses."""
    if not spec.get("command") or not (spec.get("dockerImage") or spec.get("spaceId")):
        raise HubError(400, "A job needs an image and a command.")
    for key, value in (spec.get("labels") or {}).items():
        if not (_LABEL.fullmatch(key) and _LABEL.fullmatch(value)):
            raise HubError(400, f"Invalid label {key}={value}")


def shown_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec as the API tells it: the names of the secrets, never their values."""
    shown = {key: spec[key] for key in _PUBLIC if key in spec}
    secrets = dict.fromkeys(spec.get("secrets", {}), "")
    return shown | {"timeout": spec.get("timeoutSeconds"), "secrets": secrets}


@route("POST", "/api/jobs/{namespace}")
def run(hub: State, request: Request) -> Response:
    owner, spec = owner_of(hub, request), request.json()
    check_spec(spec)
    job = {
        "id": new_id(),
        "createdAt": timestamp(datetime.now(UTC)),
        "owner": owner,
        "status": {"stage": "RUNNING", "message": None},
        "spec": spec,
    }
    hub.jobs[job["id"]] = job
    return json_response(_shown_job(job))


@route("GET", "/api/jobs/hardware")
def list_hardware(hub: State, request: Request) -> Response:
    minute = {"unitCostMicroUSD": 10_000, "unitCostUSD": 0.01, "unitLabel": "minute"}
    names = ("cpu-upgrade", "t4-small")
    return json_response(
        [{"name": n, "prettyName": n, "cpu": "4 vCPU", "ram": "15 GB", **minute} for n in names]
    )


@route("GET", "/api/jobs/{namespace}")
def list_jobs(hub: State, request: Request) -> Response:
    owner = owner_of(hub, request)
    found = [job for job in hub.jobs.values() if job["owner"] == owner]
    for label in request.many("label"):
        key, _, value = label.partition("=")
        found = [job for job in found if job["spec"].get("labels", {}).get(key) == value]
    return json_response([_shown_job(job) for job in found])


@route("GET", "/api/jobs/{namespace}/{job}")
def inspect(hub: State, request: Request) -> Response:
    return json_response(_shown_job(_find_job(hub, request)))


@route("GET", "/api/jobs/{namespace}/{job}/logs")
def logs(hub: State, request: Request) -> Response:
    """What a test put into the Job's ``log``, as server-sent events."""
    lines = _find_job(hub, request).get("log", ())
    events = [{"data": line, "timestamp": timestamp(datetime.now(UTC))} for line in lines]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    return Response(200, body.encode(), {"Content-Type": "text/event-stream"})


def _find_job(hub: State, request: Request) -> dict[str, Any]:
    owner = owner_of(hub, request)
    job = hub.jobs.get(request.params["job"])
    if job is None or job["owner"] != owner:
        raise HubError(404, "Job not found")
    return job


def _shown_job(job: dict[str, Any]) -> dict[str, Any]:
    rest = {key: value for key, value in job.items() if key not in ("spec", "log")}
    return rest | shown_spec(job["spec"])


@route("GET", "/api/scheduled-jobs/{namespace}")
def list_scheduled(hub: State, request: Request) -> Response:
    owner = owner_of(hub, request)
    found = [job for job in hub.scheduled_jobs.values() if job["owner"] == owner]
    for label in request.many("label"):
        key, _, value = label.partition("=")
        found = [job for job in found if job["spec"].get("labels", {}).get(key) == value]
    return json_response([_shown(job) for job in found])


@route("POST", "/api/scheduled-jobs/{namespace}")
def schedule(hub: State, request: Request) -> Response:
    owner, payload = owner_of(hub, request), request.json()
    check_spec(payload["jobSpec"])
    job = {
        "id": new_id(),
        "createdAt": timestamp(datetime.now(UTC)),
        "owner": owner,
        "schedule": _schedule(payload),
        "suspend": bool(payload.get("suspend")),
        "concurrency": bool(payload.get("concurrency")),
        "spec": payload["jobSpec"],
    }
    hub.scheduled_jobs[job["id"]] = job
    return json_response(_shown(job))


@route("POST", "/api/scheduled-jobs/{namespace}/{job}/schedule")
def reschedule(hub: State, request: Request) -> Response:
    job = _find(hub, request)
    job["schedule"] = _schedule(request.json())
    return json_response(_shown(job))


@route("DELETE", "/api/scheduled-jobs/{namespace}/{job}")
def delete(hub: State, request: Request) -> Response:
    del hub.scheduled_jobs[_find(hub, request)["id"]]
    return json_response({})


def _find(hub: State, request: Request) -> dict[str, Any]:
    owner = owner_of(hub, request)
    job = hub.scheduled_jobs.get(request.params["job"])
    if job is None or job["owner"] != owner:
        raise HubError(404, "Scheduled job not found")
    return job


def _schedule(payload: dict[str, Any]) -> str:
    schedule = str(payload.get("schedule", ""))
    if not _SCHEDULE.fullmatch(schedule):
        raise HubError(400, f"Invalid schedule: {schedule!r}")
    return schedule


def _shown(job: dict[str, Any]) -> dict[str, Any]:
    soon = timestamp(datetime.now(UTC) + timedelta(hours=1))
    rest = {key: value for key, value in job.items() if key != "spec"}
    return rest | {"jobSpec": shown_spec(job["spec"]), "status": {"nextJobRunAt": soon}}
