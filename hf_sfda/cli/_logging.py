"""Our own warnings reach the person; the libraries' chatter does not."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable


class _Handler(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


class _WarningHandler(_Handler):
    """`file:line: Category: text` -> the text alone."""

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage().split("Warning: ", 1)[-1].splitlines()[0])


def send_warnings_to(say: Callable[[str], None] | None) -> None:
    """Pass warnings of ``hf_sfda`` to ``say``, if anyone, and keep the stack's to errors."""
    ours = logging.getLogger("hf_sfda")
    ours.handlers = [_Handler(say) if say else logging.NullHandler()]
    ours.propagate = False
    for name in ("transformers", "datasets", "huggingface_hub", "timm", "accelerate", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # What we raise with warnings.warn (for callers of the library) becomes a line, once.
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("once", module=r"hf_sfda\.")
    noted = logging.getLogger("py.warnings")
    noted.handlers = [_WarningHandler(say) if say else logging.NullHandler()]
    noted.propagate = False
