"""Our section in a Markdown text: the text between two markers in HTML comments."""

from __future__ import annotations

import re

from hf_sfda.errors import PublishError
from hf_sfda.foreign import listing
from hf_sfda.publish.front_matter import Card


def section_key(dataset: str, config: str | None, split: str | None) -> str:
    """The name of a section, safe to use inside an HTML comment.

    Example:
        >>> section_key("me/plants", None, "train")
        'me/plants:train'
    """
    name = ":".join(part for part in (dataset, config, split) if part)
    return re.sub(r"-{2,}", "-", re.sub(r"[^\w./:-]+", "-", name))


def has_section(body: str, key: str) -> bool:
    """Whether the text contains the section."""
    return bool(_lines(body, _marker(key, "begin")))


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
