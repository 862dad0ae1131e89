"""Visitors' jobs: one child process a step, so that each can be ended at once and harms no other.

``Jobs.open`` checks a request and makes a private directory; ``Job.plan`` says what ranking would
take; ``Job.rank`` does it and tells how far it is; ``Job.discard`` leaves nothing behind.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from hf_sfda.errors import JobError, StoreError
from hf_sfda.space import gpu
from hf_sfda.space.child import TICK, Child, environment
from hf_sfda.space.events import Event
from hf_sfda.space.limits import Limits, show_seconds
from hf_sfda.space.plan import Device, Plan, PlannedModel
from hf_sfda.space.requests import RankRequest, command
from hf_sfda.space.state import CandidateState, JobState, apply
from hf_sfda.space.worker import Work

if TYPE_CHECKING:
    from hf_sfda.compare import Comparison
    from hf_sfda.space.exhibits import Exhibit
    from hf_sfda.types import Ranking, Target

__all__ = ["CandidateState", "Job", "JobState", "Jobs", "Plan", "PlannedModel", "apply"]

logger = logging.getLogger(__name__)

_CANCELLED = "Cancelled."
_HEARTBEAT = 1.0  # seconds; what is never written to is never found to be gone


class Job:
    """One visitor's request, from plan to result. Made by :meth:`Jobs.open`.

    ``cancel`` and ``discard`` may be called from any thread, ``plan`` and ``rank`` one after the
    other. A job that was cancelled stays so.

    Attributes:
        request: What is asked for.
        directory: Its own; its random name is as good as a key, so show it to nobody.
        created: By ``time.monotonic``.
    """

    def __init__(
        self, jobs: Jobs, request: RankRequest, token: str | None, directory: Path
    ) -> None:
        self.request = request
        self.directory = directory
        self.created = time.monotonic()
        self._jobs = jobs
        self._token = token or None
        self._plan: Plan | None = None
        self._child: Child | None = None
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._steps = 0  # under way or waiting for their turn

    def __repr__(self) -> str:
        return f"<Job {self.directory.name[:4]}>"  # ends in logs: no token, no whole name

    @property
    def command(self) -> str:
        """The command line that would repeat it."""
        return command(self.request, self._jobs.limits)

    @property
    def run_directory(self) -> Path:
        """``ranking.json``, ``report.html`` and the other files of a finished run."""
        return self.directory / "run"

    @property
    def planned(self) -> Plan | None:
        """What :meth:`plan` found, once it was called."""
        return self._plan

    @property
    def busy(self) -> bool:
        """Whether a step is under way or waits for its turn."""
        return self._steps > 0

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled.is_set()

    @property
    def stderr_tail(self) -> str:
        """What its latest process wrote to stderr: for the log, never for the visitor."""
        return self._child.stderr_tail if self._child is not None else ""

    def plan(self) -> Plan:
        """Draw the sample and find the candidates; no weights are downloaded.

        Raises:
            JobError: It cannot be done; the message says why, for the visitor.
        """
        self._plan = Plan.from_dict(self._ask("plan")["plan"])
        return self._plan

    def rank(self) -> Iterator[JobState]:
        """Do what was planned; what was not planned is planned first.

        Yields:
            The state after every change, at most five a second, and once a second where nothing
            changes; the last one is ``over``. Closing the iterator cancels the job.
        """
        began = time.monotonic()
        state, shown, news = JobState(), began, False

        def timed() -> JobState:
            return replace(state, seconds=time.monotonic() - began)

        yield timed()
        self._steps += 1
        try:
            with closing(self._ranking()) as events:
                for event in events:
                    if event is not None:
                        state, news = apply(state, event), True
                    if state.over:
                        break
                    if time.monotonic() - shown >= (TICK if news else _HEARTBEAT):
                        shown, news = time.monotonic(), False
                        yield timed()
        except JobError as error:
            ended = {"event": "cancelled"} if self.cancelled else _failed(error)
            state = apply(state, ended)
        except GeneratorExit:
            self.cancel()
            raise
        finally:
            self._steps -= 1
        yield timed()

    def sample(self, ranking: Ranking) -> Target:
        """The samples that a ranking was made on, of the same dataset as this job.

        Args:
            ranking: Its rows do not matter.

        Raises:
            JobError: They cannot be had; the message says why, for the visitor.
        """
        from hf_sfda.space.handover import read_handover

        self._ask("sample", ranking=replace(ranking, rows=()).to_dict())
        return read_handover(self.directory)

    def compare(
        self, first: str, second: str, *, metric: str, top: int = 8
    ) -> tuple[Comparison, dict[int, Exhibit]]:
        """Two models of the finished ranking, and what the samples look like that divide them.

        Args:
            first: Name of one model.
            second: Of the other.
            metric: What to compare by.
            top: How many samples in favour of each.

        Raises:
            JobError: It cannot be done; the message says why, for the visitor.
        """
        from hf_sfda.compare import Comparison

        event = self._ask("compare", first=first, second=second, metric=metric, top=top)
        shown = {int(index): exhibit for index, exhibit in event["exhibits"].items()}
        return Comparison.from_dict(event["comparison"]), shown

    def ensemble(self, *, size: int, criterion: str) -> dict[str, Any]:
        """Models of the finished ranking that are better together.

        Args:
            size: The most models to choose.
            criterion: Objective to maximize, see :func:`hf_sfda.ensemble.select_ensemble`.

        Returns:
            :meth:`hf_sfda.ensemble.Ensemble.to_dict`.

        Raises:
            JobError: It cannot be done; the message says why, for the visitor.
        """
        found: dict[str, Any] = self._ask("ensemble", size=size, criterion=criterion)["ensemble"]
        return found

    def cancel(self) -> None:
        """End whatever runs, at once, and wait until it is gone. Again is harmless."""
        with self._lock:
            self._cancelled.set()
            child = self._child
        if child is not None:
            child.kill()

    def discard(self) -> None:
        """Cancel, and leave nothing behind. Again is harmless."""
        self.cancel()
        self._token = None
        self._jobs.forget(self)
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- the parts

    def run(
        self, verb: str, deadline: float, **arguments: Any
    ) -> Generator[Event | None, None, None]:
        """Run a step in a process of its own.

        Args:
            verb: Of :mod:`hf_sfda.space.worker`.
            deadline: By ``time.monotonic``.
            **arguments: What the verb takes beside the request.

        Yields:
            Its events; ``None`` now and then where it is silent.

        Raises:
            JobError: It failed, died, ran out of time, or was cancelled.
        """
        child = self._start(verb, deadline, arguments)
        try:
            for event in child.events():
                if event is not None and event["event"] == "failed":
                    raise JobError(str(event["message"]))
                yield event
            code = child.wait()
            if self.cancelled:
                raise JobError(_CANCELLED)
            if child.timed_out:
                raise JobError(self.too_long)
            if code != 0:
                raise JobError(_death(code))
        except JobError as error:
            if not self.cancelled:
                logger.warning("%r: %s failed: %s\n%s", self, verb, error, child.stderr_tail)
            raise
        finally:
            child.kill()

    def work(self) -> Work:
        """What a process of this job is told, without the token."""
        device: Device | None = "gpu" if gpu.is_zero_gpu() else None
        return Work(
            self.request, self._jobs.limits, self.directory, device, None, lambda event: None
        )

    def _ask(self, verb: str, **arguments: Any) -> Event:
        """Run a step that ends with its answer."""
        if self.cancelled:
            raise JobError("This job is over and its files are gone. Show the plan again.")
        asking = self._asking(verb, **arguments)
        while True:
            try:
                next(asking)
            except StopIteration as end:
                answer: Event = end.value
                return answer

    def _asking(self, verb: str, **arguments: Any) -> Generator[None, None, Event]:
        """As :meth:`_ask`; yields now and then, so that it can be closed."""
        answer: Event | None = None
        self._steps += 1
        try:
            yield from self._turn(self._jobs.planning)
            try:
                with closing(self.run(verb, self._deadline(), **arguments)) as events:
                    for event in events:
                        answer = event or answer
                        yield None
            finally:
                self._jobs.planning.release()
        finally:
            self._steps -= 1
        if answer is None:
            raise JobError("The job ended without a result. Try again.")
        return answer

    def _ranking(self) -> Generator[Event | None, None, None]:
        plan = self._plan
        if plan is None:
            answer = yield from self._asking("plan")
            plan = self._plan = Plan.from_dict(answer["plan"])
        yield {"event": "candidates", "rows": plan.rows}
        yield {"event": "stage", "stage": "queued"}
        yield from self._turn(self._jobs.ranking)
        try:
            yield {"event": "stage", "stage": "starting"}
            deadline = self._deadline()
            if gpu.is_zero_gpu():
                yield from gpu.rank_on_gpu(self, deadline)
            else:
                yield from self.run("rank", deadline)
        finally:
            self._jobs.ranking.release()

    def _start(self, verb: str, deadline: float, arguments: Mapping[str, Any]) -> Child:
        private = self.request.upload is not None
        with self._lock:  # so that `cancel` sees either no child yet or this one
            if self.cancelled:
                raise JobError(_CANCELLED)
            self._child = Child(
                verb,
                replace(self.work(), arguments=arguments).message(),
                cwd=self.directory / "work",
                env=environment(self.directory, self._token, private=private),
                seconds=max(0.0, deadline - time.monotonic()),
            )
            return self._child

    def _turn(self, turns: threading.Semaphore) -> Iterator[None]:
        """Wait for a turn, which the caller then gives back."""
        while not turns.acquire(timeout=TICK):
            if self.cancelled:
                raise JobError(_CANCELLED)
            yield None

    def _deadline(self) -> float:
        return time.monotonic() + self._jobs.limits.seconds

    @property
    def too_long(self) -> str:
        """What to tell whose job ran out of time."""
        return (
            f"Stopped after {show_seconds(self._jobs.limits.seconds)}, the most a job may take "
            "here. Take fewer or smaller models, or fewer samples, or run the command on your own "
            "machine."
        )


class Jobs:
    """All jobs of this server.

    A plan never waits for a ranking: there are ``limits.jobs`` processes of either kind at most.

    Args:
        limits: What a job may use.
        root: Where the jobs' directories go; by default a private folder among the temporary
            files. What dead servers left there is removed.

    Raises:
        StoreError: ``root`` cannot be used, or belongs to someone else.
    """

    def __init__(self, limits: Limits, root: Path | None = None) -> None:
        self.limits = limits
        self.planning = threading.BoundedSemaphore(limits.jobs)
        self.ranking = threading.BoundedSemaphore(limits.jobs)
        self._jobs: set[Job] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._root = _private(root or Path(tempfile.gettempdir()) / f"hf-sfda-space-{os.getuid()}")
        _remove_leftovers(self._root)
        name = secrets.token_hex(8)
        self._alive = FileLock(self._root / f"{name}.lock")
        self._alive.acquire()
        self._home = _private(self._root / name)
        if gpu.is_zero_gpu():
            gpu.register()
        atexit.register(self.close)

    def open(self, request: RankRequest, token: str | None = None) -> Job:
        """A job with a private directory; nothing runs yet.

        Args:
            request: What the visitor asks for.
            token: Theirs, if signed in; kept in memory until the job is discarded, and given to
                its own processes alone.

        Raises:
            ConfigError: The request is not allowed; the message is for the visitor.
            JobError: The server is shutting down.
        """
        request.validate(self.limits)
        with self._lock:  # `close` removes what was made before it, and nothing is made after it
            if self._closed:
                raise JobError("The server is shutting down. Try again in a minute.")
            directory = _private(self._home / secrets.token_urlsafe(16))
            for name in ("work", "tmp", "home"):
                _private(directory / name)
            job = Job(self, request, token, directory)
            self._jobs.add(job)
        return job

    @property
    def busy(self) -> bool:
        """Whether any job works, or waits for its turn."""
        with self._lock:
            return any(job.busy for job in self._jobs)

    def sweep(self, older_than: float) -> int:
        """Discard jobs that nobody works on.

        Args:
            older_than: Seconds since they were opened.

        Returns:
            How many.
        """
        now = time.monotonic()
        with self._lock:
            old = [j for j in self._jobs if not j.busy and now - j.created >= older_than]
        for job in old:
            job.discard()
        return len(old)

    def close(self) -> None:
        """Discard everything; this server takes no jobs after that. Again is harmless."""
        atexit.unregister(self.close)
        with self._lock:
            self._closed = True
            jobs = list(self._jobs)
        for job in jobs:
            job.discard()
        shutil.rmtree(self._home, ignore_errors=True)
        if self._alive.is_locked:
            self._alive.release()
            Path(self._alive.lock_file).unlink(missing_ok=True)

    def forget(self, job: Job) -> None:
        """A job was discarded."""
        with self._lock:
            self._jobs.discard(job)


def _failed(error: JobError) -> Event:
    return {"event": "failed", "message": str(error)}


def _death(code: int) -> str:
    if code == -9:
        return (
            "The job was ended by the system, most likely because memory ran out. Take fewer or "
            "smaller models, or fewer samples."
        )
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"The job's process ended unexpectedly ({how}). Try again; the server's log says more."


def _private(path: Path) -> Path:
    """A directory that only this user can enter."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise StoreError(
            f"Cannot make {path} for the jobs' files: {error.strerror or error}. "
            "Point TMPDIR at a disk that can be written."
        ) from error
    if path.is_symlink() or found.st_uid != os.getuid():
        raise StoreError(f"{path} belongs to someone else. Point TMPDIR at a folder of your own.")
    path.chmod(0o700)
    return path


def _remove_leftovers(root: Path) -> None:
    """Remove what servers left that are dead: the kernel let go of their locks."""
    for file in root.glob("*.lock"):
        lock = FileLock(file)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        try:
            shutil.rmtree(root / file.stem, ignore_errors=True)
            file.unlink(missing_ok=True)
        finally:
            lock.release()
