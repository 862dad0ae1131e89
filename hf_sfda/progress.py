"""The interface by which stages report their progress.

A stage writes ``with progress.task("extract", "acme/vit", total=1270, unit="img") as advance:``
and calls ``advance(64)`` after 64 images. The command line draws its own bars;
:func:`hf_sfda.rank` shows those of tqdm, and takes any other class with this interface.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol

from hf_sfda.foreign import clean

Kind = Literal["dataset", "download", "extract", "score", "finetune"]
Advance = Callable[[float], None]


class Progress(Protocol):
    """Receives the progress of the stages."""

    def task(
        self, kind: Kind, name: str, *, total: float | None, unit: str
    ) -> AbstractContextManager[Advance]:
        """Start a task; the context manager yields a function that reports an amount of it as done.

        Args:
            kind: The kind of work.
            name: What is processed, for example a model id.
            total: Total amount; ``None`` if unknown.
            unit: Unit of the amounts, for example ``img`` or ``B``.
        """
        ...


class NoProgress:
    """Ignores all progress."""

    @contextmanager
    def task(self, kind: Kind, name: str, *, total: float | None, unit: str) -> Iterator[Advance]:
        """Ignore the task."""
        yield lambda amount: None


class TqdmProgress:
    """Shows one tqdm bar per task, in notebooks and on stderr."""

    @contextmanager
    def task(self, kind: Kind, name: str, *, total: float | None, unit: str) -> Iterator[Advance]:
        """Show a bar for the task and remove it at the end."""
        from tqdm.auto import tqdm

        label = clean(f"{kind} {name}")
        scale = unit == "B"
        with tqdm(total=total, desc=label, unit=unit, unit_scale=scale, leave=False) as bar:

            def advance(amount: float) -> None:
                bar.update(amount)

            yield advance


def default_progress() -> Progress:
    """Bars in a notebook and on a terminal; nothing elsewhere, for example in a log file."""
    return TqdmProgress() if _is_notebook() or sys.stderr.isatty() else NoProgress()


def _is_notebook() -> bool:
    """Whether this code runs in a kernel of Jupyter or Colab; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config
