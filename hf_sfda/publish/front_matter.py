"""Split a card into YAML front matter and Markdown body, and edit it byte by byte.

Loading a card's YAML and dumping it again loses the author's comments, order and quoting. So we
edit the text in place: PyYAML gives the position of each node, we insert or replace text there,
then parse the new text and compare its data with the data we want.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hf_sfda.errors import PublishError
from hf_sfda.foreign import ForeignError, read_yaml

_BOM = "\ufeff"


@dataclass(frozen=True)
class Card:
    """The parts of a README; joined, they are the original text.

    Attributes:
        name: The card's name in error messages, such as ``README.md of me/vit``.
        opening: The first ``---`` and all before it; empty if there is no front matter.
        yaml: The text between the two ``---``.
        closing: The second ``---`` with the line breaks around it.
        body: The Markdown.
    """

    name: str
    opening: str
    yaml: str
    closing: str
    body: str

    def __str__(self) -> str:
        return self.opening + self.yaml + self.closing + self.body

    @property
    def newline(self) -> str:
        """The author's line break: CRLF if the card has one, else LF."""
        text = str(self)
        return "\r\n" if "\r\n" in text else "\n"

    @property
    def data(self) -> dict[str, Any]:
        """The metadata.

        Raises:
            PublishError: It is not valid YAML or not a mapping; the message has the position.
        """
        return _load(self)

    def with_yaml(self, yaml_text: str) -> Card:
        """Return the card with another front matter; add one if the card has none."""
        if self.opening:
            return replace(self, yaml=yaml_text)
        nl, bom = self.newline, self.body[: self.body.startswith(_BOM)]
        body = self.body.removeprefix(_BOM)
        gap = nl if body and not body.startswith(("\n", "\r")) else ""
        closing = f"{nl}---{nl}{gap}"
        return replace(self, opening=f"{bom}---{nl}", yaml=yaml_text, closing=closing, body=body)


def parse_card(content: bytes, name: str) -> Card:
    """Split a README into its parts by the same rule as the Hub.

    Raises:
        PublishError: The text is not UTF-8, or its metadata is invalid.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PublishError(
            f"{name} is not UTF-8 text (byte {error.start}). It is left as it is; "
            "save it as UTF-8 and publish again."
        ) from error
    bom = _BOM if text.startswith(_BOM) else ""
    text = text.removeprefix(_BOM)
    match = REGEX_YAML_BLOCK.search(text)
    if match is None:
        return Card(name, "", "", "", bom + text)
    card = Card(name, bom + match[1], match[2], match[3], text[match.end() :])
    _ = card.data  # raises now if the metadata is invalid, before a change is planned
    return card


def add_key(card: Card, key: str, value: Any) -> Card:
    """Add a key at the end of the front matter; the front matter must not contain the key.

    Raises:
        PublishError: The metadata has a YAML style that cannot be extended.
    """
    node = root(card)
    block, nl = to_yaml({key: value}, newline=card.newline), card.newline
    if node is not None and node.flow_style:
        raise _refusal(card, node, "the metadata is written in { } style")
    if not card.yaml.strip():
        return card.with_yaml(block)

    def expected(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, key: value}

    try:
        return checked(card, card.with_yaml(card.yaml + nl + block), expected)
    except PublishError:
        if node is None:
            raise
    # If the last value is a block text, the added line break would change it. Insert the key before
    # the first one instead.
    start = node.start_mark.index
    yaml_text = card.yaml[:start] + block + nl + card.yaml[start:]
    return checked(card, card.with_yaml(yaml_text), expected)


def checked(
    before: Card, after: Card, expected: Callable[[dict[str, Any]], Mapping[str, Any]]
) -> Card:
    """Return ``after`` if an edit had the intended effect on the metadata.

    Args:
        before: The author's card.
        after: The edited card.
        expected: Maps the author's metadata to the intended metadata.

    Raises:
        PublishError: The metadata differs: the edit does not support the card's YAML style.
    """
    try:
        good = after.data == expected(copy.deepcopy(before.data))
    except PublishError:  # the edited text is not valid YAML
        good = False
    if not good:
        raise PublishError(
            f"The metadata of {before.name} is written in a way that cannot be extended without "
            "rewriting it. It is left as it is; write the metadata as indented lines, one "
            "field a line, and publish again."
        )
    return after


def to_yaml(value: Any, *, newline: str = "\n", indent: int = 0) -> str:
    """Dump a value as block-style YAML, indented, without the last line break."""
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]  # not typed so

    lines = yaml_dump(value, sort_keys=False, width=10**6).rstrip("\n").split("\n")
    return newline.join(" " * indent + line for line in lines)


def locate(card: Card, line: int, column: int) -> str:
    """A position in the front matter as line and column of the file, counted from 1."""
    return f"line {card.opening.count(chr(10)) + line + 1}, column {column + 1}"


def root(card: Card) -> Any:
    """The root node of the front matter, or ``None`` if it is empty."""
    import yaml

    return yaml.compose(card.yaml, Loader=yaml.SafeLoader)


def _load(card: Card) -> dict[str, Any]:
    import yaml

    try:
        data = read_yaml(card.yaml)
    except ForeignError as error:
        why, cause = str(error), error.__cause__
        if isinstance(cause, yaml.MarkedYAMLError):
            places = ((cause.context, cause.context_mark), (cause.problem, cause.problem_mark))
            why = ", ".join(
                f"{problem} at {locate(card, mark.line, mark.column)}"
                for problem, mark in places
                if problem and mark
            )
        raise PublishError(
            f"The metadata of {card.name} is not valid YAML: {why}. "
            "It is left as it is; correct it and publish again."
        ) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise PublishError(
            f"The metadata of {card.name} is a {type(data).__name__}, not `key: value` lines. "
            "It is left as it is; correct it and publish again."
        )
    return data


def _refusal(card: Card, node: Any, why: str) -> PublishError:
    where = locate(card, node.start_mark.line, node.start_mark.column)
    return PublishError(
        f"{card.name}, {where}: {why}, which cannot be extended without rewriting it. "
        "It is left as it is; write it as indented lines and publish again."
    )
