"""Start scripts in several processes, and compare what they stored.

Two machines get ``accelerate launch``. On one machine the launcher of torch, which ``accelerate
launch`` calls, forks this process instead: torch is not imported again in each of them.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import numpy as np
from accelerate.state import AcceleratorState
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from tests.extract.distributed.machines import ADDRESSES, INTERFACE, two_machines

ROOT = Path(__file__).parents[3]


def launch(main: Callable[..., None], *arguments: object, processes: int = 2) -> None:
    """Run a function in several processes, each of which knows its rank; all must succeed."""
    failure = launch_and_fail(main, *arguments, processes=processes)
    assert failure is None, failure


def launch_and_fail(main: Callable[..., None], *arguments: object, processes: int) -> str | None:
    """What the launcher says of the processes that failed; None if all succeeded."""
    context = multiprocessing.get_context("fork")
    failure = context.SimpleQueue()
    launcher = context.Process(target=_launch, args=(failure, main, arguments, processes))
    launcher.start()
    launcher.join()
    assert not failure.empty(), f"the launcher ended with {launcher.exitcode}"
    return failure.get()


def _launch(
    failure: SimpleQueue[str | None],
    main: Callable[..., None],
    arguments: Sequence[object],
    processes: int,
) -> None:
    """Runs in a process of its own, because the launcher takes over signals and the environment."""
    os.environ["OMP_NUM_THREADS"] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        start_method="fork",
        run_id="test",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        monitor_interval=0.1,
        max_restarts=0,
    )
    try:
        elastic_launch(config, _run_fresh)(main, *arguments)
    except ChildFailedError as error:
        failure.put(str(error))
    else:
        failure.put(None)


def _run_fresh(main: Callable[..., None], *arguments: object) -> None:
    """Run a function as if no accelerator had been made in the process that was forked."""
    AcceleratorState._reset_state(reset_partial_state=True)
    main(*arguments)
    assert str(AcceleratorState().num_processes) == os.environ["WORLD_SIZE"]


def launch_on_two_machines(*arguments: object) -> None:
    """Run a script in two network namespaces, one process in each."""
    with two_machines() as machines:
        launchers = [
            _start(arguments, number, machine.prefix) for number, machine in enumerate(machines)
        ]
        _wait_for(launchers)


def _start(
    arguments: Sequence[object], machine: int, prefix: Sequence[str]
) -> subprocess.Popen[str]:
    """Start ``accelerate launch`` on number ``machine`` of two.

    Not with ``--cpu``, which starts a single process whatever ``--num_processes`` says: several
    processes on the CPU are started by the launcher for several GPUs.
    """
    command = [*prefix, sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    command += ["--num_processes", 2, "--mixed_precision", "no", "--dynamo_backend", "no"]
    command += ["--main_process_port", 29500, "--num_machines", 2]
    command += ["--machine_rank", machine, "--main_process_ip", ADDRESSES[0]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
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
