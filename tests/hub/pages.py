"""Pagination by ``Link`` header."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.hub.routing import Request, Response, json_response
from tests.hub.state import State

__all__ = ["paginated"]


def paginated(
    hub: State,
    request: Request,
    items: Sequence[Any],
    *,
    largest: int = 1000,
    encode: Callable[[Any], Any] = lambda item: item,
    headers: dict[str, str] | None = None,
) -> Response:
    """One page of ``items``, encoded; a ``Link`` to the next page while there is one.

    ``limit`` is a page size, not a total, as on the Hub: the client stops by itself.
    """
    size = min(int(request.first("limit", str(largest))), largest, hub.page_size)
    start = int(request.first("cursor", "0"))
    stop = start + max(size, 1)
    headers = dict(headers or {})
    if stop < len(items):
        headers["Link"] = f'<{request.url_with(cursor=str(stop))}>; rel="next"'
    return json_response([encode(item) for item in items[start:stop]], headers=headers)
