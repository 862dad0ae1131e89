"""Parameters of a command, made from the fields of configuration classes.

What an option is stands in ``config.py``: its name, type and default, and the first sentence of its
entry in the docstring, which is the help text. This file adds how it is typed on a command line.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Annotated, Any, get_args, get_origin

import typer

from hf_sfda.cli._options import parse_count, with_parameters
from hf_sfda.config import CandidateOptions, RankConfig, option_types
from hf_sfda.errors import ConfigError

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
    "flip": ("--flip/--no-flip",),
    "out": ("--out", "-o"),
}
_VALUES = {
    "features": "OWNER/NAME[@REV]",
    "ask_above": "GB",
    "created_after": "DATE",
    "min_params": "NUMBER|300M|7B",
    "max_params": "NUMBER|300M|7B",
    "learning_rates": "NUMBER,...",
}


def with_options_of(
    config: type, only: Collection[str] | None = None, **changes: Mapping[str, Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one parameter for each field of a configuration class.

    The command declares ``**options``; it receives the values there, and :func:`values_of` converts
    them to those of the class. Apply it before ``with_shared_options``, which takes no ``**``.

    Args:
        config: The class, such as :class:`~hf_sfda.config.RankConfig`.
        only: The fields that are options of this command; all by default.
        **changes: Field -> arguments of ``typer.Option`` that this command adds. ``default`` is
            the value of the parameter if the option is not typed.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        given = inspect.signature(command, eval_str=True).parameters.values()
        texts = help_of(config)
        parameters = [
            _parameter(config, name, {"help": texts[name], **changes.get(name, {})})
            for name in option_types(config)
            if only is None or name in only
        ]
        own = [parameter for parameter in given if parameter.kind is not parameter.VAR_KEYWORD]
        return with_parameters(command, [*parameters, *own])

    return decorate


def values_of(options: Mapping[str, Any], config: type = RankConfig) -> dict[str, Any]:
    """The values of a configuration class from those of a command: texts become tuples.

    Raises:
        ConfigError: A text must hold numbers and does not.
    """
    types = option_types(config)
    return {
        name: _split(name, value, types[name]) if _is_list(types[name]) else value
        for name, value in options.items()
        if name in types
    }


def help_of(config: type) -> dict[str, str]:
    """Field -> help text: the first sentence of its entry in the docstring of the class.

    Other options named in it are spelled as on the command line.
    """
    docs = (inspect.getdoc(base) or "" for base in reversed(config.__mro__[:-1]))
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", "\n".join(docs), flags=re.MULTILINE)
    texts = {}
    for name, entry in entries:
        sentence = re.split(r"(?<=\.)\s+(?=[A-Z`\d:])", entry, maxsplit=1)[0]
        texts[name] = re.sub(r"``(.+?)``", _spelled, " ".join(sentence.split()))
    return texts


def _spelled(match: re.Match[str]) -> str:
    name = match[1]
    return f"`--{name.replace('_', '-')}`" if name in option_types() else f"`{name}`"


def _parameter(config: type, name: str, settings: dict[str, Any]) -> inspect.Parameter:
    """The parameter of a field; ``settings`` are arguments of ``typer.Option`` and ``default``."""
    kind, plain = option_types(config)[name], getattr(config, name, "")
    default = settings.pop("default", _default(plain))
    typed = _typed_as(name, kind)
    panels = _PANELS if issubclass(config, CandidateOptions) else {}
    usual = {
        "show_default": plain not in (None, (), "") and plain is not False,
        "metavar": _VALUES.get(name, "TEXT,..." if _is_list(kind) and name != "models" else None),
        "parser": parse_count if name in ("min_params", "max_params") else None,
        "rich_help_panel": next((panel for panel, names in panels.items() if name in names), None),
    }
    option = typer.Option(*_FLAGS.get(name, (f"--{name.replace('_', '-')}",)), **usual | settings)
    annotation: Any = Annotated[typed | None if default is None else typed, option]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=annotation)


def _is_list(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _typed_as(name: str, kind: Any) -> Any:
    """The type of the parameter: a list is typed as one text, separated by commas."""
    if name == "models":  # `--models a b`
        return list[str]
    return str if _is_list(kind) or name == "time_budget" else kind


def _default(value: Any) -> Any:
    if isinstance(value, tuple):
        return ",".join(f"{v:g}" if isinstance(v, float) else v for v in value) or None
    return value


def _split(name: str, value: str | list[str] | None, kind: Any) -> tuple[Any, ...]:
    if isinstance(value, list):
        return tuple(value)
    parts = [part.strip() for part in (value or "").split(",") if part.strip()]
    try:
        return tuple(get_args(kind)[0](part) for part in parts)
    except ValueError:
        raise ConfigError(
            f"{name} is {value!r}; give numbers separated by commas, such as 1e-5,1e-4."
        ) from None
