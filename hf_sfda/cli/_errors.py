"""Convert an exception to a message on stderr and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

from hf_sfda.errors import ConfigError, SfdaError
from hf_sfda.foreign import bounded, clean_lines
from hf_sfda.processes import is_main_process
from hf_sfda.secrets import redact

NOTHING_RANKED, BAD_USAGE, INTERRUPTED = 1, 2, 130


def report_failure(error: BaseException) -> int:
    """Write the message of an error to stderr, without tokens.

    Args:
        error: The error.

    Returns:
        The exit code.
    """
    if isinstance(error, KeyboardInterrupt):
        _write_error("Interrupted. What was finished is stored. Run the same command to resume.")
        return INTERRUPTED
    if isinstance(error, SfdaError):
        _write_error(bounded(f"Error: {error}"))
        return BAD_USAGE if isinstance(error, ConfigError) else NOTHING_RANKED
    _write_error(bounded(f"Error: {type(error).__name__}: {error}"))
    if os.environ.get("HF_DEBUG"):
        _write_error("".join(traceback.format_exception(error)))
    else:
        _write_error(
            "This is a bug in hf-sfda. Set HF_DEBUG=1 for the traceback, and please report it."
        )
    return NOTHING_RANKED


def _write_error(message: str) -> None:
    if not is_main_process():
        return
    sys.stderr.write(clean_lines(redact(message)).rstrip("\n") + "\n")
