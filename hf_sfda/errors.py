"""Every error this package raises on purpose.

The messages follow one rule: what was given, what is allowed, what to do next. A failure that
belongs to one candidate never leaves :func:`hf_sfda.rank` as an exception: it becomes a row.
"""

from __future__ import annotations


class SfdaError(Exception):
    """Base class; catch this one to catch everything raised on purpose."""


class ConfigError(SfdaError):
    """An option that does not exist or holds a value that is not allowed (exit code 2)."""


class ScanError(SfdaError):
    """The candidates could not be listed at all (Hub unreachable, folder missing)."""


class TargetError(SfdaError):
    """The dataset cannot serve as a target: unknown, wrong columns, too few classes or samples."""


class ExtractionError(SfdaError):
    """One checkpoint could not be opened or run; the message becomes the reason in its row."""


class FinetuneError(SfdaError):
    """One checkpoint could not be fine-tuned; the message says why."""


class MetricError(SfdaError):
    """Features and labels that a metric cannot score, or an unknown metric."""


class StoreError(SfdaError):
    """The feature store could not be read or written (disk full, no permission)."""


class PublishError(SfdaError):
    """Results could not be published, or the plan was refused."""


class UploadError(SfdaError):
    """A visitor's file cannot serve as a dataset; nothing of it was kept."""


class JobError(SfdaError):
    """A visitor's job ended without a result: cancelled, out of time, killed, or refused."""
