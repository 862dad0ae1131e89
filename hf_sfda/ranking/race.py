"""Racing: candidates that cannot be among the first are dropped on small samples.

All candidates run over a small stratified sample. Those that are significantly worse than ``keep``
others are dropped; the sample doubles, up to half of the whole; the rest run over the whole sample.
Samples are nested, and no sample runs twice through a network with the same statistics: a round
extracts what is new in it, and the whole sample what no round had.

The test compares two candidates on the same samples, sample by sample: a one-sided t test of the
mean difference of their contributions to the score. A candidate is dropped when ``keep`` others
pass this test against it. Why the first ``keep`` of M candidates are safe, for tests of level a:

1. Let a candidate be number i of the truly best, i <= keep. ``i - 1`` others are better. If it is
   dropped, ``keep`` others passed, so at least ``keep - i + 1`` of the ``M - i`` that are not
   better passed by the noise.
2. Each of these passes with a probability of at most a, so at most ``(M - i) a`` pass on average.
   ``keep - i + 1`` or more pass with a probability of at most ``(M - i) a / (keep - i + 1)``
   (Markov).
3. The sum of this over i = 1 ... keep bounds the probability that a round drops any of them. Each
   round gets a share of :data:`ALPHA` in proportion to its size, and a is chosen such that the sum
   is that share (:func:`levels`). So the probability that any round drops any of them is at most
   :data:`ALPHA`.

No step assumes that tests, candidates or rounds are independent. Plain Bonferroni would give each
of ``rounds * keep * (M - 1)`` tests the same share; it ignores that number one is only dropped if
``keep`` tests are wrong at once. Late rounds get more: what is clearly worse is dropped early at
any level, and what a late round drops saves most.

"The first" are those by the expected score on samples of the size of the round. A candidate that
needs many samples to show its worth, such as one with many dimensions, can be dropped although it
would be among the first on the whole sample: the test does not control this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hf_sfda.config import RankConfig
from hf_sfda.dataset.sample import part_of
from hf_sfda.errors import MetricError, StoreError
from hf_sfda.extract import Extraction, extract_all
from hf_sfda.extract.job import LATE
from hf_sfda.extract.known import Known, joined_features
from hf_sfda.extract.run import feature_key
from hf_sfda.format import score as show_score
from hf_sfda.processes import from_main
from hf_sfda.ranking.assemble import contributions_of, features_of
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore
from hf_sfda.tasks import strata_of
from hf_sfda.types import Candidate, Features, IntArray, ModelRow, Status, Target

if TYPE_CHECKING:
    from accelerate import Accelerator

ALPHA = 0.05
"""Largest probability that one of the first candidates is dropped by the noise of the samples."""

_FEWEST, _PER_CLASS, _MOST_ROUNDS = 64, 8, 4
"""The first round has at least 64 samples and eight a class."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Round:
    """One round of a race.

    Attributes:
        samples: Size of its sample.
        models: Number of candidates that ran.
        dropped: Ids of those that were dropped after it.
        passes: Samples that ran through a network in it, summed over candidates.
    """

    samples: int
    models: int
    dropped: tuple[str, ...]
    passes: int


@dataclass(frozen=True)
class Race:
    """The result of a race.

    Attributes:
        survivors: The candidates that are left, the best first.
        rows: Rows of the others: dropped, failed, or not reached in time.
        rounds: What happened.
        known: The features that the rounds left of each survivor.
        late: Number of candidates that were not reached in time.
    """

    survivors: tuple[Candidate, ...]
    rows: tuple[ModelRow, ...] = ()
    rounds: tuple[Round, ...] = ()
    known: Mapping[Candidate, Known] = field(default_factory=dict)
    late: int = 0

    def warning(self, keep: int) -> str:
        """What was dropped, for the ranking; empty if nothing was.

        Args:
            keep: Number of first candidates that the race must not lose.
        """
        dropped = sum(len(round_.dropped) for round_ in self.rounds)
        if not dropped:
            return ""
        models = "1 model" if dropped == 1 else f"{dropped} models"
        sizes = ", ".join(f"{len(r.dropped)} on {r.samples:,} samples" for r in self.rounds)
        first = "the first model" if keep == 1 else f"one of the first {keep} models"
        return (
            f"The race dropped {models} ({sizes}). The noise of these samples drops {first} with a "
            f"probability of at most {ALPHA:g}. A model that needs more samples than others may be "
            "dropped, too."
        )


