"""The Space: what the Hub runs."""

from __future__ import annotations

from contextlib import suppress

# Before anything that may load torch: on ZeroGPU this package takes CUDA's place. Elsewhere it does
# nothing, and need not be installed.
with suppress(ImportError):
    import spaces  # noqa: F401

from hf_sfda.space.app import launch_on_hub

launch_on_hub()
