"""One atomic commit to the Hub, which fails if the branch has moved since the plan was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.hub import is_unreachable
from hf_sfda.publish.access import Repo, find_head, hub_errors, read_file
from hf_sfda.publish.changes import FileChange, StepResult, diff_of

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi

_CONFLICT = 412


class MovedError(PublishError):
    """Somebody changed the repository after the plan was made."""


def place_of_commit(
    repo: Repo, parent: str | None, *, private: bool, revision: str = "main"
) -> str:
    """Describe a planned commit in one line; ``parent`` is ``None`` if the repository is new."""
    if parent is None:
        kind = "private" if private else "public"
        return f"{repo}: a new {kind} repository, one commit to {revision}"
    return f"{repo}: one commit to {revision}, on {parent[:7]}"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """A commit that changes several files: all of them, or none.

    Attributes:
        repo: The repository.
        parent: The commit that the plan was made on.
        files: The changes.
        message: First line of the commit message.
        description: The rest of the commit message.
        revision: The branch.
    """

    repo: Repo
    parent: str
    files: tuple[FileChange, ...]
    message: str
    description: str = ""
    revision: str = "main"

    def where(self) -> str:
        """The repository, the branch and the parent commit, as one line of a plan."""
        return place_of_commit(self.repo, self.parent, private=False, revision=self.revision)

    def diff(self) -> str:
        """All changes as unified diffs."""
        return diff_of(self.files)

    def execute(self, api: HfApi) -> StepResult:
        """Make the commit.

        Raises:
            MovedError: The branch no longer points at ``parent``; nothing was written.
            PublishError: The Hub refuses or fails; nothing was written.
        """
        try:
            info = self.send(api)
        except PublishError as error:
            sha = self._find_unconfirmed(api, error)
            if sha is None:
                raise
            return StepResult(str(self.repo), f"{self.repo.url}/commit/{sha}", sha)
        return StepResult(str(self.repo), info.commit_url, info.oid)

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
        return all(read_file(api, self.repo, file.path, sha) == file.after for file in self.files)

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


def _may_have_arrived(error: BaseException | None) -> bool:
    """Whether the Hub may have made the commit although the request failed."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return error is not None and is_unreachable(error)
