"""One process may fail without the others waiting for it for ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hf_sfda.errors import SfdaError, TargetError
from hf_sfda.processes import from_main, in_all, main_first

ROOT = Path(__file__).parent.parent


def _both_ways(path: str) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    rank = accelerator.process_index
    lines = [str(from_main(accelerator, lambda: f"made by {rank}"))]
    lines.append(str(main_first(accelerator, lambda: f"own {rank}")))

    def refuse() -> str:
        raise TargetError(f"refused by {rank}")

    for call in (from_main, main_first):
        try:
            call(accelerator, refuse)
        except TargetError as error:
            lines.append(str(error))

    def refuse_in_one() -> str:
        if rank == 1:
            raise TargetError("no memory")
        return f"kept {rank}"

    try:
        lines.append(in_all(accelerator, refuse_in_one))
    except SfdaError as error:
        lines.append(f"{type(error).__name__}: {error}")
    lines.append(in_all(accelerator, lambda: f"own {rank}"))  # all are at the same place again
    with open(f"{path}/{rank}", "w") as file:  # noqa: PTH123
        file.write("\n".join(lines))


def test_results_and_errors_reach_every_process(tmp_path):
    # In a process of its own: what accelerate knows of processes outlives a fork.
    code = (
        "from accelerate import debug_launcher; from tests.test_processes import _both_ways; "
        f"debug_launcher(_both_ways, args=({str(tmp_path)!r},), num_processes=3)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    for rank in range(3):
        assert (tmp_path / str(rank)).read_text().split("\n") == [
            "made by 0",
            f"own {rank}",
            "refused by 0",
            "refused by 0",
            "TargetError: no memory"
            if rank == 1
            else "SfdaError: Process 1 failed: TargetError: no memory",
            f"own {rank}",
        ]


def test_a_single_process_calls_the_function_and_passes_errors():
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    assert from_main(accelerator, lambda: 1) == in_all(accelerator, lambda: 1) == 1
    with pytest.raises(TargetError):
        main_first(accelerator, lambda: (_ for _ in ()).throw(TargetError("no")))
