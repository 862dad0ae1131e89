"""Discussions and pull requests."""

from __future__ import annotations

import difflib
import secrets
from datetime import UTC, datetime
from typing import Any

from tests.hub.repo import MAIN, Blob, Commit, Discussion, Repo, timestamp
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import Account, State

_PAGE = 50


def _event(kind: str, account: Account, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": secrets.token_hex(12),
        "type": kind,
        "author": {"name": account.name, "type": "user"},
        "createdAt": timestamp(datetime.now(UTC)),
        "data": data,
    }


def _comment(account: Account, text: str) -> dict[str, Any]:
    latest = {
        "raw": text,
        "html": f"<p>{text}</p>",
        "updatedAt": timestamp(datetime.now(UTC)),
        "author": {"name": account.name},
    }
    return _event(
        "comment",
        account,
        {"edited": False, "hidden": False, "latest": latest, "history": [], "numEdits": 0},
    )


def open_discussion(
    repo: Repo,
    account: Account,
    title: str,
    description: str,
    *,
    status: str,
    base: Commit | None = None,
) -> Discussion:
    """Add a discussion; with ``base`` a pull request whose ref starts there."""
    num = len(repo.discussions) + 1
    discussion = Discussion(num, title, account.name, status, datetime.now(UTC), base=base)
    discussion.events.append(_comment(account, description))
    repo.discussions.append(discussion)
    if base is not None:
        repo.refs[discussion.ref] = base
    return discussion


def record_commit(discussion: Discussion, account: Account, commit: Commit) -> None:
    """Note a push to a pull request."""
    data = {"subject": commit.title, "oid": commit.sha}
    discussion.events.append(_event("commit", account, data))


def may_push_to(repo: Repo, discussion: Discussion, account: Account) -> None:
    """Only the author and the repository's owner push to a pull request, while it is not merged."""
    if account.name != discussion.author and not account.owns(repo.owner):
        raise HubError(403, f"Forbidden: pull request {discussion.num} is not yours.")
    if discussion.status == "merged":
        raise HubError(403, f"Forbidden: pull request {discussion.num} is merged.")


def _repo(hub: State, request: Request) -> Repo:
    return hub.read(request.params["kind"], request.params["repo"], request.account)


def _find(hub: State, request: Request) -> tuple[Repo, Discussion]:
    repo = _repo(hub, request)
    num = int(request.params["num"])
    if not 1 <= num <= len(repo.discussions):
        raise HubError(404, f"Discussion {num} not found", "EntryNotFound")
    return repo, repo.discussions[num - 1]


def _changes(base: Commit, head: Commit) -> dict[str, tuple[Blob | None, Blob | None]]:
    paths = sorted({*base.files, *head.files})
    pairs = {path: (base.files.get(path), head.files.get(path)) for path in paths}
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}


def _conflicts(repo: Repo, discussion: Discussion) -> list[str]:
    """Files that changed on both sides, differently."""
    assert discussion.base is not None
    ours = _changes(discussion.base, repo.head)
    theirs = _changes(discussion.base, repo.refs[discussion.ref])
    return [path for path in theirs if path in ours and ours[path][1] != theirs[path][1]]


def _diff(base: Commit, head: Commit) -> str:
    """A unified diff; LFS files show their pointers, as in git."""

    def lines(blob: Blob | None) -> list[str]:
        data = b"" if blob is None else blob.pointer if blob.lfs else blob.data
        return data.decode("utf-8", "replace").splitlines(keepends=True)

    parts = []
    for path, (old, new) in _changes(base, head).items():
        before = f"a/{path}" if old else "/dev/null"
        after = f"b/{path}" if new else "/dev/null"
        parts.append(f"diff --git a/{path} b/{path}\n")
        parts += difflib.unified_diff(lines(old), lines(new), before, after)
    return "".join(parts)


def _summary(repo: Repo, discussion: Discussion) -> dict[str, Any]:
    return {
        "num": discussion.num,
        "title": discussion.title,
        "status": discussion.status,
        "author": {"name": discussion.author, "type": "user"},
        "createdAt": timestamp(discussion.created),
        "isPullRequest": discussion.is_pull_request,
        "repo": {"name": repo.id, "type": repo.kind[:-1]},
    }


@route("GET", "/api/{kind}/{repo}/discussions")
def list_discussions(hub: State, request: Request) -> Response:
    repo = _repo(hub, request)
    wanted_kind, author = request.first("type", "all"), request.first("author", "")
    status = request.first("status", "all")
    found = [
        discussion
        for discussion in reversed(repo.discussions)
        if wanted_kind in ("all", "pull_request" if discussion.is_pull_request else "discussion")
        and author in ("", discussion.author)
        and (status == "all" or (discussion.status in ("open", "draft")) == (status == "open"))
    ]
    size = min(_PAGE, hub.page_size)
    start = int(request.first("p", "0")) * size
    page = [_summary(repo, discussion) for discussion in found[start : start + size]]
    return json_response({"discussions": page, "count": len(found), "start": start})


