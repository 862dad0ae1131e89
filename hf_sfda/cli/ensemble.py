"""``hf-sfda ensemble``: select models of a run that complement each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from hf_sfda.cli._logging import send_warnings_to
from hf_sfda.cli._options import (
    FormatOption,
    JsonOption,
    QuietOption,
    TokenFileOption,
    TokenOption,
    choose_format,
    choose_token,
)
from hf_sfda.cli._output import Format, Output

_EXAMPLES = """
**Examples**

- `hf-sfda ensemble runs/me--plants` — up to three models

- `hf-sfda ensemble runs/me--plants --size 2 --json`

- `hf-sfda ensemble runs/me--plants acme/vit acme/resnet acme/swin` — among these
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("ensemble", epilog=_EXAMPLES)(ensemble)


def ensemble(
    run: Annotated[Path, typer.Argument(help="Run directory that `hf-sfda rank` wrote.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Choose among these ranked models only, named as in the table."),
    ] = None,
    size: Annotated[
        int, typer.Option("--size", "-k", min=1, help="Largest number of models to choose.")
    ] = 3,
    criterion: Annotated[
        Literal["probability", "log_likelihood"],
        typer.Option(help="Objective to maximize: mean held-out probability, or its logarithm."),
    ] = "probability",
    pooling: Annotated[
        Literal["geometric", "arithmetic"],
        typer.Option(help="How predictions are averaged; arithmetic needs log_likelihood."),
    ] = "geometric",
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    format_: FormatOption = Format.auto,
    json_: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Choose ranked models that complement each other.

    Uses the stored features of a finished run. Only the labels of the dataset are read again.
    """
    token = choose_token(token, token_file)
    output = Output(choose_format(format_, json_, quiet))
    from hf_sfda.cli._ensemble_tables import render_plain, render_tables
    from hf_sfda.cli._progress import ConsoleProgress
    from hf_sfda.ensemble import select_for_run

    send_warnings_to(output.warn)
    with ConsoleProgress(output.stderr if output.human else None) as progress:
        selection = select_for_run(
            run,
            models=tuple(models or ()),
            size=size,
            criterion=criterion,
            pooling=pooling,
            token=token,
            progress=progress,
        )
    output.document(
        selection.to_dict(),
        human=lambda width: render_tables(selection),
        agent=lambda: render_plain(selection),
        quiet=lambda: "\n".join(selection.models),
    )
    for warning in selection.warnings:
        output.warn(warning)
