"""Show our own warnings to the user and hide those of the libraries."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable


class _Handler(logging.Handler):
    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log(record.getMessage())


class _WarningHandler(_Handler):
    """Removes ``file:line: Category:`` from the message of a Python warning."""

    def emit(self, record: logging.LogRecord) -> None:
        self._log(record.getMessage().split("Warning: ", 1)[-1].splitlines()[0])


def send_warnings_to(log: Callable[[str], None] | None) -> None:
    """Send our warnings to ``log``, and show only errors of the libraries.

    Args:
        log: Receives the text of each warning; ``None`` drops them.
    """
    ours = logging.getLogger("hf_sfda")
    ours.handlers = [_Handler(log) if log else logging.NullHandler()]
    ours.propagate = False
    for name in ("transformers", "datasets", "huggingface_hub", "timm", "accelerate", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Show our own `warnings.warn` messages once each; they are meant for users of the library.
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("once", module=r"hf_sfda\.")
    python_warnings = logging.getLogger("py.warnings")
    python_warnings.handlers = [_WarningHandler(log) if log else logging.NullHandler()]
    python_warnings.propagate = False
