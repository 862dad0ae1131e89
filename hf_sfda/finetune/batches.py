"""Batches: inputs are preprocessed once, served in equal shapes, augmented on the fly, and passed
forward in pieces that fit in memory, shared between processes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hf_sfda.errors import FinetuneError
from hf_sfda.extract.memory import is_out_of_memory
from hf_sfda.finetune.objectives import Objective
from hf_sfda.finetune.parts import Part
from hf_sfda.processes import in_all
from hf_sfda.types import Modality

if TYPE_CHECKING:
    from accelerate import Accelerator

    from hf_sfda.backbones import Backbone


Batch = dict[str, Tensor]
T = TypeVar("T")

CACHE_BYTES = 2 << 30
"""Preprocessed images are kept in memory up to this size; those beyond are prepared each time."""

SMALLEST_CROP = 0.8
"""Side of the smallest random crop, relative to the image. Mild on purpose: it suits drawings and
letters as well as photos."""


class Inputs:
    """The preprocessed samples of one part.

    Args:
        backbone: Its own preprocessing is used.
        part: Samples and labels.
        modality: Images are preprocessed one by one and cached; texts and sounds batch by batch.
        objective: It encodes the labels.
    """

    def __init__(
        self, backbone: Backbone, part: Part, modality: Modality, objective: Objective
    ) -> None:
        self._backbone = backbone
        self._part = part
        self._labels = objective.encode(part.labels)
        self.are_images = modality == "image"
        self._groups: list[Hashable] | None = None
        if not self.are_images:
            self._groups = backbone.groups(part.samples)
        self._cache: dict[int, Batch] = {}
        self._room = CACHE_BYTES
        self.scale = 1.0
        """Image inputs are divided by this number; ``classifier.fold_input_scale`` says why."""

    def __len__(self) -> int:
        return len(self._part)

    def labels(self, rows: Sequence[int]) -> Tensor:
        """(B, ...) encoded labels, on the CPU."""
        return self._labels[np.asarray(rows, dtype=np.int64)]

    def batches(self, rows: Sequence[int], limit: int) -> Iterator[tuple[list[int], Batch]]:
        """Divide rows into batches of at most ``limit`` samples that can be stacked.

        Yields:
            Rows, and their tensors on the CPU.
        """
        if not self.are_images:
            for members in self._grouped(rows):
                for start in range(0, len(members), limit):
                    some = members[start : start + limit]
                    yield some, dict(self._backbone.collate([self._part.samples[r] for r in some]))
            return
        groups: dict[Any, list[int]] = {}
        for row in rows:
            shapes = tuple((name, tuple(t.shape)) for name, t in self._single(row).items())
            groups.setdefault(shapes, []).append(row)
        for members in groups.values():
            for start in range(0, len(members), limit):
                some = members[start : start + limit]
                singles = [self._single(row) for row in some]
                yield some, {name: torch.cat([s[name] for s in singles]) for name in singles[0]}

    def _grouped(self, rows: Sequence[int]) -> list[list[int]]:
        """The rows, apart where samples would change each other's features."""
        if self._groups is None:
            return [list(rows)]
        groups: dict[Hashable, list[int]] = {}
        for row in rows:
            groups.setdefault(self._groups[row], []).append(row)
        return list(groups.values())

    def _single(self, row: int) -> Batch:
        """One preprocessed image, with a batch axis of 1."""
        if row in self._cache:
            return self._cache[row]
        single = dict(self._backbone.collate([self._part.samples[row]]))
        for name, tensor in single.items():
            # Pixels that are neither rescaled nor normalised arrive as integers.
            values = tensor.float() if tensor.dtype == torch.uint8 else tensor
            single[name] = values / self.scale if is_image(values) else values
        size = sum(tensor.numel() * tensor.element_size() for tensor in single.values())
        if size <= self._room:
            self._room -= size
            self._cache[row] = single
        return single

    def rescale(self, scale: float) -> None:
        """Divide all image inputs by ``scale`` from now on."""
        self.scale *= scale
        self._cache.clear()
        self._room = CACHE_BYTES


def is_image(tensor: Tensor) -> bool:
    """Whether a tensor holds images, (B, C, H, W) of floats."""
    return tensor.ndim == 4 and tensor.is_floating_point()


