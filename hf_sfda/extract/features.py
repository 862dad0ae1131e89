"""Merge the parts of an extraction by sample id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from hf_sfda.errors import ExtractionError
from hf_sfda.types import Features, IntArray

Array = npt.NDArray[np.float32]

# Largest relative difference of equal layers. Two ways to average a map differ by rounding errors,
# which are large in half precision.
_TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 2e-2}


@dataclass(frozen=True, eq=False)
class Part:
    """The features that one process extracted from its batches.

    Attributes:
        ids: (n,) position of each row in the target.
        layers: name -> (n, D_s) float32.
        logits: (n, C_source) float32 or ``None``.
        seconds: Wall time of preprocessing and forward passes, without those for ``measured``.
        pooling: Pooling rule of ``"last"``.
        measured: The part after batch norms were measured on the target, if they were; it may have
            other samples.
        passes: Samples that ran through the network for this part, those that batch norms were
            measured on too.
    """

    ids: IntArray
    layers: Mapping[str, Array]
    logits: Array | None
    seconds: float
    pooling: str
    measured: Part | None = None
    passes: int = 0


def merge_parts(
    parts: Sequence[Part],
    n: int,
    *,
    known: Sequence[Part] = (),
    dtype: str = "float32",
    params: int | None = None,
    **meta: str,
) -> Features:
    """Put the parts in the order of the target.

    Args:
        parts: One part per process. A part is empty if the process had no batches.
        n: Number of samples in the target.
        known: Features that were stored before, with published batch norms, of the samples that
            ``parts`` lack.
        dtype: Data type of the forward pass.
        params: Number of parameters of the backbone.
        **meta: Provenance.

    Raises:
        ExtractionError: A sample is missing or occurs twice, or a feature is NaN or infinite.
    """
    measured_parts = [part.measured for part in parts if part.measured is not None]
    # Processes run in parallel, so the slowest one determines the time.
    seconds = max(part.seconds for part in parts) + sum(part.seconds for part in known)
    new = [part for part in parts if len(part.ids)]
    if new:
        known = [_with_layers(part, list(new[0].layers)) for part in known]
    parts = [*new, *known]
    order = _order_of(parts, n)
    layers = _joined(parts, order)
    _require_finite(layers, dtype)
    _require_different(layers)
    layers = _without_duplicate(layers, _TOLERANCE[dtype])
    measured = _measured(measured_parts, n)
    logits = [part.logits for part in parts if part.logits is not None]
    return Features(
        layers=layers,
        source_logits=np.concatenate(logits)[order] if logits else None,
        measured={name: measured[name] for name in layers} if _is_finite(measured) else {},
        params=params,
        seconds=seconds,
        meta={**meta, "dtype": dtype, "pooling": parts[0].pooling},
    )


def _order_of(parts: Sequence[Part], n: int) -> IntArray:
    """Where each sample of the target is in the parts, one after the other."""
    ids = np.concatenate([part.ids for part in parts]) if parts else np.empty(0, np.int64)
    if not np.array_equal(np.sort(ids), np.arange(n)):
        raise ExtractionError(
            f"the extraction returned {len(ids)} rows ({len(set(ids.tolist()))} different samples) "
            f"for {n} samples; this is a bug of hf-sfda, please report it"
        )
    return np.argsort(ids)


def _joined(parts: Sequence[Part], order: IntArray) -> dict[str, Array]:
    names = parts[0].layers
    return {name: np.concatenate([part.layers[name] for part in parts])[order] for name in names}


def _measured(parts: Sequence[Part], n: int) -> dict[str, Array]:
    parts = [part for part in parts if len(part.ids)]
    return _joined(parts, _order_of(parts, n)) if parts else {}


def _with_layers(part: Part, names: Sequence[str]) -> Part:
    """A known part with all layers of a forward pass.

    A final layer that equals ``last`` is not stored. On few samples it may look equal by chance, so
    other parts may have it; here it is ``last``.
    """
    return replace(
        part, layers={name: part.layers.get(name, part.layers["last"]) for name in names}
    )


def _is_finite(layers: Mapping[str, Array]) -> bool:
    """Whether there are features and all are finite. Measured ones overflow more often than
    published ones, and a model can be ranked without them.
    """
    return bool(layers) and all(np.isfinite(values).all() for values in layers.values())


def _require_finite(layers: Mapping[str, Array], dtype: str) -> None:
    for name, values in layers.items():
        finite = np.isfinite(values).all(axis=1)  # (N,)
        if not finite.all():
            lost = len(values) - int(finite.sum())
            hint = "" if dtype == "float32" else f"; {dtype} overflows here, try dtype float32"
            raise ExtractionError(
                f"gives NaN or infinite features for {lost} of {len(values)} samples "
                f"(layer {name}){hint}"
            )


def _require_different(layers: Mapping[str, Array]) -> None:
    """Refuse a network whose output does not depend on the input, for example with zero weights."""
    n = len(next(iter(layers.values())))
    if n > 1 and all((values == values[0]).all() for values in layers.values()):
        raise ExtractionError(
            f"gives the same features for all {n} samples: its weights do not let it tell them "
            "apart (are they all zero?)"
        )


def _without_duplicate(layers: dict[str, Array], tolerance: float) -> dict[str, Array]:
    """Drop the final layer if its mean is equal to the representation ``"last"``."""
    if len(layers) < 2:
        return layers
    last, final = layers["last"], list(layers)[-2]
    if layers[final].shape != last.shape:
        return layers
    difference = np.abs(layers[final] - last).max()
    if difference > tolerance * np.abs(last).max():
        return layers
    return {name: values for name, values in layers.items() if name != final}
