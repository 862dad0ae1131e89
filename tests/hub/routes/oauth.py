"""Sign in with Hugging Face: the OpenID provider that a Space with ``hf_oauth: true`` talks to.

Whoever the browser is signed in as on the Hub's own pages (a cookie ``token``) agrees to all.
"""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import replace
from functools import cache
from typing import Any
from urllib.parse import unquote_plus, urlencode, urlsplit

from tests.hub.routing import HubError, Request, Response, json_response, route
from tests.hub.state import Account, Grant, State

_SECONDS = 8 * 60 * 60
_ALGORITHM = "RS256"


@cache
def _key() -> Any:
    from joserfc.jwk import RSAKey  # not at the top: only who signs in needs it

    return RSAKey.generate_key(2048, {"use": "sig", "alg": _ALGORITHM}, auto_kid=True)


def _signed(claims: dict[str, Any]) -> str:
    from joserfc import jwt

    return jwt.encode({"alg": _ALGORITHM, "kid": _key().kid}, claims, _key())


def _profile(account: Account, base_url: str) -> dict[str, Any]:
    return {
        "sub": account.name,
        "name": account.name.title(),
        "preferred_username": account.name,
        "profile": f"{base_url}/{account.name}",
        "picture": f"{base_url}/avatars/{account.name}.svg",
    }


@route("GET", "/.well-known/openid-configuration")
def discovery(hub: State, request: Request) -> Response:
    at = request.base_url
    return json_response(
        {
            "issuer": at,
            "authorization_endpoint": f"{at}/oauth/authorize",
            "token_endpoint": f"{at}/oauth/token",
            "userinfo_endpoint": f"{at}/oauth/userinfo",
            "jwks_uri": f"{at}/oauth/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [_ALGORITHM],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
            "scopes_supported": ["openid", "profile", "read-repos", "gated-repos"],
        }
    )


@route("GET", "/oauth/jwks")
def jwks(hub: State, request: Request) -> Response:
    return json_response({"keys": [_key().as_dict(private=False)]})


@route("GET", "/oauth/authorize")
def authorize(hub: State, request: Request) -> Response:
    app = hub.oauth_apps.get(request.first("client_id", ""))
    back = request.first("redirect_uri", "")
    if app is None or back.partition("?")[0] != app.callback:
        raise HubError(400, "Unknown app, or one that may not send people there")
    if request.first("response_type", "") != "code":
        raise HubError(400, "Unsupported response type")
    account = hub.accounts.get(request.cookie("token"))
    if account is None:
        raise HubError(401, "Sign in to the Hub first")
    code = secrets.token_urlsafe(16)
    hub.oauth_codes[code] = Grant(
        app, account, back, request.first("scope", ""), request.first("nonce", "")
    )
    answer = urlencode({"code": code, "state": request.first("state", "")})
    joint = "&" if urlsplit(back).query else "?"
    return Response(302, headers={"Location": f"{back}{joint}{answer}"})


@route("POST", "/oauth/token")
def token(hub: State, request: Request) -> Response:
    form = {name: values[0] for name, values in request.form().items()}
    grant = hub.oauth_codes.pop(form.get("code", ""), None)  # good for one time
    if grant is None or _client(request) != (grant.app.client_id, grant.app.secret):
        return json_response({"error": "invalid_grant"}, 400)
    if form.get("grant_type") != "authorization_code" or form.get("redirect_uri") != grant.back:
        return json_response({"error": "invalid_request"}, 400)
    now, scopes = int(time.time()), grant.scope.split()
    claims = {
        "iss": request.base_url,
        "sub": grant.account.name,
        "aud": grant.app.client_id,
        "iat": now,
        "exp": now + _SECONDS,
    }
    lent = f"hf_oauth_{_signed(claims | {'scope': scopes, 'jti': secrets.token_hex(8)})}"
    hub.accounts[lent] = replace(grant.account, role="read", sees_private="read-repos" in scopes)
    answer = {
        "access_token": lent,
        "token_type": "bearer",
        "expires_in": _SECONDS,
        "scope": grant.scope,
    }
    if "openid" in scopes:
        about = _profile(grant.account, request.base_url)
        answer["id_token"] = _signed(claims | about | {"nonce": grant.nonce})
    return json_response(answer)


@route("GET", "/oauth/userinfo")
def userinfo(hub: State, request: Request) -> Response:
    if request.account is None:
        raise HubError(401, "Invalid username or password.")
    return json_response(_profile(request.account, request.base_url))


def _client(request: Request) -> tuple[str, ...]:
    """Id and secret of the app that asks."""
    basic = request.headers.get("Authorization", "").removeprefix("Basic ")
    try:
        words = base64.b64decode(basic, validate=True).decode().split(":")
    except ValueError:
        return ()
    return tuple(map(unquote_plus, words))
