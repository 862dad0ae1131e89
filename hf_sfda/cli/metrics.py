"""``hf-sfda metrics``: what can be typed after ``--metric``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from hf_sfda.cli._options import FormatOption, JsonOption, QuietOption, choose_format
from hf_sfda.cli._output import Format, Output

if TYPE_CHECKING:
    from rich.table import Table

    from hf_sfda.metrics import Metric


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("metrics", epilog="**Example** `hf-sfda metrics --json`")(metrics)


def metrics(
    format_: FormatOption = Format.auto, json_: JsonOption = False, quiet: QuietOption = False
) -> None:
    """List the metrics: what they need, what they cost, where they come from."""
    from hf_sfda.metrics import list_metrics

    known = list_metrics()
    rows = [_row(metric) for metric in known]
    Output(choose_format(format_, json_, quiet)).document(
        rows,
        human=lambda width: _table(rows),
        agent=lambda: "\n".join(
            ["\t".join(rows[0]), *("\t".join(map(str, row.values())) for row in rows)]
        ),
        quiet=lambda: "\n".join(metric.name for metric in known),
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


def _table(rows: list[dict[str, str | bool]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = ("name", "tasks", "needs", "cost", "summary", "reference")
    for name in shown:
        table.add_column(name, no_wrap=name == "name", overflow="fold")
    for row in rows:
        table.add_row(*(str(row[name]) for name in shown))
    return table
