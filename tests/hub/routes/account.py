"""Who am I, what may I; and the two service calls of the client."""

from __future__ import annotations

from tests.hub.card import check_card
from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import State


@route("GET", "/api/whoami-v2")
def whoami(hub: State, request: Request) -> Response:
    account = request.account
    if account is None:
        raise HubError(401, "Invalid username or password.")
    return json_response(
        {
            "type": "user",
            "id": account.name,
            "name": account.name,
            "fullname": account.name.title(),
            "email": f"{account.name}@example.org",
            "emailVerified": True,
            "isPro": False,
            "orgs": [
                {"type": "org", "name": org, "roleInOrg": account.role} for org in account.orgs
            ],
            "auth": {
                "type": "access_token",
                "accessToken": {"displayName": "test", "role": account.role},
            },
        }
    )


@route("GET", "/api/{kind}/{repo}/auth-check")
def auth_check(hub: State, request: Request) -> Response:
    hub.read_files(request.params["kind"], request.params["repo"], request.account)
    return json_response({})


@route("GET", "/api/{kind}/{repo}/auth-check/write")
def auth_check_write(hub: State, request: Request) -> Response:
    hub.write(request.params["kind"], request.params["repo"], request.account)
    return json_response({})


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: State, request: Request) -> Response:
    errors, warnings = check_card(request.json().get("content", ""))
    answer = {
        "errors": [{"message": message} for message in errors],
        "warnings": [{"message": message} for message in warnings],
    }
    return json_response(answer, 400 if errors else 200)


@route("GET", "/api/agent-harnesses")
def agent_harnesses(hub: State, request: Request) -> Response:
    return json_response({})
