"""Repositories: immutable commits of content-addressed blobs, refs to them, discussions."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar

from tests.hub.routing import HubError

__all__ = ["GITATTRIBUTES", "KINDS", "MAIN", "Blob", "Commit", "Discussion", "Repo", "timestamp"]

KINDS = ("models", "datasets", "spaces")
MAIN = "refs/heads/main"

_LFS_PATTERNS = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.jpeg *.jpg *.model *.msgpack *.npy "
    "*.npz *.onnx *.ot *.parquet *.pb *.pickle *.pkl *.png *.pt *.pth *.rar *.safetensors *.tar "
    "*.tflite *.tgz *.webp *.xz *.zip *.zst"
).split()
GITATTRIBUTES = "".join(f"{p} filter=lfs diff=lfs merge=lfs -text\n" for p in _LFS_PATTERNS)

_commit_count = itertools.count()


def timestamp(moment: datetime) -> str:
    """``moment`` the way the Hub writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


@dataclass(frozen=True)
class Blob:
    """One file's content, kept in git or (large, binary) in LFS."""

    data: bytes
    lfs: bool = False

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """The text that git holds in place of an LFS file."""
        version = "version https://git-lfs.github.com/spec/v1"
        return f"{version}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def oid(self) -> str:
        """The git object id: sha1 of the content, or of the pointer."""
        data = self.pointer if self.lfs else self.data
        return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid

    def lfs_info(self, oid_key: str) -> dict[str, Any] | None:
        """The ``lfs`` object of answers; the hash is ``oid`` in trees, ``sha256`` in siblings."""
        if not self.lfs:
            return None
        return {oid_key: self.sha256, "size": self.size, "pointerSize": len(self.pointer)}


@dataclass(frozen=True, eq=False)  # a commit is itself: hashable, though its files are a mapping
class Commit:
    """A snapshot of all files. Its sha names it for ever; branches move, commits do not."""

    files: Mapping[str, Blob]
    title: str
    author: str
    date: datetime
    parent: Commit | None = None
    message: str = ""
    number: int = field(default_factory=lambda: next(_commit_count))

    @cached_property
    def sha(self) -> str:
        parent = self.parent.sha if self.parent else ""
        tree = "".join(f"{path}\0{blob.oid}\n" for path, blob in sorted(self.files.items()))
        text = f"{parent}|{self.number}|{timestamp(self.date)}|{self.title}|{tree}"
        return hashlib.sha1(text.encode()).hexdigest()

    def history(self) -> list[Commit]:
        """This commit and its ancestors, newest first."""
        commits: list[Commit] = []
        commit: Commit | None = self
        while commit is not None:
            commits.append(commit)
            commit = commit.parent
        return commits

    def last_change(self, path: str) -> Commit:
        """The youngest commit that changed the file, or anything in the folder, ``path``."""

        def under(commit: Commit | None) -> dict[str, Blob]:
            files = commit.files if commit else {}
            return {p: b for p, b in files.items() if p == path or p.startswith(f"{path}/")}

        return next(c for c in self.history() if under(c) != under(c.parent))


@dataclass
class Discussion:
    """A discussion, or a pull request when ``base`` names the commit that it grew from."""

    num: int
    title: str
    author: str
    status: str
    created: datetime
    events: list[dict[str, Any]] = field(default_factory=list)
    base: Commit | None = None
    merge_commit: str | None = None

    @property
    def is_pull_request(self) -> bool:
        return self.base is not None

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.num}"


@dataclass
class Repo:
    """One repository; ``SETTABLE`` are the fields that a test may set with ``HubServer.set``."""

    kind: str
    id: str
    created: datetime
    private: bool = False
    gated: bool | str = False
    disabled: bool = False
    downloads: int = 0
    downloads_all_time: int | None = None
    likes: int = 0
    trending_score: int = 0
    last_modified: datetime | None = None
    benchmark: bool = False
    refs: dict[str, Commit] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    lfs: dict[str, Blob] = field(default_factory=dict)
    discussions: list[Discussion] = field(default_factory=list)
    granted: set[str] = field(default_factory=set)
    space: dict[str, Any] = field(default_factory=dict)

    SETTABLE: ClassVar[tuple[str, ...]] = (
        "created",
        "private",
        "gated",
        "disabled",
        "downloads",
        "downloads_all_time",
        "likes",
        "trending_score",
        "last_modified",
        "benchmark",
    )

    @property
    def owner(self) -> str:
        return self.id.split("/")[0]

    @property
    def prefix(self) -> str:
        """What stands before the id in web urls."""
        return "" if self.kind == "models" else f"{self.kind}/"

    @property
    def head(self) -> Commit:
        return self.refs[MAIN]

    def ref_name(self, revision: str) -> str | None:
        """The full name of the branch, tag or pull request that ``revision`` means."""
        candidates = (revision, f"refs/heads/{revision}", f"refs/tags/{revision}")
        return next((name for name in candidates if name in self.refs), None)

    def resolve(self, revision: str) -> Commit:
        """The commit that a branch, tag, pull request or sha names."""
        name = self.ref_name(revision)
        if name is not None:
            return self.refs[name]
        if revision in self.commits:
            return self.commits[revision]
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def add_commit(
        self,
        ref: str,
        files: Mapping[str, Blob],
        *,
        title: str,
        author: str,
        parent: Commit | None,
        message: str = "",
    ) -> Commit:
        """Record a snapshot and let ``ref`` point at it."""
        commit = Commit(files, title, author, datetime.now(UTC), parent, message)
        self.commits[commit.sha] = commit
        self.refs[ref] = commit
        self.lfs.update({blob.sha256: blob for blob in files.values() if blob.lfs})
        if ref == MAIN:
            self.last_modified = commit.date
        return commit

    def stored_bytes(self) -> int:
        """Size of every distinct content that any commit holds."""
        blobs = {b.oid: b.size for commit in self.commits.values() for b in commit.files.values()}
        return sum(blobs.values())
