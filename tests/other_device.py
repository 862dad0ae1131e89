"""A device that exists only in the tests, for machines without a GPU.

Its tensors compute on the CPU, and refuse what tensors of a GPU refuse: to become a numpy array,
and to be mixed with tensors of the CPU. Tensors without axes, and indices, may be mixed.

torch has no spare name for a device that works without a driver, so it borrows that of ``meta``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")

_TAKE_INDICES = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
_COPY = ("_to_copy", "copy_")


class OnDevice(Tensor):
    """A tensor on the device; ``inner`` holds its numbers."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> OnDevice:
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
            requires_grad=inner.requires_grad,
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self) -> Any:
        """As on a GPU; torch refuses it for subclasses."""
        return self.inner.tolist()

    def __repr__(self) -> str:
        return f"OnDevice({self.inner})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees also what creates tensors and has none as argument."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, OnDevice)]
    name = func._schema.name.split("::")[-1]
    others = [t for t in tensors if not isinstance(t, OnDevice) and t.ndim]
    if any(t.device.type == DEVICE.type for t in others):
        raise NotImplementedError(f"{func}: torch makes real meta tensors of lists as indices")
    if ours and others and name not in (*_TAKE_INDICES, *_COPY):
        raise RuntimeError(f"Expected all tensors to be on the same device: {func}")
    inner_args, inner_kwargs = tree_map(_inner, args), dict(tree_map(_inner, kwargs))
    if kwargs.get("device") is not None:
        is_here = torch.device(kwargs["device"]).type == DEVICE.type
        inner_kwargs["device"] = torch.device("cpu")
    elif name in (*_TAKE_INDICES, "copy_"):
        is_here = isinstance(args[0], OnDevice)
    else:
        is_here = bool(ours)
    out = func(*inner_args, **inner_kwargs)
    if not is_here:
        return out
    # What is written in place stays the same tensor.
    known = {id(tensor.inner): tensor for tensor in ours}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return known[id(value)] if id(value) in known else OnDevice(value)

    return tree_map(wrapped, out)


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnDevice) else value


@contextmanager
def other_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The device, which exists inside the block."""
    swap = torch.__future__.get_overwrite_module_params_on_conversion()
    with monkeypatch.context() as patch:
        # Views of the weights of a subclass cannot be made in inference mode.
        patch.setattr(torch, "inference_mode", torch.no_grad)
        patch.setattr("hf_sfda.scoring._plain_tensor", _detached)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            with _Mode():
                yield DEVICE
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(swap)


def _detached(tensor: Tensor, name: str) -> Tensor:
    """``hf_sfda.scoring`` refuses meta tensors, which usually have no numbers."""
    return tensor.detach()


def accelerator() -> Any:
    """One process on the device."""
    autocast: Callable[[], Any] = nullcontext
    return SimpleNamespace(
        device=DEVICE,
        num_processes=1,
        process_index=0,
        is_main_process=True,
        autocast=autocast,
    )
