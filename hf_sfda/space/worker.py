"""The child process of a visitor's job: ``python -m hf_sfda.space.worker VERB``, see ``_VERBS``.

It reads one line of JSON from stdin (the request) and writes events to stdout, one JSON object per
line. The visitor's token, if there is one, is passed only in the environment variable ``HF_TOKEN``.
The working directory contains nothing but the data of an upload, so a name that a visitor types
cannot refer to another file.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from hf_sfda.config import RankConfig
from hf_sfda.errors import JobError, SfdaError
from hf_sfda.foreign import bounded, read_json_file
from hf_sfda.format import show_bytes
from hf_sfda.hub import cached_model, explain
from hf_sfda.ranking.cost import Device, ModelLoad, estimate
from hf_sfda.secrets import keep_secret, redact
from hf_sfda.session import Session
from hf_sfda.space.events import EventProgress, Sink, json_lines
from hf_sfda.space.plan import (
    JobPlan,
    PlannedModel,
    check_time,
    describe_labels,
    no_candidates_message,
    skip_large_downloads,
)
from hf_sfda.space.requests import RankRequest
from hf_sfda.space.settings import Limits
from hf_sfda.types import Candidate, Ranking, Target

if TYPE_CHECKING:
    from hf_sfda.extract import Extraction

CANDIDATES = "candidates.json"
"""File in the job's directory with the planned candidates, for the next steps."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerInput:
    """The input of one child process.

    Attributes:
        request: The visitor's request.
        limits: The limits of the Space.
        directory: Directory of the job; its subfolder ``work`` is the working directory.
        device: The device that the models will run on; ``None`` if the process must find out.
        token: The visitor's token.
        sink: Receives the events.
        arguments: More arguments of the step.
    """

    request: RankRequest
    limits: Limits
    directory: Path
    device: Device | None
    token: str | None
    sink: Sink
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """The folder with the data of an upload."""
        return self.directory / "work"

    @property
    def run_directory(self) -> Path:
        """The folder for the files of the run."""
        return self.directory / "run"

    @property
    def config(self) -> RankConfig:
        """The configuration of the run."""
        return self.request.to_config(self.place, self.limits)

    def message(self) -> dict[str, Any]:
        """The input as a JSON document, without the token."""
        return {
            "request": self.request.to_dict(),
            "limits": asdict(self.limits),
            "directory": str(self.directory),
            "device": self.device,
            "arguments": dict(self.arguments),
        }

    @classmethod
    def from_message(
        cls, values: Mapping[str, Any], *, token: str | None, sink: Sink
    ) -> WorkerInput:
        """Parse a document that :meth:`message` wrote."""
        return cls(
            request=RankRequest.from_dict(values["request"]),
            limits=Limits(**values["limits"]),
            directory=Path(values["directory"]),
            device=values["device"],
            token=token,
            sink=sink,
            arguments=values["arguments"],
        )


# -- the steps


def plan(work: WorkerInput) -> None:
    """Unpack the upload, draw the sample, find the candidates, and estimate the ranking's cost."""
    if work.request.upload is not None and not any(work.place.iterdir()):
        from hf_sfda.space.uploads import unpack

        name = work.request.upload_name
        unpack(work.request.upload, work.place, work.limits, name=name)
    target, spent = _target(work)
    candidates = _candidates(work, target, spent)
    write_candidates(work.directory, candidates)
    planned = _planned(work, target, candidates)
    work.sink({"event": "candidates", "rows": planned.rows})
    check_time(planned, work.limits)
    work.sink({"event": "planned", "plan": planned.to_dict()})


def fetch(work: WorkerInput) -> None:
    """Download the sample and the weights, for the process on the GPU."""
    from hf_sfda.space.samples import write_target
    from hf_sfda.store import FeatureStore

    target, spent = _target(work)
    write_target(target, work.directory)
    session = _session(work, spent)
    fetched = [_fetched(work, c, session) for c in read_candidates(work.directory)]
    write_candidates(work.directory, fetched)
    work.sink({"event": "fetched", "store": str(FeatureStore().root)})


def rank(work: WorkerInput) -> None:
    """Rank the planned candidates and save the run."""
    from hf_sfda.pipeline import run
    from hf_sfda.report import save_ranking

    ranking = run(
        work.config,
        _session(work, spent=_data_size(work)),
        log=lambda line: work.sink({"event": "log", "text": line}),
        directory=work.run_directory,
        # Drop the local path, so that the ranking shows the candidates as Hub models.
        candidates=[replace(c, path=None) for c in read_candidates(work.directory)],
        on_extracted=lambda extraction: extracted(work.sink, extraction),
    )
    save_ranking(ranking, work.run_directory)
    work.sink({"event": "ranked", "ranking": ranking.to_dict()})


