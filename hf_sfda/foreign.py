"""Read JSON, YAML and texts of other people with limits, and show them without hidden characters.

``config.json`` files, model cards, pages of the Hub and results files may contain anything. All
functions that read raise only :class:`ForeignError` for invalid content, so a caller can convert it
to a row or to its own error. This module imports only the standard library.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.format import cut

if TYPE_CHECKING:
    import yaml
    from yaml.nodes import Node

MAX_BYTES = 64_000_000
"""Largest JSON text in bytes. The shard indexes of the largest models have about 10 MB."""

MAX_YAML_BYTES = 8_000_000
"""Largest YAML text in bytes; it is smaller, because the parser is slow. Model cards with all
results of MTEB have about 1 MB."""

MAX_DEPTH = 64
"""Largest nesting depth of lists and objects. Real files have fewer than 12 levels."""

MAX_NODES = 5_000_000
"""Largest number of values in a document. A YAML alias counts as often as it is used, because a few
lines of aliases can expand to more values than fit into memory."""

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
    "\ud800-\udfff]"  # surrogates: halves of a character
)
"""Invisible characters that can hide or reorder text. The joiners (U+200C, U+200D) are allowed,
because several scripts and many emoji need them."""


class ForeignError(ValueError):
    """A text is invalid or over a limit; the message says why, in one short clause."""


# -- reading


def read_json(content: str | bytes) -> Any:
    """Parse JSON of unknown origin.

    Lone surrogates, which cannot be encoded as UTF-8, are replaced by U+FFFD.

    Raises:
        ForeignError: The text is not JSON, too large, or nested too deeply.
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
        ForeignError: The text is not JSON, too large, or nested too deeply.
        OSError: The file cannot be read.
    """
    return read_json(_bytes(path, MAX_BYTES))


def read_yaml(content: str | bytes) -> Any:
    """Parse YAML of unknown origin; only plain values are allowed.

    Raises:
        ForeignError: The text is not YAML, too large, nested too deeply, or has too many values
            when its aliases are expanded.
    """
    import yaml

    text = _text(content, MAX_YAML_BYTES)
    try:
        value = yaml.load(text, Loader=_shallow_loader())
    except ForeignError:
        raise
    # Odd values make PyYAML raise AttributeError, IndexError, KeyError and others.
    except Exception as error:
        raise ForeignError(f"not YAML ({_reason(error)})") from error
    return _checked(value, text)


@functools.cache
def _shallow_loader() -> type[yaml.SafeLoader]:
    """A safe loader that stops at the first value below :data:`MAX_DEPTH`.

    Python's own limit on recursion would stop it later: the scanner takes seconds for a thousand
    open brackets.
    """
    import yaml

    class ShallowLoader(yaml.SafeLoader):
        depth = 0

        def compose_node(self, parent: Node | None, index: Any) -> Node | None:
            self.depth += 1
            if self.depth > MAX_DEPTH + 2:  # the document, and a plain value in the deepest list
                raise ForeignError(_too_deep())
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

    return ShallowLoader


def repeated_key(content: str | bytes) -> str | None:
    """Find a key that occurs twice in one mapping of a YAML text; ``None`` if there is none.

    YAML parsers silently use the last value of such a key.

    Args:
        content: A text that :func:`read_yaml` accepts.
    """
    import yaml

    nodes = [yaml.compose(_text(content, MAX_YAML_BYTES), Loader=yaml.SafeLoader)]
    visited: set[int] = set()
    while nodes:
        node = nodes.pop()
        if id(node) in visited:  # an alias
            continue
        visited.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if repeated := next((key for key in keys if keys.count(key) > 1), None):
                return str(repeated)
            nodes += [value for _, value in node.value]
    return None


def read_front_matter(path: Path) -> dict[str, Any]:
    """Read the YAML metadata of a model card; empty if there is none.

    Raises:
        ForeignError: It is not YAML, over a limit, or not a mapping.
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
    # Read in pieces, because read(n) allocates n bytes even for a small file.
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
    return cut(text, _LONGEST_REASON)


def _checked(value: Any, text: str) -> Any:
    _count(value, 0, {})
    # In decoded text, a lone surrogate can only come from an escape sequence.
    return _without_surrogates(value) if "\\" in text or _SURROGATE.search(text) else value


def _count(value: Any, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """(height, number of values) of a document; aliases are visited once and counted each time.

    Raises:
        ForeignError: The document is nested too deeply or has too many values.
    """
    if not isinstance(value, (dict, list, tuple, set)):
        return 0, 1
    if depth > MAX_DEPTH:  # also reached by an alias that contains itself
        raise ForeignError(_too_deep())
    if (size := known.get(id(value))) is None:
        height, nodes = 0, 1
        children = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        for child in children:
            below, count = _count(child, depth + 1, known)
            height, nodes = max(height, below + 1), nodes + count
        size = known[id(value)] = (height, nodes)
    if depth + size[0] > MAX_DEPTH + 1:
        raise ForeignError(_too_deep())
    if size[1] > MAX_NODES:
        raise ForeignError(f"more than {MAX_NODES:,} values")
    return size


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
    r"""Replace hidden characters, so that a text is safe in a terminal, a file and a page.

    Hidden characters are control characters, escapes, direction marks, zero-width marks, line
    separators and lone surrogates. Letters of all scripts stay.

    Args:
        text: The text.
        keep: Hidden characters that may stay, such as line breaks.
        instead: The replacement for each hidden character.

    Example:
        >>> clean("naïve\x1b[31m")
        'naïve\ufffd[31m'
    """
    return _HIDDEN.sub(lambda match: match[0] if match[0] in keep else instead, text)


def clean_lines(text: str) -> str:
    """Like :func:`clean`, but line breaks and tabs stay."""
    return clean(text.replace("\r\n", "\n"), keep="\n\t")


def clean_all(value: Any) -> Any:
    """Apply :func:`clean_lines` to all texts in a JSON value, also to keys."""
    if isinstance(value, str):
        return clean_lines(value)
    if isinstance(value, dict):
        return {clean_all(key): clean_all(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(clean_all(item) for item in value)
    return value


def listing(names: Iterable[object], most: int = 10, longest: int = _LONGEST_NAME) -> str:
    """Join names for a message: the first ones, shortened, and the number of the others.

    Args:
        names: The names; they may come from other people and may be thousands.
        most: Number of names to list.
        longest: Width of a name.

    Example:
        >>> listing(["a", "b", "c", "d"], most=2)
        'a, b and 2 more'
    """
    texts = [clean(str(name)) for name in names]
    listed = [cut(text, longest) for text in texts[:most]]
    more = len(texts) - len(listed)
    return ", ".join(listed) + (f" and {more:,} more" if more else "")


def bounded(text: str, limit: int = 2000) -> str:
    """Shorten a message to about ``limit`` characters.

    The middle is removed, because a message starts with what was given and ends with what to do.

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
    r"""Escape hidden characters in a JSON text as ``\uXXXX``; the document stays the same.

    Example:
        >>> visible_json('"a\u202eb"')
        '"a\\u202eb"'
    """
    return _HIDDEN.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    if character in "\n\t":  # whitespace between values; inside a value it is escaped already
        return character
    units = character.encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
