"""Whether an error means that a batch did not fit in the memory of the device."""

from __future__ import annotations

_OTHER_MESSAGES = (
    # The driver itself, for example when another process took the memory.
    "CUDA error: out of memory",
    # The libraries, when there is no memory left for their handles and workspaces.
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    # torch tries the algorithms of a convolution in turn, and hides that each ran out of memory.
    "unable to find an engine to execute this computation",
)
"""Messages of lack of memory that ``accelerate`` does not know."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the same work may succeed with a smaller batch."""
    import torch
    from accelerate.utils.memory import should_reduce_batch_size

    if not isinstance(error, RuntimeError):
        return False
    if isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error):
        return True
    return any(message in str(error) for message in _OTHER_MESSAGES)
