"""Text that others wrote: read within bounds, and shown without characters that hide or move text.

``config.json`` files, model cards, pages of the Hub and results files may hold anything. What
cannot be read raises :class:`ForeignError` and nothing else, so that the caller can turn it into a
row or an error of its own. Importing this module loads the standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MAX_BYTES = 64_000_000
"""The largest JSON text that is parsed. Indexes of the largest models have about 10 MB."""

MAX_YAML_BYTES = 8_000_000
"""The largest YAML text: the parser is slow. Cards with every result of MTEB have about 1 MB."""

MAX_DEPTH = 64
"""Lists and objects inside each other. Real files have fewer than 12."""

MAX_NODES = 5_000_000
"""Values in a document, with every YAML alias counted as often as it is used: a few lines of
aliases can stand for more values than memory holds."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_LONGEST_REASON = 200
_PIECE = 1 << 20  # bytes
_LONGEST_NAME = 80
_SURROGATE = re.compile("[\ud800-\udfff]")
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls, the escape character among them
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that reverse the direction of text
    "\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0001\U000e0020-\U000e007f"
    "\u2028\u2029"  # separators of lines and paragraphs
    "\ud800-\udfff]"  # halves of a character
)
"""Characters that draw nothing but may harm. The joiners (U+200C, U+200D) are not among them: words
of several scripts and many emoji need them."""


class ForeignError(ValueError):
    """A text that cannot be read; the message says why, in one short clause."""


# -- reading


def read_json(content: str | bytes) -> Any:
    """Parse JSON of unknown origin.

    Lone surrogates, which no file and no terminal can take, become U+FFFD.

    Raises:
        ForeignError: It is no JSON, too large, or nested too deeply.
    """
    text = _text(content, MAX_BYTES)
    try:
        value = json.loads(text)
    except RecursionError:
        raise ForeignError(_too_deep()) from None
    except ValueError as error:
        raise ForeignError(f"not JSON ({_reason(error)})") from error
    return _checked(value, text)


def read_json_file(path: Path) -> Any:
    """Parse a JSON file of unknown origin.

    Raises:
        ForeignError: As :func:`read_json`.
        OSError: The file cannot be read.
    """
    return read_json(_bytes(path, MAX_BYTES))


def read_yaml(content: str | bytes) -> Any:
    """Parse YAML of unknown origin, plain values only.

    Raises:
        ForeignError: It is no YAML, too large, nested too deeply, or aliases make it too large.
    """
    import yaml

    text = _text(content, MAX_YAML_BYTES)
    try:
        value = yaml.safe_load(text)
    except RecursionError:
        raise ForeignError(_too_deep()) from None
    # Odd values make PyYAML raise AttributeError, IndexError, KeyError and others.
    except Exception as error:
        raise ForeignError(f"not YAML ({_reason(error)})") from error
    return _checked(value, text)


def repeated_key(content: str | bytes) -> str | None:
    """A key that a YAML text gives twice in one mapping; readers of YAML keep the last in silence.

    Args:
        content: What :func:`read_yaml` has read.
    """
    import yaml

    nodes = [yaml.compose(_text(content, MAX_YAML_BYTES), Loader=yaml.SafeLoader)]
    seen: set[int] = set()
    while nodes:
        node = nodes.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := next((key for key in keys if keys.count(key) > 1), None):
                return str(twice)
            nodes += [value for _, value in node.value]
    return None


