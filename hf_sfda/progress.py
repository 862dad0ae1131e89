"""How the long stages tell a listener how far they are, without knowing who listens.

A stage writes ``with progress.task("extract", "acme/vit", total=1270, unit="img") as advance:``
and calls ``advance(64)``. The command line draws bars from it; a library call listens with tqdm
or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol

from hf_sfda.foreign import clean

Kind = Literal["dataset", "download", "extract", "score", "finetune"]
Advance = Callable[[float], None]


class Progress(Protocol):
    """Whoever wants to know how far a stage is."""

    def task(
        self, kind: Kind, name: str, *, total: float | None, unit: str
    ) -> AbstractContextManager[Advance]:
        """A unit of work; calling the yielded function says how much more of it is done."""
        ...


class NoProgress:
    """Listens to nothing."""

    @contextmanager
    def task(self, kind: Kind, name: str, *, total: float | None, unit: str) -> Iterator[Advance]:
        """Do nothing."""
        yield lambda amount: None


class TqdmProgress:
    """One tqdm bar a task, on stderr; works in notebooks and logs as tqdm does."""

    @contextmanager
    def task(self, kind: Kind, name: str, *, total: float | None, unit: str) -> Iterator[Advance]:
        """A bar that is removed when the task ends."""
        from tqdm.auto import tqdm

        label = clean(f"{kind} {name}")
        scale = unit == "B"
        with tqdm(total=total, desc=label, unit=unit, unit_scale=scale, leave=False) as bar:

            def advance(amount: float) -> None:
                bar.update(amount)

            yield advance
