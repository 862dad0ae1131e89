"""Downloading: ``resolve`` with ETag, commit and Range."""

from __future__ import annotations

import re

from tests.hub.routing import HubError, Request, Response, route
from tests.hub.state import State

# Open to everyone, so that a gated repository can say what it is and how to ask for access.
_ALWAYS_OPEN = {"README.md", ".gitattributes"}


def _range(header: str | None, size: int) -> tuple[int, int] | None:
    """First and last byte of a ``Range``; ``None`` for the whole file."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:  # the last n bytes
        first, last = max(size - int(match[2]), 0), size - 1
    else:
        first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    if first >= size or first > last:
        raise HubError(416, "Requested range not satisfiable", Content_Range=f"bytes */{size}")
    return first, last


@route("GET", "/{prefix}{repo}/resolve/{revision}/{rest*}")
def resolve(hub: State, request: Request) -> Response:
    kind = request.params["prefix"].strip("/") or "models"
    path = request.params["rest"]
    read = hub.read if path in _ALWAYS_OPEN else hub.read_files
    repo = read(kind, request.params["repo"], request.account)
    commit = repo.resolve(request.params["revision"])
    blob = commit.files.get(path)
    if blob is None:
        raise HubError(404, "Entry not found", "EntryNotFound", X_Repo_Commit=commit.sha)
    headers = {
        "X-Repo-Commit": commit.sha,
        "ETag": f'"{blob.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f'inline; filename="{path.split("/")[-1]}"',
    }
    if blob.lfs:
        headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
    span = _range(request.headers.get("Range"), blob.size)
    if span is None:
        return Response(200, blob.data, headers)
    first, last = span
    headers["Content-Range"] = f"bytes {first}-{last}/{blob.size}"
    return Response(206, blob.data[first : last + 1], headers)
