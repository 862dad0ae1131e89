"""Read settings files in YAML, and check the types of their values.

All settings files use these functions, so a wrong type, a misspelt key or a wrong encoding gives
the same kind of message everywhere.
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
from hf_sfda.format import cut

_LONGEST = 60  # characters of a value that a message shows
_LARGEST = 2**63 - 1  # larger integers do not fit into arrays and files

# The abstract types also accept numbers of numpy.
_NUMBERS: Mapping[Any, type] = {int: Integral, float: Real}
_WORDS: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
}


def read_settings(content: str | bytes, name: str) -> dict[str, Any]:
    """Parse the keys and values of a YAML file; an empty file gives an empty dictionary.

    Args:
        content: The content of the file.
        name: The file's name in error messages.

    Raises:
        ConfigError: The content is not UTF-8, not YAML, not a mapping, or has a key twice.
    """
    try:
        values = read_yaml(content)
    except ForeignError as error:
        raise ConfigError(f"{name} is {error}. Correct the file and save it as UTF-8.") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must hold `key: value` lines, not a {type(values).__name__}.")
    if repeated := repeated_key(content):
        raise ConfigError(f"{name} holds {display(repeated)} twice in one place; keep one of them.")
    return {str(key): value for key, value in values.items()}


def unknown_keys(keys: Collection[Any], allowed: Collection[str]) -> str | None:
    """A clause about keys that do not exist, with the allowed keys; ``None`` if all exist.

    Example:
        >>> unknown_keys({"sample"}, ["samples", "seed"])
        'sample. Allowed: samples, seed. Did you mean samples?'
    """
    unknown = sorted(str(key) for key in keys if key not in allowed)
    if not unknown:
        return None
    near = [key for name in unknown for key in difflib.get_close_matches(name, allowed, n=1)]
    advice = f" Did you mean {', '.join(near)}?" if near else ""
    return f"{listing(unknown)}. Allowed: {', '.join(allowed)}.{advice}"


def typed(value: Any, kind: Any, name: str) -> Any:
    """Check the type of a value, and convert it if that loses nothing.

    Args:
        value: The value.
        kind: The type: ``int``, ``float``, ``str``, ``bool``, ``tuple[str, ...]``, a ``Literal``,
            or one of these ``| None``.
        name: Name of the option, for the message.

    Returns:
        The value. An integer is accepted as a float, and one text as a list of texts.

    Raises:
        ConfigError: The value has another type.
    """
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        kind = next(member for member in get_args(kind) if member is not NoneType)
    if get_origin(kind) is Literal:
        allowed = get_args(kind)
        if value in allowed and isinstance(value, str):
            return value
        raise ConfigError(f"{name} is {display(value)}; allowed are {', '.join(allowed)}.")
    if get_origin(kind) is tuple:
        return _texts(value, name)
    if isinstance(value, bool) or kind not in _NUMBERS:
        if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):
            return _text(value, name) if kind is str else value
    elif isinstance(value, _NUMBERS[kind]):
        if isinstance(value, Integral) and abs(int(value)) > _LARGEST:
            raise ConfigError(f"{name} is {display(value)}; it must lie within 64 bits.")
        return kind(value)
    raise ConfigError(
        f"{name} is {display(value)}; it must be {_WORDS[kind]}.{_quotes(value, kind)}"
    )


def _quotes(value: Any, kind: Any) -> str:
    """The advice to quote a text that YAML parses as another type."""
    if kind is not str:
        return ""
    if isinstance(value, bool):
        return " In YAML, put it in quotes: without them yes, no, on and off are true or false."
    if isinstance(value, (int, float, date)):
        return f" In YAML, put it in quotes: '{value}'."
    return ""


def _text(value: str, name: str) -> str:
    # An unset shell variable gives an empty text, which as a path means the current folder.
    if not value.strip():
        raise ConfigError(f"{name} is empty; give a value, or leave the option out.")
    if "\0" in value:  # never valid in a path, an id or a column name
        raise ConfigError(f"{name} is {display(value)}; it must not hold a NUL character.")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return (_text(value, f"an entry of {name}"),)
    if isinstance(value, (list, tuple)):
        return tuple(typed(item, str, f"an entry of {name}") for item in value)
    raise ConfigError(f"{name} is {display(value)}; it must be a list of texts, or one text.")


def expanded(path: str | Path) -> Path:
    """Replace ``~`` in a path that the user typed; shells do not expand ``--out=~/x``."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user, so use the name as a path
        return Path(path)


def display(value: Any) -> str:
    """Format a value for a message: one line, shortened; texts are quoted."""
    return _cut(f"the date {value}" if isinstance(value, date) else repr(value))


def _cut(text: str) -> str:
    text = clean(text)
    return cut(text, _LONGEST)
