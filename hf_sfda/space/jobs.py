"""Visitors' jobs. Each step is a child process, which can be killed without harm to other jobs.

``Jobs.open`` checks a request and creates a private directory. ``Job.plan`` estimates what the
ranking needs, ``Job.rank`` runs it and reports the progress, and ``Job.discard`` removes all files.
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
from hf_sfda.format import show_seconds
from hf_sfda.ranking.cost import Device
from hf_sfda.space import gpu
from hf_sfda.space.child import Child, environment
from hf_sfda.space.events import TICK, Event, JobState, apply
from hf_sfda.space.plan import JobPlan
from hf_sfda.space.requests import RankRequest, command
from hf_sfda.space.settings import Limits
from hf_sfda.space.worker import WorkerInput

if TYPE_CHECKING:
    from hf_sfda.compare import Comparison
    from hf_sfda.space.samples import Preview
    from hf_sfda.types import Ranking, Target

logger = logging.getLogger(__name__)

LISTED = 8
"""Samples that a comparison lists for either model."""

_CANCELLED = "Cancelled."
_HEARTBEAT = 1.0  # seconds; gradio notices a closed connection only when it sends something


class Job:
    """One visitor's request, from the plan to the result. Created by :meth:`Jobs.open`.

    ``cancel`` and ``discard`` may be called from any thread; ``plan`` and ``rank`` must be called
    one after the other. A cancelled job cannot be started again.

    Attributes:
        request: The visitor's request.
        directory: The job's private directory. Its random name protects it, so it must not be shown
            to anybody.
        created: Time of creation, on the clock of ``time.monotonic``.
        planned: The result of :meth:`plan`; ``None`` before it was called.
    """

    def __init__(
        self, jobs: Jobs, request: RankRequest, token: str | None, directory: Path
    ) -> None:
        self.request = request
        self.directory = directory
        self.created = time.monotonic()
        self._jobs = jobs
        self._token = token or None
        self.planned: JobPlan | None = None
        self._child: Child | None = None
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._steps = 0  # number of steps that are running or waiting

    def __repr__(self) -> str:
        return f"<Job {self.directory.name[:4]}>"  # for logs: no token and not the full name

    @property
    def command(self) -> str:
        """The command that repeats this ranking."""
        return command(self.request, self._jobs.limits)

    @property
    def run_directory(self) -> Path:
        """The directory with ``ranking.json``, ``report.html`` and the run's other files."""
        return self.directory / "run"

    @property
    def busy(self) -> bool:
        """Whether a step is running or waiting."""
        return self._steps > 0

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called."""
        return self._cancelled.is_set()

    @property
    def stderr_tail(self) -> str:
        """The end of the latest process's stderr, for the log; do not show it to visitors."""
        return self._child.stderr_tail if self._child is not None else ""

    def plan(self) -> JobPlan:
        """Draw the sample and find the candidates, without downloading weights.

        Raises:
            JobError: The request cannot be fulfilled; the message tells the visitor why.
        """
        self.planned = JobPlan.from_dict(self._ask("plan")["plan"])
        return self.planned

    def rank(self) -> Iterator[JobState]:
        """Run the ranking; make the plan first if there is none.

        Yields:
            The state after each change, at most five times a second, and once a second without
            changes. The last state is ``over``. Closing the iterator cancels the job.
        """
        start = time.monotonic()
        state, last_yield, changed = JobState(), start, False

        def timed() -> JobState:
            return replace(state, seconds=time.monotonic() - start)

        yield timed()
        self._steps += 1
        try:
            with closing(self._ranking()) as events:
                for event in events:
                    if event is not None:
                        state, changed = apply(state, event), True
                    if state.over:
                        break
                    if time.monotonic() - last_yield >= (TICK if changed else _HEARTBEAT):
                        last_yield, changed = time.monotonic(), False
                        yield timed()
        except JobError as error:
            failed = {"event": "failed", "message": str(error)}
            state = apply(state, {"event": "cancelled"} if self.cancelled else failed)
        except GeneratorExit:
            self.cancel()
            raise
        finally:
            self._steps -= 1
        yield timed()

    def sample(self, ranking: Ranking) -> Target:
        """Load the samples of a ranking on the dataset of this job.

        Args:
            ranking: The ranking; its rows are not used.

        Raises:
            JobError: The samples cannot be loaded; the message tells the visitor why.
        """
        from hf_sfda.space.samples import read_target

        self._ask("sample", ranking=replace(ranking, rows=()).to_dict())
        return read_target(self.directory)

    def compare(
        self, first: str, second: str, *, metric: str
    ) -> tuple[Comparison, dict[int, Preview]]:
        """Compare two models of the finished ranking.

        Args:
            first: Name of one model.
            second: Name of the other model.
            metric: The metric to compare by.

        Returns:
            The comparison, and previews of its samples by index.

        Raises:
            JobError: The comparison failed; the message tells the visitor why.
        """
        from hf_sfda.compare import Comparison

        event = self._ask("compare", first=first, second=second, metric=metric, top=LISTED)
        previews = {int(index): preview for index, preview in event["previews"].items()}
        return Comparison.from_dict(event["comparison"]), previews

    def ensemble(self, *, size: int, criterion: str) -> dict[str, Any]:
        """Select an ensemble among the models of the finished ranking.

        Args:
            size: The largest number of models to select.
            criterion: Objective to maximize, see :func:`hf_sfda.ensemble.select_ensemble`.

        Returns:
            The document of :meth:`hf_sfda.ensemble.Ensemble.to_dict`.

        Raises:
            JobError: The selection failed; the message tells the visitor why.
        """
        return dict(self._ask("ensemble", size=size, criterion=criterion)["ensemble"])

    def cancel(self) -> None:
        """Kill the running step and wait until it has ended. May be called several times."""
        with self._lock:
            self._cancelled.set()
            child = self._child
        if child is not None:
            child.kill()

    def discard(self) -> None:
        """Cancel the job and remove its files. May be called several times."""
        self.cancel()
        self._token = None
        self._jobs.forget(self)
        shutil.rmtree(self.directory, ignore_errors=True)

    # -- steps

    def run(
        self, verb: str, deadline: float, **arguments: Any
    ) -> Generator[Event | None, None, None]:
        """Run a step in a child process.

        Args:
            verb: Name of the step, a verb of :mod:`hf_sfda.space.worker`.
            deadline: End of the step's time, on the clock of ``time.monotonic``.
            **arguments: More arguments of the step.

        Yields:
            The events of the process; ``None`` regularly while there are none.

        Raises:
            JobError: The step failed, crashed, ran out of time or was cancelled.
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
                raise JobError(_crash_message(code))
        except JobError as error:
            if not self.cancelled:
                logger.warning("%r: %s failed: %s\n%s", self, verb, error, child.stderr_tail)
            raise
        finally:
            child.kill()

    def work(self) -> WorkerInput:
        """The input of a child process of this job, without the token."""
        device: Device | None = "gpu" if gpu.is_zero_gpu() else None
        return WorkerInput(
            self.request, self._jobs.limits, self.directory, device, None, lambda event: None
        )

    def _ask(self, verb: str, **arguments: Any) -> Event:
        """Run a step and return its last event, which is its result."""
        if self.cancelled:
            raise JobError("This job is over and its files are gone. Show the plan again.")
        steps = self._ask_stepwise(verb, **arguments)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: Event = end.value
                return result

    def _ask_stepwise(self, verb: str, **arguments: Any) -> Generator[None, None, Event]:
        """Like :meth:`_ask`, but a generator that yields regularly, so that it can be closed."""
        result: Event | None = None
        self._steps += 1
        try:
            yield from self._wait_for_slot(self._jobs.planning)
            try:
                with closing(self.run(verb, self._deadline(), **arguments)) as events:
                    for event in events:
                        result = event or result
                        yield None
            finally:
                self._jobs.planning.release()
        finally:
            self._steps -= 1
        if result is None:
            raise JobError("The job ended without a result. Try again.")
        return result

    def _ranking(self) -> Generator[Event | None, None, None]:
        if self.planned is None:
            event = yield from self._ask_stepwise("plan")
            self.planned = JobPlan.from_dict(event["plan"])
        yield {"event": "candidates", "rows": self.planned.rows}
        yield {"event": "stage", "stage": "queued"}
        yield from self._wait_for_slot(self._jobs.ranking)
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
        with self._lock:  # so that `cancel` sees either no child or this one
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

    def _wait_for_slot(self, slots: threading.Semaphore) -> Iterator[None]:
        """Wait for a free slot; the caller must release it."""
        while not slots.acquire(timeout=TICK):
            if self.cancelled:
                raise JobError(_CANCELLED)
            yield None

    def _deadline(self) -> float:
        return time.monotonic() + self._jobs.limits.seconds

    @property
    def too_long(self) -> str:
        """The message for a job that ran out of time."""
        return (
            f"Stopped after {show_seconds(self._jobs.limits.seconds)}, the most a job may take "
            "here. Take fewer or smaller models, or fewer samples, or run the command on your own "
            "machine."
        )


class Jobs:
    """All jobs of this server.

    At most ``limits.jobs`` plans and ``limits.jobs`` rankings run at a time, so a plan never waits
    for a ranking.

    Args:
        limits: What a job may use.
        root: Folder for the jobs' directories; by default a private temporary folder. Directories
            that servers left there when they crashed are removed.

    Raises:
        StoreError: ``root`` is not writable, or belongs to another user.
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
        """Create a job with a private directory, without running anything.

        Args:
            request: The visitor's request.
            token: The visitor's token, if signed in. It is kept in memory until the job is
                discarded, and passed to the job's own processes only.

        Raises:
            ConfigError: The request is not allowed; the message tells the visitor why.
            JobError: The server is shutting down.
        """
        request.validate(self.limits)
        with self._lock:  # no directory may be created after `close` has removed them all
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
        """Whether any job is running or waiting."""
        with self._lock:
            return any(job.busy for job in self._jobs)

    def sweep(self, older_than: float) -> int:
        """Discard idle jobs.

        Args:
            older_than: Smallest age of a job in seconds.

        Returns:
            Number of discarded jobs.
        """
        now = time.monotonic()
        with self._lock:
            old = [j for j in self._jobs if not j.busy and now - j.created >= older_than]
        for job in old:
            job.discard()
        return len(old)

    def close(self) -> None:
        """Discard all jobs and accept no new ones. May be called several times."""
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
        """Remove a discarded job from the list of jobs."""
        with self._lock:
            self._jobs.discard(job)


def _crash_message(code: int) -> str:
    if code == -9:
        return (
            "The job was ended by the system, most likely because memory ran out. Take fewer or "
            "smaller models, or fewer samples."
        )
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"The job's process ended unexpectedly ({how}). Try again; the server's log says more."


def _private(path: Path) -> Path:
    """Create a directory that only this user can enter.

    Raises:
        StoreError: It cannot be created, or belongs to another user.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        stat = path.lstat()
    except OSError as error:
        raise StoreError(
            f"Cannot make {path} for the jobs' files: {error.strerror or error}. "
            "Point TMPDIR at a disk that can be written."
        ) from error
    if path.is_symlink() or stat.st_uid != os.getuid():
        raise StoreError(f"{path} belongs to someone else. Point TMPDIR at a folder of your own.")
    path.chmod(0o700)
    return path


def _remove_leftovers(root: Path) -> None:
    """Remove the directories of dead servers, which hold no lock any more."""
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
