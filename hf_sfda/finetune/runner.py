"""Forward passes over a part: shared between processes, in pieces that fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from hf_sfda.errors import FinetuneError
from hf_sfda.finetune.inputs import Batch, Inputs
from hf_sfda.memory import is_out_of_memory
from hf_sfda.processes import in_all

if TYPE_CHECKING:
    from accelerate import Accelerator

T = TypeVar("T")

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
