"""Single keys of a card's front matter: set to a value, or made to list something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf_sfda.publish.front_matter import Card, add_key, checked, root, to_yaml
from hf_sfda.publish.splice import apply, child, content_end, replace_items


def set_key(card: Card, key: str, value: Any) -> Card:
    """Give a key this value; where it has it already, the card stays as it is.

    Raises:
        PublishError: The metadata is written in a way that cannot be edited.
    """
    if key not in card.data:
        return add_key(card, key, value)
    if card.data[key] == value:
        return card
    node = root(card)
    start, end = _span(card.yaml, node, key)
    block = to_yaml({key: value}, newline=card.newline)
    after = card.with_yaml(apply(card.yaml, [(start, end, block)]))
    return checked(card, after, lambda data: {**data, key: value})


def include(card: Card, key: str, values: Sequence[str]) -> Card:
    """Let the list at a key hold these values too; its owner's entries stay where they are.

    Raises:
        PublishError: The metadata is written in a way that cannot be edited.
    """
    now = card.data.get(key)
    listed = [now] if isinstance(now, str) else list(now or [])
    missing = [value for value in values if value not in listed]
    if not missing:
        return card
    if not isinstance(now, list):
        return set_key(card, key, [*listed, *missing])
    node = root(card)
    text = replace_items(
        card.yaml, child(node, key), [], missing, newline=card.newline, parent=node
    )
    return checked(card, card.with_yaml(text), lambda data: {**data, key: [*listed, *missing]})


def _span(text: str, node: Any, key: str) -> tuple[int, int]:
    """From the key to the end of what is written at it."""
    name, value = next(pair for pair in reversed(node.value) if pair[0].value == key)
    return name.start_mark.index, max(content_end(text, value), name.end_mark.index + 1)