def sample(work: WorkerInput) -> None:
    """Load the samples of an existing ranking, for the server."""
    from hf_sfda.ranking.runs import load_ranked_target
    from hf_sfda.space.samples import write_target

    ranking = Ranking.from_dict(work.arguments["ranking"])
    write_target(load_ranked_target(ranking, Session(work.token)), work.directory)
    work.sink({"event": "sampled"})


def compare(work: WorkerInput) -> None:
    """Compare two models of the finished ranking; add previews of the samples."""
    from hf_sfda.compare import compare_for_ranking
    from hf_sfda.ranking.runs import load_ranked_target, read_ranking
    from hf_sfda.space.samples import previews

    ranking = read_ranking(work.run_directory)
    target = load_ranked_target(ranking, Session(work.token))
    comparison = compare_for_ranking(ranking, target=target, **work.arguments)
    samples = previews(target, (sample.index for sample in comparison.samples))
    work.sink({"event": "compared", "comparison": comparison.to_dict(), "previews": samples})


def ensemble(work: WorkerInput) -> None:
    """Select an ensemble among the models of the finished ranking."""
    from hf_sfda.ensemble import select_for_run

    session = Session(work.token)
    selection = select_for_run(work.run_directory, session=session, **work.arguments)
    work.sink({"event": "chosen", "ensemble": selection.to_dict()})


def extracted(sink: Sink, extraction: Extraction) -> None:
    """Send the outcome of a candidate's extraction as an event."""
    model, reason = extraction.candidate.model_id, extraction.error
    sink({"event": "extracted", "model": model, "reason": reason, "cached": extraction.cached})


def read_candidates(directory: Path) -> list[Candidate]:
    """Read the candidates that :func:`write_candidates` wrote.

    Args:
        directory: Directory of the job.
    """
    rows = read_json_file(directory / CANDIDATES)
    return [
        Candidate(**{**row, "path": Path(row["path"]) if row["path"] else None}) for row in rows
    ]


def write_candidates(directory: Path, candidates: Sequence[Candidate]) -> None:
    """Write the candidates for the next steps.

    Args:
        directory: Directory of the job.
        candidates: The candidates. Some have a folder with their files, or a reason to be skipped.
    """
    rows = [asdict(c) | {"path": str(c.path) if c.path else None} for c in candidates]
    text = redact(json.dumps(rows))
    (directory / CANDIDATES).write_text(text, encoding="utf-8")


# -- parts of the steps


def _data_size(work: WorkerInput) -> int:
    """Size of a Hub dataset in bytes; 0 for an upload.

    Raises:
        JobError: The dataset is larger than a job may download.
    """
    if work.request.dataset is None:
        return 0
    from hf_sfda.dataset import download_size

    size = download_size(
        work.request.dataset,
        revision=work.config.revision,
        split=work.config.split,
        samples=work.config.samples,
        token=work.token,
    )
    size = size or 0
    if size > work.limits.download_bytes:
        raise JobError(
            f"{work.request.dataset} has {show_bytes(size)} of data files; a job here may download "
            f"{show_bytes(work.limits.download_bytes)} in all. Choose a smaller configuration "
            "(org/name:config), or use the command line."
        )
    return size


def _target(work: WorkerInput) -> tuple[Target, int]:
    from hf_sfda.dataset import target_of

    size = _data_size(work)
    return target_of(work.config, _session(work, size)), size


def _candidates(work: WorkerInput, target: Target, spent: int) -> list[Candidate]:
    from hf_sfda.scan import find_candidates

    work.sink({"event": "stage", "stage": "models"})
    config = work.config
    candidates = find_candidates(
        config.models,
        modality=target.modality,
        top=config.top,
        max_params=config.max_params,
        token=work.token,
    )
    cached = [cached_model(candidate) is not None for candidate in candidates]
    limit = work.limits.download_bytes
    candidates = skip_large_downloads(candidates, cached, limit=limit, spent=spent)
    if all(candidate.skip for candidate in candidates):
        raise JobError(no_candidates_message(candidates))
    return candidates


