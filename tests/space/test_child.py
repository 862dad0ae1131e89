"""How a job's process is started, listened to and ended; with small programs in its place."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hf_sfda.space import child as module
from hf_sfda.space.child import Child
from tests.waiting import until

TOKEN = "no-shape-that-redact-would-know"


@pytest.fixture
def start(monkeypatch, tmp_path):
    """Run a program instead of the worker."""
    children = []

    def start(program: str, *, seconds: float = 60, **message: object) -> Child:
        monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", program))
        env = {"HF_TOKEN": TOKEN, "PATH": os.environ["PATH"]}
        children.append(Child("verb", message, cwd=tmp_path, env=env, seconds=seconds))
        return children[-1]

    yield start
    for one in children:
        one.kill()


def heard(child: Child) -> list:
    return [event for event in child.events() if event is not None]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def has_ended(pid: int) -> bool:
    """Whether a process that was killed goes; the kernel may take a moment."""
    return until(lambda: not is_alive(pid), f"process {pid} lives on")


def test_a_child_reads_its_request_and_its_stderr_is_redacted(start):
    child = start(
        "import sys, os, json\n"
        "text = json.loads(sys.stdin.readline())['text']\n"
        "print(json.dumps({'event': 'log', 'text': text * 2}))\n"
        "print('no event')\n"
        "print('oops', os.environ['HF_TOKEN'], 'hf_' + 'a' * 30, file=sys.stderr)\n",
        text="é",
    )
    assert heard(child) == [{"event": "log", "text": "éé"}]
    assert child.wait() == 0
    assert child.stderr_tail == "oops <redacted> <redacted>"
    assert not child.timed_out


def test_only_the_last_lines_of_stderr_are_kept(start):
    child = start("import sys\nfor i in range(1000): print(i, file=sys.stderr)")
    heard(child)
    child.wait()
    lines = child.stderr_tail.splitlines()
    assert (len(lines), lines[-1]) == (200, "999")


def test_a_child_that_dies_gives_its_exit_code(start):
    child = start("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert heard(child) == []
    assert child.wait() == -11
    child = start("raise SystemExit(3)")
    assert heard(child) == []
    assert child.wait() == 3


_FAMILY = """
import os, signal, time
pid = os.fork()
if pid == 0:
    time.sleep(10_000)
print('{"event": "log", "text": "%d"}' % pid, flush=True)
ENDS
"""


@pytest.mark.parametrize("ends", ["os.kill(os.getpid(), signal.SIGKILL)", "os._exit(0)"])
def test_processes_that_a_child_started_end_with_it(start, ends):
    child = start(_FAMILY.replace("ENDS", ends))
    (event,) = heard(child)
    assert child.wait() == (0 if "exit" in ends else -9)
    assert has_ended(int(event["text"]))


def test_a_child_is_killed_with_all_it_started(start):
    child = start(_FAMILY.replace("ENDS", "time.sleep(10_000)"))
    grandchild = int(next(event for event in child.events() if event)["text"])
    assert is_alive(grandchild)
    assert child.kill() == -9
    assert child.kill() == -9
    assert has_ended(grandchild)
    assert heard(child) == []


def test_its_time_ends_though_nobody_listens(start):
    child = start("import time; time.sleep(10_000)", seconds=0.2)
    assert has_ended(child.pid)
    assert child.timed_out
    assert child.wait() == -9


def test_stdin_stays_open_until_it_ends(start):
    """Its end is how a job notices that its server is gone."""
    child = start(
        "import sys, select\nsys.stdin.readline()\n"
        'print(\'{"event": "%s"}\' % bool(select.select([0], [], [], 0.3)[0]))'
    )
    assert heard(child) == [{"event": "False"}]
