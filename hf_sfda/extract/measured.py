"""Measure the batch norms of an open checkpoint on the target, without labels."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda.backbones import Backbone
from hf_sfda.extract.loop import form_batches, load_batches, without_tf32
from hf_sfda.extract.memory import is_out_of_memory

if TYPE_CHECKING:
    import torch

_SAMPLES = 256
"""Samples that the statistics are measured on, at most."""

_BATCH = 64
"""Samples a batch. While statistics are measured, each batch is normalised by its own ones, so the
features depend on this number, and it does not depend on the device."""

_SMALLEST = 8
"""Batches with fewer samples have statistics that say little."""


def measure_norms(
    backbone: Backbone, samples: Sequence[Any], *, device: torch.device, workers: int = 0
) -> int:
    """Replace the published statistics of all batch norms by those of the target.

    The checkpoint was trained on other data, so what its batch norms let through on the target is
    not normalised. Fine-tuning changes that in its first steps, and frozen features do not show
    it (Li et al., 2016, arXiv:1603.04779). No label is used. Every process of a launch measures on
    the same samples, so all have the same statistics.

    Args:
        backbone: Open, on ``device``; changed in place.
        samples: All samples of the target.
        device: Where the backbone is.
        workers: Preprocessing workers.

    Returns:
        Number of samples that ran through the network; 0 if nothing was measured, because there are
        no batch norms, or no batch of at least 8 samples of one shape.
    """
    import torch
    from accelerate.utils.memory import clear_device_cache

    from hf_sfda.backbones.norms import batch_norms, reestimate_norms, restore_folded_norms

    module = backbone.module
    if not batch_norms(module):
        return 0
    # At random, because samples may be sorted by class.
    chosen = np.random.default_rng(0).permutation(len(samples))[:_SAMPLES].tolist()
    groups = backbone.groups(samples)
    if not _batches(chosen, groups, _BATCH):
        return 0
    passes = 0

    def measure(size: int) -> None:
        batches = _batches(chosen, groups, size)

        def run() -> None:
            nonlocal passes
            loaded = load_batches(backbone, samples, batches, device=device, workers=workers)
            for _, batch in loaded:
                backbone.forward({name: value.to(device) for name, value in batch.items()})
                passes += len(next(iter(batch.values())))

        with torch.no_grad(), without_tf32():
            restore_folded_norms(module, run)
            reestimate_norms(module, run)

    size = _BATCH
    while True:
        try:
            measure(size)
            return passes
        except RuntimeError as error:
            if size == _SMALLEST or not is_out_of_memory(error):
                raise
        # Outside the handler: its traceback would keep the activations alive.
        size //= 2
        clear_device_cache(garbage_collection=True)


def _batches(
    chosen: Sequence[int], groups: Sequence[Hashable] | None, size: int
) -> list[list[int]]:
    own = None if groups is None else [groups[i] for i in chosen]
    batches = form_batches([0] * len(chosen), size, own)
    return [[chosen[i] for i in b] for b in batches if len(b) >= _SMALLEST]
