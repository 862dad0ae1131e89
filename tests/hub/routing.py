"""Request, response, error and the ``@route`` decorator: what an endpoint sees of HTTP.

An endpoint is one function::

    @route("GET", "/api/{kind}/{repo}/refs")
    def list_refs(hub: State, request: Request) -> Response: ...

Templates know ``{name}`` (one path segment), ``{repo}`` (``name`` or ``owner/name``), ``{kind}``
(``models``, ``datasets``, ``spaces``), ``{prefix}`` (the optional ``datasets/`` or ``spaces/`` of
web urls) and ``{rest*}`` (everything that follows).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlencode

if TYPE_CHECKING:
    from tests.hub.state import Account, State

__all__ = ["HubError", "Request", "Response", "Route", "find_route", "json_response", "route"]


@dataclass(slots=True)
class Request:
    """One HTTP request, read whole.

    Attributes:
        params: The decoded values of the route's template.
        account: Who asks; ``None`` for an anonymous caller.
        base_url: The url that the caller used to reach the server, for links in answers.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Message
    body: bytes
    account: Account | None
    base_url: str
    params: dict[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The body as JSON; an empty body reads as an empty object."""
        try:
            return json.loads(self.body or b"{}")
        except ValueError as error:
            raise HubError(400, f"The body is not JSON: {error}") from None

    def form(self) -> dict[str, list[str]]:
        """The body as a urlencoded form."""
        return parse_qs(self.body.decode(), keep_blank_values=True)

    def flag(self, name: str) -> bool:
        """A yes/no query parameter, in any of the spellings clients use."""
        return self.first(name, "").lower() in {"1", "true", "yes"}

    def first(self, name: str, default: str) -> str:
        """The first value of a query parameter."""
        return self.query.get(name, [default])[0]

    def many(self, name: str) -> list[str]:
        """All values of a repeated query parameter (also spelt ``name[]``)."""
        return [*self.query.get(name, []), *self.query.get(f"{name}[]", [])]

    def cookie(self, name: str) -> str:
        """The value of a cookie, or nothing."""
        morsel = SimpleCookie(self.headers.get("Cookie", "")).get(name)
        return morsel.value if morsel else ""

    def url_with(self, **changes: str) -> str:
        """This request's url with some query parameters replaced."""
        query = {**self.query, **{name: [value] for name, value in changes.items()}}
        return f"{self.base_url}{self.path}?{urlencode(query, doseq=True)}"


@dataclass(slots=True)
class Response:
    """Status, headers and the whole body; the server adds ``Content-Length``."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """``value`` as a JSON answer."""
    return Response(
        status,
        json.dumps(value).encode(),
        {"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )


class HubError(Exception):
    """An answer that is an error, in the Hub's way: JSON body plus ``X-Error-*`` headers."""

    def __init__(
        self, status: int, message: str, code: str | None = None, **headers: str | None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = {"X-Error-Message": message}
        if code is not None:
            self.headers["X-Error-Code"] = code
        self.headers |= {
            name.replace("_", "-"): value for name, value in headers.items() if value is not None
        }

    def response(self) -> Response:
        """The HTTP answer."""
        return json_response({"error": self.message}, self.status, self.headers)


Endpoint = Callable[["State", Request], Response]

_PIECES = {
    "repo": r"(?P<repo>[^/]+?/[^/]+?|[^/]+?)",
    "kind": r"(?P<kind>models|datasets|spaces)",
    "prefix": r"(?P<prefix>(?:datasets/|spaces/)?)",
}


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint and the requests it answers."""

    method: str
    template: str
    pattern: re.Pattern[str]
    endpoint: Endpoint

    @property
    def weight(self) -> int:
        """How specific the template is: its number of literal characters."""
        return len(re.sub(r"\{[^}]*\}", "", self.template))


_ROUTES: list[Route] = []


def _compile(template: str) -> re.Pattern[str]:
    def piece(match: re.Match[str]) -> str:
        name = match[1]
        if name.endswith("*"):
            return f"(?P<{name[:-1]}>.*)"
        return _PIECES.get(name, f"(?P<{name}>[^/]+)")

    literal_dots = template.replace(".", r"\.")
    return re.compile(re.sub(r"\{([^}]*)\}", piece, literal_dots))


def route(method: str, template: str) -> Callable[[Endpoint], Endpoint]:
    """Register the decorated function as the endpoint for ``method`` on ``template``."""

    def register(endpoint: Endpoint) -> Endpoint:
        if any(known.method == method and known.template == template for known in _ROUTES):
            raise ValueError(f"{method} {template} has an endpoint already.")
        _ROUTES.append(Route(method, template, _compile(template), endpoint))
        _ROUTES.sort(key=lambda known: -known.weight)  # `/refs` before the catch-all repo page
        return endpoint

    return register


def find_route(method: str, path: str) -> tuple[Route, dict[str, str]] | None:
    """The endpoint for a raw (still quoted) path and its decoded parameters.

    HEAD falls back on GET: the server drops the body.
    """
    for wanted in dict.fromkeys((method, "GET" if method == "HEAD" else method)):
        for known in _ROUTES:
            if known.method == wanted and (match := known.pattern.fullmatch(path)):
                return known, {k: unquote(v) for k, v in match.groupdict().items()}
    return None
