"""The HTTP side: a threading HTTP/1.1 server with keep-alive, a request log and fault injection."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import tests.hub.routes  # noqa: F401 (importing registers the endpoints)
from tests.hub.commits import apply_files
from tests.hub.faults import Fault, Faults
from tests.hub.repo import Repo
from tests.hub.routing import HubError, Request, Response, find_route, json_response
from tests.hub.state import Account, State

__all__ = ["HubServer", "LoggedRequest"]


@dataclass(frozen=True)
class LoggedRequest:
    """A request as the server saw it; ``path`` is decoded, ``status`` is 0 where no answer was sent."""

    method: str
    path: str
    query: dict[str, list[str]]
    with_token: bool
    status: int
    user_agent: str = ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    hub: HubServer

    def server_bind(self) -> None:
        self.sockets: set[socket.socket] = set()
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.sockets.discard(request)
        super().shutdown_request(request)

    def close_connections(self) -> None:
        """End the kept-alive connections too, so that a stopped server really is gone."""
        for connection in list(self.sockets):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was faster

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is normal here (cut downloads, killed processes)."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: without this, 40 ms each
    wbufsize = -1
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: tests read ``HubServer.requests``."""

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return body

    def _respond(self) -> None:
        body = self._read_body()
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query, keep_blank_values=True)
        hub = self.server.hub
        fault = hub.faults.take(self.command, path)
        if fault and fault.action == "delay":
            time.sleep(fault.seconds)
        if fault and fault.action in ("status", "drop"):
            response = json_response({"error": "injected"}, fault.status, fault.headers)
        else:
            request = Request(self.command, url.path, query, self.headers, body, None, hub.url)
            response = hub.answer(request)
        silent = fault is not None and fault.action in ("drop", "lose")
        hub.log(
            LoggedRequest(
                self.command,
                path,
                query,
                "Authorization" in self.headers,
                0 if silent else response.status,
                self.headers.get("User-Agent", ""),
            )
        )
        if silent:
            self.close_connection = True
        else:
            self._send(response, fault)

    def _send(self, response: Response, fault: Fault | None) -> None:
        self.send_response(response.status)
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault and fault.action == "cut":
            self.wfile.write(response.body[: len(response.body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(response.body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _respond


class HubServer:
    """A Hub on 127.0.0.1. ``with HubServer() as hub:`` then point ``HF_ENDPOINT`` at ``hub.url``.

    Attributes:
        state: What the Hub remembers.
        faults: Failures to inject, see ``Faults.add``.
        requests: The log, oldest first.
        unknown: ``METHOD path`` of requests that no endpoint answered.
    """

    token: ClassVar[str] = Account("me").token
    read_token: ClassVar[str] = Account("me", "read").token

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.state = State()
        self.faults = Faults()
        self.requests: list[LoggedRequest] = []
        self.unknown: list[str] = []
        self._server: _Server | None = None
        self.state.reset()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- life

    def start(self) -> HubServer:
        """Listen; on the port of last time after a ``stop``."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", self.port), _Handler)
            self._server.hub = self
            self.port = self._server.server_address[1]
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Refuse connections from now on; the state stays."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            server.close_connections()

    def __enter__(self) -> HubServer:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def reset(self) -> None:
        """An empty, healthy Hub: no repositories, no faults, no log."""
        self.start()
        self.faults.clear()
        self.state.reset()
        self.requests.clear()
        self.unknown.clear()

    # -- requests

    def answer(self, request: Request) -> Response:
        """Authenticate and run the endpoint, atomically."""
        try:
            with self.state.lock:
                request.account = self._authenticate(request.headers)
                found = find_route(request.method, request.path)
                if found is None:
                    self.unknown.append(f"{request.method} {unquote(request.path)}")
                    raise HubError(404, f"No such page: {request.method} {request.path}")
                route, request.params = found
                return route.endpoint(self.state, request)
        except HubError as error:
            return error.response()

    def _authenticate(self, headers: Mapping[str, str]) -> Account | None:
        bearer = headers.get("Authorization")
        if bearer is None:
            return None
        account = self.state.accounts.get(bearer.removeprefix("Bearer "))
        if account is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return account

    def log(self, request: LoggedRequest) -> None:
        self.requests.append(request)

    def seen(self, method: str | None = None, path_regex: str = "") -> list[LoggedRequest]:
        """The logged requests of this method whose path matches."""
        return [
            request
            for request in list(self.requests)
            if method in (None, request.method) and re.search(path_regex, request.path)
        ]

    # -- what a test sets up behind the API's back

    def account(self, name: str, role: str = "write", orgs: tuple[str, ...] = ()) -> str:
        """Make an account and return its token."""
        with self.state.lock:
            return self.state.add_account(Account(name, role, orgs)).token

    def put(
        self,
        repo_id: str,
        files: str | Path | Mapping[str, bytes | str],
        *,
        repo_type: str = "model",
        title: str = "Upload",
        **settings: Any,
    ) -> str:
        """Commit a folder or a mapping of contents to ``main``, whoever owns it; makes the repository.

        Returns:
            The sha of the new commit.
        """
        with self.state.lock:
            kind = f"{repo_type}s"
            repo = self.state.repos.get((kind, repo_id)) or self.state.create(kind, repo_id)
            sha = apply_files(repo, _contents(files), title=title).sha
            if settings:
                self.set(repo_id, repo_type=repo_type, **settings)
            return sha

    def repo(self, repo_id: str, repo_type: str | None = None) -> Repo:
        """The stored repository."""
        return self.state.find(repo_id, repo_type)

    def files(
        self, repo_id: str, repo_type: str | None = None, revision: str = "main"
    ) -> dict[str, bytes]:
        """All contents at a revision."""
        commit = self.repo(repo_id, repo_type).resolve(revision)
        return {path: blob.data for path, blob in commit.files.items()}

    def set(self, repo_id: str, repo_type: str | None = None, **settings: Any) -> None:
        """Set what the API cannot: ``downloads=``, ``gated="manual"``, ``disabled=``, ``last_modified=`` ..."""
        with self.state.lock:
            repo = self.repo(repo_id, repo_type)
            for name, value in settings.items():
                if name not in repo.SETTABLE:
                    raise ValueError(f"Unknown setting {name!r}; allowed: {', '.join(repo.SETTABLE)}.")
                if name in ("created", "last_modified") and isinstance(value, str):
                    value = datetime.fromisoformat(value)
                setattr(repo, name, value)

    def grant(self, repo_id: str, user: str, repo_type: str | None = None) -> None:
        """Let a user into a gated repository."""
        with self.state.lock:
            self.repo(repo_id, repo_type).granted.add(user)

    def delete(self, repo_id: str, repo_type: str | None = None) -> None:
        """Let a repository vanish."""
        with self.state.lock:
            repo = self.repo(repo_id, repo_type)
            del self.state.repos[repo.kind, repo.id]


def _contents(files: str | Path | Mapping[str, bytes | str]) -> dict[str, bytes]:
    if isinstance(files, str | Path):
        root = Path(files)
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    return {path: c.encode() if isinstance(c, str) else c for path, c in files.items()}
