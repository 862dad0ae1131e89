"""One Hub per test process, in force before any Hugging Face library is imported.

The libraries read their environment at import. So the server starts here, at the top, and not in a
fixture.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hub_server import HubServer, hub_variables

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_HUB = HubServer().start()
_HOME = tempfile.TemporaryDirectory(prefix="hf-sfda-tests-", ignore_cleanup_errors=True)
for _name in list(os.environ):
    if _name.startswith(("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "HUGGING_FACE_")):
        del os.environ[
            _name
        ]  # a developer's own settings must not reach the tests, nor the tests the Hub
os.environ.update(hub_variables(_HUB.url, _HOME.name))


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """The Hub that ``HF_ENDPOINT`` names: running, healthy and empty; so are the client's caches.

    ``hub.token``, the token of user ``me``, is in force.
    """
    _HUB.reset()
    yield _HUB
    crashes = list(_HUB.crashes)
    _HUB.reset()
    _forget_downloads()
    assert not crashes, "\n".join(crashes)


@pytest.fixture
def api(hub: HubServer) -> HfApi:
    """The client of user ``me`` on ``hub``."""
    from huggingface_hub import HfApi

    return HfApi()


def _forget_downloads() -> None:
    """Empty the caches: where the Hub refuses, the client falls back on them."""
    for folder in Path(_HOME.name).iterdir():
        shutil.rmtree(folder, ignore_errors=True)
    if "huggingface_hub.hf_file_system" in sys.modules:
        sys.modules["huggingface_hub.hf_file_system"].HfFileSystem.clear_instance_cache()


@pytest.fixture
def hub_env(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    """A whole environment for a subprocess that works against ``hub``, with caches of its own."""
    return {
        **os.environ,
        **hub_variables(hub.url, tmp_path / "hf_home"),
        "PYTHONUNBUFFERED": "1",
    }


def pytest_unconfigure() -> None:
    """Stop the server and delete the caches."""
    _HUB.stop()
    _HOME.cleanup()
