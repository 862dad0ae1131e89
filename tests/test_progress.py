"""Which progress `hf_sfda.rank` shows when nobody asks for one."""

from __future__ import annotations

import io
import sys
import types

import pytest

import hf_sfda
from hf_sfda.progress import NoProgress, TqdmProgress, default_progress
from hf_sfda.store import FeatureStore
from tests import factories


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def kernel(config: dict[str, object]) -> types.SimpleNamespace:
    return types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace(config=config))


def test_bars_are_for_terminals_and_notebooks(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert isinstance(default_progress(), NoProgress)
    monkeypatch.setitem(sys.modules, "IPython", kernel({"TerminalIPythonApp": {}}))
    assert isinstance(default_progress(), NoProgress)
    monkeypatch.setitem(
        sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None)
    )  # imported by a library, in no shell
    assert isinstance(default_progress(), NoProgress)
    monkeypatch.setitem(sys.modules, "IPython", kernel({"IPKernelApp": {}}))
    assert isinstance(default_progress(), TqdmProgress)
    monkeypatch.delitem(sys.modules, "IPython")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert isinstance(default_progress(), TqdmProgress)


@pytest.mark.parametrize("options", [{}, {"progress": NoProgress()}], ids=["default", "none"])
def test_rank_shows_bars_on_a_terminal(tmp_path, monkeypatch, options):
    factories.image_folder(tmp_path / "shapes", n_per_class=6, classes=2)
    factories.tiny_vit(tmp_path / "vit")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    store = FeatureStore(tmp_path / "store")
    dataset, model = str(tmp_path / "shapes"), str(tmp_path / "vit")
    ranking = hf_sfda.rank(dataset, model, store=store, permutations=0, **options)
    assert len(ranking.ranked) == 1
    bars = ("extract", "score")
    assert all((bar in terminal.getvalue()) is not bool(options) for bar in bars)
