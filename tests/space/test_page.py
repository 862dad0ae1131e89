"""What the tabs share, without a server."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio")


def test_a_warm_up_that_fails_while_the_server_ends_is_no_traceback(monkeypatch):
    from hf_sfda.space.page import Page

    def ended():
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    raised = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    page = Page(SimpleNamespace(view=ended), SimpleNamespace())
    thread = threading.Thread(target=page.warm_up)
    thread.start()
    thread.join()
    assert not raised
