"""Find the head of a transformers classifier, and record its inputs and outputs.

A head has no fixed name (``classifier``, ``head``, ``fc``, ``score``), and some models have two. So
it is recognised by its structure: a part of the model, outside the tower, with a linear layer that
has one output per class.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn


@dataclass(slots=True)
class Head:
    """A head, with its inputs and output in the last forward pass.

    Attributes:
        name: Name of the head in the model.
        depth: Number of modules from the head down to its last linear layer, both included.
        inputs: First argument of each of these modules, outermost first.
        output: Output of the linear layer.
    """

    name: str
    depth: int
    inputs: dict[int, Any] = field(default_factory=dict)
    output: Any = None

    def vector(self, size: int) -> Tensor | None:
        """The vectors (B, C) that the head reads: the outermost input of that shape."""
        for level in range(self.depth):
            value = self.inputs.get(level)
            if not isinstance(value, Tensor) or value.ndim < 2 or len(value) != size:
                continue
            vectors = value.flatten(1)
            if vectors.shape[1] == max(value.shape[1:]):  # (B, C), (B, C, 1, 1) or (B, 1, C)
                return vectors
        return None

    def clear(self) -> None:
        """Release the recorded tensors."""
        self.inputs, self.output = {}, None


def find_heads(model: nn.Module, tower: nn.Module) -> tuple[Head, ...]:
    """Find the heads of a classifier and record what passes through them.

    Args:
        model: The classifier.
        tower: The body of the classifier; it may be the classifier itself.
    """
    classes = getattr(model.config, "num_labels", None)
    around = [name for name, part in model.named_children() if not _holds(part, tower)]
    heads = [
        _with_hooks(model, name, last)
        for name in around
        if (last := _last_linear(model.get_submodule(name), name, classes)) is not None
    ]
    if not heads and (last := _last_linear(model, "", classes)) is not None:
        heads = [_with_hooks(model, last, last)]  # the head is inside the body
    return tuple(heads)


def _holds(part: nn.Module, tower: nn.Module) -> bool:
    return any(module is tower for module in part.modules())


def _last_linear(part: nn.Module, name: str, classes: int | None) -> str | None:
    """Full name of the last linear layer of a part with one output per class."""
    names = [
        f"{name}.{inner}" if name and inner else name or inner
        for inner, module in part.named_modules()
        if isinstance(module, nn.Linear) and module.out_features == classes
    ]
    return names[-1] if names else None


def _with_hooks(model: nn.Module, name: str, linear: str) -> Head:
    steps = linear[len(name) :].split(".") if linear != name else [""]
    path = [".".join([name, *steps[1:depth]]) for depth in range(1, len(steps) + 1)]
    head = Head(name, len(path))

    def record_input(level: int) -> Any:
        def hook(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            if arguments:
                head.inputs[level] = arguments[0]

        return hook

    def record_output(module: nn.Module, arguments: object, output: Any) -> None:
        head.output = output

    for level, inner in enumerate(path):
        model.get_submodule(inner).register_forward_pre_hook(record_input(level))
    model.get_submodule(linear).register_forward_hook(record_output)
    return head
