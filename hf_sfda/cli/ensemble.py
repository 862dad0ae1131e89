"""``hf-sfda ensemble``: several models of a run that are better together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hf_sfda.cli._logging import send_warnings_to
from hf_sfda.cli._options import (
    FormatOption,
    JsonOption,
    QuietOption,
    TokenOption,
    choose_format,
)
from hf_sfda.cli._output import Format, Output

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from hf_sfda.ensemble import Ensemble

_SHOWN = 8
"""Columns of the correlation table that fit a terminal; --json has all of them."""

_EXAMPLES = """
**Examples**

- `hf-sfda ensemble runs/plants` — up to three models

- `hf-sfda ensemble runs/plants --size 2 --json`
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("ensemble", epilog=_EXAMPLES)(ensemble)


def ensemble(
    run: Annotated[Path, typer.Argument(help="Run directory that `hf-sfda rank` wrote.")],
    size: Annotated[
        int, typer.Option("--size", "-k", min=1, help="The most models to choose.")
    ] = 3,
    criterion: Annotated[
        Literal["probability", "log_likelihood"],
        typer.Option(help="What is to rise: mean held-out probability, or its logarithm."),
    ] = "probability",
    pooling: Annotated[
        Literal["geometric", "arithmetic"],
        typer.Option(help="How predictions are averaged; arithmetic needs log_likelihood."),
    ] = "geometric",
    token: TokenOption = None,
    format_: FormatOption = Format.auto,
    json_: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Choose ranked models that are better together than the best one alone.

    Works on the features of a finished run: nothing is downloaded or extracted but the dataset's
    labels.
    """
    output = Output(choose_format(format_, json_, quiet))
    from hf_sfda.cli._progress import ConsoleProgress
    from hf_sfda.ensemble import select_for_run

    send_warnings_to(output.warn)
    with ConsoleProgress(output.talk if output.human else None) as progress:
        chosen = select_for_run(
            run, size=size, criterion=criterion, pooling=pooling, token=token, progress=progress
        )
    output.document(
        chosen.to_dict(),
        human=lambda width: _tables(chosen),
        agent=lambda: _plain(chosen),
        quiet=lambda: "\n".join(chosen.models),
    )
    for warning in chosen.warnings:
        output.warn(warning)


def _tables(chosen: Ensemble) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    unit = chosen.criterion.replace("_", "-")
    return Group(
        Text(f"Held out; gain in {unit} over the best single model where neither was chosen"),
        _table(*_steps(chosen)),
        "",
        Text("Candidates, and the paper's score T_ens = 0.5 sfda_cv + 0.5 T_com"),
        _table(*_candidates(chosen)),
        "",
        Text("Correlation of mistakes; the lower, the more two models make up for each other"),
        _table(*_correlations(chosen, _SHOWN)),
        "",
        Text(chosen.summary, style="bold"),
    )


def _plain(chosen: Ensemble) -> str:
    """Three tab-separated tables and the summary, with an empty line between."""
    tables = [_steps(chosen), _candidates(chosen), _correlations(chosen, len(chosen.singles))]
    blocks = ["\n".join("\t".join(row) for row in (header, *rows)) for header, rows in tables]
    return "\n\n".join([*blocks, chosen.summary])


Cells = tuple[Sequence[str], list[Sequence[str]]]
"""A header and rows."""


def _steps(chosen: Ensemble) -> Cells:
    """One row a size: what it holds out, and what it gains where it was not chosen."""
    level = f"{chosen.confidence:.0%}"
    rows: list[Sequence[str]] = []
    for step in chosen.steps:
        quality, (low, high) = step.quality, step.interval
        together = len(step.added) == len(step.models)
        rows.append(
            (
                str(len(step.models)),
                " + ".join(step.added) if together else f"+ {' + '.join(step.added)}",
                _decimal(quality.probability),
                _decimal(quality.log_likelihood),
                _decimal(quality.accuracy),
                f"{step.gain:+.4f}" if len(step.models) > 1 else "",
                f"{low:+.4f} to {high:+.4f}" if len(step.models) > 1 else "",
            )
        )
    return ("step", "model", "probability", "log-lik", "accuracy", "gain", level), rows


def _candidates(chosen: Ensemble) -> Cells:
    """Every candidate by itself, and the paper's score of it."""
    rows: list[Sequence[str]] = [
        (
            name,
            _decimal(chosen.singles[name].probability),
            _decimal(chosen.singles[name].accuracy),
            _decimal(paper.sfda),
            _decimal(paper.complementarity),
            _decimal(paper.combined),
            "yes" if name in chosen.paper_choice else "",
        )
        for name in _by_quality(chosen)
        for paper in (chosen.paper[name],)
    ]
    header = ("candidate", "probability", "accuracy", "sfda_cv", "T_com", "T_ens", "paper's choice")
    return header, rows


def _correlations(chosen: Ensemble, shown: int) -> Cells:
    names = list(chosen.singles)
    # The chosen ones must not fall off the end of a table that is cut.
    order = [*chosen.models, *(name for name in _by_quality(chosen) if name not in chosen.models)]
    places = [names.index(name) for name in order[:shown]]
    rows: list[Sequence[str]] = [
        (names[i], *(_decimal(chosen.error_correlation[i, j], 2) for j in places)) for i in places
    ]
    return ("candidate", *(names[i] for i in places)), rows


def _by_quality(chosen: Ensemble) -> Iterable[str]:
    singles = chosen.singles
    return sorted(singles, key=lambda name: (-getattr(singles[name], chosen.criterion), name))


def _decimal(value: float | None, digits: int = 4) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: list[Sequence[str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        words = name in ("model", "candidate")
        table.add_column(
            name, justify="left" if words else "right", no_wrap=not words, overflow="fold"
        )
    for row in rows:
        table.add_row(*row)
    return table
