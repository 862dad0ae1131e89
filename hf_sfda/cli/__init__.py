"""The ``hf-sfda`` command, one file per subcommand. Heavy libraries are imported when needed."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core
import typer.main

from hf_sfda.cli._errors import INTERRUPTED, report_failure
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    Command = typer.core.TyperCommand | typer.core.TyperGroup

_HELP = {
    "rank": "Rank checkpoints for a dataset, without fine-tuning, with error bars.",
    "scan": "List candidates and, for each one left out, the reason.",
    "merge": "Rank the models of several runs together, from their stored features.",
    "compare": "Compare two ranked models on the same samples: overall, per class, per sample.",
    "ensemble": "Choose ranked models that complement each other.",
    "finetune": "Fine-tune the first models of a run and measure them on unseen samples. "
    "Plan first.",
    "publish": "Publish a run: results dataset, model cards, pull request, collection. Plan first.",
    "metrics": "List the metrics: what they need, what they cost, where they come from.",
    "validate": "Compare the scores of finished runs with accuracies after fine-tuning.",
    "env": "Print versions, devices and folders; no tokens.",
    "leaderboard": "A results dataset that is updated automatically.",
    "space": "The leaderboard as an app.",
    "cache": "Show, verify, remove or publish the stored features.",
}
"""Name of each command -> what ``hf-sfda --help`` says of it: the first line of its own help, which
would have to be imported. A command is in the module of its name."""


class _Commands(Mapping[str, "Command"]):
    """The commands by name. A command is made when it is first looked up."""

    def __init__(self) -> None:
        self._made: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self._made:
            if name not in _HELP:
                raise KeyError(name)
            alone = typer.Typer(rich_markup_mode="markdown")
            importlib.import_module(f"{__name__}.{name}").add_to(alone)
            command: Any = typer.main.get_group(alone).commands[name]
            self._made[name] = command
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_HELP)

    def __len__(self) -> int:
        return len(_HELP)


class _Group(typer.core.TyperGroup):
    """``hf-sfda`` itself: it makes the command that is called, and no other."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings | {"commands": _Commands()})

    def list_commands(self, ctx: Any) -> list[str]:
        return list(_HELP)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.commands = {name: typer.core.TyperCommand(name, help=_HELP[name]) for name in _HELP}
        super().format_help(ctx, formatter)


app = typer.Typer(
    name="hf-sfda",
    cls=_Group,
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
