"""The track record of a results dataset: its hit rate, in numbers and in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from hf_sfda.format import interval, joined, points
from hf_sfda.publish.hits import HitRate, Verdict, hit_rate, over_time, verdicts
from hf_sfda.publish.row_files import Row


@dataclass(frozen=True)
class TrackRecord:
    """How good the first picks of all leaderboards of a results dataset were.

    Attributes:
        verdicts: All predictions that measured accuracies can be compared with, oldest first.
        rate: The hit rate over datasets; ``None`` if no first pick was measured.
        over_time: The hit rate at each date at which it changed.
    """

    verdicts: tuple[Verdict, ...]
    rate: HitRate | None
    over_time: tuple[tuple[date, HitRate], ...]

    def of(self, split: tuple[str, str, str]) -> tuple[Verdict, ...]:
        """The verdicts on one dataset, its configuration and split, oldest first."""
        return tuple(v for v in self.verdicts if v.prediction.split == split)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return {
            "hit_rate": asdict(self.rate) if self.rate else None,
            "over_time": [
                {"date": day.isoformat(), **asdict(rate)} for day, rate in self.over_time
            ],
            "summary": summary(self),
        }


def track_record(scores: Iterable[Row], finetuning: Iterable[Row]) -> TrackRecord | None:
    """The track record; ``None`` if there is nothing to compare the predictions with."""
    scores, finetuning = list(scores), list(finetuning)
    found = verdicts(scores, finetuning)
    if not found:
        return None
    return TrackRecord(tuple(found), hit_rate(found), tuple(over_time(scores, finetuning)))


def summary(record: TrackRecord) -> list[str]:
    """The hit rate in sentences, with its denominator, its interval and its limits."""
    rate = record.rate
    if rate is None:
        n = len({verdict.prediction.split for verdict in record.verdicts})
        return [f"Models were fine-tuned on {_datasets(n)}, but no first pick was among them."]
    sentences = [
        f"The first pick was the best of the fine-tuned models on {rate.hits} of "
        f"{_datasets(rate.judged)} (95% {interval((rate.low, rate.high))}). Picks at random among "
        f"these models are expected to be the best on {rate.by_chance:.1f}.",
        f"The first pick cost {points(rate.regret)} of {_measures(record)} on average.",
    ]
    if misses := rate.judged - rate.hits:
        sentences.append(
            f"Misses within the noise of the test samples: {rate.within_noise} of {misses}."
        )
    if rate.not_measured:
        sentences.append(
            f"On {_datasets(rate.not_measured)} more, models were fine-tuned but not the first "
            "pick; they do not count."
        )
    sentences.append("Models that were not fine-tuned may be better than the best of these.")
    return sentences


def of_dataset(found: Iterable[Verdict]) -> str:
    """In how many updates of one dataset the first pick was the best; empty if none is judged."""
    judged = [verdict for verdict in found if verdict.regret is not None]
    if not judged:
        return ""
    hits, n = sum(verdict.is_hit for verdict in judged), len(judged)
    updates = "update" if n == 1 else "updates"
    return f"The first pick was the best of the fine-tuned models in {hits} of {n} {updates}."


def _measures(record: TrackRecord) -> str:
    """What the judged models are measured by: ``accuracy``, or ``F1 and R²``."""
    judged = {verdict.measure for verdict in record.verdicts if verdict.regret is not None}
    return joined(sorted(judged, key=("accuracy", "F1", "R²").index))


def _datasets(n: int) -> str:
    return f"{n} dataset{'s' * (n != 1)}"
