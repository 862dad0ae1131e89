"""The settings of a server: its results, which token it uses for what, and the limits of visitors.

Each limit has a reason and an environment variable.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from hf_sfda.errors import ConfigError
from hf_sfda.format import show_bytes, show_count, show_seconds

RESULTS = "HF_SFDA_RESULTS"
"""Environment variable with the results dataset of a deployed Space."""

REFRESH = "HF_SFDA_REFRESH"
"""Environment variable with the seconds after which results are read again."""

MAX_AGE = 60.0
"""Seconds after which results are read again, so an update appears within about a minute."""

PREFIX = "HF_SFDA_"
_LOWEST = {"samples": 4, "candidates": 2}  # two classes with two samples each; two models


@dataclass(frozen=True)
class Limits:
    """The resources of one job, and the number of jobs.

    Attributes:
        samples: Samples per ranking. 2,000 is also the default of the command line; it gives a
            standard error of about .01 on a probability.
        candidates: Candidates per ranking. Twelve candidates of usual size fit into the time limit
            on two CPU cores.
        params: Parameters per candidate. 400 million includes the large ViT and BERT encoders (304
            and 335 million) and excludes models that a CPU cannot run in minutes.
        download_bytes: Weights and dataset of a job together. 4 GB download in minutes. Together
            with the unpacked dataset they fit on the 50 GB disk of a free Space.
        seconds: Time of the plan, and time of the ranking. Few visitors wait longer than 15
            minutes, and other visitors wait in the queue.
        upload_bytes: Size of an uploaded file: thousands of images at the size that models use.
            Larger datasets should be pushed to the Hub.
        unpacked_bytes: Total size of the files in an archive. Compressed images hardly shrink in a
            zip, and five times the upload is enough for tables; a zip bomb is stopped here.
        files: Files in an archive: ten times the number of samples.
        image_pixels: Pixels of one image. The largest common cameras have 50 million; decoded, such
            an image needs 200 MB.
        pixels: Total pixels of the images in an archive, by their headers: ``files`` images of
            500 x 500.
        cache_bytes: Models, datasets and features that a Space caches for later jobs. Half of a
            free Space's disk, so that a job's own files fit, too.
        queue: Number of waiting visitors. At a few minutes per job, more would wait too long.
        jobs: Rankings that run at the same time. One ranking uses all cores and a few GB of memory.
    """

    samples: int = 2_000
    candidates: int = 12
    params: int = 400_000_000
    download_bytes: int = 4_000_000_000
    seconds: int = 900
    upload_bytes: int = 200_000_000
    unpacked_bytes: int = 1_000_000_000
    files: int = 20_000
    image_pixels: int = 50_000_000
    pixels: int = 5_000_000_000
    cache_bytes: int = 25_000_000_000
    queue: int = 20
    jobs: int = 1

    def __post_init__(self) -> None:
        for limit in fields(self):
            low, value = _LOWEST.get(limit.name, 1), getattr(self, limit.name)
            if value < low:
                raise ConfigError(
                    f"The limit {limit.name} is {value}; it must be a whole number from {low} up "
                    f"(variable {variable(limit.name)})."
                )

    @classmethod
    def from_environment(cls, env: Mapping[str, str] = os.environ) -> Limits:
        """Read the limits from environment variables; others keep their default.

        Args:
            env: The variables: ``HF_SFDA_MAX_SAMPLES``, ``HF_SFDA_MAX_SECONDS`` and so on,
                ``HF_SFDA_QUEUE`` and ``HF_SFDA_JOBS``. Underscores may group digits. An empty
                variable counts as not set.

        Raises:
            ConfigError: A value is not a whole number, or too small.
        """
        values: dict[str, int] = {}
        for limit in fields(cls):
            name = variable(limit.name)
            text = env.get(name, "").strip()
            if not text:
                continue
            low = _LOWEST.get(limit.name, 1)
            try:
                values[limit.name] = int(text)
            except ValueError:
                values[limit.name] = low - 1
            if values[limit.name] < low:
                raise ConfigError(
                    f"The variable {name} is {text!r}; it must be a whole number from {low} up, "
                    f"such as {limit.default}. Change it in the Space's settings, or remove it."
                )
        return cls(**values)

    def describe(self) -> str:
        """The limits as a text for the page."""
        return (
            f"A ranking here takes up to {self.samples:,} samples and {self.candidates} models of "
            f"at most {show_count(self.params)} parameters, {show_bytes(self.download_bytes)} of "
            f"downloads and {show_seconds(self.seconds)}; an upload may have "
            f"{show_bytes(self.upload_bytes)}, {self.files:,} files and "
            f"{show_count(self.image_pixels)} pixels an image. The command line has no limits."
        )


def variable(name: str) -> str:
    """The name of a limit's environment variable.

    Example:
        >>> variable("samples"), variable("queue")
        ('HF_SFDA_MAX_SAMPLES', 'HF_SFDA_QUEUE')
    """
    kind = "" if name in ("queue", "jobs") else "MAX_"
    return f"{PREFIX}{kind}{name.upper()}"


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