def read_front_matter(path: Path) -> dict[str, Any]:
    """The metadata at the head of a model card; empty where there is none.

    Raises:
        ForeignError: As :func:`read_yaml`, or it is no mapping.
        OSError: The file cannot be read.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    match = REGEX_YAML_BLOCK.search(_text(_bytes(path, MAX_YAML_BYTES), MAX_YAML_BYTES))
    data = read_yaml(match[2]) if match else None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ForeignError(f"a {type(data).__name__}, not `key: value` lines")
    return data


def _bytes(path: Path, limit: int) -> bytes:
    # In pieces: read(n) takes n bytes of memory before it looks at the file.
    content = bytearray()
    with path.open("rb") as file:
        while len(content) <= limit and (piece := file.read(_PIECE)):
            content += piece
    return bytes(content)


def _text(content: str | bytes, limit: int) -> str:
    if len(content) > limit:
        raise ForeignError(f"larger than {limit // 1_000_000} MB")
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ForeignError(f"not UTF-8 text (byte {error.start})") from error


def _too_deep() -> str:
    return f"nested more than {MAX_DEPTH} levels deep"


def _reason(error: Exception) -> str:
    text = clean(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= _LONGEST_REASON else f"{text[: _LONGEST_REASON - 1]}…"


def _checked(value: Any, text: str) -> Any:
    _count(value, 0, {})
    # Only an escape can make a lone surrogate: the text itself was decoded, and holds none.
    return _without_surrogates(value) if "\\" in text or _SURROGATE.search(text) else value


def _count(value: Any, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(height, number of values) of a document; aliases are visited once and counted each time."""
    if not isinstance(value, (dict, list, tuple, set)):
        return 0, 1
    if depth > MAX_DEPTH:  # an alias that holds itself ends here, too
        raise ForeignError(_too_deep())
    if (seen := known.get(id(value))) is None:
        height, nodes = 0, 1
        children = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        for child in children:
            below, count = _count(child, depth + 1, known)
            height, nodes = max(height, below + 1), nodes + count
        seen = known[id(value)] = (height, nodes)
    if depth + seen[0] > MAX_DEPTH + 1:
        raise ForeignError(_too_deep())
    if seen[1] > MAX_NODES:
        raise ForeignError(f"more than {MAX_NODES:,} values")
    return seen


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {_without_surrogates(k): _without_surrogates(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(_without_surrogates(item) for item in value)
    return value


# -- showing


def clean(text: str, *, keep: str = "", instead: str = REPLACEMENT) -> str:
    r"""A stranger's text without hidden characters, fit for a terminal, a file and a page.

    Hidden are controls, escapes, direction marks, zero-width marks, separators of lines, and lone
    surrogates. Letters of any script stay.

    Args:
        text: The text.
        keep: Hidden characters that may stay, such as line breaks.
        instead: What stands in their place.

    Example:
        >>> clean("naïve\x1b[31m")
        'naïve\ufffd[31m'
    """
    return _HIDDEN.sub(lambda found: found[0] if found[0] in keep else instead, text)


def clean_lines(text: str) -> str:
    """:func:`clean` for a text of several lines, tabs included."""
    return clean(text.replace("\r\n", "\n"), keep="\n\t")


def clean_all(value: Any) -> Any:
    """:func:`clean_lines` for every text in plain values, keys included."""
    if isinstance(value, str):
        return clean_lines(value)
    if isinstance(value, dict):
        return {clean_all(key): clean_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(clean_all(item) for item in value)
    return value


def listing(names: Iterable[object], most: int = 10) -> str:
    """Names for a message: the first ones, each on one line and short, and how many more there are.

    Args:
        names: Perhaps a stranger's, perhaps thousands.
        most: How many are named.

    Example:
        >>> listing(["a", "b", "c", "d"], most=2)
        'a, b and 2 more'
    """
    texts = [clean(str(name)) for name in names]
    shown = [
        text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"
        for text in texts[:most]
    ]
    more = len(texts) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def bounded(text: str, limit: int = 2000) -> str:
    """A message of at most about ``limit`` characters.

    The middle is left out: what was given stands at the beginning, and what to do at the end.

    Example:
        >>> bounded("columns: " + "x, " * 1000 + "choose one", limit=30)
        'columns: x, x, x, x,... [2,989 characters left out] ...choose one'
    """
    if len(text) <= limit:
        return text
    head, tail = limit * 2 // 3, limit // 3
    left_out = len(text) - head - tail
    return f"{text[:head]}... [{left_out:,} characters left out] ...{text[-tail:]}"


def visible_json(text: str) -> str:
    r"""JSON text with hidden characters written as ``\uXXXX``: the same document, safe to show.

    Example:
        >>> visible_json('"a\u202eb"')
        '"a\\u202eb"'
    """
    return _HIDDEN.sub(lambda found: _escaped(found[0]), text)


def _escaped(character: str) -> str:
    if character in "\n\t":  # between values; inside of one, JSON has escaped them already
        return character
    units = character.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
