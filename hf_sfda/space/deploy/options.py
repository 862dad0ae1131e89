"""The options of a deployment: variables, secrets and hardware, checked before any request."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from hf_sfda.errors import ConfigError
from hf_sfda.secrets import keep_secret, redact
from hf_sfda.space.limits import PREFIX, Limits, variable
from hf_sfda.space.settings import RESULTS

FREE_HARDWARE = "cpu-basic"
"""The Hub's default hardware, which is free."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


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
        if both := sorted(set(self.variables) & set(self.secrets)):
            raise ConfigError(f"{both[0]} is both a variable and a secret; choose one.")
        _check_hardware(self.hardware)
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


def _variable(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not _NAME.fullmatch(name):
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
    if not _NAME.fullmatch(name) or redact(name) != name:
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


def _check_hardware(hardware: str | None) -> None:
    from huggingface_hub import SpaceHardware

    allowed = [item.value for item in SpaceHardware]
    if hardware is not None and hardware not in allowed:
        raise ConfigError(f"There is no hardware {hardware!r}. Allowed: {', '.join(allowed)}.")
