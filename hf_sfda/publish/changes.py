"""What will become of a file, and how that is shown."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class FileChange:
    """A file of a repository before and after.

    Attributes:
        path: In the repository.
        before: Its content; ``None`` if it is new.
        after: Its content then; ``None`` if it goes.
        shown: What to show of its content then, where that is no text or says nothing.
        shown_before: The same for its content now.
    """

    path: str
    before: bytes | None
    after: bytes | None
    shown: tuple[str, ...] | None = None
    shown_before: tuple[str, ...] | None = None

    @property
    def verb(self) -> str:
        """``new``, ``changed`` or ``deleted``."""
        if self.before is None:
            return "new"
        return "changed" if self.after is not None else "deleted"

    def diff(self) -> str:
        """A unified diff."""
        old, new = _lines(self.before), _lines(self.after)
        if self.shown is not None:
            new = list(self.shown)
        if self.shown_before is not None:
            old = list(self.shown_before)
        before = "/dev/null" if self.before is None else f"a/{self.path}"
        after = "/dev/null" if self.after is None else f"b/{self.path}"
        lines = difflib.unified_diff(old, new, before, after, lineterm="")
        return "\n".join(lines) + "\n"


def diff_of(files: tuple[FileChange, ...]) -> str:
    """The diffs of several files."""
    return "\n".join(file.diff() for file in files)


def _lines(content: bytes | None) -> list[str]:
    if content is None:
        return []
    lines = content.decode("utf-8", "replace").split("\n")
    if lines[-1] == "":
        return lines[:-1]
    return [*lines[:-1], f"{lines[-1]}\n\\ No newline at end of file"]


@dataclass(frozen=True)
class Done:
    """One step that was carried out.

    Attributes:
        what: In words.
        url: Where to look at it.
        commit: Sha of the commit, if it is one.
    """

    what: str
    url: str
    commit: str | None = None
