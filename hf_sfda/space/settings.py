"""The settings of a server, and which token it uses for what."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from hf_sfda.errors import ConfigError
from hf_sfda.space.limits import Limits
from hf_sfda.space.results import MAX_AGE

RESULTS = "HF_SFDA_RESULTS"
"""Environment variable with the results dataset of a deployed Space."""

REFRESH = "HF_SFDA_REFRESH"
"""Environment variable with the seconds after which results are read again."""


@dataclass(frozen=True)
class Settings:
    """The settings of one server.

    Attributes:
        results: The results dataset, ``OWNER/NAME``.
        results_token: The token that reads the results dataset; used for nothing else.
        visitor_token: The token of visitors who are not signed in; ``None`` for no token. It is
            only set by ``hf-sfda space serve --as-me``.
        limits: Limits of the visitors' jobs.
        refresh: Seconds after which the results are read again.
        hosts: Accepted host names, beside IP addresses and the machine's own name; ``None``
            accepts all. See :mod:`hf_sfda.space.hosts`.
    """

    results: str
    results_token: str | None = field(default=None, repr=False)
    visitor_token: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)
    refresh: float = MAX_AGE
    hosts: frozenset[str] | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings of a deployed Space and remove the token from the environment.

        Raises:
            ConfigError: The results dataset is not set, or a limit is not a number.
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
    """The largest age of results in seconds, from the variable :data:`REFRESH`.

    Raises:
        ConfigError: The variable is not a positive number.
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
    """Return the server's own token, and stop huggingface_hub from using it by default.

    Visitors choose which datasets and checkpoints the server reads. They must not get access to
    private repositories through the server's token.
    """
    # huggingface_hub reads this variable at import, which may have happened. So set both.
    os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    from huggingface_hub import constants, get_token

    constants.HF_HUB_DISABLE_IMPLICIT_TOKEN = True
    token = get_token()
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        os.environ.pop(name, None)
    return token
