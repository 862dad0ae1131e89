"""The only orchestrator: target, scan, extract, score, rank; a failure becomes a row.

Under ``accelerate launch`` every process runs this code. All of them extract; the main process
alone asks the Hub, scores and speaks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hf_sfda import __version__
from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError, MetricError, StoreError
from hf_sfda.foreign import clean
from hf_sfda.hub import keep_secret, redact
from hf_sfda.journal import Journal, prepare_directory, refuse_other_dataset
from hf_sfda.metrics import get_metric
from hf_sfda.processes import from_main, is_main_process, main_first
from hf_sfda.progress import NoProgress, Progress
from hf_sfda.types import Candidate, ModelRow, Ranking, Status, Target, first_classes
from hf_sfda.versions import library_versions

if TYPE_CHECKING:
    from pathlib import Path

    from accelerate import Accelerator

    from hf_sfda.extract import Extraction
    from hf_sfda.ranking import Scored
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

    Args:
        dataset: Hub id, ``id:config``, image folder, parquet/csv file or ``save_to_disk`` folder.
        models: Hub ids, folders or text files with one a line; ``None`` asks the Hub.
        token: Hub token; by default the one the Hub's own tools would use.
        store: Where features are kept; by default the shared cache.
        progress: Listens to the stages.
        **options: Any other field of :class:`~hf_sfda.config.RankConfig`. With ``out``, the
            ranking is also saved there.

    Returns:
        A row for every candidate, best first, then the skipped and failed ones.

    Raises:
        ConfigError: An option is unknown or holds a value that is not allowed.
        TargetError: The dataset cannot serve as a target.
        ScanError: No candidates were named and the Hub could not be asked.
    """
    names = (models,) if isinstance(models, str) else tuple(models or ())
    config = RankConfig.from_dict({"dataset": dataset, "models": names, **options})
    directory = config.run_directory if config.out else None
    ranking = run(config, token=token, store=store, progress=progress, directory=directory)
    if directory is not None and is_main_process():
        refuse_other_dataset(directory, config.dataset)  # another run may have been faster
        ranking.save(directory)
    return ranking


def run(
    config: RankConfig,
    *,
    token: str | None = None,
    store: FeatureStore | None = None,
    progress: Progress | None = None,
    log: Callable[[str], None] = lambda line: None,
    directory: Path | None = None,
    accelerator: Accelerator | None = None,
    candidates: Sequence[Candidate] | None = None,
    on_extracted: Callable[[Extraction], None] = lambda extraction: None,
) -> Ranking:
    """Run every stage; :func:`rank` and the command line are thin fronts of this.

    Args:
        config: The settings.
        token: Hub token.
        store: Where features are kept.
        progress: Listens to the stages.
        log: Receives one line per stage, for people to read.
        directory: Run directory, for the journal.
        accelerator: Made here if not given.
        candidates: Found before, such as by a plan that was shown; by default they are looked for
            as ``config.models`` says.
        on_extracted: Told of every candidate once, as soon as it has features or cannot have them.

    Returns:
        The ranking. Processes other than the main one return the same ranking.

    Raises:
        SfdaError: As :func:`rank` says, in every process alike.
    """
    from hf_sfda.extract import extract_all, make_accelerator
    from hf_sfda.ranking import assemble
    from hf_sfda.scan import find_candidates
    from hf_sfda.store import FeatureStore
    from hf_sfda.target import target_of

    keep_secret(token)
    check_metrics(config)
    accelerator = accelerator or make_accelerator()
    main = accelerator.is_main_process
    store = store or FeatureStore()
    progress = (progress if main else None) or NoProgress()
    log = log if main else (lambda line: None)
    from_main(accelerator, lambda: prepare_directory(directory, config.dataset))
    journal = Journal(directory if main else None)
    journal.write(
        "started",
        config=config.to_dict(),
        versions=library_versions(),
        processes=accelerator.num_processes,
        device=str(accelerator.device),
    )

    target = main_first(accelerator, lambda: target_of(config, token=token, progress=progress))
    log(describe_target(target))
    journal.write("target", **target.describe())

    if candidates is None:
        candidates = from_main(
            accelerator,
            lambda: find_candidates(
                config.models,
                modality=target.modality,
                top=config.top,
                max_params=config.max_params,
                token=token,
            ),
        )
    log(describe_candidates(candidates))
    journal.write("scan", candidates=len(candidates))

    def extracted(extraction: Extraction) -> None:
        _note(extraction, journal)
        on_extracted(extraction)

    extractions = extract_all(
        [candidate for candidate in candidates if candidate.skip is None],
        target,
        config=config,
        store=store,
        accelerator=accelerator,
        token=token,
        progress=progress,
        on_done=extracted,
    )

    def judge() -> Ranking:
        scored, failed = _score(extractions, target, config, store, progress)
        left_out = [not_ranked(c, c.status, c.skip) for c in candidates if c.skip is not None]
        rows, agreement, warnings = assemble(scored, target.labels, target.class_names, config)
        journal.write("ranked", order=[row.model_id for row in rows])
        rows += [*failed, *sorted(left_out, key=lambda row: row.status != "failed")]
        return make_ranking(config, target, rows, agreement=agreement, warnings=warnings)

    return from_main(accelerator, judge)


