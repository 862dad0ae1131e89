"""Options that several commands share."""

from __future__ import annotations

import codecs
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from hf_sfda.cli._logging import send_warnings_to
from hf_sfda.cli._output import Format, Output
from hf_sfda.processes import is_main_process


def parse_count(text: str) -> int:
    """Parse a number such as ``300M`` or ``7B``.

    Raises:
        ConfigError: The text is not a number.
    """
    from hf_sfda.errors import ConfigError

    scale = {"K": 10**3, "M": 10**6, "B": 10**9}.get(text[-1:].upper(), 1)
    digits = text if scale == 1 else text[:-1]
    try:
        return int(float(digits) * scale)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{text!r} is no number of parameters; give a number such as 300M, 7B or 1000000."
        ) from None


@dataclass(frozen=True)
class Consent:
    """Whether a plan is carried out.

    Attributes:
        yes: Carry it out; otherwise it is only shown.
        expect: Digest of the plan that the user has seen; any other plan is refused.
    """

    yes: bool
    expect: str | None


_Shared = Mapping[str, tuple[Any, Any, Any]]  # parameter -> type, option, default

_CONSENT: _Shared = {
    "yes": (bool, typer.Option("--yes", "-y", help="Carry out the plan without asking."), False),
    "expect": (
        str | None,
        typer.Option(
            "--expect",
            metavar="PLAN",
            help="With --yes: only if the plan is still this one (its id is printed with it).",
            show_default=False,
        ),
        None,
    ),
}
_TOKEN: _Shared = {
    "token": (
        str | None,
        typer.Option(
            "--token",
            help="Hub token; others on this machine can see it. Better set HF_TOKEN, use "
            "--token-file, or log in with `hf auth login`.",
            show_default=False,
        ),
        None,
    ),
    "token_file": (
        Path | None,
        typer.Option("--token-file", help="File that holds the Hub token.", show_default=False),
        None,
    ),
}
_OUTPUT: _Shared = {
    "format_": (Format, typer.Option("--format", help="How to print the result."), Format.auto),
    "json_": (bool, typer.Option("--json", help="Same as --format json."), False),
    "quiet": (
        bool,
        typer.Option("--quiet", "-q", help="Same as --format quiet: names or addresses only."),
        False,
    ),
}
_SHARED = {"consent": _CONSENT, "token": _TOKEN, "output": _OUTPUT}


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options behind its parameters ``consent``, ``token`` and ``output``.

    These are ``--yes`` and ``--expect``; ``--token`` and ``--token-file``; ``--format``, ``--json``
    and ``--quiet``. Before the command starts, the output receives our warnings.
    """
    given = inspect.signature(command, eval_str=True)
    wanted = [name for name in _SHARED if name in given.parameters]
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=Annotated[kind, option],
        )
        for group in wanted
        for name, (kind, option, default) in _SHARED[group].items()
    ]
    own = [parameter for name, parameter in given.parameters.items() if name not in wanted]

    @wraps(command)
    def wrapper(**values: Any) -> None:
        shared: dict[str, Any] = {}
        if "consent" in wanted:
            shared["consent"] = Consent(values.pop("yes"), values.pop("expect"))
        if "token" in wanted:
            shared["token"] = choose_token(values.pop("token"), values.pop("token_file"))
        if "output" in wanted:
            json_, quiet = values.pop("json_"), values.pop("quiet")
            output = Output(choose_format(values.pop("format_"), json_, quiet))
            send_warnings_to(output.warn if is_main_process() else None)
            shared["output"] = output
        # Before huggingface_hub is imported: our own bars show downloads.
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        command(**values, **shared)

    return with_parameters(wrapper, [*own, *parameters])


def with_parameters(
    command: Callable[..., None], parameters: Sequence[inspect.Parameter]
) -> Callable[..., None]:
    """The command with other parameters, for typer; it receives all of them by name."""
    named = inspect.Parameter.KEYWORD_ONLY
    signature = inspect.Signature([parameter.replace(kind=named) for parameter in parameters])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LONGEST_TOKEN = 10_000  # bytes; a file with more holds something else


def choose_token(token: str | None, token_file: Path | None) -> str | None:
    """Read the Hub token from the options; ``None`` means HF_TOKEN or the current login.

    Raises:
        ConfigError: Both options are set, or the value or the file is not a token.
    """
    from hf_sfda.errors import ConfigError
    from hf_sfda.secrets import keep_secret
    from hf_sfda.typed import expanded

    if token is not None and token_file is not None:
        raise ConfigError(
            "Both --token and --token-file are given; keep one, preferably --token-file."
        )
    if token is not None:
        keep_secret(token)
        if not _is_token(token):
            raise ConfigError("--token must be one word of ASCII; leave it out for none.")
        if is_main_process():
            typer.echo(
                "Warning: the list of processes shows --token to everybody on this machine. Set "
                "HF_TOKEN or use --token-file instead.",
                err=True,
            )
        return token
    if token_file is None:
        return None
    try:
        with expanded(token_file).open("rb") as file:
            content = file.read(_LONGEST_TOKEN)
        # Windows programs write a byte order mark, and PowerShell writes UTF-16.
        text = content.decode("utf-16" if content[:2] in _UTF16 else "utf-8-sig").strip()
    except OSError as error:
        raise ConfigError(f"Cannot read --token-file {token_file}: {error.strerror}.") from error
    except UnicodeDecodeError:
        text = ""
    if not _is_token(text):
        raise ConfigError(f"--token-file {token_file} must hold one token and nothing else.")
    keep_secret(text)
    return text


def _is_token(text: str) -> bool:
    """Whether a text can be sent to the Hub as a token."""
    return text.isascii() and text.isprintable() and len(text.split()) == 1 and " " not in text


def choose_format(format_: Format, json_: bool, quiet: bool) -> Format:
    """The output format; --json and --quiet override --format."""
    if json_:
        return Format.json
    return Format.quiet if quiet else format_


def hub_id(option: str, text: str, kind: str, example: str) -> str:
    """Check a Hub id that the user typed, and remove a prefix such as ``datasets/``.

    Args:
        option: Name of the option or argument, for the message.
        text: The id as typed.
        kind: ``dataset`` or ``space``.
        example: A valid id, for the message.

    Raises:
        ConfigError: The text does not have the form ``OWNER/NAME``.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    from hf_sfda.errors import ConfigError

    repo_id = text.removeprefix(f"{kind}s/")
    try:
        validate_repo_id(repo_id)  # we also write the id into shell commands
    except HFValidationError:
        repo_id = ""
    if "/" not in repo_id:
        raise ConfigError(f"{option} is {text!r}; give a {kind} as OWNER/NAME, such as {example}.")
    return repo_id
