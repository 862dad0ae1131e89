"""Run all stages: target, scan, extract, score and rank. A candidate's failure becomes a row.

Under ``accelerate launch`` every process runs this code. All processes extract features; only the
main process queries the Hub, scores and logs.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda.config import CandidateOptions, RankConfig, parse_duration
from hf_sfda.errors import ConfigError, MetricError, StoreError
from hf_sfda.foreign import clean
from hf_sfda.format import joined, megabytes
from hf_sfda.journal import Journal, prepare_directory, refuse_other_dataset
from hf_sfda.metrics import get_metric, list_metrics, require_name
from hf_sfda.processes import from_main, is_launched, is_main_process, main_first
from hf_sfda.progress import NoProgress, Progress, default_progress
from hf_sfda.ranking.measurements import with_measurements
from hf_sfda.secrets import keep_secret, redact
from hf_sfda.session import Session
from hf_sfda.tasks import columns_phrase, label_facts, strata_of
from hf_sfda.types import (
    Candidate,
    LearningCurve,
    ModelRow,
    Ranking,
    RowWarning,
    Scan,
    Status,
    Target,
)
from hf_sfda.versions import __version__, library_versions

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator

    from hf_sfda.extract import Extraction
    from hf_sfda.feature_dataset import FeatureDataset
    from hf_sfda.ranking.assemble import Scored
    from hf_sfda.ranking.cost import Device
    from hf_sfda.ranking.plan import RunPlan, Speed
    from hf_sfda.ranking.race import Race, Round
    from hf_sfda.store import FeatureStore


def rank(
    dataset: str,
    models: str | Sequence[str] | None = None,
    *,
    token: str | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Ranking:
    """Rank checkpoints for a dataset, without fine-tuning.

    Token, store and progress become the :class:`~hf_sfda.session.Session` of the run.

    Args:
        dataset: Hub id, ``id:config``, folder of images or sounds, parquet/csv file or
            ``save_to_disk`` folder.
        models: Hub ids, folders, or text files with one of these per line; ``None`` queries the
            Hub.
        token: Hub token; ``None`` uses the current login.
        store: The store of extracted features; ``None`` uses the default store.
        progress: Receives the progress of the stages. ``None`` shows bars in a notebook or on a
            terminal; :class:`~hf_sfda.progress.NoProgress` shows nothing.
        **options: More fields of :class:`~hf_sfda.config.RankConfig`. With ``out``, the ranking is
            also saved to this directory; see :func:`save_run`.

    Returns:
        The ranking with one row per candidate: the ranked ones, best first, then the failed and
        skipped ones.

    Raises:
        ConfigError: An option is unknown or has a value that is not allowed.
        TargetError: The dataset cannot be loaded or cannot be ranked on.
        ScanError: ``models`` is ``None`` and the query of the Hub failed.
    """
    names = (models,) if isinstance(models, str) else tuple(models or ())
    config = RankConfig.from_dict({"dataset": dataset, "models": names, **options})
    directory = config.run_directory if config.out else None
    session = Session(token, store, progress or default_progress())
    ranking = run(config, session, directory=directory)
    if directory is not None and is_main_process():
        ranking = with_measurements(ranking, directory)
        save_run(ranking, directory)
    return ranking


def save_run(ranking: Ranking, directory: Path) -> bool:
    """Save a ranking to its run directory.

    A run that ranked no model, for example because of a typo, does not replace an earlier ranking.

    Returns:
        Whether it was saved.

    Raises:
        ConfigError: The directory contains a run on another dataset.
        StoreError: It cannot be written.
    """
    from hf_sfda.ranking.runs import read_ranking
    from hf_sfda.report import save_ranking

    # Check again: another run may have written to this directory in the meantime.
    refuse_other_dataset(directory, str(ranking.config["dataset"]))
    if not ranking.ranked:
        with suppress(ConfigError):
            if read_ranking(directory).ranked:
                return False
    save_ranking(ranking, directory)
    return True


def run(
    config: RankConfig,
    session: Session | None = None,
    *,
    log: Callable[[str], None] = lambda line: None,
    directory: Path | None = None,
    accelerator: Accelerator | None = None,
    candidates: Sequence[Candidate] | None = None,
    on_extracted: Callable[[Extraction], None] = lambda extraction: None,
    approve: Callable[[RunPlan], None] = lambda plan: None,
) -> Ranking:
    """Run all stages; :func:`rank` and the command line call this function.

    Args:
        config: The configuration.
        session: Token, feature store and progress.
        log: Receives one line per stage, for people to read.
        directory: Run directory for the journal; ``None`` for no journal.
        accelerator: The processes; created if ``None``.
        candidates: Candidates from an earlier scan; by default the scan runs here, with
            ``config.models``.
        on_extracted: Called once per candidate, as soon as its extraction has succeeded or failed.
        approve: Called in the main process before anything is downloaded; it may raise an error.

    Returns:
        The ranking, in every process.

    Raises:
        SfdaError: The errors of :func:`rank`, in every process.
    """
    from hf_sfda.dataset import target_of
    from hf_sfda.extract import extract_all, make_accelerator
    from hf_sfda.ranking.assemble import assemble
    from hf_sfda.ranking.race import run_race

    session = session or Session()
    keep_secret(session.token)
    check_metrics(config)
    accelerator = accelerator or _launched_processes()
    main = accelerator is None or accelerator.is_main_process
    session = session if main else replace(session, progress=NoProgress())
    store = session.feature_store
    log = log if main else (lambda line: None)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    from_main(accelerator, lambda: prepare_directory(directory, config.dataset))
    journal = Journal(directory if main else None)

    target = main_first(accelerator, lambda: target_of(config, session))
    _log_target(target, log)
    # Only now, because it waits for torch. So a run whose dataset fails leaves no event.
    accelerator = accelerator or make_accelerator()
    journal.write(
        "started",
        time=started,
        config=config.to_dict(),
        versions=library_versions(),
        processes=accelerator.num_processes,
        device=str(accelerator.device),
    )
    config = config_for(config, target)
    journal.write("target", **target.describe())

    shared, config = from_main(accelerator, lambda: _open_features(config, session.token))
    if candidates is None:
        scan = from_main(accelerator, lambda: _scan(config, target, session.token, shared))
    else:
        scan = Scan(tuple(candidates))
    scan = _shard_of(scan, config)
    log(describe_candidates(scan.candidates))
    journal.write("scan", candidates=len(scan.candidates))

    def check_plan() -> None:
        plan = _plan(scan, target, config, store, accelerator, shared=shared)
        if plan.download_bytes or plan.n_unknown or scan.rejected:
            for line in plan.lines:
                log(line)
        approve(plan)

    from_main(accelerator, check_plan)
    if shared is not None:
        copy = partial(shared.copy_missing, scan, target, config, session)
        scan = from_main(accelerator, copy)

    def extracted(extraction: Extraction) -> None:
        _write_to_journal(extraction, journal)
        on_extracted(extraction)

    deadline = _deadline(config)
    usable = _in_order([c for c in scan.candidates if c.skip is None], config)
    race = run_race(
        usable,
        target,
        config,
        session=session,
        accelerator=accelerator,
        on_round=lambda round_: _tell(round_, log, journal),
        deadline=deadline,
    )
    extractions = extract_all(
        race.survivors,
        target,
        config=config,
        session=session,
        accelerator=accelerator,
        on_done=extracted,
        deadline=deadline,
        known=race.known,
    )

    def finalize() -> Ranking:
        scored, failed = _score(extractions, target, config, session)
        left_out = [
            ModelRow.of(c, c.status, reason=c.skip) for c in scan.candidates if c.skip is not None
        ]
        rows, agreement, warnings = assemble(
            scored, target.labels, target.class_names, config, target.task
        )
        journal.write("ranked", order=[row.model_id for row in rows])
        rows = [_naming_represented(row, scan) for row in rows]
        failed += race.rows
        rows += sorted([*failed, *left_out], key=lambda row: row.status != "failed")
        warnings += _about_limits(race, extractions, config)
        curve = None
        if config.learning_curve:
            try:
                curve = _learning_curve(scored, extractions, target, config, session)
            except MetricError as error:
                warnings.append(f"There is no learning curve: {error}")
        warnings += shared.warnings([e.key for e in extractions]) if shared else []
        ranking = make_ranking(config, target, rows, agreement=agreement, warnings=warnings)
        return replace(ranking, learning_curve=curve)

    return from_main(accelerator, finalize)


def plan(
    config: RankConfig,
    session: Session | None = None,
    *,
    log: Callable[[str], None] = lambda line: None,
) -> RunPlan:
    """Plan a run: read the sample, scan, and run a few batches of a candidate that is here.

    No weights are downloaded and nothing is written but the cache of the dataset.

    Args:
        config: The configuration.
        session: Token, feature store and progress.
        log: Receives one line per stage, for people to read.

    Raises:
        SfdaError: The errors of :func:`rank`.
    """
    from hf_sfda.dataset import target_of
    from hf_sfda.extract import make_accelerator
    from hf_sfda.ranking.plan import calibrate, usable

    session = session or Session()
    keep_secret(session.token)
    check_metrics(config)
    store = session.feature_store
    target = target_of(config, session)
    _log_target(target, log)
    accelerator = make_accelerator()
    config = config_for(config, target)
    shared, config = _open_features(config, session.token)
    scan = _shard_of(_scan(config, target, session.token, shared), config)
    log(describe_candidates(scan.candidates))
    speed = calibrate(usable(scan), target, config, store, accelerator)
    return _plan(scan, target, config, store, accelerator, speed, shared)


def _launched_processes() -> Accelerator | None:
    """The processes of a launcher; ``None`` without one: then torch need not be imported yet."""
    from hf_sfda.extract import make_accelerator

    return make_accelerator() if is_launched() else None


def _deadline(config: RankConfig) -> float | None:
    """The time after which no candidate is started, as ``time.monotonic`` has it."""
    seconds = parse_duration(config.time_budget)
    return None if seconds is None else time.monotonic() + seconds


def _in_order(candidates: Sequence[Candidate], config: RankConfig) -> list[Candidate]:
    """With a time budget: cached candidates first, then small ones."""
    from hf_sfda.hub import cached_model

    if config.time_budget is None:
        return list(candidates)

    def cost(candidate: Candidate) -> tuple[bool, float]:
        here = candidate.path is not None or cached_model(candidate) is not None
        return not here, candidate.params or math.inf

    return sorted(candidates, key=cost)


def _tell(round_: Round, log: Callable[[str], None], journal: Journal) -> None:
    log(
        f"Race     {round_.samples:,} samples · {round_.models} models · "
        f"{len(round_.dropped)} dropped"
    )
    journal.write("race", **asdict(round_))


def _about_limits(race: Race, extractions: Sequence[Extraction], config: RankConfig) -> list[str]:
    """Warnings: which models are missing because of the race or the time budget."""
    late = sum(extraction.late for extraction in extractions)
    late += race.late
    warnings = [text] if (text := race.warning(config.keep)) else []
    if late:
        warnings.append(
            f"{late} models were not reached within {config.time_budget}. The same command goes "
            "on with them: what was extracted is stored."
        )
    return warnings


def _shard_of(scan: Scan, config: RankConfig) -> Scan:
    """The candidates of this job: those left out are divided, too, so that none is lost."""
    return replace(scan, candidates=scan.candidates[config.shard :: config.shards])


def _open_features(
    config: RankConfig, token: str | None
) -> tuple[FeatureDataset | None, RankConfig]:
    """The features dataset of the user, if any, and the configuration with its commit."""
    from hf_sfda.feature_dataset import open_features

    if config.features is None:
        return None, config
    shared = open_features(config.features, token)
    return shared, config.replace(features=shared.name)


def _scan(
    config: RankConfig, target: Target, token: str | None, shared: FeatureDataset | None
) -> Scan:
    from hf_sfda.scan import scan_candidates

    if shared is not None and not config.models:
        used = [k for k, v in config.candidate_options.items() if v != getattr(CandidateOptions, k)]
        if used:
            raise ConfigError(
                f"{joined(used)} chooses among models of the Hub, and --features without --models "
                f"takes all that {shared.repo.id} has. Leave one of them out."
            )
        return Scan(tuple(shared.candidates(target, config)))
    about = (target.dataset_id, *target.class_names)
    return scan_candidates(
        config.models, config, modality=target.modality, token=token, about=about
    )


def _plan(
    scan: Scan,
    target: Target,
    config: RankConfig,
    store: FeatureStore,
    accelerator: Accelerator,
    speed: Speed | None = None,
    shared: FeatureDataset | None = None,
) -> RunPlan:
    from hf_sfda.ranking.plan import known_speed, plan_run

    device: Device = "cpu" if accelerator.device.type == "cpu" else "gpu"
    speed = speed or known_speed(store, target.modality, config.dtype)
    arriving = {row.feature_key: row.bytes for row in shared.rows} if shared else {}
    return plan_run(scan, target, config, store, device, speed, arriving)


def measure(
    candidates: Sequence[Candidate],
    target: Target,
    config: RankConfig,
    session: Session,
) -> tuple[list[Scored], list[ModelRow]]:
    """Extract and score candidates in this process, without ranking them.

    The caller stores the results and ranks them with :func:`hf_sfda.ranking.assemble.assemble`.

    Args:
        candidates: Candidates that the scan did not skip.
        target: The samples.
        config: The configuration.
        session: Token, feature store and progress.

    Returns:
        The scored candidates, and one row for each candidate that failed.
    """
    from hf_sfda.extract import extract_all

    extractions = extract_all(candidates, target, config=config, session=session)
    return _score(extractions, target, config, session)


def make_ranking(
    config: RankConfig,
    target: Target,
    rows: Sequence[ModelRow],
    *,
    agreement: Mapping[str, float],
    warnings: Sequence[str],
) -> Ranking:
    """Make the ranking of a run from its ordered rows; add configuration, versions and time."""
    ranking = Ranking(
        config=config.to_dict() | {"fingerprint": config.fingerprint()},
        dataset=target.describe(),
        rows=tuple(rows),
        warnings=(*target.warnings, *warnings),
        agreement=agreement,
        tool_version=__version__,
        versions=library_versions(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    # Mask tokens that the user pasted into an option: the file may be published.
    return Ranking.from_dict(json.loads(redact(json.dumps(ranking.to_dict()))))


def config_for(config: RankConfig, target: Target) -> RankConfig:
    """The configuration with metrics for the labels of a target.

    Raises:
        ConfigError: The user chose a metric that does not score such labels.
    """
    config = config.for_labels(target.label_kind)
    unfit = [n for n in config.metrics if target.label_kind not in get_metric(n).tasks]
    if unfit:
        allowed = [entry.name for entry in list_metrics() if target.label_kind in entry.tasks]
        raise ConfigError(
            f"{joined(unfit)} cannot score {target.label_kind} labels; these can: "
            f"{joined(allowed)}. Choose among them with --metric and --metrics."
        )
    _check_race(config)
    return config


def _check_race(config: RankConfig) -> None:
    # Only what is asked for: a metric imports torch.
    if config.race and not get_metric(config.metric).held_out:
        able = [entry.name for entry in list_metrics() if entry.held_out]
        raise ConfigError(
            f"{config.metric} does not score held-out samples one by one, so it cannot be raced. "
            f"Sort by one of {joined(able)} (--metric), or leave out --race."
        )


def check_metrics(config: RankConfig) -> None:
    """Check the names of the metrics before any work is done.

    Raises:
        ConfigError: A metric does not exist, or the one that sorts has no learning curve.
    """
    for name in config.metrics:
        try:
            require_name(name)
        except MetricError as error:
            raise ConfigError(str(error)) from error
    _check_race(config)
    if config.learning_curve and not get_metric(config.metric).scores_samples:
        raise ConfigError(
            f"{config.metric} does not score each model on its own by the samples, so it has no "
            "learning curve. Sort by another metric, or leave out --learning-curve."
        )


def describe_target(target: Target) -> str:
    """Describe the dataset and its sample in one line."""
    revision = f" @ {target.revision[:7]}" if target.revision else ""
    lost = "".join(f" · {count:,} left out: {why}" for why, count in target.left_out.items())
    of = f" of {target.n_available:,}" if target.n_available > len(target) else ""
    facts = target.describe()
    return (
        f"Target   {target.dataset_id}{revision} · {' · '.join(label_facts(facts))} · "
        f"{len(target):,}{of} {target.split} samples (stratified, seed {target.seed}) · "
        f"{clean(columns_phrase(facts))}{lost}"
    )


def _log_target(target: Target, log: Callable[[str], None]) -> None:
    """Say what was read, and what was assumed: it is cheap to correct before the run."""
    log(describe_target(target))
    for warning in target.warnings:
        log(f"         {clean(warning)}")


def describe_candidates(candidates: Sequence[Candidate]) -> str:
    """Describe the number of candidates and the size of their weights in one line."""
    usable = [candidate for candidate in candidates if candidate.skip is None]
    size = sum(candidate.download_bytes or 0 for candidate in usable)
    left_out = len(candidates) - len(usable)
    return f"Scan     {len(usable)} candidates · {megabytes(size)} MB of weights" + (
        f" · {left_out} left out" if left_out else ""
    )


def _naming_represented(row: ModelRow, scan: Scan) -> ModelRow:
    """The row with the names of the models that it stands for."""
    from hf_sfda.scan import describe_represented

    if not (others := describe_represented(scan, row.model_id)):
        return row
    return replace(row, warnings=(*row.warnings, RowWarning(None, others)))


def _score(
    extractions: Sequence[Extraction],
    target: Target,
    config: RankConfig,
    session: Session,
) -> tuple[list[Scored], list[ModelRow]]:
    """Score the extracted candidates, with the features of one candidate in memory at a time."""
    scored: list[Scored] = []
    failed: list[ModelRow] = []
    with session.progress.task("score", "", total=len(extractions), unit="models") as advance:
        for extraction in extractions:
            candidate, reason = extraction.candidate, extraction.error
            if reason is None:
                try:
                    scored.append(_score_one(extraction, target, config, session.feature_store))
                except (MetricError, StoreError) as error:
                    reason = str(error)
            if reason is not None:
                status: Status = "skipped" if extraction.late else "failed"
                failed.append(ModelRow.of(candidate, status, reason=reason))
            advance(1)
    return scored, failed


def _score_one(
    extraction: Extraction, target: Target, config: RankConfig, store: FeatureStore
) -> Scored:
    from hf_sfda.ranking.assemble import score_candidate

    features, digest = extraction.require(store), extraction.key.digest
    return score_candidate(
        extraction.candidate, features, target.labels, config, feature_key=digest
    )


def _learning_curve(
    scored: Sequence[Scored],
    extractions: Sequence[Extraction],
    target: Target,
    config: RankConfig,
    session: Session,
) -> LearningCurve:
    """Score the ranked models on smaller samples.

    Raises:
        MetricError: The sample cannot be divided, or there is only one model.
    """
    from hf_sfda.ranking.assemble import score_subsets
    from hf_sfda.uncertainty import disjoint_samples, learning_curve

    if len(scored) < 2:
        raise MetricError("It needs two ranked models.")
    samples = disjoint_samples(strata_of(target.labels), seed=config.seed)
    subsets = [half for pairs in samples.values() for pair in pairs for half in pair]
    extracted = {id(extraction.candidate): extraction for extraction in extractions}
    scores = []
    total = len(scored)
    with session.progress.task("score", "learning curve", total=total, unit="models") as advance:
        for model in scored:
            try:
                features = extracted[id(model.candidate)].require(session.feature_store)
                scores.append(score_subsets(features, target.labels, subsets, config))
            except StoreError:
                scores.append(np.full(len(subsets), np.nan))
            advance(1)
    repeats = len(subsets) // (2 * len(samples))
    return learning_curve(
        list(samples),
        np.stack(scores, axis=-1).reshape(len(samples), repeats, 2, len(scored)),
        np.array([model.scores[config.metric].value for model in scored]),
    )


def _write_to_journal(extraction: Extraction, journal: Journal) -> None:
    name = extraction.candidate.model_id
    if extraction.error is None:
        journal.write("extracted", model=name, cached=extraction.cached, passes=extraction.passes)
    else:
        journal.write("failed", model=name, reason=extraction.error)
