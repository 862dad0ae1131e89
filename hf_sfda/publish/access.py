"""Who we are on the Hub, and what a repository holds right now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError, SfdaError
from hf_sfda.hub import explain, explain_answer, retry_read

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def hub_url() -> str:
    """The Hub we talk to."""
    from huggingface_hub import constants

    return constants.ENDPOINT


@dataclass(frozen=True)
class Repo:
    """A repository's name; ``kind`` is ``"model"``, ``"dataset"`` or ``"space"``."""

    id: str
    kind: str = "model"

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def namespace(self) -> str:
        """The user or organisation it belongs to."""
        return self.id.split("/")[0]

    @property
    def url(self) -> str:
        """Its page."""
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        return f"{hub_url()}/{prefix}{self.id}"


@dataclass(frozen=True)
class Account:
    """The owner of the token.

    Attributes:
        name: User name.
        namespaces: The user and the organisations it is in.
        read_only: Whether the token says of itself that it cannot write.
    """

    name: str
    namespaces: frozenset[str]
    read_only: bool

    def owns(self, repo: Repo) -> bool:
        """Whether the repository belongs to the user or to an organisation of theirs."""
        return repo.namespace in self.namespaces


@contextmanager
def hub_errors(doing: str) -> Iterator[None]:
    """Turn whatever the client raises into one sentence that begins with ``doing``."""
    try:
        yield
    except SfdaError:
        raise
    except JSONDecodeError as error:
        raise PublishError(f"{doing}: {explain_answer(error)}.") from error
    except ValueError as error:  # the Hub's verdict on a card's metadata spans several lines
        said = explain(error) if hasattr(error, "response") else " ".join(str(error).split())
        raise PublishError(f"{doing}: {said.rstrip('.')}.") from error
    except Exception as error:  # transport, HTTP and OS errors of three libraries
        raise PublishError(f"{doing}: {explain_answer(error)}.") from error


def who_am_i(api: HfApi) -> Account:
    """The account behind the token.

    Raises:
        PublishError: There is no token, or the Hub does not accept it.
    """
    from huggingface_hub.errors import LocalTokenNotFoundError

    try:
        with hub_errors("Cannot publish"):
            facts = retry_read(api.whoami)
    except PublishError as error:
        if isinstance(error.__cause__, LocalTokenNotFoundError):
            raise PublishError(
                "Cannot publish: not logged in. Set HF_TOKEN, pass --token-file, or run "
                "`hf auth login`."
            ) from error
        raise
    with hub_errors("Cannot publish"):
        token = facts.get("auth", {}).get("accessToken", {})
        organisations = {org["name"] for org in facts.get("orgs", [])}
        return Account(
            name=facts["name"],
            namespaces=frozenset({facts["name"], *organisations}),
            read_only=token.get("role") == "read",
        )


def require_write(api: HfApi, me: Account, repo: Repo, *, exists: bool) -> None:
    """See that the token may change a repository, before anything is planned on it.

    Raises:
        PublishError: It may not.
    """
    if me.read_only:
        raise PublishError(
            f"The token of {me.name} may only read. Make one with write access in the Hub's "
            "settings and pass it with HF_TOKEN or --token-file."
        )
    if exists:
        with hub_errors(f"Cannot write to {repo}"):
            retry_read(api.auth_check, repo.id, repo_type=repo.kind, write=True)


def find_head(api: HfApi, repo: Repo, revision: str = "main") -> str | None:
    """The commit a branch points at, or ``None`` if there is no such repository.

    Raises:
        PublishError: It is gated, disabled, or the Hub cannot be asked.
    """
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    with hub_errors(f"Cannot read {repo}"):
        try:
            return str(
                retry_read(api.repo_info, repo.id, repo_type=repo.kind, revision=revision).sha
            )
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return None


def read_file(api: HfApi, repo: Repo, path: str, sha: str) -> bytes | None:
    """A file's content at a commit, or ``None`` if it is not there."""
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with hub_errors(f"Cannot read {path} of {repo}"):
        try:
            # Errors while downloading make the client fall back on what it has; the commit is
            # pinned, so that is the same content.
            local = api.hf_hub_download(repo.id, path, repo_type=repo.kind, revision=sha)
        except RemoteEntryNotFoundError:
            return None
        return Path(local).read_bytes()


def list_files(api: HfApi, repo: Repo, sha: str) -> list[str]:
    """All paths at a commit."""
    with hub_errors(f"Cannot list {repo}"):
        return sorted(api.list_repo_files(repo.id, repo_type=repo.kind, revision=sha))
