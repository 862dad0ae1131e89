"""The options of a deployment: checked before any request, and warnings about them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from hf_sfda.errors import ConfigError
from hf_sfda.hub import retry_read
from hf_sfda.hub.access import Repo, hub_errors, is_private
from hf_sfda.secrets import keep_secret, redact
from hf_sfda.space.settings import PREFIX, RESULTS, Limits, variable

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN = "HF_TOKEN"
"""Secret with the token that reads a private or gated results dataset."""

FREE_HARDWARE = "cpu-basic"
"""The Hub's default hardware, which is free."""

_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Options:
    """The settings of a Space.

    Attributes:
        variables: name -> value of the variables, which everybody can read.
        secrets: name -> value of the secrets; only the names are ever shown.
        hardware: Name of the hardware; ``None`` does not change it.
        sleep: Seconds without a visitor after which the Space sleeps, -1 for never; ``None`` does
            not change it.
        private: Whether a new Space is private.
    """

    variables: Mapping[str, str]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    hardware: str | None = None
    sleep: int | None = None
    private: bool = False

    def __post_init__(self) -> None:
        from huggingface_hub import SpaceHardware

        if both := sorted(set(self.variables) & set(self.secrets)):
            raise ConfigError(f"{both[0]} is both a variable and a secret; choose one.")
        allowed = [item.value for item in SpaceHardware]
        if self.hardware is not None and self.hardware not in allowed:
            raise ConfigError(
                f"There is no hardware {self.hardware!r}. Allowed: {', '.join(allowed)}."
            )
        if self.sleep is not None and self.sleep < 1 and self.sleep != -1:
            raise ConfigError(f"--sleep is {self.sleep}; give seconds, or -1 for never.")


def make_options(
    results: str,
    *,
    variables: Sequence[str] = (),
    secrets: Sequence[str] = (),
    hardware: str | None = None,
    sleep: int | None = None,
    private: bool = False,
) -> Options:
    """Parse the options of the command line.

    Args:
        results: Id of the results dataset.
        variables: Texts of the form ``NAME=VALUE``.
        secrets: Names of environment variables with the values of the secrets, or
            ``NAME=VARIABLE`` if the secret has another name.
        hardware: Name of the hardware, see :class:`huggingface_hub.SpaceHardware`.
        sleep: Seconds without a visitor after which the Space sleeps.
        private: Whether a new Space is private.

    Raises:
        ConfigError: An option is not allowed. The message never contains the value of a secret.
    """
    parsed = dict(_variable(text) for text in variables)
    Limits.from_environment(parsed)
    return Options(
        variables={RESULTS: results, **parsed},
        secrets=dict(_secret(text) for text in secrets),
        hardware=hardware,
        sleep=sleep,
        private=private,
    )


def advice(
    api: HfApi, repo: Repo, results: Repo, options: Options, *, exists: bool, token: str | None
) -> Iterator[str]:
    """Yield the warnings about a deployment.

    Args:
        api: The Hub client.
        repo: The Space.
        results: The results dataset that the Space shows.
        options: The options of the deployment.
        exists: Whether the Space exists already.
        token: The token of this command; ``None`` for the current login.
    """
    from huggingface_hub import get_token

    with hub_errors(f"Cannot read {results}"):
        # `dataset_info` also works for gated datasets without access, so check the access first.
        retry_read(api.auth_check, results.id, repo_type=results.kind)
        about = retry_read(api.dataset_info, results.id)
    closed = "private" if about.private else "gated" if about.gated else None
    if closed and not is_private(api, repo, if_new=options.private):
        yield (
            f"{results} is {closed}, and {repo} is public: everybody would see the results "
            "there. Deploy a private Space (--private) if that is not meant."
        )
    known = set(options.secrets)
    if closed and exists:
        with hub_errors(f"Cannot read the settings of {repo}"):
            known |= set(retry_read(api.get_space_secrets, repo.id))
    if closed and TOKEN not in known:
        yield (
            f"{results} is {closed}, and {repo} has no token to read it with. Put one that may "
            f"only read it into an environment variable, and pass --secret {TOKEN}=VARIABLE."
        )
    if options.secrets.get(TOKEN, "") == (token or get_token()):
        yield (
            f"The secret {TOKEN} is the token you deploy with, which may write. The Space only "
            "reads; a token that may read the results and nothing else is enough."
        )


def _variable(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not _VARIABLE_NAME.fullmatch(name):
        raise ConfigError(
            f"--variable is {redact(text)!r}; write NAME=VALUE, such as HF_SFDA_MAX_SAMPLES=1000."
        )
    if name == RESULTS:
        raise ConfigError(f"{RESULTS} is set by --results.")
    limits = [variable(limit.name) for limit in fields(Limits)]
    if name.startswith(PREFIX) and name not in limits:
        raise ConfigError(f"There is no variable {name}. Allowed: {', '.join(limits)}.")
    if redact(value) != value:
        raise ConfigError(
            f"The value of {name} looks like a token, and everybody can read variables. "
            f"Put it into the environment and pass --secret {name}."
        )
    if not value.isprintable():
        raise ConfigError(f"The value of {name} is {value!r}; it must be one line of text.")
    return name, value


def _secret(text: str) -> tuple[str, str]:
    """Parse ``NAME`` or ``NAME=VARIABLE``; return the name and the value of the variable.

    No message repeats the text after ``=``: the user may have typed the secret itself there.
    """
    name, sign, variable_name = text.partition("=")
    source = variable_name if sign else name
    if not _VARIABLE_NAME.fullmatch(name) or redact(name) != name:
        raise ConfigError(
            "--secret takes the name of an environment variable that holds the value, such as "
            "HF_TOKEN; never the value itself."
        )
    value = os.environ.get(source, "")
    if not value:
        which = "named after = " if sign else f"{name} "
        raise ConfigError(
            f"--secret {name}: the environment variable {which}is not set. Export it first; its "
            "value becomes the secret, and never stands on the command line itself."
        )
    keep_secret(value)
    return name, value
