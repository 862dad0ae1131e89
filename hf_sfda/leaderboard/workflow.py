"""A GitHub Actions workflow, for those who would rather not use Hub Jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.files import write_atomically
from hf_sfda.leaderboard.package import CLIENT, find_copy
from hf_sfda.leaderboard.schedule import check_schedule, cron_of
from hf_sfda.leaderboard.state import read_state
from hf_sfda.publish import FileChange, Plan, StepResult
from hf_sfda.publish.access import Repo, hub_url, who_am_i
from hf_sfda.publish.cards import render_card
from hf_sfda.publish.changes import diff_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_UNFIT = re.compile(r'["$`\\\x00-\x1f]|: | #')
"""What YAML or the shell would not take as it is in the line that installs a requirement."""

_OURS = "# Written by hf-sfda"


@dataclass(frozen=True)
class WorkflowStep:
    """One file on this machine.

    Attributes:
        path: Where it goes.
        file: Before and after.
    """

    path: Path
    file: FileChange

    @property
    def files(self) -> tuple[FileChange, ...]:
        """The workflow."""
        return (self.file,)

    def where(self) -> str:
        """For a plan."""
        return f"the local file {self.path}"

    def diff(self) -> str:
        """What changes, line by line."""
        return diff_of(self.files)

    def execute(self, api: HfApi) -> StepResult:
        """Write it.

        Raises:
            PublishError: The folder cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, self.file.after or b"")
        except OSError as error:
            raise PublishError(f"Cannot write {self.path}: {error.strerror}.") from error
        return StepResult(f"wrote {self.path}; add the secret HF_TOKEN on GitHub", str(self.path))


def plan_workflow(
    repo_id: str,
    path: Path,
    *,
    every: str = "@daily",
    requirement: str | None = None,
    token: str | None = None,
) -> Plan:
    """Find out what writing the workflow will change.

    Args:
        repo_id: The leaderboard.
        path: Of the workflow, by custom ``.github/workflows/leaderboard.yaml``.
        every: As for a scheduled Job.
        requirement: What the workflow installs from an index; by default the copy in the
            leaderboard.
        token: Says who asks; it is not written anywhere.

    Raises:
        PublishError: The file there is somebody else's, the schedule is none, or there is no such
            leaderboard.
    """
    from hf_sfda.hub import hub_api

    check_schedule(every)
    if requirement is not None and _UNFIT.search(requirement):
        raise PublishError(
            f"The requirement is {requirement!r}, which a workflow cannot hold as it is. Leave out "
            "double quotes (markers take single ones), $, backticks, backslashes, ': ' and ' #'."
        )
    api, repo = hub_api(token), Repo(repo_id, "dataset")
    user = who_am_i(api).name
    copy = None
    if requirement is None:
        state = read_state(api, repo)
        copy = find_copy(api, repo, state.paths, state.head)
    text = render_card(
        "github_workflow.yaml",
        repo=repo_id,
        hub=hub_url(),
        cron=cron_of(every),
        requirement=requirement,
        client=CLIENT,
        copy=copy,
    )
    before = path.read_bytes() if path.is_file() else None
    if path.exists() and (before is None or not before.startswith(_OURS.encode())):
        raise PublishError(f"{path} is there already and not ours. Choose another name.")
    title = f"Write a workflow for leaderboard {repo_id}"
    if before == text.encode():
        return Plan(None, user, (), (f"{path} says this already",), title=title)
    change = FileChange(str(path), before, text.encode())
    return Plan(None, user, (WorkflowStep(path, change),), title=title)
