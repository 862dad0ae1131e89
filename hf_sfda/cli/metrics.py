"""``hf-sfda metrics``: list the values of ``--metric``."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import typer

from hf_sfda.cli._options import with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.types import LabelKind

if TYPE_CHECKING:
    from rich.table import Table

    from hf_sfda.metrics import Metric

_WIDE, _VERY_WIDE = 110, 150


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("metrics", epilog="**Example** `hf-sfda metrics --json`")(metrics)


@with_shared_options
def metrics(*, output: Output) -> None:
    """List the metrics: what they need, what they cost, where they come from."""
    from hf_sfda.metrics import list_metrics

    registered = list_metrics()
    rows = [_row(metric) for metric in registered]
    output.document(
        rows,
        human=lambda width: _table(rows, width),
        agent=lambda: "\n".join(
            ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        ),
        quiet=lambda: "\n".join(metric.name for metric in registered),
    )


def _row(metric: Metric) -> dict[str, str | bool]:
    return {
        "name": metric.name,
        "tasks": ", ".join(sorted(metric.tasks)),
        "needs": metric.needs,
        "higher_is_better": metric.higher_is_better,
        "cost": metric.cost,
        "summary": metric.summary,
        "reference": metric.reference,
    }


def _table(rows: list[dict[str, str | bool]], width: int) -> Table:
    """The table with the columns that fit the terminal; ``--json`` has all columns."""
    from rich.table import Table
    from rich.text import Text

    columns = ["name", "summary", "tasks", "needs"]
    columns += ["cost"] * (width >= _WIDE) + ["reference"] * (width >= _VERY_WIDE)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, no_wrap=name in ("name", "needs"), overflow="fold")
    all_tasks = ", ".join(sorted(get_args(LabelKind)))
    for row in rows:
        cells = {name: str(row[name]) for name in columns}
        cells["tasks"] = "any" if cells["tasks"] == all_tasks else cells["tasks"]
        table.add_row(*map(Text, cells.values()))
    return table
