"""The tests of the test Hub itself run where it has changed, and in CI."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Leave them to `make test-all` if the test Hub is that of the branch `main`."""
    if not _is_that_of_main():
        return
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.slow)


def _is_that_of_main() -> bool:
    """Whether no file of the test Hub differs from the branch; ``False`` without git."""
    for command in (("diff", "--quiet", "main", "--"), ("status", "--porcelain", "--")):
        try:
            done = subprocess.run(
                ["git", *command, HERE], cwd=HERE, capture_output=True, text=True, check=False
            )
        except OSError:
            return False
        if done.returncode or done.stdout:
            return False
    return True
