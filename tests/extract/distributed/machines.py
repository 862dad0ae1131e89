"""Two machines for a test: two network namespaces with a cable between them, and one disk."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

ADDRESSES = ("10.213.47.1", "10.213.47.2")
INTERFACE = "cable"


@dataclass(frozen=True)
class Machine:
    """A network namespace.

    Attributes:
        name: Its name.
    """

    name: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """What a command begins with to run there."""
        return ("ip", "netns", "exec", self.name)


@contextmanager
def two_machines() -> Iterator[tuple[Machine, Machine]]:
    """Make two machines that reach each other at :data:`ADDRESSES`.

    A test is skipped where nobody may make them.
    """
    if shutil.which("ip") is None:
        pytest.skip("there is no command `ip`, which makes network namespaces")
    first, second = (Machine(f"hf-sfda-{os.getpid()}-{number}") for number in (0, 1))
    end = ("name", INTERFACE, "netns")
    try:
        try:
            _ip("netns", "add", first.name)
            _ip("netns", "add", second.name)
            _ip("link", "add", *end, first.name, "type", "veth", "peer", *end, second.name)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
        for machine, address in zip((first, second), ADDRESSES, strict=True):
            _ip("-n", machine.name, "address", "add", f"{address}/24", "dev", INTERFACE)
            for interface in ("lo", INTERFACE):
                _ip("-n", machine.name, "link", "set", interface, "up")
        yield first, second
    finally:
        for machine in (first, second):
            subprocess.run(["ip", "netns", "del", machine.name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
