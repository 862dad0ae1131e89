"""Requests that a stranger's page has the owner's browser send, and those of the owner."""

from __future__ import annotations

import asyncio
import socket

import pytest

from hf_sfda.errors import ConfigError
from hf_sfda.space.hosts import OwnHostsOnly, allowed_names

NAMES = allowed_names(["Board.example.org."])


def status(*headers: tuple[str, str], names: frozenset[str] = NAMES, kind: str = "http") -> int:
    """What a request with these headers gets; 200 if it reaches the page."""
    sent = []

    async def page(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    scope = {"type": kind, "headers": raw}
    asyncio.run(OwnHostsOnly(page, names)(scope, None, send))
    return sent[0].get("status", sent[0].get("code"))


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:7860", "LOCALHOST:7860", "localhost.", "127.0.0.1:7860", "[::1]",
        "[::1]:7860", "192.0.2.7:80", "board.example.org", "BOARD.example.org.:7860",
        f"{socket.gethostname()}:7860",
    ],
)  # fmt: skip
def test_the_owner_is_answered(host):
    assert status(("Host", host)) == 200
    assert status(("Host", host), ("Origin", f"http://{host.lower()}")) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.evil.example",
        "localhost@evil.example", "evil.example/localhost", "evil.example?localhost",
        "evil.example#localhost", "localhost evil.example", "127.1", "", "[", "[::1", ":7860",
        "evil.board.example.org", "\xffboard.example.org",
    ],
)  # fmt: skip
def test_a_name_that_was_rebound_is_refused(host):
    assert status(("Host", host)) == 403


def test_a_request_without_one_host_is_refused():
    assert status() == 403
    assert status(("Host", "localhost"), ("Host", "evil.example")) == 403


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "", "http://192.0.2.7", "http://localhost:3000", "localhost"],
)
def test_a_request_sent_by_another_page_is_refused(origin):
    assert status(("Host", "localhost:7860"), ("Origin", origin)) == 403


def test_a_proxy_may_change_the_host_but_not_where_the_page_is():
    proxied = ("Host", "127.0.0.1:7860")
    assert status(proxied, ("Origin", "https://board.example.org")) == 200
    assert status(proxied, ("Origin", "https://other.example.org")) == 403


def test_a_socket_is_closed():
    assert status(("Host", "evil.example"), kind="websocket") == 1008


@pytest.mark.parametrize("name", ["", "http://board.example.org", "board:80", "a/b", "a b", "*"])
def test_an_allowed_name_must_be_a_name(name):
    with pytest.raises(ConfigError, match="give a host name without scheme, port or path"):
        allowed_names([name])
