"""Who is measured now, who later, who makes up the pool, who is out: pure functions of lists."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hf_sfda.leaderboard.record import Known
from hf_sfda.leaderboard.settings import Budget
from hf_sfda.types import Candidate

Standing = tuple[str, str | None, str]
"""(model, commit, status): what a published row says about a candidate."""


@dataclass(frozen=True)
class Decision:
    """What is to be made of the candidates of one dataset.

    Attributes:
        new: Never measured in this pool, in the order of the candidates.
        changed: Measured at another commit than today's. Until they are measured again the pool
            holds what was published of them.
        pool: The measurements that are ranked, ordered by model.
        failed: The candidates that were tried and did not work, ordered by model.
        out: Once in the pool or named, and not to be measured: gone, gated, too large.
    """

    new: tuple[Candidate, ...]
    changed: tuple[Candidate, ...]
    pool: tuple[Known, ...]
    failed: tuple[Known, ...]
    out: tuple[Candidate, ...]

    @property
    def pending(self) -> tuple[Candidate, ...]:
        """What there is to measure: first those whose published number is out of date."""
        return (*self.changed, *self.new)

    @property
    def standings(self) -> frozenset[Standing]:
        """What would be published of them."""
        return frozenset(
            [(one.model, one.sha, "ok") for one in self.pool]
            + [(one.model, one.sha, "failed") for one in self.failed]
            + [(one.model_id, one.revision, one.status) for one in self.out]
        )


def decide(
    candidates: Sequence[Candidate],
    known: Iterable[Known],
    published: Iterable[Standing],
    *,
    named: bool,
) -> Decision:
    """Hold today's candidates against what the repository knows of this pool.

    Args:
        candidates: Of today, each model once.
        known: The measurements of this pool.
        published: The standings of the newest published ranking of this pool.
        named: The settings name the candidates; each is then answered for, also those left out.
    """
    records: dict[str, dict[str, Known]] = {}
    for one in known:
        records.setdefault(one.model, {})[one.sha] = one
    before = {model: sha for model, sha, status in published if status == "ok" and sha}
    today = {candidate.model_id for candidate in candidates}
    gone = [
        Candidate(model, skip="no longer named in leaderboard.yaml")
        for model in records
        if model not in today
    ]
    new: list[Candidate] = []
    changed: list[Candidate] = []
    out = list(gone)
    pool: list[Known] = []
    failed: list[Known] = []
    for candidate in candidates:
        measured = records.get(candidate.model_id, {})
        current = measured.get(candidate.revision or "")
        if candidate.skip is not None:
            if named or measured:
                out.append(candidate)
        elif current is not None:
            (pool if current.ok else failed).append(current)
        elif not measured:
            new.append(candidate)
        else:
            changed.append(candidate)
            older = measured.get(before.get(candidate.model_id, ""))
            if older is not None and older.ok:
                pool.append(older)
    return Decision(
        new=tuple(new),
        changed=tuple(changed),
        pool=tuple(sorted(pool, key=lambda one: one.model)),
        failed=tuple(sorted(failed, key=lambda one: one.model)),
        out=tuple(sorted(out, key=lambda one: one.model_id)),
    )


def afford(
    pending: Sequence[Candidate], budget: Budget
) -> tuple[tuple[Candidate, ...], Budget | None]:
    """The first of ``pending`` that a budget pays for, and what remains of it.

    A model too large for what remains is passed over, and comes first in the next update.

    Returns:
        The candidates; the rest of the budget, ``None`` if nothing is left.
    """
    taken: list[Candidate] = []
    rest = budget.params
    for candidate in pending:
        if len(taken) == budget.candidates:
            break
        cost = candidate.params or 0
        if rest is not None and cost > rest:
            continue
        rest = None if rest is None else rest - cost
        taken.append(candidate)
    left = budget.candidates - len(taken)
    if left < 1 or (rest is not None and rest < 1):
        return tuple(taken), None
    return tuple(taken), replace(budget, candidates=left, params=rest)
