"""The steps of a deployment.

Their order is: create the Space, set its secrets and variables, upload the files, change the
hardware. The upload starts a build, which needs the settings. Paid hardware comes last, when there
is an app to run on it.

A new Space gets its settings and its hardware in the request that creates it, because many accounts
may not create a Space on the default hardware. Nothing runs and nothing is billed until the Space
has an app.

If a step fails, the old app still runs, or no app runs yet. The same command then does the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.hub.access import Repo, hub_errors
from hf_sfda.hub.changes import FileChange, StepResult, diff_of
from hf_sfda.hub.commit import Commit
from hf_sfda.hub.plan import Step
from hf_sfda.space.deploy.options import FREE_HARDWARE, Options
from hf_sfda.space.deploy.tree import PACKAGE
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SDK = "gradio"
_PAYMENT_REQUIRED = 402


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
        return f"{self.repo}: {' and '.join(self._kinds())}"

    def diff(self) -> str:
        """The settings before and after, as lines with ``-`` and ``+``."""
        return "".join(_setting_lines(self.variables, self.before, self.secrets))

    def execute(self, api: HfApi) -> StepResult:
        """Set the secrets, then the variables; setting a value twice does no harm.

        Raises:
            PublishError: The Hub refuses or fails.
        """
        with hub_errors(f"Cannot change the settings of {self.repo}"):
            for name, value in self.secrets.items():
                api.add_space_secret(self.repo.id, name, value)
            for name, value in self.variables.items():
                api.add_space_variable(self.repo.id, name, value)
        return StepResult(self.where(), f"{self.repo.url}/settings")

    def _kinds(self) -> list[str]:
        kinds = {"variables": self.variables, "secrets": self.secrets}
        return [name for name, members in kinds.items() if members]


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
        """Change the hardware and the sleep time in one request.

        Raises:
            PublishError: The Hub refuses or fails.
        """
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
