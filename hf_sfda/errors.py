"""The errors that this package raises.

Each message says what was given, what is allowed and what to do next. The failure of a single
candidate is never raised by :func:`hf_sfda.rank`; it becomes a row of the ranking.
"""

from __future__ import annotations


class SfdaError(Exception):
    """Base class of all errors of this package."""


class ConfigError(SfdaError):
    """An option does not exist or has a value that is not allowed (exit code 2)."""


class ScanError(SfdaError):
    """The candidates cannot be listed, e.g. because the Hub is unreachable or a folder missing."""


class TargetError(SfdaError):
    """The dataset cannot be used: it does not exist, or has wrong columns or too few samples."""


class ExtractionError(SfdaError):
    """A checkpoint cannot be loaded or run; the message becomes the reason in its row."""


class FinetuneError(SfdaError):
    """A checkpoint cannot be fine-tuned; the message says why."""


class StoppedError(SfdaError):
    """Work was stopped before it had a result, e.g. by a time budget; what was done is stored."""


class MetricError(SfdaError):
    """A metric cannot score these features and labels, or does not exist."""


class StoreError(SfdaError):
    """The feature store cannot be read or written, e.g. disk full or no permission."""


class PublishError(SfdaError):
    """Results cannot be published, or the plan has changed."""


class UploadError(SfdaError):
    """A visitor's file cannot be used as a dataset; its files were removed."""


class JobError(SfdaError):
    """A visitor's job ended without a result: cancelled, out of time, crashed or refused."""
