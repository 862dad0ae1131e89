"""Parameters of a command, made from the fields of a configuration class.

What an option is stands in ``config.py``: its name, type and default, and the first sentence of its
entry in the docstring, which is the help text. This file adds how it is typed on a command line.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

import typer

from hf_sfda.cli._options import parse_count, with_parameters
from hf_sfda.config import CandidateOptions, RankConfig, option_types

_PANELS = {
    "Dataset": ("dataset", "revision", "split", "input_column", "label_column", "task", "samples"),
    "Candidates": ("models", *(field.name for field in fields(CandidateOptions))),
    "Features": (
        "layers", "batch_norms", "features", "max_length", "batch_size", "dtype", "work", "workers",
    ),
    "Scores": (
        "metric", "metrics", "folds", "resamples", "permutations", "confidence", "learning_curve",
        "seed",
    ),
    "Time and size": ("race", "keep", "time_budget", "shards", "shard", "ask_above"),
}  # fmt: skip
_FLAGS = {
    "dataset": ("--dataset", "-d"),
    "models": ("--models", "-m"),
    "samples": ("--samples", "-n"),
    "layers": ("--layers", "--view"),  # the former name
    "learning_curve": ("--learning-curve",),  # without a --no-learning-curve
    "race": ("--race",),
    "out": ("--out", "-o"),
}
_VALUES = {
    "features": "OWNER/NAME[@REV]",
    "ask_above": "GB",
    "created_after": "DATE",
    "min_params": "NUMBER|300M|7B",
    "max_params": "NUMBER|300M|7B",
}


def with_options_of(
    config: type[CandidateOptions],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one parameter for each field of a configuration class.

    The command declares ``**options``; it receives the values there, and :func:`values_of` converts
    them to those of the class. Apply it before ``with_shared_options``, which takes no ``**``.

    Args:
        config: :class:`~hf_sfda.config.RankConfig` or the class with the candidates' options.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        given = inspect.signature(command, eval_str=True).parameters.values()
        texts = help_of(CandidateOptions) | help_of(config)
        made = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_default(getattr(config, name, "")),
                annotation=Annotated[_typed_as(name), _option(name, texts[name])],
            )
            for name in option_types()
            if name in get_type_hints(config)
        ]
        own = [parameter for parameter in given if parameter.kind is not parameter.VAR_KEYWORD]
        return with_parameters(command, [*made, *own])

    return decorate


def values_of(options: dict[str, Any]) -> dict[str, Any]:
    """The values of a configuration class from those of a command: texts become tuples."""
    return {
        name: _split(value) if option_types()[name] == tuple[str, ...] else value
        for name, value in options.items()
    }


def help_of(config: type) -> dict[str, str]:
    """Field -> help text: the first sentence of its entry in the docstring of the class.

    Other options named in it are spelled as on the command line.
    """
    entries = re.findall(
        r"^    (\w+): (.*(?:\n {8}.*)*)", inspect.getdoc(config) or "", flags=re.MULTILINE
    )
    texts = {}
    for name, entry in entries:
        sentence = re.split(r"(?<=\.)\s+(?=[A-Z`\d:])", entry, maxsplit=1)[0]
        texts[name] = re.sub(r"``(.+?)``", _spelled, " ".join(sentence.split()))
    return texts


def _spelled(match: re.Match[str]) -> str:
    name = match[1]
    return f"`--{name.replace('_', '-')}`" if name in option_types() else f"`{name}`"


def _option(name: str, text: str) -> Any:
    plain = getattr(RankConfig, name, None)
    return typer.Option(
        *_FLAGS.get(name, (f"--{name.replace('_', '-')}",)),
        help=text,
        show_default=plain not in (None, ()) and plain is not False,
        metavar=_VALUES.get(name, "TEXT,..." if _is_list(name) else None),
        parser=parse_count if name in ("min_params", "max_params") else None,
        rich_help_panel=next((panel for panel, names in _PANELS.items() if name in names), None),
    )


def _is_list(name: str) -> bool:
    return option_types()[name] == tuple[str, ...] and name != "models"


def _typed_as(name: str) -> Any:
    """The type of the parameter: texts are typed as one text, separated by commas."""
    if name == "models":  # `--models a b`
        return list[str] | None
    return str | None if _is_list(name) else option_types()[name]


def _default(value: Any) -> Any:
    if isinstance(value, tuple):
        return ",".join(value) or None
    return value


def _split(value: str | list[str] | None) -> tuple[str, ...]:
    if isinstance(value, list):
        return tuple(value)
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())
