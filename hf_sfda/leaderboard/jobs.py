"""How an update runs on the Hub's own machines: one command, the same for schedule and webhook.

The command downloads the copy of hf-sfda that lies in the leaderboard's repository and installs it.
An index is used only if the owner names a requirement, and so knows of a release.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.hub import keep_secret
from hf_sfda.leaderboard.package import CLIENT, PackageCopy
from hf_sfda.publish.access import Repo

if TYPE_CHECKING:
    from huggingface_hub import JobSpec

LABEL = "hf-sfda-leaderboard"
"""Label of every Job of ours; its value names the leaderboard."""

IMAGE = "ghcr.io/astral-sh/uv:python3.12-bookworm"
"""Has uv and bash; huggingface_hub runs its own uv jobs in it."""

DEFAULT_FLAVOR = "cpu-upgrade"
DEFAULT_TIMEOUT = "6h"


@dataclass(frozen=True)
class UpdateJob:
    """The Job that updates a leaderboard.

    Attributes:
        repo: The leaderboard. The Job belongs to the repository's owner.
        install: What is installed: a copy in the repository, or a requirement for an index.
        flavor: Hardware.
        timeout: Such as ``6h``.
        token: The secret ``HF_TOKEN`` of the Job.
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
        """What follows ``hf-sfda``."""
        return ["leaderboard", "update", self.repo.id, "--yes"]

    @property
    def command(self) -> list[str]:
        """The whole command."""
        if isinstance(self.install, str):
            return ["uv", "run", "--with", self.install, "hf-sfda", *self.arguments]
        script = (
            f'cd "$(mktemp -d)" && uv run --with {shlex.quote(CLIENT)} {self.install.download} '
            f'&& exec uv run --with "hf-sfda[timm] @ file://$PWD/{self.install.path}" '
            'hf-sfda "$@"'
        )
        return ["bash", "-c", script, "hf-sfda", *self.arguments]

    @property
    def label(self) -> str:
        """Finds the Jobs of this leaderboard. Labels know no slash and no dot."""
        digest = hashlib.sha256(self.repo.id.encode()).hexdigest()[:8]
        return re.sub(r"[^A-Za-z0-9_-]", "-", self.repo.id)[:80] + f"-{digest}"

    @property
    def seconds(self) -> int:
        """The timeout, as the Hub keeps it."""
        unit = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(self.timeout[-1])
        return int(self.timeout[:-1]) * unit if unit else int(self.timeout)

    def options(self) -> dict[str, Any]:
        """What both ``run_job`` and ``create_scheduled_job`` take."""
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
        """Whether a Job on the Hub is this one (secrets cannot be read back)."""
        return (spec.command, str(spec.flavor)) == (self.command, self.flavor) and (
            spec.timeout in (None, self.seconds)
        )

    def describe(self) -> str:
        """For a plan; no secret in it."""
        return (
            f"+ {shlex.join(self.command)}\n"
            f"+ on {self.flavor}, at most {self.timeout}, with your token as secret HF_TOKEN\n"
        )


def make_job(
    install: PackageCopy | str, repo: Repo, token: str | None, options: Mapping[str, str | None]
) -> UpdateJob:
    """The Job of a leaderboard.

    Args:
        install: What the Job installs.
        repo: The leaderboard.
        token: For the Job; by default the one the Hub's own tools would use.
        options: ``flavor`` and ``timeout``; ``None`` keeps the default.

    Raises:
        PublishError: An option is not allowed, or there is no token to give to the Job.
    """
    from huggingface_hub import get_token

    secret = token or get_token()
    if not secret:
        raise PublishError(
            "The Job needs a token that may write. Set HF_TOKEN, pass --token-file, or run "
            "`hf auth login`."
        )
    keep_secret(secret)
    given = {key: value for key, value in options.items() if value is not None}
    return UpdateJob(repo=repo, install=install, token=secret, **given)
