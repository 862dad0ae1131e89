"""Run ``hf-sfda rank`` as a Job on the Hub, and bring its run directory back.

The Job installs a copy of this hf-sfda from a private dataset of the user, the runs dataset, and
uploads the run directory there. The same command finds a Job that still runs, and a run that is
finished, so that nothing is paid for twice.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_sfda.config import RankConfig, rank_command
from hf_sfda.errors import ConfigError, PublishError
from hf_sfda.files import write_atomically
from hf_sfda.foreign import clean
from hf_sfda.hub import hub_api, hub_url, retry_read
from hf_sfda.hub.access import (
    Account,
    Repo,
    download_files,
    find_head,
    hub_errors,
    list_files,
    read_file,
    require_write,
    who_am_i,
)
from hf_sfda.hub.changes import StepResult
from hf_sfda.hub.commit import Commit
from hf_sfda.hub.plan import Plan, Step
from hf_sfda.leaderboard.jobs import DEFAULT_TIMEOUT, UpdateJob, make_job
from hf_sfda.leaderboard.package import PackageCopy, changes_of_copy, copies_in, find_copy
from hf_sfda.scan.entries import read_entries
from hf_sfda.secrets import redact
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi, JobInfo

LABEL = "hf-sfda-rank"
"""Label of our Jobs; its value identifies the run."""

RUNS = "hf-sfda-runs"
"""Name of the runs dataset of a user."""

_ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
_PAUSE = 5.0
"""Seconds between two looks at a running Job."""

_HERE_ONLY = ("out", "ask_above", "workers")
"""Options of this machine, which do not reach the Job."""


@dataclass(frozen=True)
class RemoteRun:
    """A run of ``hf-sfda rank`` in a Job.

    Attributes:
        config: The configuration. The dataset has a commit, and all names are names of the Hub.
        runs: The runs dataset.
    """

    config: RankConfig
    runs: Repo

    @property
    def digest(self) -> str:
        """Identifies the options, the commit of the dataset, and the version of hf-sfda."""
        return hashlib.sha256(f"{__version__} {self._command}".encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """The folder of the run in the runs dataset."""
        return f"{self.directory}-{self.digest}"

    @property
    def directory(self) -> str:
        """The run directory in the Job."""
        return self.config.replace(out=None).run_directory.as_posix()

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``hf-sfda`` in the Job."""
        return [*shlex.split(self._command)[1:], "--yes"]

    @property
    def _command(self) -> str:
        values = self.config.to_dict()
        return rank_command({k: v for k, v in values.items() if k not in _HERE_ONLY})


@dataclass(frozen=True, kw_only=True)
class RankJob(UpdateJob):
    """The Job of a run: install hf-sfda, rank, upload the run directory.

    Attributes:
        run: The run.
    """

    run: RemoteRun

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``hf-sfda``."""
        return self.run.arguments

    @property
    def label(self) -> str:
        """The value of the label."""
        return self.run.digest

    @property
    def command(self) -> list[str]:
        """The Job's command. The run directory is uploaded even if nothing could be ranked."""
        assert isinstance(self.install, PackageCopy)
        run = self.run
        upload = shlex.join(
            ["hf", "upload", self.repo.id, run.directory, run.folder, "--repo-type", self.repo.kind]
        )
        script = (
            f'cd "$(mktemp -d)" && {self.install.command} '
            f'&& WITH="hf-sfda[timm,audio] @ file://$PWD/{self.install.path}" '
            '&& { uv run --with "$WITH" hf-sfda "$@"; CODE=$?; } '
            f'&& uv run --with "$WITH" {upload} && exit $CODE'
        )
        return ["bash", "-c", script, "hf-sfda", *self.arguments]

    def options(self) -> dict[str, Any]:
        """Arguments for the client's ``run_job``."""
        return {**super().options(), "labels": {LABEL: self.label}}


