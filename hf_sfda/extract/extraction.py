"""The result of the extraction of one candidate."""

from __future__ import annotations

from dataclasses import dataclass

from hf_sfda.store import FeatureKey
from hf_sfda.types import Candidate, Features


@dataclass(frozen=True, eq=False)
class Extraction:
    """The result of the extraction of one candidate.

    Attributes:
        candidate: The checkpoint.
        key: Key of its features in the store.
        cached: Whether the features were in the store before this run.
        error: Why there are no features; ``None`` on success.
        features: The features themselves, only if they could not be stored.
        late: Whether there are none because the time was up.
        passes: Samples that ran through the network; 0 if it failed, and if another candidate with
            the same content ran in its place.
    """

    candidate: Candidate
    key: FeatureKey
    cached: bool = False
    error: str | None = None
    features: Features | None = None
    late: bool = False
    passes: int = 0
