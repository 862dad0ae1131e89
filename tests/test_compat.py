"""The repair of a torchvision that does not fit torch, each case in a process of its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap

import pytest

# A stand-in for torchvision: importing it needs operators that only its extension would declare.
BROKEN = """
import torch
from . import part
torch.library.register_fake("{operator_a}", lambda *args: args[0])
torch.library.register_fake("{operator_b}", lambda *args: args[0])
__version__ = "9.9"
"""


def run(code: str, path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", textwrap.dedent(code)],
        env={"PYTHONPATH": f"{path}:{':'.join(sys.path)}", "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def fake_torchvision(tmp_path):
    """Write a package called torchvision that shadows the real one, beside an empty torch: the
    real torch takes seconds to import, and only operators need it.
    """

    def write(source: str, *, real_torch: bool = False):
        package = tmp_path / "torchvision"
        package.mkdir()
        (package / "__init__.py").write_text(source)
        (package / "part.py").write_text("import builtins\n")
        if not real_torch:
            (tmp_path / "torch.py").touch()
        return tmp_path

    return write


def test_missing_operators_are_declared_with_one_warning(fake_torchvision):
    path = fake_torchvision(
        BROKEN.format(operator_a="torchvision::nms", operator_b="torchvision::qnms"),
        real_torch=True,
    )
    out = run(
        """
        import warnings
        from hf_sfda.compat import ensure_torchvision
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            print(ensure_torchvision(), ensure_torchvision())
        import torch, torchvision
        print(torchvision.__version__, len(caught), "9.9" in str(caught[0].message))
        try:
            torch.ops.torchvision.nms(torch.ones(1, 4), torch.ones(1), 0.5)
        except NotImplementedError:
            print("no kernel")
        """,
        path,
    )
    assert out.splitlines() == [
        "('torchvision::nms', 'torchvision::qnms') ()",
        "9.9 1 True",
        "no kernel",
    ]


def test_a_sound_torchvision_is_left_alone(fake_torchvision):
    path = fake_torchvision("__version__ = '1'")
    out = run(
        """
        import warnings
        warnings.simplefilter("error")
        from hf_sfda.compat import ensure_torchvision
        print(ensure_torchvision())
        """,
        path,
    )
    assert out == "()\n"


def test_without_torchvision_nothing_happens(tmp_path):
    out = run(
        """
        import sys, importlib.util as util
        find = util.find_spec
        util.find_spec = lambda name, *rest: None if name == "torchvision" else find(name, *rest)
        from hf_sfda.compat import ensure_torchvision
        print(ensure_torchvision(), "torch" in sys.modules)
        """,
        tmp_path,
    )
    assert out == "() False\n"


def test_other_failures_are_not_hidden(fake_torchvision):
    path = fake_torchvision("raise RuntimeError('disk on fire')")
    out = run(
        """
        from hf_sfda.compat import ensure_torchvision
        try:
            ensure_torchvision()
        except RuntimeError as error:
            print(error)
        """,
        path,
    )
    assert out == "disk on fire\n"


@pytest.mark.slow
def test_timm_and_transformers_import_after_ensure_torchvision(tmp_path):
    if not all(importlib.util.find_spec(name) for name in ("timm", "torchvision")):
        pytest.skip("needs timm and torchvision")
    out = run(
        """
        import warnings
        from hf_sfda.compat import ensure_torchvision
        warnings.simplefilter("ignore")
        ensure_torchvision()
        import timm
        from transformers import ViTImageProcessor, ViTModel
        print("imported")
        """,
        tmp_path,
    )
    assert out == "imported\n"
