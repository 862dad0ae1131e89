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


def hub_id(what: str, text: str, kind: str, example: str) -> str:
    """An id of the Hub that somebody typed, with or without ``datasets/`` before it.

    Args:
        what: The argument's name, for the message.
        text: What was typed.
        kind: ``dataset`` or ``space``.
        example: A good one.

    Raises:
        ConfigError: It is no ``OWNER/NAME``.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    from hf_sfda.errors import ConfigError

    repo_id = text.removeprefix(f"{kind}s/")
    try:
        validate_repo_id(repo_id)  # it also ends in shell commands that we write
    except HFValidationError:
        repo_id = ""
    if "/" not in repo_id:
        raise ConfigError(f"{what} is {text!r}; give a {kind} as OWNER/NAME, such as {example}.")
    return repo_id
