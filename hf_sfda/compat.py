"""Makes a torchvision whose compiled operators do not load beside this torch importable.

``pip`` brings a torchvision built for CUDA next to a CPU torch (and the other way round). Its
extension then does not load, and ``import torchvision`` dies with ``operator torchvision::nms does
not exist``; timm and the image processors of transformers import torchvision, so they die too.
None of them needs these operators to resize and normalise a picture: they only have to be
*declared*.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import warnings

_UNDECLARED = re.compile(r"operator (\w+::\w+) does not exist")

# Of non-maximum suppression. For any other operator the arguments would be wrong, which is
# harmless: without a kernel no call of it can succeed.
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# torchvision has two such operators; more than this many means that something else is wrong.
_MOST_OPERATORS = 16


def ensure_torchvision() -> tuple[str, ...]:
    """Import torchvision if it is installed, declaring operators that its import misses.

    Must run before timm or transformers is imported, in every process. Safe to call again.

    Returns:
        The operators that had to be declared; empty where torchvision is sound or absent.

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
            if missing is None or missing[1] in declared or len(declared) == _MOST_OPERATORS:
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
            "read and resize pictures. To be rid of this, install the torchvision that belongs to "
            "this torch.",
            RuntimeWarning,
            stacklevel=2,
        )
    return tuple(declared)


def _forget(package: str) -> None:
    """Drop a half-imported package, so that the next import starts afresh."""
    for name in list(sys.modules):
        if name == package or name.startswith(f"{package}."):
            del sys.modules[name]