@dataclass(frozen=True)
class StartStep(Step):
    """Start the Job.

    Attributes:
        job: The Job, as far as it is known before its package is in the runs dataset.
        cost: What the hardware costs, as a clause; empty if it is unknown.
    """

    job: RankJob
    cost: str

    def where(self) -> str:
        """The Job, as one line of a plan."""
        cost = f": {self.cost}" if self.cost else ""
        return f"a Job of {self.job.repo.namespace} on {self.job.flavor}{cost}"

    def diff(self) -> str:
        """The command that is run, and where its results go."""
        return (
            f"+ {shlex.join(['hf-sfda', *self.job.arguments])}\n"
            f"+ with hf-sfda {__version__} as it is here, at most {self.job.timeout}, with your "
            f"token as secret HF_TOKEN\n"
            f"+ results: {self.job.run.folder} in {self.job.repo}\n"
        )

    def execute(self, api: HfApi) -> StepResult:
        """Start the Job.

        Raises:
            PublishError: The Hub refuses or fails.
        """
        repo = self.job.repo
        head = find_head(api, repo)
        if head is None:
            raise PublishError(f"{repo} is no longer there; run the same command again.")
        copy = find_copy(api, repo, list_files(api, repo, head), head)
        job = RankJob(
            repo=repo,
            install=copy,
            flavor=self.job.flavor,
            timeout=self.job.timeout,
            token=self.job.token,
            run=self.job.run,
        )
        with hub_errors("Cannot start the Job"):
            started = api.run_job(**job.options())
        return StepResult(f"started Job {started.id}", job_url(started, repo.namespace))


def job_url(job: JobInfo, namespace: str) -> str:
    """The address of a Job's page."""
    return f"{hub_url()}/jobs/{namespace}/{job.id}"


def plan_rank_job(
    config: RankConfig,
    *,
    flavor: str,
    runs: str | None = None,
    timeout: str = DEFAULT_TIMEOUT,
    token: str | None = None,
) -> tuple[Plan, RemoteRun]:
    """Plan a run as a Job; write and start nothing.

    Args:
        config: The configuration of the run.
        flavor: Hardware of the Job, such as ``t4-small``.
        runs: ``OWNER/NAME`` of the runs dataset; by default ``hf-sfda-runs`` of the user. A new one
            is private.
        timeout: Longest time of the Job, such as ``6h``.
        token: Hub token with write access. The Job gets it as a secret.

    Returns:
        The plan, without steps if the Job runs or the run is finished, and the run.

    Raises:
        ConfigError: The dataset or a model is not on the Hub.
        PublishError: The hardware does not exist, or the token may not write.
    """
    api = hub_api(token)
    account = who_am_i(api)
    repo = _runs_dataset(runs, account)
    head = find_head(api, repo)
    require_write(api, account, repo, exists=head is not None)
    run = RemoteRun(_on_hub(api, config), repo)
    title = f"Rank {run.config.dataset} in a Job"
    paths = list_files(api, repo, head) if head else []
    if f"{run.folder}/ranking.json" in paths:
        line = f"{run.folder} in {repo} has the results of this run"
        return Plan(None, account.name, (), (line,), title=title), run
    if job := find_job(api, run):
        line = f"Job {job.id} is running: {job_url(job, repo.namespace)}"
        return Plan(None, account.name, (), (line,), title=title), run
    copies = {path: read_file(api, repo, path, head) or b"" for path in copies_in(paths) if head}
    steps: list[Step] = []
    if files := changes_of_copy(copies):
        steps.append(
            Commit(
                repo=repo,
                parent=head,
                files=files,
                message=f"hf-sfda {__version__}, for Jobs to install",
                private=True,
            )
        )
    install = PackageCopy(repo, files[0].path if files else next(iter(copies)), "main")
    base = make_job(install, repo, token, {"flavor": flavor, "timeout": timeout})
    job_to_start = RankJob(
        repo=repo, install=install, flavor=flavor, timeout=timeout, token=base.token, run=run
    )
    steps.append(StartStep(job_to_start, _cost(api, job_to_start)))
    return Plan(None, account.name, tuple(steps), title=title), run


def _runs_dataset(runs: str | None, account: Account) -> Repo:
    name = runs or f"{account.name}/{RUNS}"
    repo = Repo(name, "dataset")
    if name.count("/") != 1 or not account.owns(repo):
        raise PublishError(
            f"The runs dataset is {name!r}; name one of yours, such as {account.name}/{RUNS}."
        )
    return repo


