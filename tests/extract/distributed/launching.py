"""Start scripts in several processes, and compare what they stored.

Two machines, and processes that are killed, get ``accelerate launch``. Otherwise the processes are
forks of one that has imported everything: torch need not be imported again in each of them.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState

from tests.extract.distributed.machines import ADDRESSES, INTERFACE, two_machines

ROOT = Path(__file__).parents[3]


_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([
    "tests.extract.distributed.extract_everything", "tests.extract.distributed.extract_or_die",
    "timm", "transformers", "transformers.models.vit.modeling_vit", "hf_sfda.backbones.vision",
])  # fmt: skip


def launch(main: Callable[..., None], *arguments: object, processes: int = 2) -> None:
    """Run a function in several processes with a rank each; all must succeed."""
    port = _free_port()
    ranks = [
        _forks.Process(target=_run_as, args=(rank, processes, port, main, arguments))
        for rank in range(processes)
    ]
    for process in ranks:
        process.start()
    running = {process.sentinel: process for process in ranks}
    while running:
        for sentinel in wait(list(running)):
            if running.pop(sentinel).exitcode:
                for other in running.values():
                    other.kill()
    assert [process.exitcode for process in ranks] == [0] * processes


def _run_as(
    rank: int, processes: int, port: int, main: Callable[..., None], arguments: Sequence[object]
) -> None:
    """What a launcher says in the environment, and then the function."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    main(*arguments)
    assert PartialState().num_processes == processes


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
    return _start(arguments, processes, _free_port())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


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
