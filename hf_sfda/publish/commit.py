"""One atomic commit, pinned to the commit it was planned on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.hub import is_unreachable
from hf_sfda.publish.access import Repo, find_head, hub_errors, read_file
from hf_sfda.publish.changes import Done, FileChange, diff_of

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi

_CONFLICT = 412


class MovedError(PublishError):
    """Somebody changed the repository after the plan was made."""


def place_of_commit(
    repo: Repo, parent: str | None, *, private: bool, revision: str = "main"
) -> str:
    """Where a planned commit goes, in words; ``parent`` is ``None`` if the repository is new."""
    if parent is None:
        kind = "private" if private else "public"
        return f"{repo}: a new {kind} repository, one commit to {revision}"
    return f"{repo}: one commit to {revision}, on {parent[:7]}"


@dataclass(frozen=True, kw_only=True)
class Commit:
    """Files that change together or not at all.

    Attributes:
        repo: Where.
        parent: The commit the plan was made on.
        files: What changes.
        message: First line.
        description: The rest.
        revision: The branch.
    """

    repo: Repo
    parent: str
    files: tuple[FileChange, ...]
    message: str
    description: str = ""
    revision: str = "main"

    def where(self) -> str:
        """For a plan."""
        return place_of_commit(self.repo, self.parent, private=False, revision=self.revision)

    def diff(self) -> str:
        """What changes, line by line."""
        return diff_of(self.files)

    def carry_out(self, api: HfApi) -> Done:
        """Make the commit.

        Raises:
            MovedError: The branch is no longer where it was; nothing was written.
            PublishError: The Hub refuses or fails; nothing was written.
        """
        try:
            info = self.send(api)
        except PublishError as error:
            sha = self._arrived(api, error)
            if sha is None:
                raise
            return Done(str(self.repo), f"{self.repo.url}/commit/{sha}", sha)
        return Done(str(self.repo), info.commit_url, info.oid)

    def send(self, api: HfApi, *, create_pr: bool = False) -> CommitInfo:
        """Ask the Hub once. A lost answer is not asked for again: it would happen twice."""
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
        """Whether a commit holds every file as planned."""
        return all(read_file(api, self.repo, file.path, sha) == file.after for file in self.files)

    def _arrived(self, api: HfApi, error: PublishError) -> str | None:
        """The head, if the commit was made and only the answer got lost."""
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
    """Whether the Hub may have done what it did not confirm."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return error is not None and is_unreachable(error)