def _on_hub(api: HfApi, config: RankConfig) -> RankConfig:
    """The configuration with the commit of the dataset, and lists of models read.

    Raises:
        ConfigError: The dataset or a model is a local one.
    """
    dataset = config.dataset.partition(":")[0]
    if Path(config.dataset).expanduser().exists():
        raise ConfigError(
            f"{config.dataset} is on this machine, and a Job reads from the Hub only. Upload it "
            "with `hf upload`, to a private dataset if need be."
        )
    names = [(text, base) for entry in config.models for text, base in read_entries(entry)]
    if local := [text for text, base in names if (base / Path(text).expanduser()).exists()]:
        raise ConfigError(
            f"{local[0]} is on this machine, and a Job reads from the Hub only. Upload it with "
            "`hf upload`, or leave it out."
        )
    with hub_errors(f"Cannot read dataset {dataset}"):
        sha = retry_read(api.dataset_info, dataset, revision=config.revision).sha
    return config.replace(models=tuple(text for text, _ in names), revision=sha)


def _cost(api: HfApi, job: RankJob) -> str:
    """What the hardware costs, as a clause; empty if the Hub does not say."""
    with suppress(PublishError), hub_errors("Cannot list the hardware"):
        for hardware in retry_read(api.list_jobs_hardware):
            if hardware.name == job.flavor:
                minutes = {"minute": 1, "hour": 60, "second": 1 / 60}.get(hardware.unit_label)
                if minutes is None:
                    return f"${hardware.unit_cost_usd:g} per {clean(hardware.unit_label)}"
                hourly = hardware.unit_cost_usd * 60 / minutes
                most = hourly * job.seconds / 3600
                return f"${hourly:.2f} per hour, at most ${most:.2f} within {job.timeout}"
    return ""


def find_job(api: HfApi, run: RemoteRun, *, running: bool = True) -> JobInfo | None:
    """The newest Job of a run.

    Args:
        api: The Hub client.
        run: The run.
        running: Only a Job that has not ended.

    Raises:
        PublishError: The Hub refuses or fails.
    """
    with hub_errors("Cannot list the Jobs"):
        jobs = retry_read(
            lambda: list(api.list_jobs(labels={LABEL: run.digest}, namespace=run.runs.namespace))
        )
    if running:
        jobs = [job for job in jobs if job.status and job.status.stage not in _ENDED]
    return max(jobs, key=lambda job: str(job.created_at), default=None)


def follow(run: RemoteRun, *, log: Callable[[str], None], token: str | None = None) -> None:
    """Pass on what a Job writes until it ends.

    Raises:
        PublishError: There is no Job, it failed, or the Hub fails.
    """
    api, namespace = hub_api(token), run.runs.namespace
    job = find_job(api, run, running=False)
    if job is None:
        raise PublishError("There is no Job of this run. Start it with --on-jobs and --yes.")
    with hub_errors(f"Cannot follow Job {job.id}"):
        for line in api.fetch_job_logs(job_id=job.id, namespace=namespace, follow=True):
            log(redact(clean(line)))
        ended = api.wait_for_job(job.id, poll_interval=_PAUSE, namespace=namespace)
    status = ended.status if not isinstance(ended, list) else None
    stage = str(getattr(status.stage, "value", status.stage)) if status else "unknown"
    if stage != "COMPLETED":
        why = f" ({redact(clean(status.message))})" if status and status.message else ""
        raise PublishError(
            f"Job {job.id} ended with {stage}{why}. Its log: {job_url(job, namespace)}. The same "
            "command starts another one."
        )


def fetch(run: RemoteRun, directory: Path, *, token: str | None = None) -> bool:
    """Copy a finished run from the runs dataset into a run directory.

    Args:
        run: The run.
        directory: The run directory; files of the same names are replaced.
        token: Hub token.

    Returns:
        Whether the run is finished.

    Raises:
        PublishError: The Hub refuses or fails.
    """
    api = hub_api(token)
    head = find_head(api, run.runs)
    paths = list_files(api, run.runs, head) if head else []
    ours = [path for path in paths if path.startswith(f"{run.folder}/")]
    if head is None or f"{run.folder}/ranking.json" not in ours:
        return False
    folder = download_files(api, run.runs, [f"{run.folder}/*"], head)
    for path in ours:
        target = directory / Path(path).relative_to(run.folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, (folder / path).read_bytes())
    return True
