"""The Space that most tests of it visit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.space.server import SpaceServer


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpaceServer]:
    """The Space with results to show, on a Hub of its own.

    It ends with the tests that need it. A server that waits for visitors uses a tenth of a core:
    beside the other tests of a process, it took minutes of processor time.
    """
    server = SpaceServer(tmp_path_factory.mktemp("space"))
    try:
        server.seed_data()
        server.seed_results()
        server.serve()
        yield server
    finally:
        server.stop()
