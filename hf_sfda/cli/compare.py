"""``hf-sfda compare``: compare two models of a run on the same samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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

- `hf-sfda compare runs/me--plants acme/vit acme/resnet`

- `hf-sfda compare runs/me--plants acme/vit acme/resnet --metric linear_probe --top 3`

- `hf-sfda compare runs/me--plants acme/vit acme/resnet --json`
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("compare", epilog=_EXAMPLES)(compare)


def compare(
    run: Annotated[Path, typer.Argument(help="Run directory that `hf-sfda rank` wrote.")],
    model_a: Annotated[str, typer.Argument(help="A ranked model, named as in the table.")],
    model_b: Annotated[str, typer.Argument(help="Another ranked model.")],
    metric: Annotated[
        str | None,
        typer.Option(
            help="Metric to compare; by default the one that the run ranked by.", show_default=False
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=0, help="Number of samples to list in favour of each model.")
    ] = 12,
    token: TokenOption = None,
    token_file: TokenFileOption = None,
    format_: FormatOption = Format.auto,
    json_: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Compare two ranked models on the same samples: overall, per class, per sample.

    Uses the stored features of a finished run. Only the dataset is read again. `--quiet` prints the
    better model, or both if the difference is not significant.
    """
    token = choose_token(token, token_file)
    output = Output(choose_format(format_, json_, quiet))
    from hf_sfda.cli._compare_tables import render_plain, render_tables
    from hf_sfda.cli._progress import ConsoleProgress
    from hf_sfda.compare import compare_for_run

    send_warnings_to(output.warn)
    with ConsoleProgress(output.stderr if output.human else None) as progress:
        comparison = compare_for_run(
            run, model_a, model_b, metric=metric, token=token, progress=progress, top=top
        )
    output.document(
        comparison.to_dict(),
        human=lambda width: render_tables(comparison),
        agent=lambda: render_plain(comparison),
        quiet=lambda: "\n".join([comparison.better] if comparison.better else comparison.models),
    )
    for warning in comparison.warnings:
        output.warn(warning)
