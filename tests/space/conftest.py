"""The Space that most tests of it visit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.space.server import SpaceServer


@pytest.fixture(scope="package")
def space(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpaceServer]:
    """The Space with results to show, on a Hub of its own. It ends with the tests of the folder."""
    server = SpaceServer(tmp_path_factory.mktemp("space"))
    try:
        server.seed_data()
        server.seed_results()
        server.serve()
        yield server
    finally:
        server.stop()
