"""Plan a deployment: find and check all changes before anything is written.

The order of the steps is: create the Space, set its secrets and variables, upload the files, change
the hardware. The upload starts a build, which needs the settings. Paid hardware comes last, when
there is an app to run on it.

A new Space gets its settings and its hardware in the request that creates it, because many accounts
may not create a Space on the default hardware. Nothing runs and nothing is billed until the Space
has an app.

If a step fails, the old app still runs, or no app runs yet. The same command then does the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hf_sfda.errors import ConfigError, PublishError
from hf_sfda.hub import hub_api, retry_read
from hf_sfda.hub.access import Repo, find_head, hub_errors, require_own, who_am_i
from hf_sfda.hub.changes import FileChange, StepResult, diff_of
from hf_sfda.hub.commit import Commit
from hf_sfda.hub.plan import Plan, Step
from hf_sfda.leaderboard.package import PACKAGE
from hf_sfda.publish.results_dataset import holds_results
from hf_sfda.space.deploy.files import file_changes
from hf_sfda.space.deploy.options import FREE_HARDWARE, Options, advice
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SDK = "gradio"
_PAYMENT_REQUIRED = 402


def plan_deploy(
    repo_id: str, results_id: str, options: Options, *, token: str | None = None
) -> Plan:
    """Plan the deployment of a Space; write nothing.

    Args:
        repo_id: The Space; created if it does not exist.
        results_id: The results dataset that the Space shows; it may belong to somebody else.
        options: Variables, secrets and hardware.
        token: Hub token with write access. It does not become a secret of the Space.

    Raises:
        ConfigError: An option is not allowed for this Space.
        PublishError: The deployment would fail; nothing was written.
    """
    api = hub_api(token)
    me = who_am_i(api)
    repo, results = Repo(repo_id, "space"), Repo(results_id, "dataset")
    instead = f"Deploy to a Space of your own, such as {me.name}/{repo.id.split('/')[-1]}"
    head = require_own(api, me, repo, instead)
    _check_results(api, results)
    warnings = advice(api, repo, results, options, exists=head is not None, token=token)
    plan = Plan(None, me.name, (), warnings=tuple(warnings), title=f"Deploy Space {repo_id}")
    files = file_changes(api, repo, results, head)
    if head is None:
        _check_sleep(options, FREE_HARDWARE)
        return replace(plan, steps=(MakeSpace(repo, options), upload(repo, files, None)))
    with hub_errors(f"Cannot read the settings of {repo}"):
        settings = _settings_step(api, repo, options)
        hardware = _hardware_step(api, repo, options)
    wanted = (settings, upload(repo, files, head) if files else None, hardware)
    steps = tuple(step for step in wanted if step is not None)
    if not steps:
        return replace(plan, up_to_date=(f"{repo} is deployed like this already",))
    return replace(plan, steps=steps)


@dataclass(frozen=True)
class MakeSpace(Step):
    """Create a Space with its settings, without an app.

    Attributes:
        repo: The Space.
        options: Its settings.
    """

    repo: Repo
    options: Options

    def where(self) -> str:
        """The Space and its hardware, as one line of a plan."""
        kind = "private" if self.options.private else "public"
        return f"{self.repo}: a new {kind} Space on {self.options.hardware or FREE_HARDWARE}"

    def diff(self) -> str:
        """The settings, as lines with ``+``."""
        lines = _setting_lines(self.options.variables, {}, self.options.secrets)
        if self.options.sleep is not None:
            lines.append(f"+ {_sleep_in_words(self.options.sleep)}\n")
        return "".join(lines)

    def execute(self, api: HfApi) -> StepResult:
        """Create the Space with its settings in one request.

        Raises:
            PublishError: The Hub refuses or fails, or somebody else created the Space first.
        """
        with _with_payment_advice(f"Cannot make {self.repo}"):
            api.create_repo(
                self.repo.id,
                repo_type=self.repo.kind,
                space_sdk=SDK,
                private=self.options.private,
                space_variables=_pairs(self.options.variables),
                space_secrets=_pairs(self.options.secrets),
                space_hardware=self.options.hardware,  # type: ignore[arg-type]  # an enum of str
                space_sleep_time=self.options.sleep,
            )
        return StepResult(f"{self.repo}: made", self.repo.url)


@dataclass(frozen=True)
class ChangeSettings(Step):
    """Set variables and secrets of an existing Space.

    Attributes:
        repo: The Space.
        variables: The variables to set.
        before: The current values of these variables, if they exist.
        secrets: The secrets to set; their current values cannot be read.
    """

    repo: Repo
    variables: Mapping[str, str]
    before: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    def where(self) -> str:
        """The Space and the kinds of settings, as one line of a plan."""
        kinds = {"variables": self.variables, "secrets": self.secrets}
        return f"{self.repo}: {' and '.join(kind for kind, members in kinds.items() if members)}"

    def diff(self) -> str:
        """The settings before and after, as lines with ``-`` and ``+``."""
        return "".join(_setting_lines(self.variables, self.before, self.secrets))

    def execute(self, api: HfApi) -> StepResult:
        """Set the secrets, then the variables; setting a value twice does no harm."""
        with hub_errors(f"Cannot change the settings of {self.repo}"):
            for name, value in self.secrets.items():
                api.add_space_secret(self.repo.id, name, value)
            for name, value in self.variables.items():
                api.add_space_variable(self.repo.id, name, value)
        return StepResult(self.where(), f"{self.repo.url}/settings")


@dataclass(frozen=True)
class ChangeHardware(Step):
    """Change the hardware and the sleep time of an existing Space.

    Attributes:
        repo: The Space.
        hardware: Name of the new hardware; ``None`` does not change it.
        sleep: New sleep time in seconds; ``None`` does not change it.
        before: The current hardware and sleep time.
    """

    repo: Repo
    hardware: str | None
    sleep: int | None
    before: tuple[str | None, int | None]

    def where(self) -> str:
        """The Space, as one line of a plan."""
        return f"{self.repo}: hardware"

    def diff(self) -> str:
        """Hardware and sleep time before and after, as lines with ``-`` and ``+``."""
        hardware, sleep = self.before
        lines = []
        if self.hardware is not None:
            lines += [f"- {hardware or 'none yet'}\n", f"+ {self.hardware}\n"]
        if self.sleep is not None:
            lines += [f"- {_sleep_in_words(sleep)}\n", f"+ {_sleep_in_words(self.sleep)}\n"]
        return "".join(lines)

    def execute(self, api: HfApi) -> StepResult:
        """Change the hardware and the sleep time in one request."""
        name = self.repo.id
        with _with_payment_advice(f"Cannot change the hardware of {self.repo}"):
            if self.hardware is not None:
                api.request_space_hardware(
                    name,
                    self.hardware,  # type: ignore[arg-type]  # an enum of str
                    sleep_time=self.sleep,
                )
            elif self.sleep is not None:
                api.set_space_sleep_time(name, self.sleep)
        return StepResult(self.where(), f"{self.repo.url}/settings")


def upload(repo: Repo, files: tuple[FileChange, ...], parent: str | None) -> Commit:
    """The commit with the app.

    The diff of a plan only counts the new files of the package: they are identical to the installed
    files, and have too many lines to read.

    Args:
        repo: The Space.
        files: The files that change.
        parent: The commit that the plan was made on; ``None`` for a new Space.
    """
    new = [f for f in files if f.before is None and f.path.startswith(f"{PACKAGE}/")]
    diff = diff_of(tuple(file for file in files if file not in new))
    if new:
        digest = hashlib.sha256(b"".join(file.content for file in new)).hexdigest()[:12]
        line = f"+ {len(new)} files of hf-sfda {__version__} as it is here, digest {digest}\n"
        diff = f"{diff}\n{line}" if diff else line
    message = f"Deploy hf-sfda {__version__}"
    return Commit(repo=repo, parent=parent, files=files, message=message, summary=diff)


def _check_results(api: HfApi, results: Repo) -> None:
    head = find_head(api, results)
    if head is None:
        raise PublishError(
            f"{results} is not on the Hub, or this token may not see it. Fill it first with "
            f"`hf-sfda publish RUN --to {results.id}` or `hf-sfda leaderboard init {results.id}`."
        )
    if not holds_results(api, results, head):
        raise PublishError(
            f"{results} holds no results of hf-sfda. Pass the dataset that `hf-sfda publish` or "
            "`hf-sfda leaderboard` writes."
        )


def _settings_step(api: HfApi, repo: Repo, options: Options) -> ChangeSettings | None:
    variables = retry_read(api.get_space_variables, repo.id)
    current = {name: variable.value for name, variable in variables.items()}
    new = {name: value for name, value in options.variables.items() if current.get(name) != value}
    if not new and not options.secrets:
        return None
    before = {name: current[name] for name in new if name in current}
    return ChangeSettings(repo, new, before, options.secrets)


def _hardware_step(api: HfApi, repo: Repo, options: Options) -> ChangeHardware | None:
    runtime = retry_read(api.get_space_runtime, repo.id)
    # Until the Space has restarted, `hardware` is the old one and `requested_hardware` the new one.
    now = runtime.requested_hardware or runtime.hardware
    _check_sleep(options, str(now or FREE_HARDWARE))
    hardware = options.hardware if options.hardware != now else None
    sleep = options.sleep if options.sleep != runtime.sleep_time else None
    if hardware is None and sleep is None:
        return None
    # New hardware resets the sleep time to the Hub's default, so set it again.
    again = options.sleep if hardware is not None else sleep
    return ChangeHardware(repo, hardware, again, (now, runtime.sleep_time))


def _check_sleep(options: Options, now: str) -> None:
    if options.sleep is not None and (options.hardware or now) == FREE_HARDWARE:
        raise ConfigError(
            f"{FREE_HARDWARE} sleeps after 48 hours, which cannot be changed. Leave out --sleep, "
            "or choose other hardware."
        )


@contextmanager
def _with_payment_advice(doing: str) -> Iterator[None]:
    """Convert errors like :func:`hub_errors`; if payment is required, advise other hardware."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        with hub_errors(doing):
            yield
    except PublishError as error:
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError) and cause.response.status_code == _PAYMENT_REQUIRED:
            raise PublishError(
                f"{error} Or name hardware that your account includes, such as "
                "--hardware zero-a10g."
            ) from cause
        raise


def _setting_lines(
    variables: Mapping[str, str], before: Mapping[str, str], secrets: Mapping[str, str]
) -> list[str]:
    lines = []
    for name, value in variables.items():
        if name in before:
            lines.append(f"- variable {name}={before[name]}\n")
        lines.append(f"+ variable {name}={value}\n")
    lines += [
        f"+ secret {name}, from your environment; its current value cannot be read\n"
        for name in secrets
    ]
    return lines


def _pairs(settings: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in settings.items()]


def _sleep_in_words(seconds: int | None) -> str:
    if seconds is None:
        return "sleeps when the Hub thinks fit"
    return "never sleeps" if seconds == -1 else f"sleeps after {seconds} s without a visitor"
