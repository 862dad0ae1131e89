"""The test Hub as an OpenID provider: what it grants, and what it refuses."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import RepositoryNotFoundError

from tests.hub.server import HubServer

pytest.importorskip("joserfc", reason="needs gradio[oauth]")

BACK = "https://app.example/login/callback?_target_url=%2F"


def authorize(hub: HubServer, app: dict[str, str], who: str | None = "anna", back: str = BACK):
    return httpx2.get(
        f"{hub.url}/oauth/authorize",
        params={
            "response_type": "code", "client_id": app["OAUTH_CLIENT_ID"], "redirect_uri": back,
            "scope": app["OAUTH_SCOPES"], "state": "s", "nonce": "n",
        },
        headers={"Cookie": f"token={hub.account(who)}"} if who else {},
    )  # fmt: skip


def code_of(answer: httpx2.Response) -> str:
    assert answer.status_code == 302
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert (query["state"], query["_target_url"]) == (["s"], ["/"])
    return query["code"][0]


def exchange(hub: HubServer, app: dict[str, str], code: str, back: str = BACK):
    return httpx2.post(
        f"{hub.url}/oauth/token",
        data={"grant_type": "authorization_code", "code": code, "redirect_uri": back},
        auth=(app["OAUTH_CLIENT_ID"], app["OAUTH_CLIENT_SECRET"]),
    )


@pytest.mark.parametrize(("scopes", "private"), [(["read-repos"], True), ([], False)])
def test_the_token_does_what_was_agreed_to_and_writes_nothing(hub, scopes, private):
    app = hub.oauth_app("app.example", scopes)
    hub.put("anna/secret", {"a.txt": "x"}, private=True)
    answer = exchange(hub, app, code_of(authorize(hub, app))).json()
    api = HfApi(token=answer["access_token"])
    assert api.whoami()["name"] == "anna"
    assert api.whoami()["auth"]["accessToken"]["role"] == "read"
    if private:
        assert api.model_info("anna/secret").private
    else:
        with pytest.raises(RepositoryNotFoundError):
            api.model_info("anna/secret")
    about = httpx2.get(
        f"{hub.url}/oauth/userinfo",
        headers={"Authorization": f"Bearer {answer['access_token']}"},
    ).json()
    assert about["preferred_username"] == "anna"


def test_a_code_is_good_once_and_for_its_app_alone(hub):
    app, other = hub.oauth_app("app.example"), hub.oauth_app("other.example")
    code = code_of(authorize(hub, app))
    assert exchange(hub, app, code).status_code == 200
    assert exchange(hub, app, code).json() == {"error": "invalid_grant"}
    assert exchange(hub, other, code_of(authorize(hub, app))).json() == {"error": "invalid_grant"}
    forged = app | {"OAUTH_CLIENT_SECRET": "guess"}
    assert exchange(hub, forged, code_of(authorize(hub, app))).status_code == 400
    moved = exchange(hub, app, code_of(authorize(hub, app)), back="https://app.example/")
    assert moved.json() == {"error": "invalid_request"}


def test_nobody_is_sent_elsewhere_or_without_being_known(hub):
    app = hub.oauth_app("app.example")
    assert authorize(hub, app, back="https://evil.example/login/callback").status_code == 400
    assert authorize(hub, app | {"OAUTH_CLIENT_ID": "x"}).status_code == 400
    assert authorize(hub, app, who=None).status_code == 401
