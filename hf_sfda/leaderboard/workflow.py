"""A GitHub Actions workflow that updates a leaderboard, as an alternative to Hub Jobs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.files import write_atomically
from hf_sfda.hub import hub_url
from hf_sfda.hub.access import Repo, who_am_i
from hf_sfda.hub.changes import FileChange, StepResult, diff_of
from hf_sfda.hub.plan import Plan
from hf_sfda.leaderboard.package import CLIENT, find_copy
from hf_sfda.leaderboard.schedule import check_schedule, cron_of
from hf_sfda.leaderboard.state import read_state
from hf_sfda.publish.cards import render_card

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_UNFIT = re.compile(r'["$`\\\x00-\x1f]|: | #')
"""Characters that YAML or the shell would interpret in the line that installs a requirement."""

_OURS = "# Written by hf-sfda"


@dataclass(frozen=True)
class WorkflowStep:
    """Write the workflow to a file on this machine.

    Attributes:
        path: Path of the file.
        file: Its content before and after.
    """

    path: Path
    file: FileChange

    @property
    def files(self) -> tuple[FileChange, ...]:
        """The workflow file."""
        return (self.file,)

    def where(self) -> str:
        """The path, as one line of a plan."""
        return f"the local file {self.path}"

    def diff(self) -> str:
        """The change as a unified diff."""
        return diff_of(self.files)

    def execute(self, api: HfApi) -> StepResult:
        """Write the file.

        Raises:
            PublishError: The file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path, self.file.content)
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
    """Plan the workflow file; write nothing.

    Args:
        repo_id: The leaderboard.
        path: Path of the workflow, usually ``.github/workflows/leaderboard.yaml``.
        every: The schedule, as for a scheduled Job.
        requirement: pip requirement that the workflow installs; by default the copy in the
            leaderboard.
        token: Hub token to read the leaderboard with. It is not written to the file.

    Raises:
        PublishError: hf-sfda did not write the existing file, the schedule or the requirement is
            invalid, or there is no such leaderboard.
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
