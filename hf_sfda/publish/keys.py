"""Set a key of a card's front matter, or add values to the list of a key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf_sfda.publish.front_matter import Card, add_key, checked, root, to_yaml
from hf_sfda.publish.splice import apply_edits, child, content_end, replace_items


def set_key(card: Card, key: str, value: Any) -> Card:
    """Set a key to a value; return the card unchanged if the key has this value already.

    Raises:
        PublishError: The metadata has a YAML style that cannot be edited.
    """
    if key not in card.data:
        return add_key(card, key, value)
    if card.data[key] == value:
        return card
    node = root(card)
    start, end = _span(card.yaml, node, key)
    block = to_yaml({key: value}, newline=card.newline)
    after = card.with_yaml(apply_edits(card.yaml, [(start, end, block)]))
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


def _span(text: str, node: Any, key: str) -> tuple[int, int]:
    """Start of a key and end of its value, as positions in the text."""
    name, value = next(pair for pair in reversed(node.value) if pair[0].value == key)
    return name.start_mark.index, max(content_end(text, value), name.end_mark.index + 1)
