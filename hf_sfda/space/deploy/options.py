"""What was asked for: variables, secrets and hardware, checked before anybody is asked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from hf_sfda.errors import ConfigError
from hf_sfda.hub import keep_secret, redact
from hf_sfda.space.limits import PREFIX, Limits, variable
from hf_sfda.space.settings import RESULTS

FREE_HARDWARE = "cpu-basic"
"""What the Hub gives where nothing is asked for."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Options:
    """How the Space is set up.

    Attributes:
        variables: Name -> value; everybody can read them.
        secrets: Name -> value; shown by name only, wherever anything is shown.
        hardware: ``None`` leaves it as it is.
        sleep: Seconds without a visitor after which it sleeps, -1 for never; ``None`` leaves it.
        private: Whether a Space that is made is private.
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
    """Read what a command line says.

    Args:
        results: Id of the results dataset.
        variables: ``NAME=VALUE`` each.
        secrets: Names of environment variables that hold the values; ``NAME=VARIABLE`` where the
            secret has another name.
        hardware: As :class:`huggingface_hub.SpaceHardware` names it.
        sleep: Seconds.
        private: For a Space that is made.

    Raises:
        ConfigError: One of them is not allowed; no value of a secret is in the message.
    """
    given = dict(_variable(text) for text in variables)
    Limits.from_environment(given)
    return Options(
        variables={RESULTS: results, **given},
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
    limits = [variable(one.name) for one in fields(Limits)]
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
    """``NAME`` or ``NAME=VARIABLE`` -> name and value; what stands after ``=`` is never repeated.

    It might be the value after all, typed by mistake.
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

    allowed = [one.value for one in SpaceHardware]
    if hardware is not None and hardware not in allowed:
        raise ConfigError(f"There is no hardware {hardware!r}. Allowed: {', '.join(allowed)}.")
