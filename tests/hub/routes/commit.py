"""Uploading: preupload, LFS, and the commit itself."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from fnmatch import fnmatch
from typing import Any

from tests.hub.commits import apply_operations, needs_lfs
from tests.hub.repo import Blob, Commit, Discussion, Repo
from tests.hub.routes.discussions import may_push_to, open_discussion, record_commit
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import Account, State


def _ignored(path: str, patterns: list[str]) -> bool:
    name = path.split("/")[-1]
    return any(
        fnmatch(path, p) or fnmatch(name, p) or path.startswith(f"{p.rstrip('/')}/")
        for p in patterns
    )


@route("POST", "/api/{kind}/{repo}/preupload/{revision}")
def preupload(hub: State, request: Request) -> Response:
    hub.writer(request.account)
    repo = hub.read(request.params["kind"], request.params["repo"], request.account)
    commit = repo.resolve(request.params["revision"])
    payload = request.json()
    rules = payload.get("gitIgnore", "").splitlines()
    patterns = [line.strip() for line in rules if line.strip() and not line.startswith("#")]
    answers: list[dict[str, Any]] = []
    for file in payload["files"]:
        path, sample = file["path"], base64.b64decode(file["sample"])
        lfs = needs_lfs(commit, path, sample, file["size"])
        answer = {
            "path": path,
            "uploadMode": "lfs" if lfs else "regular",
            "shouldIgnore": _ignored(path, patterns),
        }
        if path in commit.files:
            answer["oid"] = commit.files[path].etag
        answers.append(answer)
    return json_response({"files": answers})


@route("POST", "/{prefix}{repo}.git/info/lfs/objects/batch")
def lfs_batch(hub: State, request: Request) -> Response:
    hub.writer(request.account)
    kind = request.params["prefix"].strip("/") or "models"
    repo = hub.read(kind, request.params["repo"], request.account)
    objects = []
    for item in request.json()["objects"]:
        answer = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in repo.lfs:
            ticket = secrets.token_hex(
                16
            )  # like a presigned url: the upload itself carries no token
            hub.uploads[ticket] = (repo, item["oid"], item["size"])
            href = f"{request.base_url}/lfs-upload/{ticket}"
            answer["actions"] = {"upload": {"href": href, "header": {}}}
        objects.append(answer)
    return json_response({"transfer": "basic", "objects": objects})


@route("PUT", "/lfs-upload/{ticket}")
def lfs_upload(hub: State, request: Request) -> Response:
    repo, oid, size = hub.uploads.get(request.params["ticket"]) or (None, "", 0)
    if repo is None:
        raise HubError(403, "The upload link is unknown")
    if len(request.body) != size or hashlib.sha256(request.body).hexdigest() != oid:
        raise HubError(400, f"The content is not the announced object {oid} of {size} bytes")
    repo.lfs[oid] = Blob(request.body, lfs=True)
    return Response(200)


def _target(
    hub: State, repo: Repo, revision: str, account: Account, *, anyone: bool
) -> tuple[str, Commit, Discussion | None]:
    """The ref that ``revision`` names, its commit, and the pull request that it belongs to, if any.

    Checks that the caller may move it, unless ``anyone`` may ask for that by pull request.
    """
    ref = repo.ref_name(revision)
    if ref is None or ref.startswith("refs/tags/"):
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    discussion = next((d for d in repo.discussions if d.is_pull_request and d.ref == ref), None)
    if anyone:
        return ref, repo.refs[ref], None
    if discussion is None:
        hub.require_owner(repo.owner, account)
    else:
        may_push_to(repo, discussion, account)
    return ref, repo.refs[ref], discussion


@route("POST", "/api/{kind}/{repo}/commit/{revision}")
def commit(hub: State, request: Request) -> Response:
    account = hub.writer(request.account)
    repo = hub.read(request.params["kind"], request.params["repo"], account)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header: dict[str, str] = {"summary": "", "description": ""}
    header |= next((line["value"] for line in lines if line["key"] == "header"), {})
    operations = [line for line in lines if line["key"] != "header"]
    title, text = header["summary"], header["description"]
    as_pull_request = request.flag("create_pr")
    ref, base, discussion = _target(
        hub, repo, request.params["revision"], account, anyone=as_pull_request
    )
    if header.get("parentCommit") not in (None, base.sha):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    files = apply_operations(repo, base, operations)
    if as_pull_request:
        discussion = open_discussion(repo, account, title, text, base=base, status="open")
        ref = discussion.ref
    new = repo.add_commit(ref, files, title=title, author=account.name, parent=base, message=text)
    page = f"{request.base_url}/{repo.prefix}{repo.id}"
    answer = {"success": True, "commitOid": new.sha, "commitUrl": f"{page}/commit/{new.sha}"}
    if discussion is not None:
        record_commit(discussion, account, new)
    if as_pull_request and discussion is not None:
        answer["pullRequestUrl"] = f"{page}/discussions/{discussion.num}"
    return json_response(answer)
