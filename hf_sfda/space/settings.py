"""What a server of the Space is told, and whose token is used for what."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from hf_sfda.errors import ConfigError
from hf_sfda.space.limits import Limits
from hf_sfda.space.results import MAX_AGE

RESULTS = "HF_SFDA_RESULTS"
"""Variable that names the results dataset of a deployed Space."""

REFRESH = "HF_SFDA_REFRESH"
"""Variable with the seconds after which results are read again."""


@dataclass(frozen=True)
class Settings:
    """Of one server.

    Attributes:
        results: The results dataset, ``OWNER/NAME``.
        results_token: Reads it, and nothing else.
        visitor_token: What visitors act with who are not signed in; ``None`` is nobody's. Only a
            server for oneself has one (``hf-sfda space serve --as-me``).
        limits: Of what a visitor may ask for.
        refresh: Seconds after which the results are read again.
        hosts: The host names that the page answers to, beside addresses and the machine's own
            name; ``None`` is any. See :mod:`hf_sfda.space.hosts`.
    """

    results: str
    results_token: str | None = field(default=None, repr=False)
    visitor_token: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
    refresh: float = MAX_AGE
    hosts: frozenset[str] | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """The settings of a deployed Space. Takes the token out of the environment.

        Raises:
            ConfigError: The variable is not set, or a limit is no number.
        """
        results = environment.get(RESULTS, "")
        if not results:
            raise ConfigError(
                f"The variable {RESULTS} is not set, so there are no results to show. Set it to a "
                "results dataset, OWNER/NAME, in the settings of the Space."
            )
        return cls(
            results=results,
            limits=Limits.from_environment(environment),
            refresh=refresh_seconds(environment),
            results_token=take_token(),
        )


def refresh_seconds(environment: Mapping[str, str] = os.environ) -> float:
    """How old results may become.

    Raises:
        ConfigError: The variable is no number above zero.
    """
    text = environment.get(REFRESH, "").strip()
    try:
        seconds = float(text or MAX_AGE)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"The variable {REFRESH} is {text!r}; it must be seconds, such as 60.")
    return seconds


def take_token() -> str | None:
    """The server's own token; from here on nothing in this process uses it unasked.

    Visitors make the server read datasets and checkpoints of their choice. What they cannot read
    themselves must not become readable because the server could.
    """
    # Read at import by huggingface_hub, so it is set twice in case that has happened.
    os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    from huggingface_hub import constants, get_token

    constants.HF_HUB_DISABLE_IMPLICIT_TOKEN = True
    token = get_token()
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        os.environ.pop(name, None)
    return token
