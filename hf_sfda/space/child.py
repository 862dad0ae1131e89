"""A process that works for one visitor: what it may know, what it says, how it ends."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from hf_sfda.foreign import read_json
from hf_sfda.hub import ADVICE, redact
from hf_sfda.space.events import Event

logger = logging.getLogger(__name__)

TICK = 0.2
"""Seconds after which a listener hears that nothing happened."""

COMMAND = (sys.executable, "-m", "hf_sfda.space.worker")

_PASSED = frozenset(
    "PATH HOME USER LANG LANGUAGE TZ VIRTUAL_ENV LD_LIBRARY_PATH LD_PRELOAD CUDA_HOME "
    "CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER HF_ENDPOINT HF_HOME HF_HUB_CACHE HF_DATASETS_CACHE "
    "HF_ASSETS_CACHE HF_XET_CACHE HF_HUB_OFFLINE HF_HUB_DISABLE_XET HF_HUB_DISABLE_TELEMETRY "
    "HF_HUB_DISABLE_UPDATE_CHECK HF_HUB_DOWNLOAD_TIMEOUT HF_HUB_ETAG_TIMEOUT "
    "HF_UPDATE_DOWNLOAD_COUNTS HF_DEBUG TOKENIZERS_PARALLELISM XDG_CACHE_HOME SSL_CERT_FILE "
    "SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY "
    f"http_proxy https_proxy all_proxy no_proxy {ADVICE}".split()
)
_PASSED_PREFIXES = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "NVIDIA_")
_STDERR_LINES = 200


def environment(
    directory: Path, token: str | None, *, private: bool, base: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """All that the process may know.

    A list of what is passed on, not of what is held back: a Space's secrets are variables of any
    name. Whoever is signed in gets caches of their own, which go with the job, so that nobody
    reads from a cache what they could not read from the Hub; an upload gets its own for what is
    made of its data.

    Args:
        directory: Of the job.
        token: The visitor's; the process never sees another.
        private: The data is an upload.
        base: The server's environment.
    """
    env = {
        name: value
        for name, value in base.items()
        if name in _PASSED or name.startswith(_PASSED_PREFIXES)
    }
    home = directory / "home"
    package = str(Path(__file__).resolve().parents[2])
    env |= {
        "PYTHONPATH": os.pathsep.join(filter(None, (package, base.get("PYTHONPATH")))),
        "PYTHONSAFEPATH": "1",  # the working directory holds a stranger's data
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(directory / "tmp"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN_PATH": str(home / "no-token"),
        "HF_STORED_TOKENS_PATH": str(home / "no-tokens"),
    }
    if token:
        env["HF_TOKEN"] = token
    else:
        env["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    if token:
        env |= {"HF_HOME": str(home), "HF_HUB_CACHE": str(home / "hub")}
        env |= {"HF_XET_CACHE": str(home / "xet")}
    if token or private:
        env["HF_DATASETS_CACHE"] = str(home / "datasets")
        env["HF_ASSETS_CACHE"] = str(home / "assets")  # the features lie there
    return env


class Child:
    """One run of :mod:`hf_sfda.space.worker`, in a process group of its own.

    Args:
        verb: What it does.
        message: What it is told, without the token.
        cwd: Its working directory.
        env: Its whole environment, with the token if there is one.
        seconds: After which it is ended, whether or not anyone listens.
    """

    def __init__(
        self,
        verb: str,
        message: Mapping[str, Any],
        *,
        cwd: Path,
        env: Mapping[str, str],
        seconds: float,
    ) -> None:
        self.timed_out = False
        self._token = env.get("HF_TOKEN")
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [*COMMAND, verb],
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._listeners = [
            threading.Thread(target=self._hear, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._keep, args=(self._process.stderr,), daemon=True),
        ]
        for listener in self._listeners:
            listener.start()
        self._timer = threading.Timer(seconds, self._time_out)
        self._timer.daemon = True
        self._timer.start()
        # stdin stays open: the process ends itself when it closes, that is, when the server dies.
        assert self._process.stdin is not None
        with suppress(OSError):  # it died at once; its exit code says more
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Of the process, which is also its group's."""
        return self._process.pid

    @property
    def stderr_tail(self) -> str:
        """The last lines on its stderr, for the server's log; without secrets."""
        return "\n".join(self._stderr)

    def events(self) -> Iterator[Event | None]:
        """What it says, as it says it; ``None`` where nothing was said for :data:`TICK` seconds.

        Ends with the process.
        """
        while True:
            try:
                event = self._events.get(timeout=TICK)
            except queue.Empty:
                if self._has_ended(wait=False):  # killed, while its own workers hold the pipe
                    self.kill()
                yield None
                continue
            if event is None:
                return
            yield event

    def kill(self) -> int:
        """End it and all that it started, at once, and wait; again is harmless.

        Returns:
            The exit code, negative for a signal.
        """
        with self._lock:
            if self._process.returncode is None:
                # Not reaped yet, so the number is still its own, also if it has just ended.
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._close()
        return self._process.returncode

    def wait(self) -> int:
        """Wait for its end, which has been announced, and end what it left running.

        Returns:
            The exit code, negative for a signal.
        """
        self._has_ended(wait=True)
        return self.kill()

    def _has_ended(self, *, wait: bool) -> bool:
        """Whether the process has ended; it is not reaped, so that its group can still be named."""
        try:
            how = os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG)
            return os.waitid(os.P_PID, self._process.pid, how) is not None
        except ChildProcessError:  # reaped by another thread
            return True

    def _time_out(self) -> None:
        if not self._has_ended(wait=False):
            self.timed_out = True
            self.kill()

    def _close(self) -> None:
        self._timer.cancel()
        for listener in self._listeners:
            listener.join(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()

    def _hear(self, lines: IO[str]) -> None:
        try:
            for line in lines:
                try:
                    self._events.put(read_json(line))
                except ValueError:
                    logger.warning("A job said what is no event (%d characters).", len(line))
        finally:
            self._events.put(None)

    def _keep(self, lines: IO[str]) -> None:
        for line in lines:
            text = line.rstrip("\n")
            if self._token:
                text = text.replace(self._token, "<redacted>")
            self._stderr.append(redact(text))
