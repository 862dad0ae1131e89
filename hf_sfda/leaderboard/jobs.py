"""How an update runs on the Hub's own machines: one command, the same for schedule and webhook."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hf_sfda import __version__
from hf_sfda.errors import PublishError
from hf_sfda.hub import keep_secret
from hf_sfda.publish.access import Repo

if TYPE_CHECKING:
    from huggingface_hub import JobSpec

LABEL = "hf-sfda-leaderboard"
"""Label of every Job of ours; its value names the leaderboard."""

REQUIREMENT = f"hf-sfda[timm]=={__version__}"
DEFAULT_FLAVOR = "cpu-upgrade"
DEFAULT_TIMEOUT = "6h"

T = TypeVar("T")


@dataclass(frozen=True)
class UpdateJob:
    """The Job that updates a leaderboard.

    Attributes:
        repo: The leaderboard. The Job belongs to the repository's owner.
        requirement: What is installed: by default this very version.
        flavor: Hardware.
        timeout: Such as ``6h``.
        token: The secret ``HF_TOKEN`` of the Job.
    """

    repo: Repo
    requirement: str = REQUIREMENT
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
        """The whole command, as huggingface_hub makes it out of a uv job."""
        return ["uv", "run", "--with", self.requirement, "hf-sfda", *self.arguments]

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
        """What both ``run_uv_job`` and ``create_scheduled_uv_job`` take."""
        return {
            "script_args": self.arguments,
            "dependencies": [self.requirement],
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
            f"+ {' '.join(self.command)}\n"
            f"+ on {self.flavor}, at most {self.timeout}, with your token as secret HF_TOKEN\n"
        )


def call_uv(create: Callable[..., T], job: UpdateJob, **options: Any) -> T:
    """Call one of huggingface_hub's uv job functions.

    Raises:
        PublishError: A local file is called like a word of the command. huggingface_hub would
            upload it and run that instead.
    """
    for word in ("hf-sfda", *job.arguments):
        if Path(word).is_file():
            raise PublishError(
                f"A file here is called {word!r}, and the Job would run that instead of the "
                "command. Run this from another directory."
            )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "experimental": pinned by our tests
        return create("hf-sfda", **job.options(), **options)


def make_job(repo: Repo, token: str | None, options: Mapping[str, str | None]) -> UpdateJob:
    """The Job of a leaderboard; options that are ``None`` keep their default.

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
    return UpdateJob(repo=repo, token=secret, **given)
