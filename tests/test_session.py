"""A session carries the token, the feature store and the progress of a run."""

from __future__ import annotations

import pytest

from hf_sfda.errors import StoreError
from hf_sfda.session import Session
from hf_sfda.store import FeatureStore

ASSETS = "huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE"


def test_a_session_does_not_print_its_token():
    secret = "hf_" + "x" * 34
    assert secret not in repr(Session(secret))


def test_the_default_store_is_created_when_it_is_first_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(ASSETS, str(tmp_path / "assets"))
    session = Session()
    assert not (tmp_path / "assets").exists()
    assert session.feature_store.root.is_relative_to(tmp_path / "assets")
    assert session.feature_store is session.feature_store


def test_a_file_in_place_of_the_default_store_is_a_store_error(tmp_path, monkeypatch):
    (tmp_path / "assets").write_text("no folder")
    monkeypatch.setattr(ASSETS, str(tmp_path / "assets"))
    with pytest.raises(StoreError, match=r"Cannot create the feature store .* existing file"):
        _ = Session().feature_store


def test_a_given_store_is_used(tmp_path):
    store = FeatureStore(tmp_path)
    assert Session(store=store).feature_store is store
