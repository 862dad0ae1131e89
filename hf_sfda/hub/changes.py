"""Changes of files, their diffs, and the result of a step."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class FileChange:
    """A file of a repository before and after.

    Attributes:
        path: Path in the repository.
        before: The content now; ``None`` if the file is new.
        after: The content after the change, or a local file that holds it, for content that is
            large; ``None`` if the file is deleted.
        preview: Lines that the diff shows in place of ``after``, for a binary file. A local file
            needs them.
        preview_before: Lines that the diff shows in place of ``before``.
    """

    path: str
    before: bytes | None
    after: bytes | Path | None
    preview: tuple[str, ...] | None = None
    preview_before: tuple[str, ...] | None = None

    @property
    def verb(self) -> str:
        """``new``, ``changed`` or ``deleted``."""
        if self.before is None:
            return "new"
        return "changed" if self.after is not None else "deleted"

    @property
    def content(self) -> bytes:
        """The content after the change; empty if the file is deleted."""
        return self.after.read_bytes() if isinstance(self.after, Path) else self.after or b""

    @property
    def sha256(self) -> str:
        """The sha256 of the content after the change; of nothing if the file is deleted."""
        if isinstance(self.after, Path):
            with self.after.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(self.after or b"").hexdigest()

    def diff(self) -> str:
        """The change as a unified diff; previews take the place of binary content."""
        old = _lines(self.before)
        new = _lines(None if isinstance(self.after, Path) else self.after)
        if self.preview is not None:
            new = list(self.preview)
        if self.preview_before is not None:
            old = list(self.preview_before)
        before = "/dev/null" if self.before is None else f"a/{self.path}"
        after = "/dev/null" if self.after is None else f"b/{self.path}"
        lines = difflib.unified_diff(old, new, before, after, lineterm="")
        return "\n".join(lines) + "\n"


def diff_of(files: tuple[FileChange, ...]) -> str:
    """The unified diffs of several files, joined."""
    return "\n".join(file.diff() for file in files)


def _lines(content: bytes | None) -> list[str]:
    if content is None:
        return []
    lines = content.decode("utf-8", "replace").split("\n")
    if lines[-1] == "":
        return lines[:-1]
    return [*lines[:-1], f"{lines[-1]}\n\\ No newline at end of file"]


@dataclass(frozen=True)
class StepResult:
    """The result of one executed step.

    Attributes:
        description: What was done, in words.
        url: The page that shows it.
        commit: Sha of the commit, if the step made one.
    """

    description: str
    url: str
    commit: str | None = None

    def to_dict(self) -> dict[str, str | None]:
        """The result as a JSON document."""
        return {"what": self.description, "url": self.url, "commit": self.commit}
