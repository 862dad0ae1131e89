"""The output of a command: results on stdout, progress and logs on stderr.

The formats are those of the command ``hf``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hf_sfda.foreign import clean_lines, visible_json
from hf_sfda.secrets import redact

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class Format(StrEnum):
    """The values of ``--format``."""

    auto = "auto"
    human = "human"
    agent = "agent"
    json = "json"
    quiet = "quiet"


class Output:
    """Writes the result and the messages of a command.

    Args:
        mode: The requested format. ``auto`` becomes ``agent`` if a coding agent runs the command,
            else ``human``.
    """

    def __init__(self, mode: Format) -> None:
        self.mode = _resolve(mode)

    @cached_property
    def _stdout(self) -> Console:
        return _console(stderr=False)

    @cached_property
    def stderr(self) -> Console:
        """The console on stderr."""
        return _console(stderr=True)

    @property
    def human(self) -> bool:
        """Whether the output is for a person."""
        return self.mode is Format.human

    def document(
        self,
        data: Any,
        *,
        human: Callable[[int], RenderableType],
        agent: Callable[[], str],
        quiet: Callable[[], str],
    ) -> None:
        """Print the command's result on stdout, in the requested format.

        Args:
            data: The JSON document.
            human: Function from the terminal's width to a renderable of rich.
            agent: Function that returns tab-separated text.
            quiet: Function that returns ids, one per line.
        """
        if self.mode is Format.json:
            text = redact(json.dumps(data, ensure_ascii=False, indent=2))
            sys.stdout.write(visible_json(text) + "\n")
        elif self.mode is Format.human:
            self._stdout.print(human(self._stdout.width))
        else:
            text = agent() if self.mode is Format.agent else quiet()
            sys.stdout.write(clean_lines(redact(text)).rstrip("\n") + "\n" if text else "")
        sys.stdout.flush()

    def log(self, message: str) -> None:
        """Print a progress message on stderr; only in the format ``human``."""
        if self.human:
            self.stderr.print(clean_lines(redact(message)), markup=False, soft_wrap=True)

    def warn(self, message: str) -> None:
        """Print a warning on stderr, in every format."""
        self.stderr.print(
            f"Warning: {clean_lines(redact(message))}",
            markup=False,
            highlight=False,
            style="yellow",
        )


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def _resolve(mode: Format) -> Format:
    if mode is not Format.auto:
        return mode
    from huggingface_hub.utils import is_agent  # type: ignore[attr-defined]

    return Format.agent if is_agent() else Format.human
