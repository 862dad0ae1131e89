"""``hf-sfda`` in this process: a Python of its own needs seconds to import what it needs."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from huggingface_hub import constants

LOGGERS = (
    "hf_sfda", "py.warnings", "transformers", "datasets", "huggingface_hub", "timm", "accelerate",
    "torch",
)  # fmt: skip


def run_command(
    *arguments: str,
    code: int = 0,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> tuple[str, str]:
    """Call ``main()`` as the installed command does, with ``arguments``.

    Args:
        arguments: The command line without ``hf-sfda``.
        code: The exit code that is expected.
        env: The whole environment; the present one if ``None``. What a library read when it was
            imported stays as it is: the endpoint of the Hub and the folders of the caches.
        cwd: The working directory; the present one if ``None``.

    Returns:
        What it wrote to stdout and stderr.
    """
    from hf_sfda.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in "oe")
    with (
        _as_it_was(),
        chdir(cwd or Path.cwd()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        if env is not None:
            os.environ.clear()
            os.environ.update(env)
        sys.argv = ["hf-sfda", *map(str, arguments)]
        try:
            main()
            ended: object = 0
        except SystemExit as end:
            ended = end.code or 0
    written = tuple(stream.buffer.getvalue().decode() for stream in (out, err))  # type: ignore[attr-defined]
    assert ended == code, written[1]
    return written[0], written[1]


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Undo what a command changes for the rest of its process."""
    environment, argv = dict(os.environ), sys.argv
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(x, list(x.handlers), x.propagate, x.level) for x in loggers]
    implicit = constants.HF_HUB_DISABLE_IMPLICIT_TOKEN
    try:
        with warnings.catch_warnings():
            yield
    finally:
        logging.captureWarnings(False)
        for logger, handlers, propagate, level in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        constants.HF_HUB_DISABLE_IMPLICIT_TOKEN = implicit
        sys.argv = argv
        os.environ.clear()
        os.environ.update(environment)
