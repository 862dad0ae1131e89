"""Edit a card in place: keys of its YAML front matter, and our section of its Markdown body.

Loading a card's YAML and dumping it again loses the author's comments, order and quoting. So we
edit the text in place: PyYAML gives the position of each node, we insert or replace text there,
then parse the new text and compare its data with the data we want.

Our section is the text between two markers in HTML comments.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_sfda.errors import PublishError
from hf_sfda.foreign import ForeignError, listing, read_yaml

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


def section_key(dataset: str, config: str | None, split: str | None) -> str:
    """The name of a section, safe to use inside an HTML comment.

    Example:
        >>> section_key("me/plants", None, "train")
        'me/plants:train'
    """
    name = ":".join(part for part in (dataset, config, split) if part)
    return re.sub(r"-{2,}", "-", re.sub(r"[^\w./:-]+", "-", name))


def has_section(readme: bytes | None, key: str) -> bool:
    """Whether a README contains the section; ``None`` is no README."""
    text = (readme or b"").decode("utf-8", "replace")
    return bool(_lines(text, _marker(key, "begin")))


def put_section(card: Card, key: str, content: str) -> str:
    """Replace the section in a card's body, or add it at the end.

    Returns:
        The new body.

    Raises:
        PublishError: A marker is missing, or the text contains it twice.
    """
    begin, end, nl = _marker(key, "begin"), _marker(key, "end"), card.newline
    inner = content.strip("\n").replace("\n", nl)
    section = f"{begin}{nl}{inner}{nl}{end}"
    body = card.body
    begins, ends = _lines(body, begin), _lines(body, end)
    if not begins and not ends:
        return body + _gap(body, nl, front_matter=bool(card.opening)) + section + nl
    if len(begins) != 1 or len(ends) != 1 or ends[0].start() < begins[0].end():
        numbers = [_line_number(card, marker.start()) for marker in (*begins, *ends)]
        raise PublishError(
            f"{card.name} has {len(begins)} x `{begin}` and {len(ends)} x `{end}` (line "
            f"{listing(numbers)}), where one of each in this order is needed. It is left "
            "as it is; delete these lines, or put them right, and publish again."
        )
    return body[: begins[0].start()] + section + body[ends[0].end() :]


def add_key(card: Card, key: str, value: Any) -> Card:
    """Add a key at the end of the front matter; the front matter must not contain the key.

    Raises:
        PublishError: The metadata has a YAML style that cannot be extended.
    """
    node = root(card)
    block, nl = to_yaml({key: value}, newline=card.newline), card.newline
    if node is not None and node.flow_style:
        raise PublishError(
            f"{card.name}, {locate(card, node.start_mark)}: the metadata is written in {{ }} "
            "style, which cannot be extended without rewriting it. It is left as it is; write it "
            "as indented lines and publish again."
        )
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


def set_key(card: Card, key: str, value: Any) -> Card:
    """Set a key to a value; return the card unchanged if the key has this value already.

    Raises:
        PublishError: The metadata has a YAML style that cannot be edited.
    """
    if key not in card.data:
        return add_key(card, key, value)
    if card.data[key] == value:
        return card
    name, old = next(pair for pair in reversed(root(card).value) if pair[0].value == key)
    end = max(content_end(card.yaml, old), name.end_mark.index + 1)
    block = to_yaml({key: value}, newline=card.newline)
    after = card.with_yaml(apply_edits(card.yaml, [(name.start_mark.index, end, block)]))
    return checked(card, after, lambda data: {**data, key: value})


def extend_list(card: Card, key: str, values: Sequence[Any]) -> Card:
    """Append the values that the list of a key lacks; existing items keep their place.

    Raises:
        PublishError: The metadata has a YAML style that cannot be edited.
    """
    current = card.data.get(key)
    listed = [current] if isinstance(current, str) else list(current or [])
    missing = [value for value in values if value not in listed]
    if not missing:
        return card
    if not isinstance(current, list):
        return set_key(card, key, [*listed, *missing])
    node = root(card)
    text = replace_items(
        card.yaml, child(node, key), [], missing, newline=card.newline, parent=node
    )
    return checked(card, card.with_yaml(text), lambda data: {**data, key: [*listed, *missing]})


Edit = tuple[int, int, str]
"""Start and end position, and the text that replaces the characters between them."""


def child(node: Any, key: str) -> Any:
    """The value node of a key in a mapping node, or ``None``.

    If a key occurs twice, the last one counts, as when YAML is loaded.
    """
    pairs = reversed(node.value) if node.id == "mapping" else ()
    return next((value for name, value in pairs if name.value == key), None)


def replace_items(
    text: str,
    items: Any,
    remove: list[int],
    new: list[Any],
    *,
    newline: str,
    parent: Any,
) -> str:
    """Remove items from a list, and insert ``new`` at the place of the first one or at the end.

    Args:
        text: The YAML text.
        items: The list's node, with positions in ``text``.
        remove: Indices of the items to remove.
        new: The values to insert.
        newline: The author's line break.
        parent: The mapping node that holds the list.

    Returns:
        The new text.
    """
    if items.flow_style and (items.value or parent.flow_style):
        return _replace_in_flow(text, items, remove, new)
    if items.flow_style:  # `[]` has no items, so replace it by an indented list
        start, end = items.start_mark.index, items.end_mark.index
        block = to_yaml(new, newline=newline, indent=parent.start_mark.column)
        rest = text[end:].lstrip(" ")
        gap = "" if not rest or rest.startswith(("\n", "\r")) else newline
        return text[:start].rstrip(" ") + newline + block + gap + rest
    block = to_yaml(new, newline=newline, indent=items.start_mark.column)
    spans = [_span(text, items.value[i]) for i in remove]
    if spans:
        edits: list[Edit] = [(*spans[0], block)]
        edits += [(_with_break_before(text, start), end, "") for start, end in spans[1:]]
        return apply_edits(text, edits)
    end = _line_end(text, content_end(text, items))
    return apply_edits(text, [(end, end, newline + block)])


def apply_edits(text: str, edits: list[Edit]) -> str:
    """Apply edits that do not overlap."""
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def content_end(text: str, node: Any) -> int:
    """The position after the last character of a node's content.

    PyYAML ends a block where the next token starts. Comments and blank lines before that token are
    not part of the block.
    """
    if node.value and node.id == "mapping" and not node.flow_style:
        return content_end(text, node.value[-1][1])
    if node.value and node.id == "sequence" and not node.flow_style:
        return content_end(text, node.value[-1])
    return len(text[: node.end_mark.index].rstrip())


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


def locate(card: Card, mark: Any) -> str:
    """A position in the front matter as line and column of the file, counted from 1."""
    return f"line {card.opening.count(chr(10)) + mark.line + 1}, column {mark.column + 1}"


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
                f"{problem} at {locate(card, mark)}" for problem, mark in places if problem and mark
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


def _marker(key: str, side: str) -> str:
    return f"<!-- hf-sfda:{side} {key} -->"


def _lines(body: str, marker: str) -> list[re.Match[str]]:
    """All matches of the marker that are alone on their line."""
    return list(re.finditer(rf"^{re.escape(marker)}(?=[ \t]*\r?$)", body, re.MULTILINE))


def _gap(body: str, newline: str, *, front_matter: bool) -> str:
    """The line breaks to add so that one blank line separates the section from the text before."""
    if not body:
        return newline if front_matter else ""
    if body.endswith(newline * 2):
        return ""
    return newline if body.endswith(("\n", "\r")) else newline * 2


def _line_number(card: Card, position: int) -> int:
    before = card.opening + card.yaml + card.closing + card.body[:position]
    return before.count("\n") + 1


def _replace_in_flow(text: str, items: Any, remove: list[int], new: list[Any]) -> str:
    """Insert into a list in flow style: ``[a]`` becomes ``[a, {...}]``, because JSON is YAML."""
    added = ", ".join(json.dumps(item, ensure_ascii=False) for item in new)
    if remove:
        old = items.value[remove[0]]
        return apply_edits(text, [(old.start_mark.index, old.end_mark.index, added)])
    if not items.value:
        return apply_edits(text, [(items.start_mark.index, items.end_mark.index, f"[{added}]")])
    last = items.value[-1].end_mark.index
    return apply_edits(text, [(last, last, f", {added}")])


def _span(text: str, item: Any) -> tuple[int, int]:
    """The span of a block item, from the start of the line with its dash to its last line's end."""
    dash = text.rindex("-", 0, item.start_mark.index)
    start = max(text.rfind("\n", 0, dash), text.rfind("\r", 0, dash)) + 1
    return start, _line_end(text, content_end(text, item))


def _line_end(text: str, position: int) -> int:
    ends = [i for i in (text.find("\n", position), text.find("\r", position)) if i >= 0]
    return min(ends, default=len(text))


def _with_break_before(text: str, start: int) -> int:
    """The position before the line break that precedes ``start``."""
    if text[:start].endswith("\r\n"):
        return start - 2
    return start - 1 if start else 0
