"""The versions of the libraries that affect the scores; they are stored with a ranking."""

from __future__ import annotations

from functools import cache

__version__ = "0.1.0"

_LIBRARIES = (
    "huggingface_hub", "transformers", "datasets", "accelerate", "timm", "torch", "numpy", "scipy",
)  # fmt: skip


def library_versions() -> dict[str, str]:
    """The versions of hf-sfda and of the installed libraries: name -> version."""
    return {"hf-sfda": __version__} | {
        name: installed for name in _LIBRARIES if (installed := _version(name)) is not None
    }


@cache  # reading the metadata of a package is slow
def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None
