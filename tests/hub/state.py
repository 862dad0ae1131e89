"""Everything a Hub remembers: accounts, repositories, collections; and who may do what."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.hub.repo import GITATTRIBUTES, KINDS, MAIN, Blob, Repo
from tests.hub.routing import HubError

__all__ = ["Account", "Grant", "OAuthApp", "State"]


@dataclass(frozen=True)
class Account:
    """A user with one token, of role ``write`` or ``read``, for its own name and ``orgs``.

    Who does not ``pay`` gets no Space on hardware that costs, nor a new one on ``cpu-basic``.
    A token that was lent to an app without the scope for it ``sees_private`` repositories no more.
    """

    name: str
    role: str = "write"
    orgs: tuple[str, ...] = ()
    pays: bool = True
    sees_private: bool = True

    @property
    def token(self) -> str:
        return f"hub-test-token-{self.name}-{self.role}"

    def owns(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs


@dataclass(frozen=True)
class OAuthApp:
    """What people sign in to, such as a Space; ``callback`` is where they are sent afterwards."""

    client_id: str
    secret: str
    callback: str


@dataclass(frozen=True)
class Grant:
    """What somebody agreed to, until the app fetches the token for it."""

    app: OAuthApp
    account: Account
    back: str
    scope: str
    nonce: str


@dataclass
class State:
    """The memory of one Hub. Endpoints run under ``lock``, so each request is atomic."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    uploads: dict[str, tuple[Repo, str, int]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    scheduled_jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    webhooks: dict[str, dict[str, Any]] = field(default_factory=dict)
    oauth_apps: dict[str, OAuthApp] = field(default_factory=dict)
    oauth_codes: dict[str, Grant] = field(default_factory=dict)
    page_size: int = 1000

    def reset(self) -> None:
        """Forget everything but the two accounts of ``me``."""
        with self.lock:
            for table in (self.repos, self.accounts, self.collections, self.uploads):
                table.clear()
            for jobs in (self.jobs, self.scheduled_jobs, self.webhooks):
                jobs.clear()
            for grants in (self.oauth_apps, self.oauth_codes):
                grants.clear()
            self.page_size = 1000
            for role in ("write", "read"):
                self.add_account(Account("me", role))

    def add_account(self, account: Account) -> Account:
        self.accounts[account.token] = account
        return account

    # -- repositories

    def create(self, kind: str, repo_id: str, **settings: Any) -> Repo:
        """A new repository with the first commit that the Hub makes itself."""
        if (kind, repo_id) in self.repos:
            raise HubError(409, f"You already created this {kind[:-1]} repo: {repo_id}")
        repo = Repo(kind, repo_id, datetime.now(UTC), **settings)
        files = {".gitattributes": Blob(GITATTRIBUTES.encode())}
        repo.add_commit(MAIN, files, title="initial commit", author=repo.owner, parent=None)
        self.repos[kind, repo_id] = repo
        return repo

    def find(self, repo_id: str, kind: str | None = None) -> Repo:
        """A repository by id, for tests; the kind may be left out where only one kind has it."""
        kinds = (kind if kind.endswith("s") else f"{kind}s",) if kind else KINDS
        found = [self.repos[k, repo_id] for k in kinds if (k, repo_id) in self.repos]
        if len(found) != 1:
            raise KeyError(f"{len(found)} repositories named {repo_id!r} among {', '.join(kinds)}.")
        return found[0]

    def visible(self, repo: Repo, account: Account | None) -> bool:
        if not repo.private:
            return True
        return account is not None and account.sees_private and account.owns(repo.owner)

    def read(self, kind: str, repo_id: str, account: Account | None) -> Repo:
        """The repository, if the caller may know of it. A private one looks like a missing one."""
        repo = self.repos.get((kind, repo_id))
        if repo is None or not self.visible(repo, account):
            raise HubError(404, "Repository not found", "RepoNotFound")
        if repo.disabled:
            raise HubError(403, "Access to this resource is disabled.")
        return repo

    def read_files(self, kind: str, repo_id: str, account: Account | None) -> Repo:
        """The repository, if the caller may also download from it."""
        repo = self.read(kind, repo_id, account)
        allowed = account and (account.owns(repo.owner) or account.name in repo.granted)
        if repo.gated and not allowed:
            who = (
                f"{account.name} is not in the authorized list"
                if account
                else "you must be authenticated"
            )
            raise HubError(
                403 if account else 401,
                f"Access to {kind[:-1]} {repo_id} is restricted and {who}.",
                "GatedRepo",
            )
        return repo

    def writer(self, account: Account | None) -> Account:
        """The caller, if it holds a token that may write anywhere at all."""
        if account is None:
            raise HubError(401, "Invalid username or password.")
        if account.role != "write":
            raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
        return account

    def require_owner(self, namespace: str, account: Account | None) -> Account:
        """The caller, if it may write to this user's or organisation's repositories."""
        writer = self.writer(account)
        if not writer.owns(namespace):
            raise HubError(403, f"Forbidden: you don't have the rights to write to {namespace}.")
        return writer

    def write(self, kind: str, repo_id: str, account: Account | None) -> Repo:
        """The repository, if the caller may change it."""
        self.writer(account)
        repo = self.read(kind, repo_id, account)
        self.require_owner(repo.owner, account)
        return repo
