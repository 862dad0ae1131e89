"""Features of some samples that are stored already, so that only the other samples are run.

A race leaves them: its rounds are samples of the target. Their batches were others than those of an
extraction of all samples, so the features differ by rounding, as they do with another batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from hf_sfda.extract.extraction import Extraction
from hf_sfda.extract.features import Part
from hf_sfda.types import Features, IntArray

if TYPE_CHECKING:
    from hf_sfda.store import FeatureStore


@dataclass(frozen=True, eq=False)
class Known:
    """Where the features of some samples of a candidate are, with published batch norms.

    Attributes:
        rows: Positions in the target of the samples of each extraction.
        extractions: Extractions of these samples.
    """

    rows: tuple[IntArray, ...] = ()
    extractions: tuple[Extraction, ...] = ()

    def with_part(self, rows: IntArray, extraction: Extraction) -> Known:
        """These and the features of more samples.

        Args:
            rows: Positions in the target of the samples.
            extraction: Their extraction.
        """
        return Known((*self.rows, rows), (*self.extractions, extraction))

    def parts(self, store: FeatureStore) -> list[Part]:
        """The features, one part an extraction; extractions that cannot be read are left out.

        Raises:
            StoreError: A file exists but cannot be read.
        """
        parts = []
        for rows, extraction in zip(self.rows, self.extractions, strict=True):
            features = extraction.read(store)
            if features is not None:
                parts.append(_part_of(features, rows))
        return parts


def _part_of(features: Features, rows: IntArray) -> Part:
    return Part(
        ids=rows,
        layers=features.layers,
        logits=features.source_logits,
        seconds=features.seconds,
        pooling=features.meta.get("pooling", ""),
    )


def ids_of(parts: Sequence[Part]) -> frozenset[int]:
    """Positions of the samples of some parts."""
    return frozenset(int(i) for part in parts for i in part.ids)


def joined_features(parts: Sequence[Features]) -> Features:
    """The features of several samples of a target, one after the other."""
    # A final layer that equals "last" is dropped, and on few samples it may look equal by chance.
    names = [name for name in parts[0].layers if all(name in part.layers for part in parts)]
    logits = [part.source_logits for part in parts if part.source_logits is not None]
    return replace(
        parts[0],
        layers={name: np.concatenate([part.layers[name] for part in parts]) for name in names},
        measured={},
        source_logits=np.concatenate(logits) if len(logits) == len(parts) else None,
    )
