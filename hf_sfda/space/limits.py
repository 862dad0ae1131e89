"""The limits for visitors of the Space. Each one has a reason and an environment variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from hf_sfda.errors import ConfigError
from hf_sfda.format import show_bytes, show_count, show_seconds

PREFIX = "HF_SFDA_"


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
        for field in fields(self):
            low, value = _LOWEST.get(field.name, 1), getattr(self, field.name)
            if value < low:
                raise ConfigError(
                    f"The limit {field.name} is {value}; it must be a whole number from {low} up "
                    f"(variable {variable(field.name)})."
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
        for field in fields(cls):
            name = variable(field.name)
            text = env.get(name, "").strip()
            if not text:
                continue
            low = _LOWEST.get(field.name, 1)
            try:
                values[field.name] = int(text)
            except ValueError:
                values[field.name] = low - 1
            if values[field.name] < low:
                raise ConfigError(
                    f"The variable {name} is {text!r}; it must be a whole number from {low} up, "
                    f"such as {field.default}. Change it in the Space's settings, or remove it."
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


_LOWEST = {"samples": 4, "candidates": 2}  # two classes with two samples each; two models


def variable(name: str) -> str:
    """The name of a limit's environment variable.

    Example:
        >>> variable("samples"), variable("queue")
        ('HF_SFDA_MAX_SAMPLES', 'HF_SFDA_QUEUE')
    """
    kind = "" if name in ("queue", "jobs") else "MAX_"
    return f"{PREFIX}{kind}{name.upper()}"
