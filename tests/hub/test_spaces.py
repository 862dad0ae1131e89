"""Spaces and collections on the test Hub, through huggingface_hub."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import (
    HfApi,
    SpaceHardware,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    RepositoryNotFoundError,
)

from tests.factories import model_files
from tests.hub.server import HubServer


def test_a_space_keeps_secrets_variables_and_hardware(
    hub: HubServer, api: HfApi, tmp_path: Path
) -> None:
    api.create_repo(
        "me/app",
        repo_type="space",
        space_sdk="gradio",
        space_secrets=[{"key": "TOKEN", "value": "s3cret"}],
        space_variables=[{"key": "RESULTS", "value": "me/results"}],
    )
    (tmp_path / "app.py").write_text("import gradio\n")
    api.upload_folder(repo_id="me/app", folder_path=tmp_path, repo_type="space")
    assert "app.py" in hub.files("me/app")
    info = api.space_info("me/app")
    assert (info.sdk, info.runtime.stage) == ("gradio", "BUILDING")
    api.add_space_secret("me/app", "OTHER", "x", description="Why")
    listed = api.get_space_secrets("me/app")
    assert listed["OTHER"].description == "Why"
    assert "s3cret" not in str(hub.requests)
    api.delete_space_secret("me/app", "OTHER")
    assert set(api.get_space_secrets("me/app")) == {"TOKEN"}
    assert hub.repo("me/app").space["secrets"]["TOKEN"]["value"] == "s3cret"
    api.add_space_variable("me/app", "A", "1")
    assert {k: v.value for k, v in api.get_space_variables("me/app").items()} == {
        "RESULTS": "me/results",
        "A": "1",
    }
    assert set(api.delete_space_variable("me/app", "A")) == {"RESULTS"}
    runtime = api.request_space_hardware("me/app", SpaceHardware.ZERO_A10G)
    assert runtime.requested_hardware == "zero-a10g"
    assert api.get_space_runtime("me/app").requested_hardware == "zero-a10g"
    assert api.set_space_sleep_time("me/app", 60).sleep_time == 60
    assert api.pause_space("me/app").stage == "PAUSED"
    assert api.restart_space("me/app").stage == "BUILDING"
    assert "zero-a10g" in {h.name for h in api.list_spaces_hardware()}
    with pytest.raises(HfHubHTTPError, match="403"):
        api.get_space_secrets("me/app", token=hub.account("stranger"))


def test_a_new_space_holds_the_hubs_own_card(hub: HubServer, api: HfApi) -> None:
    api.create_repo("me/app", repo_type="space", space_sdk="gradio")
    assert set(hub.files("me/app")) == {".gitattributes", "README.md"}
    assert b"title: App\n" in hub.files("me/app")["README.md"]
    commits = api.list_repo_commits("me/app", repo_type="space")
    assert {commit.title for commit in commits} == {"initial commit"}


def test_an_account_that_does_not_pay_gets_free_hardware_only(hub: HubServer, api: HfApi) -> None:
    poor = HfApi(token=hub.account("poor", pays=False))
    with pytest.raises(HfHubHTTPError, match="402"):
        poor.create_repo("poor/app", repo_type="space", space_sdk="gradio")
    assert not poor.repo_exists("poor/app", repo_type="space")
    poor.create_repo(
        "poor/app",
        repo_type="space",
        space_sdk="gradio",
        space_hardware=SpaceHardware.ZERO_A10G,
        space_sleep_time=600,
    )
    runtime = poor.get_space_runtime("poor/app")
    assert (runtime.requested_hardware, runtime.sleep_time) == ("zero-a10g", 600)
    with pytest.raises(HfHubHTTPError, match="402"):
        poor.request_space_hardware("poor/app", SpaceHardware.T4_SMALL)
    assert poor.get_space_runtime("poor/app").requested_hardware == "zero-a10g"
    assert poor.request_space_hardware("poor/app", SpaceHardware.CPU_BASIC)
    with pytest.raises(HfHubHTTPError, match="Invalid hardware flavor"):
        poor.request_space_hardware("poor/app", "abacus")


def test_a_collection_keeps_its_items_in_order(hub: HubServer, api: HfApi) -> None:
    for name in "abc":
        hub.put(f"acme/{name}", model_files())
    made = api.create_collection("Best for pets", namespace="me", description="By SFDA")
    assert made.slug.startswith("me/best-for-pets-")
    assert api.create_collection("Best for pets", namespace="me", exists_ok=True).slug == made.slug
    for name in "abc":
        api.add_collection_item(made.slug, f"acme/{name}", "model", note=f"No {name}")
    with pytest.raises(HfHubHTTPError, match="409"):
        api.add_collection_item(made.slug, "acme/a", "model")
    with pytest.raises(RepositoryNotFoundError):
        api.add_collection_item(made.slug, "acme/nothing", "model")
    items = api.get_collection(made.slug).items
    assert [(i.item_id, i.note) for i in items] == [(f"acme/{n}", f"No {n}") for n in "abc"]
    api.update_collection_item(made.slug, items[2].item_object_id, position=0, note="New")
    api.delete_collection_item(made.slug, items[1].item_object_id)
    items = api.get_collection(made.slug).items
    assert [(i.item_id, i.note, i.position) for i in items] == [
        ("acme/c", "New", 0),
        ("acme/a", "No a", 1),
    ]
    assert api.update_collection_metadata(made.slug, private=True).private
    (listed,) = api.list_collections(owner="me")
    assert listed.title == "Best for pets"
    assert list(api.list_collections(owner="me", token=False)) == []
    api.delete_collection(made.slug)
    api.delete_collection(made.slug, missing_ok=True)