def round_sizes(n_samples: int, n_strata: int) -> tuple[int, ...]:
    """Sizes of the samples of the rounds, each twice the one before, up to half of all samples.

    They are chosen from the last one down, so that the last one is half of the sample (less a few,
    because the first size is a whole number).

    Args:
        n_samples: Size of the whole sample.
        n_strata: Number of classes, or of slices of a regression.

    Returns:
        The sizes; none if the sample is too small to save anything.

    Example:
        >>> round_sizes(2000, 10), round_sizes(1268, 9), round_sizes(200, 40)
        ((125, 250, 500, 1000), (79, 158, 316, 632), ())
    """
    smallest = max(_FEWEST, _PER_CLASS * n_strata)
    rounds = min(_MOST_ROUNDS, max(n_samples // smallest, 1).bit_length() - 1)
    return tuple((n_samples >> rounds) << number for number in range(rounds))


def levels(sizes: Sequence[int], n_candidates: int, keep: int) -> tuple[float, ...]:
    """Level of each single test of each round, see the text of this module.

    Args:
        sizes: Sizes of the rounds.
        n_candidates: Number of candidates at the start, M.
        keep: Number of candidates to keep.

    Example:
        >>> [f"{level:.1e}" for level in levels((100, 200), 10, 3)]
        ['1.1e-03', '2.2e-03']
    """
    first = range(1, min(keep, n_candidates - 1) + 1)
    wrong = sum((n_candidates - i) / (keep - i + 1) for i in first)
    return tuple(ALPHA * size / sum(sizes) / max(wrong, 1.0) for size in sizes)


def nested_order(strata: IntArray, seed: int) -> IntArray:
    """An order of all samples in which each beginning is stratified.

    The members of each stratum are shuffled and spread evenly over the order.

    Args:
        strata: (N,) class or stratum of each sample.
        seed: Random seed.

    Returns:
        (N,) positions.
    """
    random = np.random.default_rng(seed)
    place = np.empty(len(strata))
    for stratum in np.unique(strata):
        members = random.permutation(np.flatnonzero(strata == stratum))
        place[members] = (np.arange(len(members)) + random.uniform()) / len(members)
    order: IntArray = np.argsort(place, kind="stable")
    return order


def hopeless(contributions: FloatArray, keep: int, alpha: float) -> npt.NDArray[np.bool_]:
    """Which candidates are significantly worse than ``keep`` others.

    Args:
        contributions: (M, N) contributions of N samples to the scores of M candidates.
        keep: Number of candidates to keep.
        alpha: Level of each one-sided paired t test.

    Returns:
        (M,) bool.
    """
    from scipy.special import stdtrit

    n = contributions.shape[1]
    if len(contributions) <= keep:
        return np.zeros(len(contributions), dtype=bool)
    means = contributions.mean(1)
    covariance = np.cov(contributions)
    spread = np.diag(covariance)
    variance = spread[:, None] + spread[None, :] - 2 * covariance
    # Few samples on which two candidates agree say little about how much they differ elsewhere.
    scale = float(np.ptp(contributions)) or 1.0
    variance = np.maximum(variance, scale**2 / n)
    lead = means[:, None] - means[None, :]  # of the row over the column
    better = lead > stdtrit(n - 1, 1 - alpha) * np.sqrt(variance / n)
    worse: npt.NDArray[np.bool_] = better.sum(0) >= keep
    return worse


@dataclass
class _Racer:
    """A candidate that is still in the race.

    Attributes:
        candidate: The candidate.
        whole: Its extraction of the whole sample, if it is stored.
        known: The extractions of the rounds so far, if not.
    """

    candidate: Candidate
    whole: Extraction | None
    known: Known = field(default_factory=Known)

    def features(self, rows: IntArray, store: FeatureStore) -> Features:
        """Its features of the first samples of the race.

        Args:
            rows: Their positions in the whole sample.
            store: The feature store.

        Raises:
            StoreError: They cannot be read.
        """
        if self.whole is not None:
            return replace(features_of(self.whole.require(store), rows), measured={})
        return joined_features([part.require(store) for part in self.known.extractions])


def run_race(
    candidates: Sequence[Candidate],
    target: Target,
    config: RankConfig,
    *,
    session: Session,
    accelerator: Accelerator,
    on_round: Callable[[Round], None],
    deadline: float | None = None,
) -> Race:
    """Run the rounds of a race, if one is wanted; called in every process of a launch.

    Only published statistics of batch norms are used, so that the features of the rounds add up.

    Args:
        candidates: The candidates, in the order in which they are to run.
        target: The samples.
        config: ``race``, ``keep``, ``metric``, ``seed`` and the options of the extraction.
        session: Token, feature store and progress.
        accelerator: The processes.
        on_round: Called after each round.
        deadline: Time of ``time.monotonic`` after which no candidate is started.

    """
    if not config.race:
        return Race(tuple(candidates))
    strata = strata_of(target.labels)
    order, sizes = nested_order(strata, config.seed), round_sizes(len(target), len(set(strata)))
    quick = config.replace(batch_norms="published", permutations=0)
    store = session.feature_store
    racers = from_main(accelerator, lambda: _line_up(candidates, target, config, store))
    rows: list[ModelRow] = []
    rounds: list[Round] = []
    start = 0
    for size, alpha in zip(sizes, levels(sizes, len(candidates), config.keep), strict=True):
        if len(racers) <= config.keep:
            break
        new = order[start:size]
        running = [racer for racer in racers if racer.whole is None]
        extractions = extract_all(
            [racer.candidate for racer in running],
            part_of(target, new.tolist()),
            config=quick,
            session=session,
            accelerator=accelerator,
            deadline=deadline,
        )
        for racer, extraction in zip(running, extractions, strict=True):
            racer.known = racer.known.with_part(new, extraction)
        judge = partial(_judge, racers, order[:size], target, quick, store, alpha)
        kept, lost = from_main(accelerator, judge)
        n_racers = len(racers)
        racers = [racers[index] for index in kept]
        rows += lost
        dropped = tuple(r.model_id for r in lost if r.status == "skipped" and r.reason != LATE)
        passes = sum(extraction.passes for extraction in extractions)
        rounds.append(Round(size, n_racers, dropped, passes))
        on_round(rounds[-1])
        start = size
    survivors = tuple(racer.candidate for racer in racers)
    late = sum(row.reason == LATE for row in rows)
    known = {racer.candidate: racer.known for racer in racers if racer.whole is None}
    return Race(survivors, tuple(rows), tuple(rounds), known, late)


def _line_up(
    candidates: Sequence[Candidate], target: Target, config: RankConfig, store: FeatureStore
) -> list[_Racer]:
    whole = [Extraction(c, feature_key(c, target, config), cached=True) for c in candidates]
    return [_Racer(e.candidate, e if store.has(e.key) else None) for e in whole]


def _judge(
    racers: Sequence[_Racer],
    samples: IntArray,
    target: Target,
    config: RankConfig,
    store: FeatureStore,
    alpha: float,
) -> tuple[list[int], list[ModelRow]]:
    """The indices of those that stay, best first, and the rows of those that do not."""
    rows: list[ModelRow] = []
    scored: list[tuple[int, FloatArray]] = []
    labels, size = target.labels[samples], len(samples)
    for index, racer in enumerate(racers):
        last = racer.known.extractions[-1] if racer.known.extractions else None
        reason = last.error if last else None
        if reason is None:
            try:
                features = racer.features(samples, store)
                scored.append((index, contributions_of(features, labels, config)))
            except (MetricError, StoreError) as error:
                reason = str(error)
        if reason is not None:
            status: Status = "skipped" if last and last.late else "failed"
            rows.append(ModelRow.of(racer.candidate, status, reason=reason))
    stacked = np.array([values for _, values in scored]).reshape(len(scored), size)
    worse = hopeless(stacked, config.keep, alpha)
    means = np.array([values.mean() for _, values in scored])
    kept = [scored[i][0] for i in np.argsort(-means, kind="stable") if not worse[i]]
    limit = np.sort(means)[-config.keep] if len(means) >= config.keep else math.nan
    for (index, _), mean, is_worse in zip(scored, means, worse, strict=True):
        if is_worse:
            reason = (
                f"dropped by the race after {size:,} samples: {config.metric} "
                f"{show_score(float(mean))}, where number {config.keep} had "
                f"{show_score(float(limit))}"
            )
            rows.append(ModelRow.of(racers[index].candidate, "skipped", reason=reason))
    return kept, rows
