"""Versions of everything that takes part in a number, stored with it."""

from __future__ import annotations

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from hf_sfda import __version__

_LIBRARIES = (
    "huggingface_hub", "transformers", "datasets", "accelerate", "timm", "torch", "numpy", "scipy",
)  # fmt: skip


def library_versions() -> dict[str, str]:
    """Name -> version of this package and of the installed libraries it scores with."""
    return {"hf-sfda": __version__} | {
        name: found for name in _LIBRARIES if (found := _version(name)) is not None
    }


@cache  # finding it means parsing a text; a run asks for each several times
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
