"""Items in and out of a list inside YAML text, without touching the text around them."""

from __future__ import annotations

import json
from typing import Any

from hf_sfda.publish.front_matter import to_yaml

Edit = tuple[int, int, str]
"""Characters from, to, and what to put there."""


def child(node: Any, key: str) -> Any:
    """The value node of a key of a mapping node, or ``None``; the last one wins, as in loading."""
    found = None
    for name, value in node.value if node.id == "mapping" else ():
        if name.value == key:
            found = value
    return found


def replace_items(
    text: str,
    items: Any,
    doomed: list[int],
    new: list[Any],
    *,
    newline: str,
    parent: Any,
) -> str:
    """Take items out of a list and put ``new`` where the first one was, or at the end.

    Args:
        text: YAML.
        items: The list's node, with positions in ``text``.
        doomed: Indices of the items that go.
        new: Plain values.
        newline: The author's line break.
        parent: The mapping node that holds the list.
    """
    if items.flow_style and (items.value or parent.flow_style):
        return _replace_in_flow(text, items, doomed, new)
    if items.flow_style:  # `[]`: nothing to keep, so it becomes an indented list
        start, end = items.start_mark.index, items.end_mark.index
        block = to_yaml(new, newline=newline, indent=parent.start_mark.column)
        rest = text[end:].lstrip(" ")
        gap = "" if not rest or rest.startswith(("\n", "\r")) else newline
        return text[:start].rstrip(" ") + newline + block + gap + rest
    block = to_yaml(new, newline=newline, indent=items.start_mark.column)
    spans = [_span(text, items.value[i]) for i in doomed]
    if spans:
        edits: list[Edit] = [(*spans[0], block)]
        edits += [(_with_break_before(text, start), end, "") for start, end in spans[1:]]
        return apply(text, edits)
    end = _line_end(text, content_end(text, items))
    return apply(text, [(end, end, newline + block)])


def apply(text: str, edits: list[Edit]) -> str:
    """Make edits that do not overlap."""
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _replace_in_flow(text: str, items: Any, doomed: list[int], new: list[Any]) -> str:
    """``[a]`` becomes ``[a, {...}]``: JSON is YAML."""
    added = ", ".join(json.dumps(item, ensure_ascii=False) for item in new)
    if doomed:
        old = items.value[doomed[0]]
        return apply(text, [(old.start_mark.index, old.end_mark.index, added)])
    if not items.value:
        return apply(text, [(items.start_mark.index, items.end_mark.index, f"[{added}]")])
    last = items.value[-1].end_mark.index
    return apply(text, [(last, last, f", {added}")])


def _span(text: str, item: Any) -> tuple[int, int]:
    """A block item from the beginning of its dash's line to the end of its last line."""
    dash = text.rindex("-", 0, item.start_mark.index)
    start = max(text.rfind("\n", 0, dash), text.rfind("\r", 0, dash)) + 1
    return start, _line_end(text, content_end(text, item))


def content_end(text: str, node: Any) -> int:
    """Where the last thing written in a node ends.

    PyYAML lets a block end where the next token begins; comments and blank lines between are not
    part of it, and belong to the author.
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
