"""Add items to a list in a YAML text, or remove items; the text around them does not change."""

from __future__ import annotations

import json
from typing import Any

from hf_sfda.publish.front_matter import to_yaml

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


def _line_end(text: str, position: int) -> int:
    ends = [i for i in (text.find("\n", position), text.find("\r", position)) if i >= 0]
    return min(ends, default=len(text))


def _with_break_before(text: str, start: int) -> int:
    """The position before the line break that precedes ``start``."""
    if text[:start].endswith("\r\n"):
        return start - 2
    return start - 1 if start else 0
