"""The account behind the token, its rights, and the files of a repository at a commit."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError, SfdaError
from hf_sfda.hub import explain, explain_answer, hub_url, read_verified, retry_read
from hf_sfda.hub.checksums import snapshot_verified

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True)
class Repo:
    """A repository's id and kind: ``"model"``, ``"dataset"`` or ``"space"``."""

    id: str
    kind: str = "model"

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"

    @property
    def namespace(self) -> str:
        """The user or organisation that owns the repository."""
        return self.id.split("/")[0]

    @property
    def url(self) -> str:
        """The address of its page on the Hub."""
        prefix = "" if self.kind == "model" else f"{self.kind}s/"
        return f"{hub_url()}/{prefix}{self.id}"


def is_repo_id(text: str) -> bool:
    """Whether a text has the form ``OWNER/NAME``."""
    return text.count("/") == 1 and all(text.split("/"))


@dataclass(frozen=True)
class Account:
    """The owner of the token.

    Attributes:
        name: User name.
        namespaces: The user's name and the names of their organisations.
        read_only: Whether the token's role is ``read``.
    """

    name: str
    namespaces: frozenset[str]
    read_only: bool

    def owns(self, repo: Repo) -> bool:
        """Whether the user or one of their organisations owns the repository."""
        return repo.namespace in self.namespaces


@contextmanager
def hub_errors(doing: str) -> Iterator[None]:
    """Convert every exception of the client to a :class:`PublishError` of one sentence.

    Args:
        doing: How the sentence begins, for example ``"Cannot read dataset me/results"``.
    """
    try:
        yield
    except SfdaError:
        raise
    except JSONDecodeError as error:
        raise PublishError(f"{doing}: {explain_answer(error)}.") from error
    except ValueError as error:  # the Hub's errors about a card's metadata span several lines
        reason = explain(error) if hasattr(error, "response") else " ".join(str(error).split())
        raise PublishError(f"{doing}: {reason.rstrip('.')}.") from error
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
    """Check that the token may write to a repository, before a change is planned there.

    Args:
        api: The Hub client.
        me: The account behind the token.
        repo: The repository to write to.
        exists: Whether the repository exists; if not, only the token's role is checked.

    Raises:
        PublishError: The token may not write there.
    """
    if me.read_only:
        raise PublishError(
            f"The token of {me.name} may only read. Make one with write access in the Hub's "
            "settings and pass it with HF_TOKEN or --token-file."
        )
    if exists:
        with hub_errors(f"Cannot write to {repo}"):
            retry_read(api.auth_check, repo.id, repo_type=repo.kind, write=True)


def require_own(api: HfApi, me: Account, repo: Repo, instead: str) -> str | None:
    """Check that we own a repository and may write to it; it need not exist.

    Args:
        api: The Hub client.
        me: The account behind the token.
        repo: The repository to write to.
        instead: What the message advises if somebody else owns it.

    Returns:
        Its newest commit, or ``None`` if it does not exist.

    Raises:
        PublishError: Somebody else owns it, or the token may not write there.
    """
    if not me.owns(repo):
        raise PublishError(
            f"{repo.id} belongs to {repo.namespace}, and you are {me.name}. {instead}"
        )
    head = find_head(api, repo)
    require_write(api, me, repo, exists=head is not None)
    return head


def find_head(api: HfApi, repo: Repo, revision: str = "main") -> str | None:
    """The commit of a branch, or ``None`` if the repository does not exist.

    Raises:
        PublishError: The repository is gated or disabled, or the request fails.
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


def is_private(api: HfApi, repo: Repo, *, if_new: bool = False) -> bool:
    """Whether a repository is private; ``if_new`` if it does not exist."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with hub_errors(f"Cannot read {repo}"):
        try:
            return bool(retry_read(api.repo_info, repo.id, repo_type=repo.kind).private)
        except RepositoryNotFoundError:
            return if_new


def read_file(api: HfApi, repo: Repo, path: str, sha: str) -> bytes | None:
    """The content of a file at a commit, or ``None`` if the file does not exist.

    Raises:
        PublishError: The file cannot be read, or arrives damaged.
    """
    from huggingface_hub.errors import RemoteEntryNotFoundError

    with hub_errors(f"Cannot read {path} of {repo}"):
        try:
            # If the download fails, the client returns the cached file. That is the same content,
            # because the commit is pinned.
            return read_verified(
                lambda: api.hf_hub_download(repo.id, path, repo_type=repo.kind, revision=sha)
            )
        except RemoteEntryNotFoundError:
            return None


def download_files(api: HfApi, repo: Repo, patterns: Sequence[str], sha: str) -> Path:
    """Download files at a commit, in parallel, and verify their checksums.

    Args:
        api: The Hub client.
        repo: The repository.
        patterns: Glob patterns of the paths.
        sha: The commit.

    Returns:
        The folder of the cache that holds them.

    Raises:
        PublishError: A file cannot be downloaded, or arrives damaged.
    """

    def download() -> str:
        # A cached file of a pinned commit is the right one.
        return str(
            api.snapshot_download(
                repo.id, repo_type=repo.kind, revision=sha, allow_patterns=list(patterns)
            )
        )

    with hub_errors(f"Cannot read {repo}"):
        return snapshot_verified(repo.id, patterns, download)


def read_files(api: HfApi, repo: Repo, paths: Sequence[str], sha: str) -> dict[str, bytes]:
    """The contents of files at a commit, downloaded as in :func:`download_files`."""
    if not paths:
        return {}
    folder = download_files(api, repo, [glob.escape(path) for path in paths], sha)
    return {path: (folder / path).read_bytes() for path in paths}


def list_files(api: HfApi, repo: Repo, sha: str) -> list[str]:
    """The paths of all files at a commit, sorted."""
    with hub_errors(f"Cannot list {repo}"):
        return sorted(api.list_repo_files(repo.id, repo_type=repo.kind, revision=sha))
