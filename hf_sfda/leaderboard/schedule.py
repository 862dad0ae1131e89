"""Regular updates of a leaderboard: a scheduled Hub Job, or a GitHub Actions workflow.

There is at most one scheduled Job per leaderboard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.files import write_atomically
from hf_sfda.hub import hub_api, hub_url, retry_read
from hf_sfda.hub.access import Repo, hub_errors, who_am_i
from hf_sfda.hub.changes import FileChange, StepResult, diff_of
from hf_sfda.hub.plan import Plan, Step
from hf_sfda.leaderboard.jobs import LABEL, UpdateJob, make_job
from hf_sfda.leaderboard.package import CLIENT, find_copy
from hf_sfda.leaderboard.state import open_leaderboard, read_state
from hf_sfda.publish.cards import render_card

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ScheduledJobInfo

_NAMES = ("@annually", "@yearly", "@monthly", "@weekly", "@daily", "@hourly")
_UNFIT = re.compile(r'["$`\\\x00-\x1f]|: | #')
"""Characters that YAML or the shell would interpret in the line that installs a requirement."""

_OURS = "# Written by hf-sfda"


@dataclass(frozen=True)
class ScheduleStep(Step):
    """Create or change the scheduled Job, and delete the Jobs that it replaces.

    Attributes:
        job: The Job to schedule.
        every: The schedule: a name such as ``@daily``, or a cron expression.
        keep: Id of the existing scheduled Job that already runs ``job``, if there is one.
        remove: Ids of the scheduled Jobs to delete.
        now: The current schedule of ``keep``.
    """

    job: UpdateJob
    every: str
    keep: str | None = None
    remove: tuple[str, ...] = ()
    now: str | None = None

    def where(self) -> str:
        """The scheduled Job, as one line of a plan."""
        if self.keep is None:
            return f"a scheduled Job of {self.job.repo.namespace}, {self.every}"
        return f"scheduled Job {self.keep}"

    def diff(self) -> str:
        """The removed Jobs and the new Job or schedule, as lines with ``-`` and ``+``."""
        lines = [f"- scheduled Job {job_id}\n" for job_id in self.remove]
        if self.keep is None:
            lines.append(self.job.describe())
        elif self.now != self.every:
            lines += [f"- {self.now}\n", f"+ {self.every}\n"]
        return "".join(lines)

    def execute(self, api: HfApi) -> StepResult:
        """Create or change the scheduled Job, then delete the Jobs that it replaces.

        If this is interrupted, there are two Jobs, and the same command deletes one. In the other
        order there could be none.
        """
        namespace = self.job.repo.namespace
        with hub_errors("Cannot schedule the update"):
            job_id = self.keep
            if job_id is None:
                job_id = api.create_scheduled_job(
                    **self.job.options(), schedule=self.every, concurrency=False
                ).id
            elif self.now != self.every:
                api.update_scheduled_job_schedule(
                    scheduled_job_id=job_id, schedule=self.every, namespace=namespace
                )
            for old in self.remove:
                api.delete_scheduled_job(scheduled_job_id=old, namespace=namespace)
        return StepResult(f"scheduled Job {job_id}, {self.every}", f"{hub_url()}/jobs/{namespace}")


def plan_schedule(
    repo_id: str,
    *,
    every: str = "@daily",
    renew: bool = False,
    requirement: str | None = None,
    token: str | None = None,
    **options: str | None,
) -> Plan:
    """Plan the scheduled Job of a leaderboard; write nothing.

    Args:
        repo_id: The leaderboard.
        every: ``@hourly`` to ``@annually``, or a cron expression in UTC.
        renew: Replace the Job even if it is unchanged, to give it the current token. The Hub does
            not show a Job's secrets, so a changed token cannot be detected.
        requirement: pip requirement that the Job installs; by default the copy in the leaderboard.
        token: Hub token with write access. The Job gets it as a secret.
        **options: ``flavor`` and ``timeout`` of the Job.

    Raises:
        PublishError: There is no leaderboard, the token may not write, or an option is not allowed.
    """
    check_schedule(every)
    api, me, state = open_leaderboard(repo_id, token)
    install = requirement or find_copy(api, state.repo, state.paths, state.head)
    job = make_job(install, state.repo, token, options)
    scheduled = find_schedules(api, job)
    same = next((s for s in scheduled if job.is_like(s.job_spec) and not s.suspend), None)
    keep = None if renew else same
    step = ScheduleStep(
        job=job,
        every=every,
        keep=keep.id if keep else None,
        remove=tuple(s.id for s in scheduled if keep is None or s.id != keep.id),
        now=keep.schedule if keep else None,
    )
    title = f"Schedule updates of leaderboard {repo_id}"
    if keep is not None and keep.schedule == every and not step.remove:
        up_to_date = f"scheduled Job {keep.id} runs {every} already"
        return Plan(None, me.name, (), (up_to_date,), title=title)
    return Plan(None, me.name, (step,), title=title)


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


def find_schedules(api: HfApi, job: UpdateJob) -> list[ScheduledJobInfo]:
    """The scheduled Jobs of this leaderboard, the oldest first."""
    with hub_errors("Cannot list the scheduled Jobs"):
        scheduled = retry_read(
            api.list_scheduled_jobs, labels={LABEL: job.label}, namespace=job.repo.namespace
        )
    return sorted(scheduled, key=lambda info: info.id)


def check_schedule(every: str) -> None:
    """Check that a text is a valid schedule.

    Raises:
        PublishError: It is neither a name nor a cron expression of five fields.
    """
    field = r"[\d*/,A-Za-z-]+"
    if every not in _NAMES and not re.fullmatch(rf"{field}( {field}){{4}}", every):
        raise PublishError(
            f"The schedule is {every!r}; write one of {', '.join(_NAMES)}, or five fields of cron "
            "such as '0 6 * * 1'."
        )


def cron_of(every: str) -> str:
    """Convert a schedule's name to a cron expression; a cron expression stays as it is.

    Example:
        >>> cron_of("@daily")
        '23 4 * * *'
    """
    # Minute 23, because many schedules of others start at the full hour.
    named: Mapping[str, str] = {
        "@hourly": "23 * * * *",
        "@daily": "23 4 * * *",
        "@weekly": "23 4 * * 1",
        "@monthly": "23 4 1 * *",
        "@yearly": "23 4 1 1 *",
        "@annually": "23 4 1 1 *",
    }
    return named.get(every, every)
