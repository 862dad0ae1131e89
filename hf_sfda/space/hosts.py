"""Which names a page answers to that acts with its owner's rights.

A page of a stranger, opened in the owner's browser, can have its own host name resolve to this
machine (DNS rebinding). The browser then takes our page for a part of the stranger's and hands over
what it shows. The ``Host`` header still holds the stranger's name, so requests with a name that is
not ours are refused. An address cannot be rebound and is always accepted.

A page of a stranger can also have the browser send a request without reading the answer. The
``Origin`` header then names that page, and such requests are refused, too.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from hf_sfda.errors import ConfigError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")

_REFUSAL = (
    "Refused: this page acts with its owner's Hub token and answers only to an address, to "
    "localhost and to the names it was started with. To add a name, start it with --allow-host "
    "NAME.\n"
)


def allowed_names(names: Iterable[str]) -> frozenset[str]:
    """Host names as they are compared.

    Raises:
        ConfigError: One of them is not a host name.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"--allow-host is {name!r}; give a host name without scheme, port or path, such as "
                "board.example.org."
            )
    return frozenset(_plain(name) for name in names)


class OwnHostsOnly:
    """ASGI middleware that answers 403 to requests for another host or from another's page.

    Args:
        app: Answers all other requests.
        names: More names of this server, from :func:`allowed_names`.
    """

    def __init__(self, app: Application, names: frozenset[str]) -> None:
        self._app = app
        self._names = names
        self._own = names | {"localhost", _plain(socket.gethostname())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan" or self._is_ours(scope["headers"]):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": _REFUSAL.encode()})
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _is_ours(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        values = [(name.lower(), value.decode("latin-1").lower()) for name, value in headers]
        hosts = [value for name, value in values if name == b"host"]
        origins = [value for name, value in values if name == b"origin"]
        if len(hosts) != 1:
            return False
        name = _name_in(hosts[0])
        if name not in self._own and not _is_address(name):
            return False
        # Any page can have an address, so an address among the origins proves nothing.
        places = [origin.partition("://")[2] for origin in origins]
        return all(place == hosts[0] or _name_in(place) in self._names for place in places)


def _name_in(host: str) -> str:
    """The name or address in a ``Host`` header; empty if it is malformed."""
    try:
        parts = urlsplit(f"//{host}")
        name = parts.hostname or ""
    except ValueError:
        return ""
    return "" if parts.netloc != host or "@" in host else _plain(name)


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
