"""Decide which candidates to measure and which measurements to rank: pure functions of lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hf_sfda.leaderboard.record import Measurement
from hf_sfda.leaderboard.settings import Budget
from hf_sfda.types import Candidate

PublishedStatus = tuple[str, str | None, str]
"""(model, commit, status) of a candidate in a published ranking."""


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
