"""Our own warnings reach the person; the libraries' chatter does not."""

from __future__ import annotations

import logging
from collections.abc import Callable


class _Handler(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


def send_warnings_to(say: Callable[[str], None] | None) -> None:
    """Pass warnings of ``hf_sfda`` to ``say``, if anyone, and keep the stack's to errors."""
    ours = logging.getLogger("hf_sfda")
    ours.handlers = [_Handler(say) if say else logging.NullHandler()]
    ours.propagate = False
    for name in ("transformers", "datasets", "huggingface_hub", "timm", "accelerate", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
