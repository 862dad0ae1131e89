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
        after: Its content then.
        shown: For files that are no text: the lines a reader would see in it.
    """

    path: str
    before: bytes | None
    after: bytes
    shown: tuple[str, ...] | None = None

    @property
    def verb(self) -> str:
        """``new`` or ``changed``."""
        return "new" if self.before is None else "changed"

    def diff(self) -> str:
        """A unified diff."""
        old = [] if self.before is None else _lines(self.before)
        new = list(self.shown) if self.shown is not None else _lines(self.after)
        before = "/dev/null" if self.before is None else f"a/{self.path}"
        lines = difflib.unified_diff(old, new, before, f"b/{self.path}", lineterm="")
        return "\n".join(lines) + "\n"


def diff_of(files: tuple[FileChange, ...]) -> str:
    """The diffs of several files."""
    return "\n".join(file.diff() for file in files)


def _lines(content: bytes) -> list[str]:
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
