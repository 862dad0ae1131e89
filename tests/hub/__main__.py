"""A Hub for the tests, over real HTTP: served by hand.

In a test use the ``hub`` fixture. By hand::

    python -m tests.hub --port 8999 --root DIR

serves what lies in ``DIR/models/OWNER/NAME``, ``DIR/datasets/OWNER/NAME`` and
``DIR/spaces/OWNER/NAME``; the printed environment variables point the client libraries at it. What
is pushed lives in memory and ends with the server.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from tests.hub.repo import KINDS
from tests.hub.server import HubServer, hub_variables


def load_root(hub: HubServer, root: Path) -> None:
    """Put the folders below ``root`` on the Hub."""
    for kind in KINDS:
        for folder in sorted((root / kind).glob("*/*")):
            if folder.is_dir():
                name = folder.relative_to(root / kind).as_posix()
                hub.put(name, folder, repo_type=kind[:-1], title="Loaded")


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=8999)
    parser.add_argument(
        "--root", type=Path, help="folder whose repositories are there from the start"
    )
    arguments = parser.parse_args()
    with HubServer(arguments.port) as hub:
        if arguments.root:
            load_root(hub, arguments.root)
        for name, value in hub_variables(hub.url, "/tmp/hf-home").items():
            print(f"export {name}={value}")
        for kind, repo_id in hub.state.repos:
            print(f"# {kind[:-1]} {repo_id}")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
