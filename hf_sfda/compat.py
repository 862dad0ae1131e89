"""Make torchvision importable if its compiled operators do not match the installed torch.

``pip`` may install a torchvision built for CUDA beside a CPU torch, or the other way round. Then
its extension does not load, and ``import torchvision`` fails with ``operator torchvision::nms does
not exist``. timm and the image processors of transformers import torchvision, so they fail, too.
They do not call these operators to resize and normalise an image; it is enough to *declare* them.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

_PACKAGE = "torchvision"

_UNDECLARED = re.compile(r"operator (\w+::\w+) does not exist")

# The schema of non-maximum suppression. Other operators have other arguments; that does no harm,
# because an operator without a kernel cannot be called.
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# torchvision has two such operators; if there are many more, the cause is another one.
_MAX_OPERATORS = 16


def ensure_torchvision() -> None:
    """Arrange that an import of torchvision declares the operators that it misses.

    Nothing is imported: torchvision takes two seconds, and texts and sounds do not need it. Call it
    in every process before timm or transformers is imported. It may be called again.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finds torchvision where Python finds it, with :class:`_RepairingLoader` as its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _PACKAGE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RepairingLoader(spec.loader)
        return spec


class _RepairingLoader(Loader):
    """Runs a package again and again, until no operator is missing any more."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:  # such as the source and the files of the package
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the package.

        Raises:
            RuntimeError: It fails for another reason than a missing operator.
        """
        before = dict(vars(module))
        declared: list[str] = []
        while True:
            try:
                self._loader.exec_module(module)
            except RuntimeError as error:
                missing = _UNDECLARED.search(str(error))
                if missing is None or missing[1] in declared or len(declared) == _MAX_OPERATORS:
                    raise
                _start_again(module, before)
                _declare(missing[1])
                declared.append(missing[1])
            else:
                break
        if declared:
            _warn(getattr(module, "__version__", "?"), declared)


def _start_again(module: ModuleType, before: dict[str, Any]) -> None:
    """Undo what a failed run of a package has left: its names and its submodules."""
    vars(module).clear()
    vars(module).update(before)
    for name in list(sys.modules):
        if name.startswith(f"{module.__name__}."):
            del sys.modules[name]


def _declare(operator: str) -> None:
    import torch

    torch.library.define(operator, _SCHEMA)


def _warn(version: str, declared: Sequence[str]) -> None:
    import torch

    warnings.warn(
        f"torchvision {version} does not fit torch {torch.__version__}: its compiled operators "
        f"do not load. {', '.join(declared)} were declared without code, which is enough to "
        "read and resize images. To be rid of this, install the torchvision that belongs to "
        "this torch.",
        RuntimeWarning,
        stacklevel=1,  # the command line shows only warnings of our own modules
    )
