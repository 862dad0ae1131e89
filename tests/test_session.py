"""A session carries the token, the feature store and the progress of a run."""

from __future__ import annotations

import pytest

from hf_sfda.errors import StoreError
from hf_sfda.progress import NoProgress
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore


def test_a_session_does_not_print_its_token():
    secret = "hf_" + "x" * 34
    assert secret not in repr(Session(secret)) and "Session(" in repr(Session(secret))


def test_the_default_store_is_created_when_it_is_first_asked_for(tmp_path, monkeypatch):
    cache = tmp_path / "assets"
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(cache))
    session = Session()
    assert isinstance(session.progress, NoProgress)
    assert not cache.exists()
    assert session.feature_store.root.is_relative_to(cache) and cache.is_dir()
    assert session.feature_store is session.feature_store


def test_a_store_that_cannot_be_created_is_a_store_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "file"))
    session = Session()
    with pytest.raises(StoreError):
        _ = session.feature_store


def test_a_given_store_is_used(tmp_path):
    store = FeatureStore(tmp_path)
    assert Session(store=store).feature_store is store
