"""Make torchvision importable if its compiled operators do not match the installed torch.

``pip`` may install a torchvision built for CUDA beside a CPU torch, or the other way round. Then
its extension does not load, and ``import torchvision`` fails with ``operator torchvision::nms does
not exist``. timm and the image processors of transformers import torchvision, so they fail, too.
They do not call these operators to resize and normalise an image; it is enough to *declare* them.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import warnings

_UNDECLARED = re.compile(r"operator (\w+::\w+) does not exist")

# The schema of non-maximum suppression. Other operators have other arguments; that does no harm,
# because an operator without a kernel cannot be called.
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# torchvision has two such operators; if there are many more, the cause is another one.
_MAX_OPERATORS = 16


def ensure_torchvision() -> tuple[str, ...]:
    """Import torchvision, if installed, and declare the operators that its import misses.

    Call it in every process before timm or transformers is imported. It may be called again.

    Returns:
        The declared operators; empty if torchvision works or is not installed.

    Raises:
        RuntimeError: torchvision cannot be imported for another reason.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return ()
    import torch

    declared: list[str] = []
    while True:
        try:
            torchvision = importlib.import_module("torchvision")
        except RuntimeError as error:
            missing = _UNDECLARED.search(str(error))
            _forget("torchvision")
            if missing is None or missing[1] in declared or len(declared) == _MAX_OPERATORS:
                raise
            torch.library.define(missing[1], _SCHEMA)
            declared.append(missing[1])
        else:
            break
    if declared:
        version = getattr(torchvision, "__version__", "?")
        warnings.warn(
            f"torchvision {version} does not fit torch {torch.__version__}: its compiled operators "
            f"do not load. {', '.join(declared)} were declared without code, which is enough to "
            "read and resize images. To be rid of this, install the torchvision that belongs to "
            "this torch.",
            RuntimeWarning,
            stacklevel=2,
        )
    return tuple(declared)


def _forget(package: str) -> None:
    """Remove a partly imported package, so that the next import starts again."""
    for name in list(sys.modules):
        if name == package or name.startswith(f"{package}."):
            del sys.modules[name]
