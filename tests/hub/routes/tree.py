"""Which files there are: tree listings and paths-info."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.hub.pages import paginated
from tests.hub.repo import Commit, timestamp
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import State


def _file(commit: Commit, path: str) -> dict[str, Any]:
    blob = commit.files[path]
    entry = {"type": "file", "oid": blob.oid, "size": blob.size, "path": path}
    if lfs := blob.lfs_info("oid"):
        entry["lfs"] = lfs
    return entry


def _folder(commit: Commit, path: str) -> dict[str, Any]:
    inside = {p: b.oid for p, b in commit.files.items() if p.startswith(f"{path}/")}
    oid = hashlib.sha1(repr(sorted(inside.items())).encode()).hexdigest()
    return {"type": "directory", "oid": oid, "size": 0, "path": path}


def _expanded(commit: Commit, entry: dict[str, Any]) -> dict[str, Any]:
    change = commit.last_change(entry["path"])
    entry["lastCommit"] = {
        "id": change.sha,
        "title": change.title,
        "date": timestamp(change.date),
    }
    if entry["type"] == "file":
        entry["securityFileStatus"] = {
            "status": "safe",
            "avScan": {"virusFound": False, "virusNames": None},
            "pickleImportScan": None,
        }
    return entry


def _folders(commit: Commit) -> set[str]:
    parts = [path.split("/")[:-1] for path in commit.files]
    return {"/".join(p[: i + 1]) for p in parts for i in range(len(p))}


def _entries(commit: Commit, folder: str, recursive: bool) -> list[dict[str, Any]]:
    start = f"{folder}/" if folder else ""

    def listed(path: str) -> bool:
        return path.startswith(start) and (recursive or "/" not in path[len(start) :])

    folders = [_folder(commit, path) for path in sorted(_folders(commit)) if listed(path)]
    return folders + [_file(commit, path) for path in sorted(commit.files) if listed(path)]


@route("GET", "/api/{kind}/{repo}/tree/{revision}")
@route("GET", "/api/{kind}/{repo}/tree/{revision}/{rest*}")
def tree(hub: State, request: Request) -> Response:
    repo = hub.read(request.params["kind"], request.params["repo"], request.account)
    commit = repo.resolve(request.params["revision"])
    folder = request.params.get("rest", "").strip("/")
    entries = _entries(commit, folder, request.flag("recursive"))
    if folder and not entries:
        raise HubError(404, f"{folder} does not exist on {commit.sha}", "EntryNotFound")
    expand = request.flag("expand")

    def encode(entry: dict[str, Any]) -> dict[str, Any]:
        return _expanded(commit, entry) if expand else entry

    return paginated(hub, request, entries, largest=50 if expand else 1000, encode=encode)


@route("POST", "/api/{kind}/{repo}/paths-info/{revision}")
def paths_info(hub: State, request: Request) -> Response:
    repo = hub.read(request.params["kind"], request.params["repo"], request.account)
    commit = repo.resolve(request.params["revision"])
    is_json = "json" in request.headers.get("Content-Type", "")
    form = request.json() if is_json else request.form()
    expand = str(form.get("expand")).lower() in ("true", "['true']")
    folders = _folders(commit)
    entries = []
    for path in form.get("paths", []):
        if path in commit.files:
            entries.append(_file(commit, path))
        elif path in folders:
            entries.append(_folder(commit, path))
    return json_response([_expanded(commit, entry) if expand else entry for entry in entries])
