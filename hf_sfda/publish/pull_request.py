"""Proposing a card change to another owner: one pull request, found again and updated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from hf_sfda.errors import PublishError
from hf_sfda.hub import retry_read
from hf_sfda.publish.access import Repo, find_head, hub_errors, require_write
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.changes import Done, FileChange, diff_of
from hf_sfda.publish.commit import Commit, MovedError
from hf_sfda.publish.model_card import CardPlanner
from hf_sfda.publish.statement import make_statement

if TYPE_CHECKING:
    from huggingface_hub import Discussion, HfApi

MARKER = "[hf-sfda]"
"""How our pull requests begin; with the author it tells them from everybody else's."""

_TITLE = f"{MARKER} Add transferability scores"


@dataclass(frozen=True)
class PullRequest:
    """A change that the owner decides on.

    Attributes:
        commit: What is proposed.
        author: Us.
        text: What the owner reads.
        number: The open pull request that is updated; ``None`` opens one.
        conflicts: Files that the owner has changed since in another way.
    """

    commit: Commit
    author: str
    text: str
    number: int | None = None
    conflicts: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[FileChange, ...]:
        """What changes."""
        return self.commit.files

    @property
    def repo(self) -> Repo:
        """Whose owner is asked."""
        return self.commit.repo

    def where(self) -> str:
        """For a plan."""
        if self.number is None:
            return f"{self.repo}: opens a pull request, from {self.commit.parent[:7]}"
        said = f"{self.repo}: one commit to your open pull request {self.number}"
        if self.conflicts:
            said += f" (which conflicts with main in {', '.join(self.conflicts)})"
        return said

    def diff(self) -> str:
        """What changes, line by line."""
        return diff_of(self.files)

    def carry_out(self, api: HfApi) -> Done:
        """Open or update it.

        Raises:
            MovedError: Another one of ours was opened after the plan was made.
            PublishError: The Hub refuses or fails.
        """
        if self.number is not None:
            done = self.commit.carry_out(api)
            return replace(done, what=f"{self.repo}: pull request {self.number}", url=self._url())
        if (found := find_open(api, self.author, self.repo)) is not None:
            raise MovedError(
                f"Your pull request {found} on {self.repo} was opened after the plan was made. "
                "Nothing was written there; run the same command to update it."
            )
        try:
            proposal = replace(self.commit, message=_TITLE, description=self.text)
            info = proposal.send(api, create_pr=True)
        except PublishError:
            # Never a second time: if only the answer got lost, ours is open now.
            number = find_open(api, self.author, self.repo)
            if number is None:
                raise
            opened = replace(self, number=number)
            sha = find_head(api, self.repo, opened.revision)
            return Done(f"{self.repo}: pull request {number}", opened._url(), sha)
        opened = replace(self, number=info.pr_num)
        return Done(f"{self.repo}: pull request {info.pr_num}", opened._url(), info.oid)

    @property
    def revision(self) -> str:
        """The branch of an open pull request."""
        return f"refs/pr/{self.number}"

    def _url(self) -> str:
        return f"{self.repo.url}/discussions/{self.number}"


def plan_pull_request(planner: CardPlanner, model: str) -> PullRequest | None:
    """What is proposed to the owner; ``None`` if an open pull request, or main, says it already.

    Raises:
        PublishError: The model is not in the run, is gone, or its card cannot be extended.
    """
    repo = Repo(model)
    statement = make_statement(planner.run, model, planner.results)
    require_write(planner.api, planner.me, repo, exists=False)
    on_main = planner.commit(repo, statement, planner.head(repo))
    if on_main is None:
        return None
    text = render_card("pull_request", statement=statement, results=planner.results.id)
    author = planner.me.name
    number = find_open(planner.api, author, repo)
    if number is None:
        _respect_refusal(planner.api, author, repo)
        return PullRequest(on_main, author, text)
    revision = f"refs/pr/{number}"
    commit = planner.commit(repo, statement, planner.head(repo, revision), revision)
    if commit is None:
        return None
    with hub_errors(f"Cannot read pull request {number} of {repo}"):
        details = retry_read(planner.api.get_discussion_details, repo.id, number)
    conflicts = details.conflicting_files
    return PullRequest(
        commit, author, text, number, tuple(conflicts if isinstance(conflicts, list) else ())
    )


def find_open(api: HfApi, author: str, repo: Repo) -> int | None:
    """The number of our open pull request, the oldest if there were several."""
    return min((d.num for d in _ours(api, author, repo, "open")), default=None)


def _respect_refusal(api: HfApi, author: str, repo: Repo) -> None:
    """Do not ask again an owner who said no."""
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
        found = api.get_repo_discussions(
            repo.id, author=author, discussion_type="pull_request", discussion_status=status
        )
        return [discussion for discussion in found if discussion.title.startswith(MARKER)]
