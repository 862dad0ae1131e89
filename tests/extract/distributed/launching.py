"""Start scripts under ``accelerate launch``, and compare what they stored."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tests.extract.distributed.machines import ADDRESSES, INTERFACE, two_machines

ROOT = Path(__file__).parents[3]


def launch(*arguments: object, processes: int = 2) -> str:
    """Run a script under ``accelerate launch``; its output if it succeeds."""
    (output,) = _wait_for([start(*arguments, processes=processes)])
    return output


def launch_on_two_machines(*arguments: object) -> None:
    """Run a script in two network namespaces, one process in each."""
    with two_machines() as machines:
        launchers = [
            _start(arguments, 2, 29500, machine=number, prefix=machine.prefix)
            for number, machine in enumerate(machines)
        ]
        _wait_for(launchers)


def start(*arguments: object, processes: int) -> subprocess.Popen[str]:
    """Start a script under ``accelerate launch`` on this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return _start(arguments, processes, port)


def _start(
    arguments: Sequence[object],
    processes: int,
    port: int,
    machine: int | None = None,
    prefix: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """Start ``accelerate launch`` on one machine, or on number ``machine`` of two.

    Not with ``--cpu``, which starts a single process whatever ``--num_processes`` says: several
    processes on the CPU are started by the launcher for several GPUs.
    """
    command = [*prefix, sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", processes, "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", port, "--num_machines", 1 if machine is None else 2]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if machine is not None:
        command += ["--machine_rank", machine, "--main_process_ip", ADDRESSES[0]]
        environment |= {"GLOO_SOCKET_IFNAME": INTERFACE, "TP_SOCKET_IFNAME": INTERFACE}
    return subprocess.Popen(
        [str(part) for part in (*command, *arguments)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for(launchers: Sequence[subprocess.Popen[str]]) -> list[str]:
    """The outputs of launchers, all of which must succeed."""
    with ThreadPoolExecutor() as pool:  # a launcher stops when nobody reads what it writes
        outputs = list(pool.map(lambda launcher: launcher.communicate()[0], launchers))
    for launcher, output in zip(launchers, outputs, strict=True):
        assert launcher.returncode == 0, output
    return outputs


def same_features(found, expected):
    assert list(found.layers) == list(expected.layers)
    for stage, values in expected.layers.items():
        np.testing.assert_allclose(found.layers[stage], values, rtol=0, atol=1e-6)
    assert (found.source_logits is None) == (expected.source_logits is None)
    if expected.source_logits is not None:
        np.testing.assert_allclose(found.source_logits, expected.source_logits, rtol=0, atol=1e-6)
    assert found.params == expected.params
    assert found.meta["pooling"] == expected.meta["pooling"]
