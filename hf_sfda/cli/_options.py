"""Options that several commands share, worded once."""

from __future__ import annotations

from typing import Annotated

import typer

from hf_sfda.cli._output import Format

FormatOption = Annotated[
    Format, typer.Option("--format", help="How to print the result.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Same as --format json.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Same as --format quiet: model ids only.")
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        "--token",
        help="Hub token; by default HF_TOKEN or what `hf auth login` stored.",
        show_default=False,
    ),
]


def choose_format(format_: Format, json_: bool, quiet: bool) -> Format:
    """What the three ways of saying it amount to; the short flags win."""
    if json_:
        return Format.json
    return Format.quiet if quiet else format_
