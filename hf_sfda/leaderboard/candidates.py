"""The candidates of each dataset of a leaderboard, and what an update does with them.

A *snapshot* has the current samples and candidates. A *decision* compares the candidates with the
measurements: which to measure, and which measurements to rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError, PublishError, ScanError, TargetError
from hf_sfda.foreign import bounded
from hf_sfda.hub import explain, retry_read
from hf_sfda.hub.access import Account, Repo, is_private
from hf_sfda.leaderboard.settings import Budget
from hf_sfda.leaderboard.state import (
    Measurement,
    PublishedStatus,
    State,
    dataset_folder,
    pool_folder,
)
from hf_sfda.session import Session
from hf_sfda.types import Candidate, Target

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True, eq=False)
class DatasetSnapshot:
    """The current samples and candidates of one dataset.

    Attributes:
        config: The settings of the ranking.
        target: The samples.
        folder: The folder of the pool that these samples and settings belong to.
        candidates: Each model once; skipped ones have a reason.
    """

    config: RankConfig
    target: Target
    folder: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Decision:
    """What an update does with the candidates of one dataset.

    Attributes:
        new: Candidates without a measurement in this pool, in their original order.
        changed: Candidates that were measured at another commit than their current one. Until they
            are measured again, their published measurement stays in the pool.
        pool: The measurements to rank, sorted by model.
        failed: The failed measurements, sorted by model.
        excluded: Candidates that were in the pool, or are named in the settings, but cannot be
            measured: deleted, gated or too large.
    """

    new: tuple[Candidate, ...]
    changed: tuple[Candidate, ...]
    pool: tuple[Measurement, ...]
    failed: tuple[Measurement, ...]
    excluded: tuple[Candidate, ...]

    @property
    def pending(self) -> tuple[Candidate, ...]:
        """The candidates to measure; those with an outdated published score come first."""
        return (*self.changed, *self.new)

    @property
    def statuses(self) -> frozenset[PublishedStatus]:
        """The status that a ranking would publish for each candidate."""
        return frozenset(
            [(m.model, m.sha, "ok") for m in self.pool]
            + [(m.model, m.sha, "failed") for m in self.failed]
            + [(c.model_id, c.revision, c.status) for c in self.excluded]
        )


@dataclass(frozen=True, eq=False)
class DatasetUpdate:
    """The part of an update that concerns one dataset.

    Attributes:
        snapshot: The dataset's current samples and candidates.
        decision: What to do with the candidates.
        measure: The candidates that this update measures: the pending ones within the budget.
    """

    snapshot: DatasetSnapshot
    decision: Decision
    measure: tuple[Candidate, ...]

    @property
    def later(self) -> int:
        """Number of pending candidates that wait for the next update."""
        return len(self.decision.pending) - len(self.measure)


def plan_datasets(
    api: HfApi, me: Account, state: State, token: str | None
) -> tuple[list[DatasetUpdate], list[str]]:
    """Plan the update of every dataset, within the budget.

    Returns:
        The updates, and a warning for each dataset that cannot be loaded.

    Raises:
        TargetError: None of the datasets can be loaded.
    """
    from hf_sfda.pipeline import check_metrics

    updates: list[DatasetUpdate] = []
    warnings: list[str] = []
    budget: Budget | None = state.settings.budget
    for config in state.settings.targets:
        check_metrics(config)
        try:
            snapshot = take_snapshot(api, me, state, config, token)
        except (ConfigError, TargetError) as error:
            if len(state.settings.targets) == 1:
                raise
            warnings.append(f"{config.dataset} is left as it is: {error}")
            continue
        check_hub_target(snapshot.target)
        decision = decide_for(state, snapshot, state.measurements)
        measure: tuple[Candidate, ...] = ()
        if budget is not None:
            measure, budget = within_budget(decision.pending, budget)
        updates.append(DatasetUpdate(snapshot, decision, measure))
    if not updates:
        raise TargetError(bounded(" ".join(warnings)))
    return updates, warnings


def decide_for(
    state: State, snapshot: DatasetSnapshot, measurements: Sequence[Measurement]
) -> Decision:
    """Call :func:`decide` for one dataset of a leaderboard.

    Args:
        state: The leaderboard.
        snapshot: The dataset.
        measurements: All measurements, of all pools.
    """
    return decide(
        snapshot.candidates,
        [m for m in measurements if m.folder == snapshot.folder],
        state.published(snapshot.folder),
        named=bool(state.settings.models),
    )


def take_snapshot(
    api: HfApi, me: Account, state: State, config: RankConfig, token: str | None
) -> DatasetSnapshot:
    """Load the samples of a dataset and find its candidates.

    If the settings name no models, the Hub is queried. The query may no longer return a model that
    was measured earlier, so such models are also looked up by name: a model stays in the pool
    until it is deleted.

    Raises:
        TargetError: The dataset cannot be loaded or cannot be ranked on.
        ConfigError: A metric of the settings does not score such labels.
        ScanError: The candidates cannot be listed.
        PublishError: It is unknown whether a model of the pool still exists.
    """
    from hf_sfda.dataset import target_of
    from hf_sfda.pipeline import config_for
    from hf_sfda.scan import find_candidates

    target = target_of(config, Session(token))
    config = config_for(config, target)
    settings = state.settings
    prefix = f"{dataset_folder(config)}/"
    measured = sorted({m.model for m in state.measurements if m.folder.startswith(prefix)})
    candidates: list[Candidate] = []
    names: Sequence[str] = settings.models
    if not names:
        candidates = find_candidates(
            modality=target.modality, token=token, **settings.candidate_options
        )
        candidates = _without_private(api, me, state.repo, candidates)
        listed = {candidate.model_id for candidate in candidates}
        names = [model for model in measured if model not in listed]
    if names:
        candidates += find_candidates(
            names,
            modality=target.modality,
            max_params=settings.candidate_options["max_params"],
            token=token,
        )
    revisions = dict(model.split("@", 1) for model in settings.models if "@" in model)
    unique: dict[str, Candidate] = {}
    for candidate in candidates:
        unique.setdefault(candidate.model_id, candidate)
    for candidate in unique.values():
        if candidate.source == "local":
            raise ScanError(
                f"{candidate.model_id} is also a folder here, and that would be measured instead "
                "of the model on the Hub. Run the update from another directory."
            )
        if candidate.model_id in measured:
            _check_availability(api, candidate, revisions.get(candidate.model_id))
    return DatasetSnapshot(config, target, pool_folder(target, config), tuple(unique.values()))


def check_hub_target(target: Target) -> None:
    """Check that a dataset is on the Hub and not local, so that others can load the same samples.

    Raises:
        PublishError: The dataset is a local folder or file.
    """
    if target.revision is None:
        raise PublishError(
            f"{target.dataset_id} is also a folder or file here, and that would be measured. Run "
            "the update from another directory."
        )


def decide(
    candidates: Sequence[Candidate],
    measurements: Iterable[Measurement],
    published: Iterable[PublishedStatus],
    *,
    named: bool,
) -> Decision:
    """Compare the current candidates with the measurements of a pool.

    Args:
        candidates: The current candidates, each model once.
        measurements: The measurements of this pool.
        published: The statuses in the newest published ranking of this pool.
        named: Whether the settings name the candidates. Then every candidate appears in the
            decision, also those that were skipped.
    """
    records: dict[str, dict[str, Measurement]] = {}
    for measurement in measurements:
        records.setdefault(measurement.model, {})[measurement.sha] = measurement
    published_sha = {model: sha for model, sha, status in published if status == "ok" and sha}
    current_models = {candidate.model_id for candidate in candidates}
    excluded = [
        Candidate(model, skip="no longer named in leaderboard.yaml")
        for model in records
        if model not in current_models
    ]
    new: list[Candidate] = []
    changed: list[Candidate] = []
    pool: list[Measurement] = []
    failed: list[Measurement] = []
    for candidate in candidates:
        measured = records.get(candidate.model_id, {})
        current = measured.get(candidate.revision or "")
        if candidate.skip is not None:
            if named or measured:
                excluded.append(candidate)
        elif current is not None:
            (pool if current.ok else failed).append(current)
        elif not measured:
            new.append(candidate)
        else:
            changed.append(candidate)
            older = measured.get(published_sha.get(candidate.model_id, ""))
            if older is not None and older.ok:
                pool.append(older)
    return Decision(
        new=tuple(new),
        changed=tuple(changed),
        pool=tuple(sorted(pool, key=lambda m: m.model)),
        failed=tuple(sorted(failed, key=lambda m: m.model)),
        excluded=tuple(sorted(excluded, key=lambda c: c.model_id)),
    )


def within_budget(
    pending: Sequence[Candidate], budget: Budget
) -> tuple[tuple[Candidate, ...], Budget | None]:
    """Select the candidates that fit into a budget, in their order.

    A candidate with more parameters than the budget has left is skipped; the next update tries it
    first.

    Returns:
        The selected candidates, and the rest of the budget; ``None`` if nothing is left.
    """
    selected: list[Candidate] = []
    params_left = budget.params
    for candidate in pending:
        if len(selected) == budget.candidates:
            break
        cost = candidate.params or 0
        if params_left is not None and cost > params_left:
            continue
        params_left = None if params_left is None else params_left - cost
        selected.append(candidate)
    candidates_left = budget.candidates - len(selected)
    if candidates_left < 1 or (params_left is not None and params_left < 1):
        return tuple(selected), None
    return tuple(selected), replace(budget, candidates=candidates_left, params=params_left)


def _check_availability(api: HfApi, candidate: Candidate, revision: str | None) -> None:
    """Check why a model of the pool is skipped: it was deleted, or only the request failed.

    Raises:
        PublishError: The model may still exist, so it must not be removed from the pool.
    """
    from huggingface_hub.errors import (
        DisabledRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if candidate.skip is None or candidate.revision is not None:
        return
    try:
        retry_read(api.model_info, candidate.model_id, revision=revision)
    except (RepositoryNotFoundError, RevisionNotFoundError, DisabledRepoError):
        return
    except Exception as error:  # transport and HTTP errors of several libraries
        raise PublishError(
            f"Cannot tell what became of {candidate.model_id}: {explain(error)}. "
            "Nothing was changed; run the same command again."
        ) from error
    raise PublishError(
        f"Cannot tell what became of {candidate.model_id}: {candidate.skip}. "
        "Nothing was changed; run the same command again."
    )


def _without_private(
    api: HfApi, me: Account, results: Repo, candidates: list[Candidate]
) -> list[Candidate]:
    """Remove our private models, unless the leaderboard is private, too.

    A query with our token also returns our private models. A public leaderboard must not name them.
    """
    ours = [candidate for candidate in candidates if me.owns(Repo(candidate.model_id))]
    if not ours or is_private(api, results):
        return candidates
    private = {c.model_id for c in ours if is_private(api, Repo(c.model_id))}
    return [candidate for candidate in candidates if candidate.model_id not in private]
