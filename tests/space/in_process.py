"""A job's step without a process of its own: it saves the seconds that importing torch takes."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from hf_sfda.foreign import read_json
from hf_sfda.space import worker
from hf_sfda.space.events import Event, json_lines

_ONE_AT_A_TIME = threading.Lock()
"""The working directory and the implicit token belong to the whole process."""


class InProcess:
    """In place of :class:`hf_sfda.space.child.Child`: runs the step when its events are read.

    The events go through JSON as between two processes. There is nothing to kill.
    """

    timed_out = False
    stderr_tail = ""

    def __init__(
        self,
        verb: str,
        message: Mapping[str, Any],
        *,
        cwd: Path,
        env: Mapping[str, str],
        seconds: float,
    ) -> None:
        assert seconds > 0
        self.verb, self.message, self.cwd, self.token = verb, message, cwd, env.get("HF_TOKEN")

    def events(self) -> Iterator[Event]:
        written = io.StringIO()
        with _ONE_AT_A_TIME, chdir(self.cwd), pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", self.token is None)
            worker.run_step(self.verb, self.message, token=self.token, sink=json_lines(written))
        yield from map(read_json, written.getvalue().splitlines())

    def wait(self) -> int:
        return 0

    def kill(self) -> int:
        return 0
