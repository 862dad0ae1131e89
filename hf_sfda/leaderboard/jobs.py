"""The Hub Job that updates a leaderboard; schedule and webhook run the same command.

The command downloads the copy of hf-sfda in the leaderboard's repository and installs it. It uses
a package index only if the owner names a requirement, for example a release.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.hub.access import Repo
from hf_sfda.leaderboard.package import PackageCopy
from hf_sfda.secrets import keep_secret

if TYPE_CHECKING:
    from huggingface_hub import JobSpec

LABEL = "hf-sfda-leaderboard"
"""Label of all our Jobs; its value identifies the leaderboard."""

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"
"""Container image with uv and bash; huggingface_hub runs its own uv jobs in it."""

DEFAULT_FLAVOR = "cpu-upgrade"
DEFAULT_TIMEOUT = "6h"


@dataclass(frozen=True)
class UpdateJob:
    """The Job that updates a leaderboard.

    Attributes:
        repo: The leaderboard. The Job belongs to the owner of this repository.
        install: What the Job installs: the copy in the repository, or a pip requirement.
        flavor: Name of the hardware.
        timeout: Longest run time, for example ``6h``.
        token: Value of the Job's secret ``HF_TOKEN``.
    """

    repo: Repo
    install: PackageCopy | str
    flavor: str = DEFAULT_FLAVOR
    timeout: str = DEFAULT_TIMEOUT
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        from huggingface_hub import JobHardware

        allowed = [hardware.value for hardware in JobHardware]
        if self.flavor not in allowed:
            raise PublishError(
                f"There is no hardware {self.flavor!r}. Allowed: {', '.join(allowed)}."
            )
        if not re.fullmatch(r"\d+[smhd]?", self.timeout):
            raise PublishError(f"The timeout is {self.timeout!r}; write seconds, or 90m, 6h, 1d.")

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``hf-sfda``."""
        return ["leaderboard", "update", self.repo.id, "--yes"]

    @property
    def command(self) -> list[str]:
        """The Job's command: install hf-sfda, then update the leaderboard."""
        if isinstance(self.install, str):
            return ["uv", "run", "--with", self.install, "hf-sfda", *self.arguments]
        script = (
            f'cd "$(mktemp -d)" && {self.install.command} '
            f'&& exec uv run --with "hf-sfda[timm,audio] @ file://$PWD/{self.install.path}" '
            'hf-sfda "$@"'
        )
        return ["bash", "-c", script, "hf-sfda", *self.arguments]

    @property
    def label(self) -> str:
        """The label that identifies the Jobs of this leaderboard, without ``/`` and ``.``."""
        digest = hashlib.sha256(self.repo.id.encode()).hexdigest()[:8]
        return re.sub(r"[^A-Za-z0-9_-]", "-", self.repo.id)[:80] + f"-{digest}"

    @property
    def seconds(self) -> int:
        """The timeout in seconds, the unit of the Hub."""
        unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(self.timeout[-1])
        return int(self.timeout[:-1]) * unit if unit else int(self.timeout)

    def options(self) -> dict[str, Any]:
        """Arguments for the client's ``run_job`` and ``create_scheduled_job``."""
        return {
            "image": IMAGE,
            "command": self.command,
            "flavor": self.flavor,
            "timeout": self.timeout,
            "secrets": {"HF_TOKEN": self.token},
            "labels": {LABEL: self.label},
            "namespace": self.repo.namespace,
        }

    def is_like(self, spec: JobSpec) -> bool:
        """Whether a Job on the Hub has the same command, hardware and timeout as this one.

        The secrets are not compared, because the Hub does not show them.
        """
        return (spec.command, str(spec.flavor)) == (self.command, self.flavor) and (
            spec.timeout in (None, self.seconds)
        )

    def describe(self) -> str:
        """The command and the hardware as lines of a plan, without secrets."""
        return (
            f"+ {shlex.join(self.command)}\n"
            f"+ on {self.flavor}, at most {self.timeout}, with your token as secret HF_TOKEN\n"
        )


def make_job(
    install: PackageCopy | str, repo: Repo, token: str | None, options: Mapping[str, str | None]
) -> UpdateJob:
    """Make the Job of a leaderboard.

    Args:
        install: What the Job installs.
        repo: The leaderboard.
        token: The token that the Job gets; ``None`` uses the current login.
        options: ``flavor`` and ``timeout``; ``None`` keeps the default.

    Raises:
        PublishError: An option is not allowed, or there is no token.
    """
    from huggingface_hub import get_token

    secret = token or get_token()
    if not secret:
        raise PublishError(
            "The Job needs a token that may write. Set HF_TOKEN, pass --token-file, or run "
            "`hf auth login`."
        )
    keep_secret(secret)
    set_options = {key: value for key, value in options.items() if value is not None}
    return UpdateJob(repo=repo, install=install, token=secret, **set_options)
