"""How much a visitor of the Space may ask for; every limit with its reason, each a variable."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from hf_sfda.errors import ConfigError

PREFIX = "HF_SFDA_"


@dataclass(frozen=True)
class Limits:
    """What one job may use, and how many there may be.

    Attributes:
        samples: Samples a ranking. 2,000 is where the command line stands, too: a standard error
            near .01 on a probability.
        candidates: Checkpoints a ranking. Twelve of the usual size fit into the time limit on two
            CPU cores, and a table of twelve can be taken in.
        params: Parameters a checkpoint. 400 million takes in the large ViT and BERT encoders
            (304 and 335 million) and keeps out what a CPU cannot run in minutes.
        download_bytes: Weights and dataset of a job together. 4 GB are minutes of network, and
            with the dataset unpacked beside them still fit on the 50 GB disk of a free Space.
        seconds: Of planning, and again of ranking. A visitor does not wait longer than a quarter
            of an hour, and the next one in the queue should not have to.
        upload_bytes: Size of an uploaded file. Thousands of photographs at the size that models
            see them; more belongs on the Hub.
        unpacked_bytes: All files of an archive. Pictures hardly shrink in a zip, so five times
            the upload is ample for tables, and a bomb stops there.
        files: Entries of an archive, ten times as many as are sampled.
        image_pixels: Pixels of one picture. 50 million are the largest common cameras; decoded
            they take 200 MB.
        pixels: All pictures of an archive, by their headers. As many as ``files`` pictures of
            500 x 500; more are better made smaller before they are sent.
        cache_bytes: Models, datasets and features that jobs leave for later ones, on a Space. Half
            of a free Space's disk, so that a job's own files fit beside them.
        queue: Visitors waiting. At a few minutes a job, whoever is further back will not stay.
        jobs: Rankings at once. One uses all cores and a few GB of memory already.
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
        """The limits that the Space's variables set; others keep their default.

        Args:
            env: ``HF_SFDA_MAX_SAMPLES``, ``HF_SFDA_MAX_SECONDS`` ..., ``HF_SFDA_QUEUE`` and
                ``HF_SFDA_JOBS``; underscores may group digits. Empty counts as not set.

        Raises:
            ConfigError: A value is not a whole number, or too small.
        """
        given: dict[str, int] = {}
        for field in fields(cls):
            name = variable(field.name)
            text = env.get(name, "").strip()
            if not text:
                continue
            low = _LOWEST.get(field.name, 1)
            try:
                given[field.name] = int(text)
            except ValueError:
                given[field.name] = low - 1
            if given[field.name] < low:
                raise ConfigError(
                    f"The variable {name} is {text!r}; it must be a whole number from {low} up, "
                    f"such as {field.default}. Change it in the Space's settings, or remove it."
                )
        return cls(**given)

    def describe(self) -> str:
        """One sentence for the page."""
        return (
            f"A ranking here takes up to {self.samples:,} samples and {self.candidates} models of "
            f"at most {show_count(self.params)} parameters, {show_bytes(self.download_bytes)} of "
            f"downloads and {show_seconds(self.seconds)}; an upload may have "
            f"{show_bytes(self.upload_bytes)}, {self.files:,} files and "
            f"{show_count(self.image_pixels)} pixels a picture. The command line has no limits."
        )


_LOWEST = {"samples": 4, "candidates": 2}  # two classes of two samples; two models to compare


def variable(name: str) -> str:
    """The environment variable of a limit.

    Example:
        >>> variable("samples"), variable("queue")
        ('HF_SFDA_MAX_SAMPLES', 'HF_SFDA_QUEUE')
    """
    kind = "" if name in ("queue", "jobs") else "MAX_"
    return f"{PREFIX}{kind}{name.upper()}"


def show_bytes(size: float) -> str:
    """``4 GB``, ``12.5 MB``, ``640 B``: three digits, decimal units as the Hub shows them."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{_three_digits(size / factor)} {unit}"
    return f"{size:.0f} B"


def show_count(number: float) -> str:
    """``400 million``, ``1.5 billion``, ``800``."""
    for unit, factor in (("billion", 1e9), ("million", 1e6)):
        if number >= factor:
            return f"{_three_digits(number / factor)} {unit}"
    return f"{number:,.0f}"


def show_seconds(seconds: float) -> str:
    """``15 minutes``, ``1 minute``, ``40 seconds``."""
    if seconds >= 60 and seconds % 60 == 0:
        count, unit = seconds / 60, "minute"
    else:
        count, unit = seconds, "second"
    return f"{count:,.0f} {unit}" + ("" if round(count) == 1 else "s")


def _three_digits(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.10g}"  # .3g alone writes 999.9 as 1e+03
