"""The inner loop: batches in, pooled rows out, for one model in one process."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_sfda.backbones import Backbone, Outputs
from hf_sfda.dataset.images import pieces
from hf_sfda.errors import ExtractionError
from hf_sfda.extract.features import Part
from hf_sfda.extract.memory import is_out_of_memory
from hf_sfda.progress import Advance

if TYPE_CHECKING:
    import torch


Batch = dict[str, "torch.Tensor"]

# Seconds. A worker that returns nothing for so long hangs (a lock was held when it was forked). The
# model then fails with a reason, and the run goes on.
_WORKER_TIMEOUT = 300


def form_batches(
    costs: Sequence[int], size: int, groups: Sequence[Hashable] | None = None
) -> list[list[int]]:
    """Positions of the samples of every batch, costliest first.

    Texts of similar length share a batch, so that there is little padding. The longest come first,
    so that a batch that does not fit in memory fails at once. Images have equal costs and stay in
    order. The batches depend on the target and the model only, not on the number of processes, so
    the numbers do not depend on it either.

    Args:
        costs: Cost of each sample.
        size: Samples per batch.
        groups: Group of each sample. Only samples of one group share a batch. ``None``: all
            samples are in one group.

    Example:
        >>> form_batches([3, 9, 9, 1, 5], 2)
        [[1, 2], [4, 0], [3]]
        >>> form_batches([3, 9, 9, 1, 3], 2, [3, 9, 9, 1, 3])
        [[1, 2], [0, 4], [3]]
    """
    members: dict[Hashable, list[int]] = {}
    for i in sorted(range(len(costs)), key=lambda i: -costs[i]):
        members.setdefault(groups[i] if groups else None, []).append(i)
    return [group[i : i + size] for group in members.values() for i in range(0, len(group), size)]


def run_batches(
    backbone: Backbone,
    samples: Sequence[Any],
    batches: Sequence[Sequence[int]],
    *,
    device: torch.device,
    workers: int = 0,
    advance: Advance = lambda amount: None,
) -> Part:
    """Run some batches.

    Args:
        backbone: Open, on ``device``.
        samples: All samples of the target.
        batches: Positions of the samples to run, batch by batch; see :func:`form_batches`.
        device: Where the backbone is.
        workers: Preprocessing workers.
        advance: Called with the number of samples done.
    """
    import torch

    ids: list[int] = []
    done: list[Outputs] = []
    limit = max((len(batch) for batch in batches), default=1)
    start = time.perf_counter()
    loaded = load_batches(backbone, samples, batches, device=device, workers=workers)
    with torch.inference_mode(), without_tf32():
        for positions, batch in loaded:
            outputs, limit = _run_within_memory(backbone, batch, limit, device)
            ids += positions
            done += outputs
            advance(len(positions))
    seconds = time.perf_counter() - start
    names = list(done[0].layers) if done else []
    logits = [output.logits.numpy() for output in done if output.logits is not None]
    return Part(
        ids=np.asarray(ids, dtype=np.int64),
        layers={name: np.concatenate([o.layers[name].numpy() for o in done]) for name in names},
        logits=np.concatenate(logits) if logits else None,
        seconds=seconds,
        pooling=done[0].pooling if done else "",
        passes=len(ids),
    )


def load_batches(
    backbone: Backbone,
    samples: Sequence[Any],
    batches: Sequence[Sequence[int]],
    *,
    device: torch.device,
    workers: int = 0,
) -> Iterable[tuple[list[int], Batch]]:
    """Preprocess batch by batch; arguments as in :func:`run_batches`.

    Returns:
        The positions of the samples of each batch, and its tensors on the CPU.
    """
    from torch.utils.data import DataLoader

    return DataLoader(
        _Batches(samples, batches, backbone.collate),  # type: ignore[arg-type]
        batch_size=None,  # an item is a batch already
        collate_fn=_unchanged,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        timeout=_WORKER_TIMEOUT if workers else 0,
    )


@contextmanager
def without_tf32() -> Iterator[None]:
    """Disable TensorFloat-32. With its mantissa of ten bits the features of a GPU would differ from
    those of a CPU in the third digit. Other data types are not affected.

    torch allows it in convolutions. In matrix products it is off, but the containers of NVIDIA
    switch it on by an environment variable (``TORCH_ALLOW_TF32_CUBLAS_OVERRIDE``).
    """
    import torch

    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.allow_tf32, products.allow_tf32
    convolutions.allow_tf32 = products.allow_tf32 = False
    try:
        yield
    finally:
        convolutions.allow_tf32, products.allow_tf32 = before


def _run_within_memory(
    backbone: Backbone, batch: Mapping[str, torch.Tensor], limit: int, device: torch.device
) -> tuple[list[Outputs], int]:
    """Run a batch in pieces of at most ``limit`` samples, halving the limit until they fit.

    No process waits here, so each may end with another limit.

    Returns:
        The outputs in order, on the CPU, and the limit that was found to fit.
    """
    from accelerate.utils.memory import clear_device_cache

    size = len(next(iter(batch.values())))
    done: list[Outputs] = []
    start = 0
    while start < size:
        taken = min(limit, size - start)
        piece: dict[str, torch.Tensor] = {}
        try:
            for name, tensor in batch.items():
                piece[name] = tensor[start : start + taken].to(device, non_blocking=True)
            outputs = backbone.forward(piece)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if taken == 1:
                raise ExtractionError(f"a single sample does not fit in memory: {error}") from error
        else:
            done.append(_to_cpu(outputs))
            start += taken
            continue
        # Outside the handler: its traceback would keep the activations alive.
        limit = taken // 2
        del piece
        clear_device_cache(garbage_collection=True)
    return done, limit


def _to_cpu(outputs: Outputs) -> Outputs:
    layers = {name: values.cpu() for name, values in outputs.layers.items()}
    logits = None if outputs.logits is None else outputs.logits.cpu()
    return Outputs(layers, logits, outputs.pooling)


class _Batches:
    """A map-style dataset whose items are whole batches, with the ids of their samples."""

    def __init__(
        self, samples: Sequence[Any], batches: Sequence[Sequence[int]], collate: Any
    ) -> None:
        self.samples = samples
        self.batches = batches
        self.collate = collate

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[list[int], Batch]:
        positions = list(self.batches[index])
        parts = [
            self.collate([self.samples[i] for i in piece])
            for piece in pieces(self.samples, positions)
        ]
        return positions, parts[0] if len(parts) == 1 else _join(parts)


def _join(parts: Sequence[Batch]) -> Batch:
    """Join the parts of a batch, which were preprocessed separately to limit the memory.

    Raises:
        ExtractionError: The processor leaves images in different sizes.
    """
    import torch

    shapes = {name: {part[name].shape[1:] for part in parts} for name in parts[0]}
    if different := [name for name, sizes in shapes.items() if len(sizes) > 1]:
        raise ExtractionError(
            f"its processor leaves large images in different sizes ({different[0]}), and together "
            "they do not fit in memory; make the images smaller"
        )
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _unchanged(item: Any) -> Any:
    return item
