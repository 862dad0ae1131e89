"""The child process of a visitor's job: its environment, its events and its end."""

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
from hf_sfda.hub import ADVICE
from hf_sfda.secrets import redact
from hf_sfda.space.events import Event, drain

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "hf_sfda.space.worker")

_ALLOWED = frozenset(
    "PATH HOME USER LANG LANGUAGE TZ VIRTUAL_ENV LD_LIBRARY_PATH LD_PRELOAD CUDA_HOME "
    "CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER HF_ENDPOINT HF_HOME HF_HUB_CACHE HF_DATASETS_CACHE "
    "HF_ASSETS_CACHE HF_XET_CACHE HF_HUB_OFFLINE HF_HUB_DISABLE_XET HF_HUB_DISABLE_TELEMETRY "
    "HF_HUB_DISABLE_UPDATE_CHECK HF_HUB_DOWNLOAD_TIMEOUT HF_HUB_ETAG_TIMEOUT "
    "HF_UPDATE_DOWNLOAD_COUNTS HF_DEBUG TOKENIZERS_PARALLELISM XDG_CACHE_HOME SSL_CERT_FILE "
    "SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY "
    f"http_proxy https_proxy all_proxy no_proxy {ADVICE}".split()
)
_ALLOWED_PREFIXES = ("LC_", "OMP_", "MKL_", "OPENBLAS_", "NVIDIA_")
_STDERR_LINES = 200


def environment(
    directory: Path, token: str | None, *, private: bool, base: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The environment variables of the process.

    Only variables of an allow-list are passed on, because the secrets of a Space are variables with
    arbitrary names. A signed-in visitor gets separate caches, which are removed with the job;
    otherwise another visitor could read from a cache what they may not read from the Hub. An upload
    gets separate caches for its data and features.

    Args:
        directory: Directory of the job.
        token: The visitor's token; the process gets no other token.
        private: Whether the data is an upload.
        base: The server's environment.
    """
    env = {
        name: value
        for name, value in base.items()
        if name in _ALLOWED or name.startswith(_ALLOWED_PREFIXES)
    }
    home = directory / "home"
    package = str(Path(__file__).resolve().parents[2])
    env |= {
        "PYTHONPATH": os.pathsep.join(filter(None, (package, base.get("PYTHONPATH")))),
        "PYTHONSAFEPATH": "1",  # do not import from the working directory: it holds uploaded files
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(directory / "tmp"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_TOKEN_PATH": str(home / "no-token"),
        "HF_STORED_TOKENS_PATH": str(home / "no-tokens"),
    }
    if token:
        env |= {"HF_TOKEN": token, "HF_HOME": str(home)}
        env |= {"HF_HUB_CACHE": str(home / "hub"), "HF_XET_CACHE": str(home / "xet")}
    else:
        env["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    if token or private:
        env["HF_DATASETS_CACHE"] = str(home / "datasets")
        env["HF_ASSETS_CACHE"] = str(home / "assets")  # contains the feature store
    return env


class Child:
    """A process that runs :mod:`hf_sfda.space.worker`, in its own process group.

    Args:
        verb: The step to run, a verb of the worker.
        message: The JSON message for the worker, without the token.
        cwd: The working directory.
        env: All environment variables, with the token if there is one.
        seconds: Time limit, after which the process is killed.
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
            threading.Thread(target=self._read_events, args=(self._process.stdout,), daemon=True),
            threading.Thread(target=self._read_stderr, args=(self._process.stderr,), daemon=True),
        ]
        for listener in self._listeners:
            listener.start()
        self._timer = threading.Timer(seconds, self._time_out)
        self._timer.daemon = True
        self._timer.start()
        # Keep stdin open. It closes when the server dies, and then the process ends itself.
        assert self._process.stdin is not None
        with suppress(OSError):  # the process has died already; its exit code is reported later
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Id of the process and of its process group."""
        return self._process.pid

    @property
    def stderr_tail(self) -> str:
        """The last lines of the process's stderr without secrets, for the server's log."""
        return "\n".join(self._stderr)

    def events(self) -> Iterator[Event | None]:
        """Yield the events of the process until it ends; ``None`` regularly without events."""
        for event in drain(self._events):
            # The process may be dead while its own child processes still hold the pipe.
            if event is None and self._has_ended(wait=False):
                self.kill()
            yield event

    def kill(self) -> int:
        """Kill the process and its process group, and wait; may be called several times.

        Returns:
            The exit code, negative for a signal.
        """
        with self._lock:
            if self._process.returncode is None:
                # The process is not reaped yet, so no other process can have its id.
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
                self._close()
        return self._process.returncode

    def wait(self) -> int:
        """Wait until the process ends, then kill the rest of its process group.

        Returns:
            The exit code, negative for a signal.
        """
        self._has_ended(wait=True)
        return self.kill()

    def _has_ended(self, *, wait: bool) -> bool:
        """Whether the process has ended. It is not reaped, so that its group id stays valid."""
        try:
            options = os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG)
            return os.waitid(os.P_PID, self._process.pid, options) is not None
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

    def _read_events(self, lines: IO[str]) -> None:
        try:
            for line in lines:
                try:
                    self._events.put(read_json(line))
                except ValueError:
                    logger.warning(
                        "A job wrote a line that is not an event (%d characters).", len(line)
                    )
        finally:
            self._events.put(None)

    def _read_stderr(self, lines: IO[str]) -> None:
        for line in lines:
            text = line.rstrip("\n")
            if self._token:
                text = text.replace(self._token, "<redacted>")
            self._stderr.append(redact(text))
