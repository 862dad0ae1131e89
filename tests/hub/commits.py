"""Making commits: which files go to LFS, and applying a list of changes to a snapshot."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from typing import Any

from tests.hub.repo import MAIN, Blob, Commit, Repo
from tests.hub.routing import HubError

__all__ = ["apply_files", "apply_operations", "needs_lfs"]

_LARGEST_GIT_FILE = 1024 * 1024


def needs_lfs(commit: Commit, path: str, sample: bytes, size: int) -> bool:
    """Whether the Hub keeps this file in LFS: by ``.gitattributes``, size or content."""
    if size == 0:
        return False
    attributes = commit.files.get(".gitattributes", Blob(b"")).data.decode()
    rules = [line.split() for line in attributes.splitlines() if "filter=lfs" in line]
    by_rule = any(fnmatch(path, rule[0]) or fnmatch(path.split("/")[-1], rule[0]) for rule in rules)
    return by_rule or size > _LARGEST_GIT_FILE or b"\0" in sample


def apply_files(repo: Repo, contents: Mapping[str, bytes], *, title: str) -> Commit:
    """Add or replace files on ``main``, in the owner's name."""
    files = dict(repo.head.files)
    for path, data in contents.items():
        files[path] = Blob(data, needs_lfs(repo.head, path, data[:512], len(data)))
    return repo.add_commit(MAIN, files, title=title, author=repo.owner, parent=repo.head)


def apply_operations(
    repo: Repo, base: Commit, operations: Iterable[dict[str, Any]]
) -> dict[str, Blob]:
    """The files of ``base`` after the operations, each ``{"key": ..., "value": ...}``."""
    files = dict(base.files)
    for operation in operations:
        key, value = operation["key"], operation["value"]
        path = value["path"]
        match key:
            case "file":
                files[path] = Blob(base64.b64decode(value["content"]))
            case "lfsFile":
                if value["oid"] not in repo.lfs:
                    raise HubError(400, f"LFS pointer {path} pointed to a file that does not exist")
                files[path] = repo.lfs[value["oid"]]
            case "deletedFile":
                if path not in files:
                    raise HubError(
                        404, f"A file with the name {path!r} does not exist", "EntryNotFound"
                    )
                del files[path]
            case "deletedFolder":
                folder = path.rstrip("/") + "/"
                doomed = [name for name in files if name.startswith(folder)]
                if not doomed:
                    raise HubError(404, f"A folder named {path!r} does not exist", "EntryNotFound")
                for name in doomed:
                    del files[name]
            case _:
                raise HubError(400, f"Unknown commit operation {key!r}")
    return files
