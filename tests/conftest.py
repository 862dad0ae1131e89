"""One Hub per test process, in force before any Hugging Face library is imported.

The libraries read their environment at import. So the server starts here, at the top, and not in a
fixture.
"""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.hub.server import HubServer, hub_variables

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# An example may take as long as it needs: how long says more about the machine than about the code.
settings.register_profile("hf-sfda", deadline=None)
settings.load_profile("hf-sfda")

_HUB = HubServer().start()
_HOME = tempfile.TemporaryDirectory(prefix="hf-sfda-tests-", ignore_cleanup_errors=True)
for _name in list(os.environ):
    # A developer's own settings must not reach the tests, nor the tests the Hub.
    theirs = _name.startswith(("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "HUGGING_FACE_"))
    if theirs and not _name.startswith("HF_SFDA_"):
        del os.environ[_name]
os.environ.update(hub_variables(_HUB.url, _HOME.name))
# Workers and the processes that tests start share the cores. More threads would only
# slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="module", autouse=True)
def _modules_are_no_garbage() -> None:
    """Take what lives now out of what Python looks through when it collects garbage.

    After a network has run, the package collects garbage. A process of tests has imported a million
    objects by then, so that each time took .3 s.
    """
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real checkpoints and data, built once a run; in ``HF_SFDA_DEMO_DIR`` if that is set."""
    base = tmp_path_factory.getbasetemp()
    # The workers of pytest-xdist share one build: demo.build holds a lock.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo"
    out = Path(os.environ.get("HF_SFDA_DEMO_DIR") or shared)
    command = [sys.executable, "-m", "demo.build", "--out", str(out)]
    done = subprocess.run(
        command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


ONE_SERVER = ("tests/space/test_api.py", "tests/space/test_browser.py")
"""Files whose tests share a server, which takes 20 s to start: one process runs them all."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``--dist loadfile``, deal out files; those of ``ONE_SERVER`` as if they were one."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class FilesThatShare(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return ONE_SERVER[0] if file in ONE_SERVER else file

    return FilesThatShare(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many faults of ``tests/faults`` were tried and survived.

    Here, because the process that reports for the workers of pytest-xdist loads no other conftest.
    """
    kinds = ("", "passed", "failed", "error")  # "" is the end of a test that passed
    reports = [report for kind in kinds for report in terminalreporter.getreports(kind)]
    counts = {
        report.nodeid: value
        for report in reports
        for name, value in report.user_properties
        if name == "faults"
    }
    if counts:
        tried, survived = (sum(pair[i] for pair in counts.values()) for i in (0, 1))
        terminalreporter.write_line(f"Faults: {tried:,} tried, {survived:,} survived")


def pytest_unconfigure() -> None:
    """Stop the server and delete the caches."""
    _HUB.stop()
    _HOME.cleanup()
