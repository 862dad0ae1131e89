"""A scheduled Job on the Hub that updates the leaderboard; found and kept, never doubled."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.hub import hub_api, retry_read
from hf_sfda.leaderboard.jobs import LABEL, UpdateJob, make_job
from hf_sfda.leaderboard.package import find_copy
from hf_sfda.leaderboard.state import read_state
from hf_sfda.publish import FileChange, Plan, StepResult
from hf_sfda.publish.access import Repo, hub_errors, hub_url, who_am_i
from hf_sfda.publish.results_dataset import check_results_repo

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ScheduledJobInfo

_NAMES = ("@annually", "@yearly", "@monthly", "@weekly", "@daily", "@hourly")


@dataclass(frozen=True)
class ScheduleStep:
    """One scheduled Job, whatever there was before.

    Attributes:
        job: What it runs.
        every: ``@daily`` or a cron expression.
        keep: Id of the scheduled Job that runs the right thing, if there is one.
        remove: Ids of those that are replaced.
        now: The schedule of the one that is kept.
    """

    job: UpdateJob
    every: str
    keep: str | None = None
    remove: tuple[str, ...] = ()
    now: str | None = None

    @property
    def files(self) -> tuple[FileChange, ...]:
        """None."""
        return ()

    def where(self) -> str:
        """For a plan."""
        if self.keep is None:
            return f"a scheduled Job of {self.job.repo.namespace}, {self.every}"
        return f"scheduled Job {self.keep}"

    def diff(self) -> str:
        """What changes, line by line."""
        lines = [f"- scheduled Job {one}\n" for one in self.remove]
        if self.keep is None:
            lines.append(self.job.describe())
        elif self.now != self.every:
            lines += [f"- {self.now}\n", f"+ {self.every}\n"]
        return "".join(lines)

    def execute(self, api: HfApi) -> StepResult:
        """Make or change the Job, then remove what it replaces.

        In this order: cut short, there are two Jobs and the same command leaves one; the other
        way round there would be none.

        Raises:
            PublishError: The Hub refuses or fails.
        """
        namespace = self.job.repo.namespace
        with hub_errors("Cannot schedule the update"):
            kept = self.keep
            if kept is None:
                kept = api.create_scheduled_job(
                    **self.job.options(), schedule=self.every, concurrency=False
                ).id
            elif self.now != self.every:
                api.update_scheduled_job_schedule(
                    scheduled_job_id=kept, schedule=self.every, namespace=namespace
                )
            for old in self.remove:
                api.delete_scheduled_job(scheduled_job_id=old, namespace=namespace)
        return StepResult(f"scheduled Job {kept}, {self.every}", f"{hub_url()}/jobs/{namespace}")


def plan_schedule(
    repo_id: str,
    *,
    every: str = "@daily",
    renew: bool = False,
    requirement: str | None = None,
    token: str | None = None,
    **options: str | None,
) -> Plan:
    """Find out what scheduling the updates will change; writes nothing.

    Args:
        repo_id: The leaderboard.
        every: ``@hourly`` to ``@annually``, or a cron expression in UTC.
        renew: Make the Job again, with today's token; the Hub does not show a Job's secrets.
        requirement: What the Job installs from an index; by default the copy in the leaderboard.
        token: Hub token with write access. The Job gets it as a secret.
        **options: ``flavor`` and ``timeout`` of the Job.

    Raises:
        PublishError: No leaderboard, no permission, an option that is not allowed.
    """
    check_schedule(every)
    api = hub_api(token)
    me = who_am_i(api)
    repo = Repo(repo_id, "dataset")
    check_results_repo(api, me, repo)
    state = read_state(api, repo)
    install = requirement or find_copy(api, repo, state.paths, state.head)
    job = make_job(install, repo, token, options)
    found = find_schedules(api, job)
    right = next((one for one in found if job.is_like(one.job_spec) and not one.suspend), None)
    keep = None if renew or right is None else right
    step = ScheduleStep(
        job=job,
        every=every,
        keep=keep.id if keep else None,
        remove=tuple(one.id for one in found if keep is None or one.id != keep.id),
        now=keep.schedule if keep else None,
    )
    title = f"Schedule updates of leaderboard {repo_id}"
    if keep is not None and keep.schedule == every and not step.remove:
        up_to_date = f"scheduled Job {keep.id} runs {every} already"
        return Plan(None, me.name, (), (up_to_date,), title=title)
    return Plan(None, me.name, (step,), title=title)


def find_schedules(api: HfApi, job: UpdateJob) -> list[ScheduledJobInfo]:
    """The scheduled Jobs of this leaderboard, the oldest first."""
    with hub_errors("Cannot list the scheduled Jobs"):
        found = retry_read(
            api.list_scheduled_jobs, labels={LABEL: job.label}, namespace=job.repo.namespace
        )
    return sorted(found, key=lambda one: one.id)


def check_schedule(every: str) -> None:
    """See that this is a schedule.

    Raises:
        PublishError: It is neither a name nor five fields of cron.
    """
    field = r"[\d*/,A-Za-z-]+"
    if every not in _NAMES and not re.fullmatch(rf"{field}( {field}){{4}}", every):
        raise PublishError(
            f"The schedule is {every!r}; write one of {', '.join(_NAMES)}, or five fields of cron "
            "such as '0 6 * * 1'."
        )


def cron_of(every: str) -> str:
    """A schedule as cron, for those who know no names.

    Example:
        >>> cron_of("@daily")
        '23 4 * * *'
    """
    # Not at full hours, when everybody's schedules start.
    named: Mapping[str, str] = {
        "@hourly": "23 * * * *",
        "@daily": "23 4 * * *",
        "@weekly": "23 4 * * 1",
        "@monthly": "23 4 1 * *",
        "@yearly": "23 4 1 1 *",
        "@annually": "23 4 1 1 *",
    }
    return named.get(every, every)
