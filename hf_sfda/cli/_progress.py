"""The session of a command, with progress bars on stderr if it is a terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hf_sfda.foreign import clean
from hf_sfda.progress import Advance, Kind
from hf_sfda.session import Session

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import Task

    from hf_sfda.cli._output import Output

_TITLES: dict[Kind, str] = {
    "dataset": "Target",
    "download": "Download",
    "extract": "Extract",
    "score": "Score",
    "finetune": "Train",
}


@contextmanager
def open_session(token: str | None, output: Output) -> Iterator[Session]:
    """The session of a command: its token, the default store, and bars on stderr until the end."""
    with ConsoleProgress(output.stderr if output.human else None) as progress:
        yield Session(token, progress=progress)


class ConsoleProgress:
    """Draws one bar per running task. Several tasks may run at once, such as a download.

    Use it as a context manager; the bars disappear at the end of the block.

    Args:
        console: The console on stderr; nothing is drawn if it is ``None`` or not a terminal.
    """

    def __init__(self, console: Console | None) -> None:
        self._console = console
        self._bars: Bars | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> ConsoleProgress:
        if self._console is not None and self._console.is_terminal:
            self._bars = _bars(self._console)
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    @contextmanager
    def task(self, kind: Kind, name: str, *, total: float | None, unit: str) -> Iterator[Advance]:
        """Draw a bar for a task and remove it when the task ends."""
        bars = self._bars
        if bars is None:
            yield lambda amount: None
            return
        with self._lock:
            task = bars.add_task(_TITLES[kind], total=total, title=clean(name), unit=unit)
        try:
            yield lambda amount: bars.advance(task, amount)
        finally:
            with self._lock:
                bars.remove_task(task)


def _bars(console: Console) -> Bars:
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Speed(ProgressColumn):
        """`1,840 img/s` or `3.2 MB/s`."""

        def render(self, task: Task) -> Text:
            if not task.speed:
                return Text("")
            if task.fields["unit"] == "B":
                return Text(f"{task.speed / 1e6:,.1f} MB/s", style="cyan")
            return Text(f"{task.speed:,.0f} {task.fields['unit']}/s", style="cyan")

    class Amount(ProgressColumn):
        """`640/1,270` or `12/91 MB`."""

        def render(self, task: Task) -> Text:
            divisor, suffix = (1e6, " MB") if task.fields["unit"] == "B" else (1, "")
            total = "" if task.total is None else f"/{task.total / divisor:,.0f}"
            return Text(f"{task.completed / divisor:,.0f}{total}{suffix}")

    return Progress(
        TextColumn("{task.description:<8}", style="bold", markup=False),
        BarColumn(bar_width=20),
        Amount(),
        Speed(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[title]}", style="dim", markup=False),
        console=console,
        transient=True,
    )
