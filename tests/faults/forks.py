"""Run ``hf-sfda`` many times for little: a process that has imported everything forks for each one.

``python -m tests.faults.forks`` is that process. It reads a line of JSON for each group of runs,
and answers with a line when all of them have ended. A run may be told to meet a fault:

- ``kill``: SIGKILL before the n-th change of a file below ``root``
- ``full``: from the n-th change of a file on, the disk is full
- ``kill_request``, ``kill_answer``: SIGKILL before the n-th request, or after its answer
"""

from __future__ import annotations

import contextlib
import errno
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

_REPOSITORY = Path(__file__).parent.parent.parent
_PATHS = {
    "os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2,
    "os.truncate": 1, "os.chmod": 1, "os.utime": 1,
}  # fmt: skip
"""Audit events that change files, and how many of their arguments are paths."""
_REMOVES = ("os.remove", "os.rmdir", "os.chmod", "os.utime")  # a full disk forbids none of these
_LONGEST_WAIT = 320.0


@dataclass(frozen=True)
class Result:
    """How a run ended.

    Attributes:
        code: Exit code; negative for a signal.
        out: What it wrote to stdout.
        err: What it wrote to stderr.
        changes: How many changes of files it came to, each as ``event path``.
        requests: How many requests it came to.
        slept: Seconds it wanted to sleep, longest first.
    """

    code: int
    out: str
    err: str
    changes: tuple[str, ...]
    requests: int
    slept: tuple[float, ...]


class Forks:
    """The process that forks, as a test talks to it.

    Args:
        root: Folder whose changes count; caches and run directories lie in it.
        env: The environment of all runs.
    """

    def __init__(self, root: Path, env: Mapping[str, str]) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.forks", str(root)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY,
            env={**env, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_REPOSITORY)},
        )  # fmt: skip

    def run(self, *arguments: str, cwd: Path, **fault: int) -> Result:
        """Run the command once, with a fault if one is given."""
        return self.run_all([arguments], cwd=cwd, **fault)[0]

    def run_all(
        self, commands: Sequence[Sequence[str]], *, cwd: Path, **fault: int
    ) -> list[Result]:
        """Run several commands at the same time."""
        jobs = [{"arguments": list(c), "cwd": str(cwd), "fault": fault} for c in commands]
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(jobs) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return [Result(**{**one, "changes": tuple(one["changes"])}) for one in answer]

    def warm_up(self, *arguments: str, cwd: Path) -> Result:
        """Run a command, and import for all later runs what it imported."""
        return self.run_all([arguments], cwd=cwd, warm=1)[0]

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


# -- the process that forks


def _serve(root: Path) -> None:
    real = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        jobs = json.loads(line)
        answers = _run_jobs(jobs, root)
        real.write(json.dumps(answers) + "\n")
        real.flush()


def _run_jobs(jobs: Sequence[dict[str, Any]], root: Path) -> list[dict[str, Any]]:
    notes = Path(f"{root}.notes")  # beside the root: what is written there is no change
    notes.mkdir(exist_ok=True)
    pids = []
    for number, job in enumerate(jobs):
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _child(job, root, notes / str(number))
        pids.append(pid)
    answers = []
    for number, pid in enumerate(pids):
        _, status = os.waitpid(pid, 0)
        answers.append(_answer(os.waitstatus_to_exitcode(status), notes / str(number)))
    if jobs[0]["fault"].get("warm"):
        for name in (notes / "0.modules").read_text().split():
            with contextlib.suppress(BaseException):
                importlib.import_module(name)
        _fill_caches()
        # What is there now lives as long as this process. Without this, each run would look through
        # all of it when it collects garbage, and copy the memory that it touches.
        gc.collect()
        gc.freeze()
    return answers


def _fill_caches() -> None:
    """Let the libraries that draw a report load what they load once in a process."""
    from hf_sfda.report import render_html
    from tests.report_fixture import example_ranking

    render_html(example_ranking())


def _answer(code: int, place: Path) -> dict[str, Any]:
    def text(suffix: str) -> str:
        path = Path(f"{place}{suffix}")
        return path.read_text(errors="replace") if path.exists() else ""

    return asdict(
        Result(
            code=code,
            out=text(".out"),
            err=text(".err"),
            changes=tuple(text(".changes").splitlines()),
            requests=len(text(".requests").splitlines()),
            slept=tuple(sorted(map(float, text(".slept").split()), reverse=True)),
        )
    )


def _child(job: Mapping[str, Any], root: Path, place: Path) -> None:
    code = 1
    try:
        for number, suffix in ((1, ".out"), (2, ".err")):
            descriptor = os.open(f"{place}{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(job["cwd"])
        sys.argv = ["hf-sfda", *job["arguments"]]
        Faults(job["fault"], root, place).install()
        from hf_sfda.cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
            if job["fault"].get("warm"):
                Path(f"{place}.modules").write_text("\n".join(sys.modules))
        os._exit(code)


class Faults:
    """Counts what a run does, and strikes."""

    def __init__(self, fault: Mapping[str, int], root: Path, place: Path) -> None:
        self.fault = fault
        self.root = str(root)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._changes, self._requests, self._slept = (
            os.open(f"{place}{suffix}", flags) for suffix in (".changes", ".requests", ".slept")
        )
        self.changes = self.requests = 0

    def install(self) -> None:
        """From now on, in this process and for ever."""
        import httpx2

        sys.addaudithook(self.audit)
        real_send, real_sleep = httpx2.HTTPTransport.handle_request, time.sleep

        def send(transport: Any, request: Any) -> Any:
            number = self.requests
            self.requests += 1
            os.write(self._requests, f"{request.method} {request.url.path}\n".encode())
            if self.fault.get("kill_request") == number:
                os.kill(os.getpid(), signal.SIGKILL)
            response = real_send(transport, request)
            if self.fault.get("kill_answer") == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return response

        def sleep(seconds: float) -> None:
            os.write(self._slept, f"{seconds}\n".encode())
            if seconds > _LONGEST_WAIT:
                os.write(2, f"slept {seconds} s".encode())
                os._exit(99)
            real_sleep(min(seconds, 0.01))

        httpx2.HTTPTransport.handle_request = send
        time.sleep = sleep

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by Python before it does anything to a file."""
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
            paths: Sequence[Any] = (path,)
        elif event in _PATHS:
            paths = arguments[: _PATHS[event]]
        else:
            return
        name = next((text for path in paths if (text := self._inside(path))), None)
        if name is None:
            return
        number = self.changes
        self.changes += 1
        os.write(self._changes, f"{event} {name}\n".encode(errors="replace"))
        if self.fault.get("kill") == number:
            os.kill(os.getpid(), signal.SIGKILL)
        first = self.fault.get("full")
        if first is not None and number >= first and event not in _REMOVES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)

    def _inside(self, path: Any) -> str | None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return None
        text = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  (a link is not followed)
        return text.removeprefix(self.root) if text.startswith(self.root + os.sep) else None


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
