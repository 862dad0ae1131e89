"""One atomic commit to the Hub, which fails if the branch has moved since the plan was made."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.hub.access import Repo, find_head, hub_errors, list_files, read_file
from hf_sfda.hub.changes import FileChange, StepResult, diff_of
from hf_sfda.hub.reasons import is_unreachable

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi

_EXISTS, _CONFLICT = 409, 412

# Each failed attempt means that another writer succeeded, so n writers need at most n attempts.
_TRIES = 20
_LONGEST_PAUSE = 5.0  # seconds


class MovedError(PublishError):
    """Somebody changed the repository after the plan was made."""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit that changes several files: all of them, or none.

    Attributes:
        repo: The repository.
        parent: The commit that the plan was made on; ``None`` if the repository is new. A new model
            or dataset is then created. A Space is created by an earlier step, with its settings.
        files: The changes.
        message: First line of the commit message.
        description: The rest of the commit message.
        revision: The branch.
        private: Whether a new repository is private.
        summary: Text that a plan shows in place of the diffs; ``None`` shows the diffs.
        note: What the user should know when the commit is made.
        rebuild: Makes the commit again on top of somebody else's; it returns ``None`` if nothing is
            left to write. Only for commits that are computed from the whole repository. Without
            it, a commit of somebody else ends the step.
    """

    repo: Repo
    parent: str | None
    files: tuple[FileChange, ...]
    message: str
    description: str = ""
    revision: str = "main"
    private: bool = False
    summary: str | None = None
    note: str = ""
    rebuild: Callable[[HfApi], Commit | None] | None = field(
        default=None, compare=False, repr=False
    )

    def where(self) -> str:
        """The repository, the branch and the parent commit, as one line of a plan."""
        if self.parent is not None:
            return f"{self.repo}: one commit to {self.revision}, on {self.parent[:7]}"
        if self.repo.kind == "space":
            return f"{self.repo}: one commit to {self.revision}"
        kind = "private" if self.private else "public"
        return f"{self.repo}: a new {kind} repository, one commit to {self.revision}"

    def diff(self) -> str:
        """All changes as unified diffs."""
        return diff_of(self.files) if self.summary is None else self.summary

    def execute(self, api: HfApi) -> StepResult:
        """Make the commit. If somebody else committed first, rebuild it on top and try again.

        Raises:
            MovedError: The branch no longer points at ``parent``, and there is no ``rebuild``.
            PublishError: The Hub refuses or fails, or others committed first in every attempt.
                Nothing was written.
        """
        commit: Commit | None = self
        for attempt in range(_TRIES):
            if commit is None:
                text = f"{self.repo}: nothing is left to write, all of it is there already"
                return StepResult(text, self.repo.url)
            try:
                return commit._execute_once(api)
            except MovedError:
                if self.rebuild is None:
                    raise
                # A random pause, so that concurrent writers do not collide again.
                time.sleep(random.uniform(0, min(0.1 * 2**attempt, _LONGEST_PAUSE)))
                commit = self.rebuild(api)
        raise PublishError(
            f"{self.repo} changed {_TRIES} times while this was about to be written. "
            "Nothing was written there; run the same command again later."
        )

    def send(self, api: HfApi, *, create_pr: bool = False) -> CommitInfo:
        """Send the commit, once. A retry after a lost response could make a second commit."""
        from huggingface_hub.errors import HfHubHTTPError

        with hub_errors(f"Cannot write to {self.repo}"):
            try:
                return api.create_commit(
                    self.repo.id,
                    [_operation(file) for file in self.files],
                    repo_type=self.repo.kind,
                    revision=None if create_pr else self.revision,
                    parent_commit=self.parent,
                    commit_message=self.message,
                    commit_description=self.description,
                    create_pr=create_pr,
                )
            except HfHubHTTPError as error:
                if error.response.status_code == _CONFLICT:
                    raise MovedError(
                        f"{self.repo} was changed by somebody else after the plan was made. "
                        "Nothing was written there; run the same command to see the new plan."
                    ) from error
                raise

    def applied_at(self, api: HfApi, sha: str) -> bool:
        """Whether all files at a commit have their planned content."""
        contents = (read_file(api, self.repo, file.path, sha) for file in self.files)
        return all(
            content is None if file.after is None else _has_sha256(content, file.sha256)
            for content, file in zip(contents, self.files, strict=True)
        )

    def _execute_once(self, api: HfApi) -> StepResult:
        commit = self if self.parent else replace(self, parent=self._first_commit(api))
        try:
            info = commit.send(api)
        except PublishError as error:
            sha = commit._find_unconfirmed(api, error)
            if sha is None:
                raise
            return commit._result(f"{self.repo.url}/commit/{sha}", sha)
        return commit._result(info.commit_url, info.oid)

    def _result(self, url: str, sha: str) -> StepResult:
        return StepResult(f"{self.repo}{f'; {self.note}' if self.note else ''}", url, sha)

    def _first_commit(self, api: HfApi) -> str:
        """The first commit of a new repository, which is created here unless it is a Space.

        Raises:
            MovedError: Somebody else has written to the repository already.
            PublishError: The Hub refuses or fails.
        """
        if self.repo.kind != "space":
            self._create_repo(api)
        sha = find_head(api, self.repo)
        if sha is None:
            raise PublishError(
                f"{self.repo} was created but is no longer there; run the same command."
            )
        by_the_hub = {".gitattributes"} | ({"README.md"} if self.repo.kind == "space" else set())
        if set(list_files(api, self.repo, sha)) - by_the_hub:
            raise MovedError(f"Somebody else wrote to {self.repo} as soon as it was made.")
        return sha

    def _create_repo(self, api: HfApi) -> None:
        from huggingface_hub.errors import HfHubHTTPError

        with hub_errors(f"Cannot make {self.repo}"):
            try:
                api.create_repo(self.repo.id, repo_type=self.repo.kind, private=self.private)
            except HfHubHTTPError as error:
                if error.response.status_code == _EXISTS:
                    raise MovedError(
                        f"{self.repo} was made by somebody else after the plan was made. "
                        "Nothing was written there; run the same command to see the new plan."
                    ) from error
                raise

    def _find_unconfirmed(self, api: HfApi, error: PublishError) -> str | None:
        """The sha of our commit if the Hub made it but its response was lost, else ``None``."""
        if not _may_have_arrived(error.__cause__):
            return None
        sha = find_head(api, self.repo, self.revision)
        return sha if sha and sha != self.parent and self.applied_at(api, sha) else None


def _operation(file: FileChange) -> CommitOperationAdd | CommitOperationDelete:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    if file.after is None:
        return CommitOperationDelete(file.path)
    return CommitOperationAdd(file.path, file.after)


def _has_sha256(content: bytes | None, digest: str) -> bool:
    return content is not None and hashlib.sha256(content).hexdigest() == digest


def _may_have_arrived(error: BaseException | None) -> bool:
    """Whether the Hub may have made the commit although the request failed."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return error is not None and is_unreachable(error)