@route("POST", "/api/{kind}/{repo}/discussions")
def create_discussion(hub: State, request: Request) -> Response:
    account = hub.writer(request.account)
    repo = _repo(hub, request)
    payload = request.json()
    if not 3 <= len(payload["title"]) <= 200:
        raise HubError(400, "The title must have 3 to 200 characters")
    is_pull_request = bool(payload.get("pullRequest"))
    discussion = open_discussion(
        repo,
        account,
        payload["title"],
        payload.get("description", ""),
        status="draft" if is_pull_request else "open",
        base=repo.head if is_pull_request else None,
    )
    return json_response({"num": discussion.num, "pullRequest": is_pull_request})


@route("GET", "/api/{kind}/{repo}/discussions/{num}")
def discussion_details(hub: State, request: Request) -> Response:
    repo, discussion = _find(hub, request)
    answer = {**_summary(repo, discussion), "events": discussion.events}
    if discussion.base is not None:
        open_ = discussion.status in ("open", "draft")
        answer["changes"] = {"base": MAIN, "mergeCommitId": discussion.merge_commit}
        answer["filesWithConflicts"] = _conflicts(repo, discussion) if open_ else []
        answer["diff"] = _diff(discussion.base, repo.refs[discussion.ref])
    return json_response(answer)


@route("POST", "/api/{kind}/{repo}/discussions/{num}/comment")
def comment(hub: State, request: Request) -> Response:
    account = hub.writer(request.account)
    _, discussion = _find(hub, request)
    event = _comment(account, request.json()["comment"])
    discussion.events.append(event)
    return json_response({"newMessage": event})


@route("POST", "/api/{kind}/{repo}/discussions/{num}/comment/{event}/edit")
def edit_comment(hub: State, request: Request) -> Response:
    account = hub.writer(request.account)
    _, discussion = _find(hub, request)
    event = next((e for e in discussion.events if e["id"] == request.params["event"]), None)
    if event is None or event["type"] != "comment":
        raise HubError(404, "Comment not found", "EntryNotFound")
    if event["author"]["name"] != account.name:
        raise HubError(403, "Forbidden: the comment is not yours.")
    event["data"]["history"].append(event["data"]["latest"])
    event["data"]["latest"] = _comment(account, request.json()["content"])["data"]["latest"]
    event["data"]["edited"] = True
    return json_response({"updatedComment": event})


@route("POST", "/api/{kind}/{repo}/discussions/{num}/title")
def rename(hub: State, request: Request) -> Response:
    account = hub.writer(request.account)
    repo, discussion = _find(hub, request)
    may_push_to(repo, discussion, account)
    data = {"from": discussion.title, "to": request.json()["title"]}
    discussion.title = data["to"]
    event = _event("title-change", account, data)
    discussion.events.append(event)
    return json_response({"newTitle": event})


@route("POST", "/api/{kind}/{repo}/discussions/{num}/status")
def change_status(hub: State, request: Request) -> Response:
    account = hub.writer(request.account)
    repo, discussion = _find(hub, request)
    may_push_to(repo, discussion, account)
    payload = request.json()
    discussion.status = payload["status"]
    if payload.get("comment"):
        discussion.events.append(_comment(account, payload["comment"]))
    event = _event("status-change", account, {"status": discussion.status})
    discussion.events.append(event)
    return json_response({"newStatus": event})


@route("POST", "/api/{kind}/{repo}/discussions/{num}/merge")
def merge(hub: State, request: Request) -> Response:
    repo, discussion = _find(hub, request)
    account = hub.require_owner(repo.owner, request.account)
    if discussion.base is None or discussion.status not in ("open", "draft"):
        raise HubError(400, f"Discussion {discussion.num} cannot be merged: {discussion.status}.")
    if conflicts := _conflicts(repo, discussion):
        raise HubError(409, f"Cannot merge: conflicts in {', '.join(conflicts)}")
    files = dict(repo.head.files)
    for path, (_, blob) in _changes(discussion.base, repo.refs[discussion.ref]).items():
        if blob is None:
            files.pop(path, None)
        else:
            files[path] = blob
    title = f"{discussion.title} (#{discussion.num})"
    commit = repo.add_commit(MAIN, files, title=title, author=account.name, parent=repo.head)
    discussion.status, discussion.merge_commit = "merged", commit.sha
    if text := request.json() and request.json().get("comment"):
        discussion.events.append(_comment(account, text))
    discussion.events.append(_event("status-change", account, {"status": "merged"}))
    return json_response({})
