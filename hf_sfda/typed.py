"""Settings that people write: read from YAML, and checked key by key.

One reader for every settings file, so that a wrong type, a date, a misspelt key or a file in
another encoding gives the same kind of message everywhere.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from datetime import date
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hf_sfda.errors import ConfigError
from hf_sfda.foreign import ForeignError, clean, listing, read_yaml, repeated_key

_LONGEST = 60  # characters of a value that a message shows
_LARGEST = 2**63 - 1  # arrays and files count no further

# numpy has numbers of its own, which are as good.
_NUMBERS: Mapping[Any, type] = {int: Integral, float: Real}
_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
}


def read_settings(content: str | bytes, name: str) -> dict[str, Any]:
    """The keys and values of a YAML file; empty for an empty file.

    Args:
        content: The file.
        name: What to call it in messages.

    Raises:
        ConfigError: It is not UTF-8, not YAML, or does not hold ``key: value`` lines.
    """
    try:
        values = read_yaml(content)
    except ForeignError as error:
        raise ConfigError(f"{name} is {error}. Correct the file and save it as UTF-8.") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must hold `key: value` lines, not a {type(values).__name__}.")
    if twice := repeated_key(content):
        raise ConfigError(f"{name} holds {shown(twice)} twice in one place; keep one of them.")
    return {str(key): value for key, value in values.items()}


def unknown_keys(given: Collection[Any], allowed: Collection[str]) -> str | None:
    """What to say of keys that do not exist: the keys, the nearest allowed ones, all allowed ones.

    Example:
        >>> unknown_keys({"sample"}, ["samples", "seed"])
        'sample. Allowed: samples, seed. Did you mean samples?'
    """
    unknown = sorted(str(key) for key in given if key not in allowed)
    if not unknown:
        return None
    near = [key for name in unknown for key in difflib.get_close_matches(name, allowed, n=1)]
    advice = f" Did you mean {', '.join(near)}?" if near else ""
    return f"{listing(unknown)}. Allowed: {', '.join(allowed)}.{advice}"


def typed(value: Any, kind: Any, name: str) -> Any:
    """The value as its kind, where nothing is lost by it.

    Args:
        value: As somebody wrote it.
        kind: ``int``, ``float``, ``str``, ``bool``, ``tuple[str, ...]``, a ``Literal``, or one of
            these ``| None``.
        name: The option, for the message.

    Returns:
        The value. A whole number may stand for a number, one text for a list of texts.

    Raises:
        ConfigError: It is of another kind.
    """
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        kind = next(one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is Literal:
        allowed = get_args(kind)
        if value in allowed and isinstance(value, str):
            return value
        raise ConfigError(f"{name} is {shown(value)}; allowed are {', '.join(allowed)}.")
    if get_origin(kind) is tuple:
        return _texts(value, name)
    if isinstance(value, bool) or kind not in _NUMBERS:
        if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
            return _text(value, name) if kind is str else value
    elif isinstance(value, _NUMBERS[kind]):
        if isinstance(value, Integral) and abs(int(value)) > _LARGEST:
            raise ConfigError(f"{name} is {shown(value)}; it must lie within 64 bits.")
        return kind(value)
    raise ConfigError(f"{name} is {shown(value)}; it must be {_WORDS[kind]}.{_quotes(value, kind)}")


def _quotes(value: Any, kind: Any) -> str:
    """Advice where YAML took a text for something else."""
    if kind is not str:
        return ""
    if isinstance(value, bool):
        return " In YAML, put it in quotes: without them yes, no, on and off are true or false."
    if isinstance(value, (int, float, date)):
        return f" In YAML, put it in quotes: '{value}'."
    return ""


def _text(value: str, name: str) -> str:
    # What an unset variable of a shell leaves behind. As a path it would be the current folder.
    if not value.strip():
        raise ConfigError(f"{name} is empty; give a value, or leave the option out.")
    if "\0" in value:  # no path, no id and no column has it
        raise ConfigError(f"{name} is {shown(value)}; it must not hold a NUL character.")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_text(value, f"an entry of {name}"),)
    if isinstance(value, (list, tuple)):
        return tuple(typed(item, str, f"an entry of {name}") for item in value)
    raise ConfigError(f"{name} is {shown(value)}; it must be a list of texts, or one text.")


def expanded(path: str | Path) -> Path:
    """A path that somebody typed, with ``~`` replaced: shells leave ``--out=~/x`` as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # there is no such user; a folder may be called so
        return Path(path)


def shown(value: Any) -> str:
    """A value in a message: on one line, and short. Texts are quoted, dates named as such."""
    return _cut(f"the date {value}" if isinstance(value, date) else repr(value))


def _cut(text: str) -> str:
    text = clean(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
