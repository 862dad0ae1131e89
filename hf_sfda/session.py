"""What all stages of a run share: the Hub token, the store of features, and the progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from hf_sfda.progress import NoProgress, Progress
from hf_sfda.store import FeatureStore


@dataclass(frozen=True)
class Session:
    """On whose behalf a run works, where it keeps features, and who sees its progress.

    The command line, a job of the Space and :func:`hf_sfda.rank` make one each and hand it down. A
    function that needs the token only takes the token.

    Attributes:
        token: Hub token; ``None`` uses the current login.
        store: The store of extracted features; ``None`` uses the default store.
        progress: Receives the progress of the stages; by default nobody does.
    """

    token: str | None = field(default=None, repr=False)
    store: FeatureStore | None = None
    progress: Progress = field(default_factory=NoProgress)

    @cached_property
    def feature_store(self) -> FeatureStore:
        """``store``, or the default one; its folder is created when it is first asked for.

        Raises:
            StoreError: The folder cannot be created.
        """
        return self.store or FeatureStore()
