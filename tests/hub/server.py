"""The Hub that a test holds in its hands: life, request log, and what goes past the API."""

from __future__ import annotations

import re
import threading
import traceback
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.message import Message
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar
from urllib.parse import unquote
from uuid import uuid4

import tests.hub.routes  # noqa: F401 (importing registers the endpoints)
from tests.hub.commits import apply_files
from tests.hub.faults import Faults
from tests.hub.handler import HttpServer, LoggedRequest
from tests.hub.repo import Repo
from tests.hub.routing import HubError, Request, Response, find_route, json_response
from tests.hub.state import Account, OAuthApp, State

__all__ = ["HubServer", "LoggedRequest", "hub_variables"]


class HubServer:
    """A Hub on 127.0.0.1. ``with HubServer() as hub:`` then point ``HF_ENDPOINT`` at ``hub.url``.

    Attributes:
        state: What the Hub remembers.
        faults: Failures to inject, see ``Faults.add``.
        requests: The log, oldest first.
        unknown: ``METHOD path`` of requests that no endpoint answered.
        crashes: Tracebacks of endpoints that failed; the ``hub`` fixture fails on them.
    """

    token: ClassVar[str] = Account("me").token
    read_token: ClassVar[str] = Account("me", "read").token

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.state = State()
        self.faults = Faults()
        self.requests: list[LoggedRequest] = []
        self.unknown: list[str] = []
        self.crashes: list[str] = []
        self._server: HttpServer | None = None
        self.state.reset()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # -- life

    def start(self) -> HubServer:
        """Listen; on the port of last time after a ``stop``."""
        if self._server is None:
            self._server = HttpServer(self.port, self)
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
        self.crashes.clear()

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
        except Exception:
            self.crashes.append(f"{request.method} {request.path}\n{traceback.format_exc()}")
            return json_response(
                {"error": "the test Hub is broken", "trace": self.crashes[-1]}, 500
            )

    def _authenticate(self, headers: Message) -> Account | None:
        bearer = headers.get("Authorization")
        if bearer is None or bearer.startswith("Basic "):  # an app, which is nobody
            return None
        account = self.state.accounts.get(bearer.removeprefix("Bearer "))
        if account is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return account

    def seen(self, method: str | None = None, path_regex: str = "") -> list[LoggedRequest]:
        """The logged requests of this method whose path matches."""
        return [
            request
            for request in list(self.requests)
            if method in (None, request.method) and re.search(path_regex, request.path)
        ]

    # -- what a test sets up behind the API's back

    def account(
        self, name: str, role: str = "write", orgs: tuple[str, ...] = (), *, pays: bool = True
    ) -> str:
        """Make an account, or make one anew, and return its token."""
        with self.state.lock:
            return self.state.add_account(Account(name, role, orgs, pays)).token

    def oauth_app(self, host: str, scopes: Iterable[str] = ()) -> dict[str, str]:
        """Make an app that people can sign in to, and return the variables that its Space gets.

        Args:
            host: Of the Space, where it is reached by https.
            scopes: What it asks for besides who they are (``hf_oauth_scopes``).
        """
        app = OAuthApp(str(uuid4()), token_hex(16), f"https://{host}/login/callback")
        with self.state.lock:
            self.state.oauth_apps[app.client_id] = app
        return {
            "OAUTH_CLIENT_ID": app.client_id,
            "OAUTH_CLIENT_SECRET": app.secret,
            "OAUTH_SCOPES": " ".join(["openid", "profile", *scopes]),
            "OPENID_PROVIDER_URL": self.url,
        }

    def put(
        self,
        repo_id: str,
        files: str | Path | Mapping[str, bytes | str],
        *,
        repo_type: str = "model",
        title: str = "Upload",
        **settings: Any,
    ) -> str:
        """Commit a folder or a mapping of contents to ``main``; makes the repository if need be.

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
        """Set what the API cannot: ``downloads=``, ``disabled=``, ``last_modified=`` ..."""
        with self.state.lock:
            repo = self.repo(repo_id, repo_type)
            for name, value in settings.items():
                if name not in repo.SETTABLE:
                    raise ValueError(
                        f"Unknown setting {name!r}; allowed: {', '.join(repo.SETTABLE)}."
                    )
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


def hub_variables(url: str, home: str | Path, token: str = HubServer.token) -> dict[str, str]:
    """The environment that points the Hugging Face libraries at ``url``, and nowhere else."""
    return {
        "HF_ENDPOINT": url,
        "HF_TOKEN": token,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(Path(home) / "hub"),
        "HF_DATASETS_CACHE": str(Path(home) / "datasets"),
        "HF_ASSETS_CACHE": str(Path(home) / "assets"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "TOKENIZERS_PARALLELISM": "false",
    }
