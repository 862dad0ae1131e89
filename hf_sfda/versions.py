"""Versions of everything that takes part in a number, stored with it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from hf_sfda import __version__

_LIBRARIES = (
    "huggingface_hub", "transformers", "datasets", "accelerate", "timm", "torch", "numpy", "scipy",
)  # fmt: skip


def library_versions() -> dict[str, str]:
    """Name -> version of this package and of the installed libraries it scores with."""
    found = {"hf-sfda": __version__}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
