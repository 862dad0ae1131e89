"""The ``hf-sfda`` command, one file per subcommand. Heavy libraries are imported when needed."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hf_sfda.cli import (
    cache,
    compare,
    ensemble,
    env,
    finetune,
    leaderboard,
    merge,
    metrics,
    publish,
    rank,
    scan,
    space,
    validate,
)
from hf_sfda.cli._errors import INTERRUPTED, report_failure
from hf_sfda.versions import __version__

app = typer.Typer(
    name="hf-sfda",
    help="Which checkpoint on the Hugging Face Hub should I fine-tune on my dataset?",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"hf-sfda {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options that belong to no subcommand."""


rank.add_to(app)
scan.add_to(app)
merge.add_to(app)
compare.add_to(app)
ensemble.add_to(app)
finetune.add_to(app)
publish.add_to(app)
leaderboard.add_to(app)
space.add_to(app)
metrics.add_to(app)
validate.add_to(app)
cache.add_to(app)
env.add_to(app)


def main() -> None:
    """Entry point of the console script; exit codes are 0, 1, 2 and 130 (see docs/inputs.md)."""
    try:
        app()
    except SystemExit as end:
        # typer converts Ctrl-C to exit code 130 without a message.
        if end.code == INTERRUPTED:
            report_failure(KeyboardInterrupt())
        raise
    except Exception as error:
        sys.exit(report_failure(error))
