"""The HTTP side: HTTP/1.1 with keep-alive, and the faults that only a connection can show."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import struct
import sys
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.faults import Fault, Faults
from tests.hub.routing import Request, Response, json_response

__all__ = ["HttpServer", "LoggedRequest"]


@dataclass(frozen=True)
class LoggedRequest:
    """A request as the server saw it.

    ``path`` is decoded, ``status`` is 0 where none was sent, ``account`` is whose token came along,
    ``range`` is the header of that name, ``sent`` counts the bytes of the body.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    with_token: bool
    status: int
    user_agent: str = ""
    account: str | None = None
    range: str | None = None
    sent: int = 0


class Application(Protocol):
    """What answers the requests."""

    faults: Faults
    requests: list[LoggedRequest]

    @property
    def url(self) -> str:
        """Where clients reach it."""
        ...

    def answer(self, request: Request) -> Response:
        """The answer to one request."""
        ...


class HttpServer(ThreadingHTTPServer):
    """A thread a connection. Closing it ends the connections too."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, application: Application) -> None:
        self.application = application
        self.sockets: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.sockets.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End the kept-alive connections too, so that a stopped server really is gone."""
        for connection in list(self.sockets):
            with contextlib.suppress(OSError):  # the other side was faster
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is normal here (cut downloads, killed processes); else, say so."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _spoilt(response: Response, fault: Fault) -> Response:
    """The answer with the body that the fault makes of it."""
    body = response.body
    if fault.action == "half":
        body = body[: len(body) // 2]
    elif fault.action == "replace":
        body = fault.content
    elif fault.action == "corrupt":  # from the middle on: what comes first often says the length
        middle = len(body) // 2
        body = body[:middle] + bytes(byte ^ 0x55 for byte in body[middle:])
    return dataclasses.replace(response, body=body)


class Handler(BaseHTTPRequestHandler):
    """Reads a request, meets its fault if there is one, sends the answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: without this, 40 ms each
    wbufsize = -1
    server: HttpServer

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: tests read ``HubServer.requests``."""

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return body

    def _respond(self) -> None:
        body = self._read_body()
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query, keep_blank_values=True)
        hub = self.server.application
        fault = hub.faults.take(self.command, path)
        if fault and fault.action == "delay":
            time.sleep(fault.seconds)
        if fault and fault.action == "call" and fault.function:
            fault.function()
        account = None
        if fault and fault.action == "redirect":
            response = Response(302, headers={"Location": self.path})
        elif fault and fault.action in ("status", "drop"):
            response = json_response({"error": "injected"}, fault.status, fault.headers)
        else:
            request = Request(self.command, url.path, query, self.headers, body, None, hub.url)
            response = hub.answer(request)
            account = request.account.name if request.account else None
        silent = fault is not None and fault.action in ("drop", "lose")
        logged = LoggedRequest(
            self.command,
            path,
            query,
            "Authorization" in self.headers,
            0 if silent else response.status,
            self.headers.get("User-Agent", ""),
            account,
            self.headers.get("Range"),
            0 if silent or self.command == "HEAD" else len(response.body),
        )
        hub.requests.append(logged)
        if silent:
            self.close_connection = True
        else:
            self._send(response, fault)

    def _send(self, response: Response, fault: Fault | None) -> None:
        if fault:
            response = _spoilt(response, fault)
        self.send_response(response.status)
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.action in ("cut", "reset"):
            self.wfile.write(response.body[: len(response.body) // 2])
            self.close_connection = True
            if fault.action == "reset":
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif fault and fault.action == "trickle":
            for place in range(len(response.body)):
                self.wfile.write(response.body[place : place + 1])
                time.sleep(fault.seconds)
        else:
            self.wfile.write(response.body)

    def __getattr__(self, name: str) -> Any:
        """Every method is answered alike; ``http.server`` looks for ``do_GET`` and so on."""
        if name.startswith("do_"):
            return self._respond
        raise AttributeError(name)
