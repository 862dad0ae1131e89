"""Protect a page that acts with its owner's token against requests from other web pages.

*DNS rebinding.* An attacker's page in the owner's browser can make its host name resolve to this
machine. The browser then treats our page as part of the attacker's site, whose scripts can read it.
But the ``Host`` header still has the attacker's name, so requests with a foreign host name are
refused. An IP address cannot be rebound, so it is always accepted.

*Cross-site requests.* An attacker's page can also make the browser send a request whose response it
cannot read. The ``Origin`` header then names the attacker's page, and the request is refused.
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
    """Check and normalise host names: lower case, without a final dot.

    Raises:
        ConfigError: A text is not a host name.
    """
    for name in names:
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"--allow-host is {name!r}; give a host name without scheme, port or path, such as "
                "board.example.org."
            )
    return frozenset(_plain(name) for name in names)


class OwnHostsOnly:
    """ASGI middleware that refuses requests for another host or from another page with 403.

    Args:
        app: The application that handles all other requests.
        names: More host names of this server, from :func:`allowed_names`.
    """

    def __init__(self, app: Application, names: frozenset[str]) -> None:
        self._app = app
        self._names = names
        self._own = names | {"localhost", _plain(socket.gethostname())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
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
        # An origin must be this host or an allowed name. An IP address is not enough here, because
        # an attacker's page can have an IP address as its host, too.
        origin_hosts = [origin.partition("://")[2] for origin in origins]
        return all(host == hosts[0] or _name_in(host) in self._names for host in origin_hosts)


def _name_in(host: str) -> str:
    """The host name or address in a ``Host`` header, without the port; empty if malformed."""
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
