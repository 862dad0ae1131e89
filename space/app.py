"""The entry point of a deployed Space."""

from __future__ import annotations

from contextlib import suppress

# Import this before torch: on ZeroGPU the package replaces CUDA. Elsewhere it does nothing and need
# not be installed.
with suppress(ImportError):
    import spaces  # noqa: F401

from hf_sfda.space.app import launch_on_hub

launch_on_hub()
