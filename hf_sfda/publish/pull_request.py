"""Propose a card change to another owner: one open pull request, which later runs update."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from hf_sfda.errors import PublishError
from hf_sfda.hub import retry_read
from hf_sfda.hub.access import Repo, find_head, hub_errors, require_write
from hf_sfda.hub.changes import FileChange, StepResult, diff_of
from hf_sfda.hub.commit import Commit, MovedError
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.model_card import CardPlanner
from hf_sfda.publish.model_result import make_model_result

if TYPE_CHECKING:
    from huggingface_hub import Discussion, HfApi

MARKER = "[hf-sfda]"
"""Start of the title of our pull requests; title and author identify them."""

_TITLE = f"{MARKER} Add transferability scores"


@dataclass(frozen=True)
class PullRequest:
    """A pull request to open or to update.

    Attributes:
        commit: The proposed change.
        author: Name of the account that opens it.
        text: The description that the owner reads.
        number: Number of the open pull request to update; ``None`` opens a new one.
        conflicts: Files that conflict with the main branch.
    """

    commit: Commit
    author: str
    text: str
    number: int | None = None
    conflicts: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[FileChange, ...]:
        """The files that change."""
        return self.commit.files

    @property
    def repo(self) -> Repo:
        """The repository that the pull request changes."""
        return self.commit.repo

    def where(self) -> str:
        """The repository and the kind of change, as one line of a plan."""
        if self.number is None:
            return f"{self.repo}: opens a pull request, from {str(self.commit.parent)[:7]}"
        line = f"{self.repo}: one commit to your open pull request {self.number}"
        if self.conflicts:
            line += f" (which conflicts with main in {', '.join(self.conflicts)})"
        return line

    def diff(self) -> str:
        """All changes as unified diffs."""
        return diff_of(self.files)

    def execute(self, api: HfApi) -> StepResult:
        """Open or update the pull request.

        Raises:
            MovedError: We opened another pull request there after the plan was made.
            PublishError: The Hub refuses or fails.
        """
        if self.number is not None:
            description = f"{self.repo}: pull request {self.number}"
            return replace(self.commit.execute(api), description=description, url=self._url())
        if (number := find_open(api, self.author, self.repo)) is not None:
            raise MovedError(
                f"Your pull request {number} on {self.repo} was opened after the plan was made. "
                "Nothing was written there; run the same command to update it."
            )
        try:
            proposal = replace(self.commit, message=_TITLE, description=self.text)
            info = proposal.send(api, create_pr=True)
        except PublishError:
            # Do not send it twice. If only the response was lost, our pull request is open now.
            number = find_open(api, self.author, self.repo)
            if number is None:
                raise
            opened = replace(self, number=number)
            sha = find_head(api, self.repo, opened.revision)
            return StepResult(f"{self.repo}: pull request {number}", opened._url(), sha)
        opened = replace(self, number=info.pr_num)
        return StepResult(f"{self.repo}: pull request {info.pr_num}", opened._url(), info.oid)

    @property
    def revision(self) -> str:
        """The branch of an open pull request."""
        return f"refs/pr/{self.number}"

    def _url(self) -> str:
        return f"{self.repo.url}/discussions/{self.number}"


def plan_pull_request(planner: CardPlanner, model: str) -> PullRequest | None:
    """Plan a pull request; ``None`` if main or our open pull request is up to date.

    Raises:
        PublishError: The model is not in the run or no longer on the Hub, its owner closed our
            earlier pull request, or its card has a YAML style that cannot be extended.
    """
    repo = Repo(model)
    result = make_model_result(planner.run, model, planner.results)
    require_write(planner.api, planner.me, repo, exists=False)
    on_main = planner.commit(repo, result, planner.head(repo))
    if on_main is None:
        return None
    text = render_card("pull_request", result=result, results=planner.results.id)
    author = planner.me.name
    number = find_open(planner.api, author, repo)
    if number is None:
        _respect_refusal(planner.api, author, repo)
        return PullRequest(on_main, author, text)
    revision = f"refs/pr/{number}"
    commit = planner.commit(repo, result, planner.head(repo, revision), revision)
    if commit is None:
        return None
    with hub_errors(f"Cannot read pull request {number} of {repo}"):
        details = retry_read(planner.api.get_discussion_details, repo.id, number)
    conflicts = details.conflicting_files
    return PullRequest(
        commit, author, text, number, tuple(conflicts if isinstance(conflicts, list) else ())
    )


def find_open(api: HfApi, author: str, repo: Repo) -> int | None:
    """The number of our open pull request (the oldest one), or ``None``."""
    return min((d.num for d in _ours(api, author, repo, "open")), default=None)


def _respect_refusal(api: HfApi, author: str, repo: Repo) -> None:
    """Raise :class:`PublishError` if the owner closed a pull request of ours without merging it."""
    refused = [d.num for d in _ours(api, author, repo, "closed") if d.status == "closed"]
    if refused:
        raise PublishError(
            f"Your pull request {refused[0]} on {repo} was closed without being merged, so no "
            "other one is opened. If its owner has changed their mind, reopen it at "
            f"{repo.url}/discussions/{refused[0]} and run the same command."
        )


def _ours(
    api: HfApi, author: str, repo: Repo, status: Literal["open", "closed"]
) -> list[Discussion]:
    with hub_errors(f"Cannot list the pull requests of {repo}"):
        discussions = api.get_repo_discussions(
            repo.id, author=author, discussion_type="pull_request", discussion_status=status
        )
        return [item for item in discussions if item.title.startswith(MARKER)]