def _planned(work: WorkerInput, target: Target, candidates: list[Candidate]) -> JobPlan:
    from hf_sfda.extract.run import feature_key
    from hf_sfda.store import FeatureStore

    store, config = FeatureStore(), work.config
    here = [cached_model(candidate) is not None for candidate in candidates]
    loads = [
        ModelLoad(
            params=candidate.params or 0,
            fetch=0 if cached else candidate.download_bytes or 0,
            extracted=store.has(feature_key(candidate, target, config)),
        )
        for candidate, cached in zip(candidates, here, strict=True)
        if candidate.skip is None
    ]
    device = work.device or _device()
    cores = len(os.sched_getaffinity(0))
    return JobPlan(
        dataset=target.dataset_id,
        revision=target.revision,
        split=target.split,
        modality=target.modality,
        input_column=target.input_column,
        label_column=target.label_column,
        labels=describe_labels(target),
        n_samples=len(target),
        n_available=target.n_available,
        class_names=target.class_names,
        left_out=target.left_out,
        models=tuple(
            PlannedModel(
                model=c.model_id,
                revision=c.revision,
                params=c.params,
                download_bytes=c.download_bytes,
                here=cached,
                skip=c.skip,
                status=c.status,
            )
            for c, cached in zip(candidates, here, strict=True)
        ),
        download_bytes=sum(load.fetch for load in loads if not load.extracted),
        seconds=estimate(
            loads, samples=len(target), modality=target.modality, device=device, cores=cores
        ),
        device=device,
    )


def _fetched(work: WorkerInput, candidate: Candidate, session: Session) -> Candidate:
    """Download a candidate; return it with its folder, or with the reason of the failure."""
    from hf_sfda.hub import download_model

    if candidate.skip is not None:
        return candidate
    try:
        folder = download_model(candidate, session)
    except SfdaError as error:
        failure = replace(candidate, skip=redact(str(error)), status="failed")
        model, reason = candidate.model_id, failure.skip
        work.sink({"event": "extracted", "model": model, "reason": reason, "cached": False})
        return failure
    return replace(candidate, path=folder)


def _session(work: WorkerInput, spent: int) -> Session:
    """The visitor's token; progress becomes events, and a download over the limit an error."""
    progress = EventProgress(work.sink, limit=work.limits.download_bytes - spent)
    return Session(work.token, progress=progress)


def _device() -> Device:
    """``gpu`` if the driver has created a device file; importing torch would take seconds."""
    return "gpu" if any(Path("/dev").glob("nvidia[0-9]*")) else "cpu"


# -- the process


_VERBS: Mapping[str, Callable[[WorkerInput], None]] = {
    "plan": plan,
    "fetch": fetch,
    "rank": rank,
    "sample": sample,
    "compare": compare,
    "ensemble": ensemble,
}


def main() -> None:
    """Run the step that the first argument names. A failure is an event, not an exit code."""
    sink = json_lines(_own_stdout())
    # Read one line only. Then stdin stays open until the server ends.
    with os.fdopen(0, "rb", buffering=0, closefd=False) as stdin:
        message = json.loads(stdin.readline())
    threading.Thread(target=exit_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    limit_resources(Limits(**message["limits"]))
    run_step(sys.argv[1], message, token=os.environ.get("HF_TOKEN") or None, sink=sink)


def run_step(verb: str, message: Mapping[str, Any], *, token: str | None, sink: Sink) -> None:
    """Run a step in this process. A failure becomes the event ``failed``.

    Args:
        verb: Name of the step, a key of ``_VERBS``.
        message: The document of :meth:`WorkerInput.message`.
        token: The visitor's token.
        sink: Receives the events.
    """
    keep_secret(token)
    try:
        _VERBS[verb](WorkerInput.from_message(message, token=token, sink=sink))
    except SfdaError as error:
        sink({"event": "failed", "message": bounded(str(error))})
    except Exception as error:
        logger.exception("%s failed", verb)
        sink({"event": "failed", "message": f"An unexpected error: {explain(error)}."})


def _own_stdout() -> IO[str]:
    """Return the real stdout for events, and redirect all other output to stderr."""
    sys.stdout.flush()
    events_file = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events_file


def exit_with_parent() -> None:
    """Wait until the server ends, then kill this process and its process group.

    The server holds the other end of stdin, so reading returns when the server has ended.
    """
    while os.read(0, 4096):
        pass
    if os.getsid(0) == os.getpid():  # started by the server, not by hand
        os.killpg(0, signal.SIGKILL)


def limit_resources(limits: Limits) -> None:
    """Limit what this process takes from the server.

    It gets a lower priority, is the first to be killed if memory runs out, and cannot write a file
    that is larger than all downloads.
    """
    os.nice(5)
    try:
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    except OSError:
        logger.info("No /proc/self/oom_score_adj here.")
    # For example, a small archive may contain a huge file.
    size = max(limits.download_bytes, limits.unpacked_bytes)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard)
    )


if __name__ == "__main__":
    main()