def augment(batch: Batch, seeds: Sequence[int], *, flip: bool) -> Batch:
    """Random crop of 80 to 100% of the side, and a random mirror image.

    Args:
        batch: Tensors; only images are changed.
        seeds: One a sample, so that a sample's crop does not depend on the batch it is in.
        flip: Whether mirror images keep their class.
    """
    if not any(is_image(tensor) for tensor in batch.values()):
        return batch
    draws = np.array([np.random.default_rng(seed).random(4) for seed in seeds])
    side = SMALLEST_CROP + (1 - SMALLEST_CROP) * draws[:, 0]
    sign = np.where(draws[:, 3] < 0.5, -1.0, 1.0) if flip else np.ones(len(seeds))
    theta = np.zeros((len(seeds), 2, 3))
    theta[:, 0, 0], theta[:, 1, 1] = sign * side, side
    theta[:, :, 2] = (1 - side)[:, None] * (2 * draws[:, 1:3] - 1)
    matrices = torch.from_numpy(theta).float()
    return {
        name: _warp(tensor, matrices) if is_image(tensor) else tensor
        for name, tensor in batch.items()
    }


def _warp(images: Tensor, matrices: Tensor) -> Tensor:
    grid = functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid.to(images.dtype), padding_mode="border", align_corners=False
    )


LARGEST_PASS = 64
"""Samples in a forward pass, at most."""

CPU_PASS = 16
"""The same on a CPU, where activations then stay in its cache (benchmarks/extraction.md)."""


class Runner:
    """Knows the device, the processes, and how many samples fit in memory."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.limit = LARGEST_PASS

    @property
    def pass_size(self) -> int:
        """Samples in a forward pass that needs no batch statistics."""
        on_cpu = self.accelerator.device.type == "cpu"
        return min(self.limit, CPU_PASS) if on_cpu else self.limit

    def own(self, rows: Sequence[int]) -> list[int]:
        """The rows that this process takes."""
        return list(rows[self.accelerator.process_index :: self.accelerator.num_processes])

    def move(self, batch: Batch) -> Batch:
        """Put a batch on the device."""
        return {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}

    def within_memory(self, work: Callable[[], T]) -> T:
        """Call ``work``; where memory runs out, halve the limit and call it again.

        Every process calls it. None waits for another one inside ``work``, so each may end with
        another limit.

        Raises:
            FinetuneError: A single sample does not fit.
            SfdaError: Another process failed.
        """
        return in_all(self.accelerator, lambda: self._within_own_memory(work))

    def _within_own_memory(self, work: Callable[[], T]) -> T:
        from accelerate.utils.memory import clear_device_cache

        while True:
            try:
                return work()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.limit == 1:
                    raise FinetuneError(
                        f"a single sample does not fit in memory: {error}"
                    ) from error
            # Outside the handler: its traceback would keep the activations alive.
            self.limit = max(1, self.pass_size // 2)
            clear_device_cache(garbage_collection=True)

    def outputs(self, inputs: Inputs, function: Callable[[Batch], Tensor]) -> Tensor:
        """Apply ``function`` to a whole part, without gradients.

        Args:
            inputs: The part.
            function: Batch on the device -> (B, K).

        Returns:
            (N, K) float32 on the CPU, in the order of the part and the same in every process.
        """
        rows = self.own(range(len(inputs)))
        own = self.within_memory(lambda: self._pass(inputs, rows, function))
        if self.accelerator.num_processes == 1:
            gathered = [own]
        else:
            from accelerate.utils import gather_object

            gathered = gather_object([own])
        order = torch.tensor([row for some, _ in gathered for row in some]).argsort()
        return torch.cat([values for some, values in gathered if some])[order]

    def _pass(
        self, inputs: Inputs, rows: Sequence[int], function: Callable[[Batch], Tensor]
    ) -> tuple[list[int], Tensor]:
        done: list[int] = []
        values: list[Tensor] = []
        with torch.no_grad(), self.accelerator.autocast():
            for some, batch in inputs.batches(rows, self.pass_size):
                values.append(function(self.move(batch)).float().cpu())
                done += some
        return done, torch.cat(values) if values else torch.empty(0)