def measure(
    candidates: Sequence[Candidate],
    target: Target,
    config: RankConfig,
    *,
    store: FeatureStore | None = None,
    token: str | None = None,
    progress: Progress | None = None,
) -> tuple[list[Scored], list[ModelRow]]:
    """Extract and score in this process, for callers that keep what was measured and order it
    later (:func:`hf_sfda.ranking.assemble`).

    Args:
        candidates: None of them left out by the scan.
        target: The samples.
        config: The settings.
        store: Where features are kept.
        token: Hub token.
        progress: Listens to the stages.

    Returns:
        What was scored, and a row for each candidate that failed.
    """
    from hf_sfda.extract import extract_all
    from hf_sfda.store import FeatureStore

    store = store or FeatureStore()
    progress = progress or NoProgress()
    extractions = extract_all(
        candidates, target, config=config, store=store, token=token, progress=progress
    )
    return _score(extractions, target, config, store, progress)


def make_ranking(
    config: RankConfig,
    target: Target,
    rows: Sequence[ModelRow],
    *,
    agreement: Mapping[str, float],
    warnings: Sequence[str],
) -> Ranking:
    """The document of a run: ordered rows, with how they were got and when."""
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
    # A token pasted in the wrong place must not end in a file that gets published.
    return Ranking.from_dict(json.loads(redact(json.dumps(ranking.to_dict()))))


def check_metrics(config: RankConfig) -> None:
    """Find a mistyped metric before any work is done.

    Raises:
        ConfigError: There is no metric of that name.
    """
    for name in config.metrics:
        try:
            get_metric(name)
        except MetricError as error:
            raise ConfigError(str(error)) from error


def describe_target(target: Target) -> str:
    """One line for a person: which samples of what."""
    revision = f" @ {target.revision[:7]}" if target.revision else ""
    lost = "".join(f" · {count:,} left out: {why}" for why, count in target.left_out.items())
    of = f" of {target.n_available:,}" if target.n_available > len(target) else ""
    return (
        f"Target   {target.dataset_id}{revision} · {target.task.replace('-', ' ')} · "
        f"{target.n_classes} classes · {len(target):,}{of} {target.split} samples "
        f"(stratified, seed {target.seed}) · {clean(target.input_column)} by "
        f"{clean(target.label_column)}: {first_classes(target.class_names)}{lost}"
    )


def describe_candidates(candidates: Sequence[Candidate]) -> str:
    """One line for a person: how many, how much to fetch."""
    kept = [candidate for candidate in candidates if candidate.skip is None]
    size = sum(candidate.download_bytes or 0 for candidate in kept)
    left_out = len(candidates) - len(kept)
    return f"Scan     {len(kept)} candidates · {size / 1e6:,.0f} MB of weights" + (
        f" · {left_out} left out" if left_out else ""
    )


def _score(
    extractions: Sequence[Extraction],
    target: Target,
    config: RankConfig,
    store: FeatureStore,
    progress: Progress,
) -> tuple[list[Scored], list[ModelRow]]:
    """Score what was extracted, with one model's features in memory at a time."""
    scored: list[Scored] = []
    failed: list[ModelRow] = []
    with progress.task("score", "", total=len(extractions), unit="models") as advance:
        for extraction in extractions:
            candidate, reason = extraction.candidate, extraction.error
            if reason is None:
                try:
                    scored.append(_score_one(extraction, target, config, store))
                except (MetricError, StoreError) as error:
                    reason = str(error)
            if reason is not None:
                failed.append(not_ranked(candidate, "failed", reason))
            advance(1)
    return scored, failed


def _score_one(
    extraction: Extraction, target: Target, config: RankConfig, store: FeatureStore
) -> Scored:
    from hf_sfda.ranking import score_candidate

    features = extraction.features or store.get(extraction.key)
    if features is None:
        raise StoreError("its stored features vanished during the run; run the same command again")
    digest = extraction.key.digest
    return score_candidate(
        extraction.candidate, features, target.labels, config, feature_key=digest
    )


def not_ranked(candidate: Candidate, status: Status, reason: str | None) -> ModelRow:
    """The row of a candidate without a score."""
    return ModelRow(
        model_id=candidate.model_id,
        revision=candidate.revision,
        status=status,
        reason=reason,
        params=candidate.params,
        download_bytes=candidate.download_bytes,
        license=candidate.license,
        downloads=candidate.downloads,
        library=candidate.library,
    )


def _note(extraction: Extraction, journal: Journal) -> None:
    name = extraction.candidate.model_id
    if extraction.error is None:
        journal.write("extracted", model=name, cached=extraction.cached)
    else:
        journal.write("failed", model=name, reason=extraction.error)
