"""The test Hub against the real huggingface_hub: accounts, repositories, and the server itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import (
    HfApi,
    ModelCard,
    hf_hub_download,
)
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
)

from tests.factories import model_files
from tests.hub.routing import find_route, route
from tests.hub.server import HubServer

# -- accounts


def test_whoami_tells_name_organisations_and_role(hub: HubServer, api: HfApi) -> None:
    token = hub.account("boss", orgs=("acme",))
    assert api.whoami()["name"] == "me"
    assert api.whoami(token=hub.read_token)["auth"]["accessToken"]["role"] == "read"
    assert [org["name"] for org in api.whoami(token=token)["orgs"]] == ["acme"]
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="nonsense")


def test_a_wrong_token_is_refused_even_for_public_repos(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", model_files())
    with pytest.raises(HfHubHTTPError) as caught:
        api.model_info("me/model", token="nonsense")
    assert caught.value.response.status_code == 401
    assert not isinstance(caught.value, RepositoryNotFoundError)


@pytest.mark.parametrize(
    ("who", "status"), [("read", 403), ("stranger", 403), ("nobody", 401)], ids=str
)
def test_writes_need_the_right_token(hub: HubServer, api: HfApi, who: str, status: int) -> None:
    hub.put("me/model", model_files())
    head = api.model_info("me/model").sha
    token = {"read": hub.read_token, "stranger": hub.account("stranger"), "nobody": False}[who]
    writes = [
        lambda: api.create_repo("me/other", token=token),
        lambda: api.upload_file(
            path_or_fileobj=b"x", path_in_repo="x", repo_id="me/model", token=token
        ),
        lambda: api.delete_repo("me/model", token=token),
        lambda: api.create_tag("me/model", tag="v1", token=token),
        lambda: api.update_repo_settings("me/model", private=True, token=token),
    ]
    for write in writes:
        with pytest.raises(HfHubHTTPError) as caught:
            write()
        assert caught.value.response.status_code == status
    assert api.model_info("me/model").sha == head
    assert not api.repo_exists("me/other")


def test_organisation_members_write_to_its_repos(hub: HubServer, api: HfApi) -> None:
    token = hub.account("boss", orgs=("acme",))
    api.create_repo("acme/model", token=token)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.create_repo("acme/other")


# -- repositories


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_repository_is_created_listed_and_deleted(hub: HubServer, api: HfApi, kind: str) -> None:
    sdk = "gradio" if kind == "space" else None
    url = api.create_repo("me/thing", repo_type=kind, space_sdk=sdk)
    assert (url.repo_id, url.repo_type, url.endpoint) == ("me/thing", kind, hub.url)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("me/thing", repo_type=kind, space_sdk=sdk)
    again = api.create_repo("me/thing", repo_type=kind, space_sdk=sdk, exist_ok=True)
    assert again == url
    assert api.repo_info("me/thing", repo_type=kind).id == "me/thing"
    api.delete_repo("me/thing", repo_type=kind)
    assert not api.repo_exists("me/thing", repo_type=kind)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo("me/thing", repo_type=kind)
    api.delete_repo("me/thing", repo_type=kind, missing_ok=True)


def test_a_name_without_owner_is_mine(api: HfApi) -> None:
    assert api.create_repo("thing").repo_id == "me/thing"


def test_an_old_repo_without_namespace_is_found(hub: HubServer, api: HfApi) -> None:
    hub.put("gpt2", model_files())
    assert api.model_info("gpt2").id == "gpt2"
    assert [f.path for f in api.list_repo_tree("gpt2")][-1] == "preprocessor_config.json"
    assert Path(hf_hub_download("gpt2", "config.json")).is_file()


def test_moving_keeps_history(hub: HubServer, api: HfApi) -> None:
    sha = hub.put("me/old", model_files())
    api.move_repo("me/old", "me/new")
    assert api.model_info("me/new").sha == sha
    assert not api.repo_exists("me/old")


def test_private_repos_look_missing_to_strangers(hub: HubServer, api: HfApi) -> None:
    stranger = hub.account("stranger")
    hub.put("me/secret", model_files(), private=True)
    for token in (stranger, False):
        assert not api.repo_exists("me/secret", token=token)
        assert list(api.list_models(token=token)) == []
        with pytest.raises(RepositoryNotFoundError):
            hf_hub_download("me/secret", "config.json", token=token)
    assert [m.id for m in api.list_models()] == ["me/secret"]
    api.update_repo_settings("me/secret", private=False)
    assert api.repo_exists("me/secret", token=False)


def test_gated_repos_can_be_seen_but_not_downloaded(hub: HubServer, api: HfApi) -> None:
    token = hub.account("reader", "read")
    hub.put("acme/gated", model_files(), gated="manual")
    assert api.model_info("acme/gated").gated == "manual"
    for who in (token, False):
        with pytest.raises(GatedRepoError):
            hf_hub_download("acme/gated", "config.json", token=who)
        with pytest.raises(GatedRepoError):
            api.auth_check("acme/gated", token=who)
    assert ModelCard.load("acme/gated", token=token).data.license == "mit"
    hub.grant("acme/gated", "reader")
    assert Path(hf_hub_download("acme/gated", "config.json", token=token)).is_file()
    api.auth_check("acme/gated", token=token)


def test_the_owner_gates_and_grants_through_the_api(hub: HubServer, api: HfApi) -> None:
    token = hub.account("reader", "read")
    hub.put("me/model", model_files())
    api.update_repo_settings("me/model", gated="auto")
    with pytest.raises(GatedRepoError):
        api.auth_check("me/model", token=token)
    api.grant_access("me/model", "reader")
    api.auth_check("me/model", token=token)


def test_disabled_and_vanished_repositories_are_refused(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", model_files())
    hub.set("me/model", disabled=True)
    with pytest.raises(DisabledRepoError):
        api.model_info("me/model")
    assert [m.disabled for m in api.list_models(expand=["disabled"])] == [True]
    hub.delete("me/model")
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("me/model")


def test_settings_are_checked(hub: HubServer) -> None:
    hub.put("me/model", model_files())
    with pytest.raises(ValueError, match=r"Unknown setting 'download'; allowed: .*downloads"):
        hub.set("me/model", download=3)
    hub.put("me/model", {"a.csv": "a"}, repo_type="dataset")
    with pytest.raises(KeyError, match="2 repositories"):
        hub.set("me/model", downloads=3)


# -- the server itself


def test_a_route_is_one_decorated_function() -> None:
    found = find_route("GET", "/api/models/me/refs/refs")
    assert found is not None
    assert (found[0].endpoint.__name__, found[1]["repo"]) == ("refs", "me/refs")
    found = find_route("HEAD", "/datasets/me/x/resolve/refs%2Fpr%2F1/a/b%20c.txt")
    assert found is not None
    assert found[1] == {
        "prefix": "datasets/",
        "repo": "me/x",
        "revision": "refs/pr/1",
        "rest": "a/b c.txt",
    }
    with pytest.raises(ValueError, match="has an endpoint already"):
        route("GET", "/api/whoami-v2")(found[0].endpoint)


def test_unknown_requests_are_remembered(hub: HubServer, api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError):
        api.get_user_overview("me")
    assert hub.unknown == ["GET /api/users/me/overview"]


def test_reset_empties_everything(hub: HubServer, api: HfApi) -> None:
    hub.put("me/model", model_files())
    hub.account("boss")
    api.create_collection("Best", namespace="me")
    hub.faults.add(times=None)
    hub.reset()
    assert list(api.list_models()) == []
    assert list(api.list_collections()) == []
    assert set(hub.state.accounts) == {hub.token, hub.read_token}
    assert len(hub.requests) == 2


def test_two_hubs_are_independent(hub: HubServer) -> None:
    with HubServer() as other:
        other.put("me/model", model_files())
        assert HfApi(endpoint=other.url).repo_exists("me/model")
        assert not HfApi().repo_exists("me/model")
