"""Loads datasets in a process without the Hub: the libraries read this setting when they start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from hf_sfda.errors import TargetError
from hf_sfda.types import Target

_CODE = """
import json, sys
from tests.offline import answer
exec(sys.argv[1])
print(json.dumps([answer(**call) for call in json.loads(sys.argv[2])]))
"""


def answer(dataset: str, **options: Any) -> list[Any] | str:
    """What identifies a target and is said about it; or why it cannot be loaded."""
    from hf_sfda import load_target

    try:
        return identity(load_target(dataset, **options))
    except TargetError as error:
        return str(error)


def identity(target: Target) -> list[Any]:
    """What two targets of the same samples have in common."""
    return [
        target.revision, target.config, target.split, target.fingerprint, list(target.warnings)
    ]  # fmt: skip


def load_apart(
    *calls: Mapping[str, Any], env: Mapping[str, str], first: str = ""
) -> list[list[Any] | str]:
    """The :func:`answer` to each call, of one process.

    Args:
        calls: Arguments of ``load_target``.
        env: The whole environment.
        first: Code that runs before.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CODE, first, json.dumps(calls)],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[list[Any] | str] = json.loads(done.stdout)
    return answers


def load_offline(*calls: Mapping[str, Any], first: str = "") -> list[list[Any] | str]:
    """The same without the Hub, with the caches of this process."""
    return load_apart(*calls, env={**os.environ, "HF_HUB_OFFLINE": "1"}, first=first)
