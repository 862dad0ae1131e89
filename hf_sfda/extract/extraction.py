"""The result of the extraction of one candidate."""

from __future__ import annotations

from dataclasses import dataclass

from hf_sfda.errors import StoreError
from hf_sfda.store import FeatureKey, FeatureStore
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

    def read(self, store: FeatureStore) -> Features | None:
        """The features, from the store unless they are here; ``None`` if they are in neither.

        Raises:
            StoreError: They are stored, but cannot be read.
        """
        return self.features or store.get(self.key)

    def require(self, store: FeatureStore) -> Features:
        """The features of an extraction that succeeded, as in :meth:`read`.

        Raises:
            StoreError: They cannot be read, or somebody removed them during the run.
        """
        features = self.read(store)
        if features is None:
            raise StoreError(
                "its stored features vanished during the run; run the same command again"
            )
        return features
