"""Serve the app on the user's own machine."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from hf_sfda.errors import ConfigError, SfdaError
from hf_sfda.hub import hub_api
from hf_sfda.hub.access import Repo, find_head
from hf_sfda.secrets import keep_secret
from hf_sfda.space.hosts import allowed_names
from hf_sfda.space.settings import Limits, Settings, refresh_seconds, take_token


def serve_here(
    results: str,
    *,
    port: int,
    host: str,
    token: str | None = None,
    as_me: bool = False,
    allow_hosts: Iterable[str] = (),
    log: Callable[[str], None] = print,
) -> None:
    """Serve the app until Ctrl-C or SIGTERM.

    Args:
        results: The results dataset.
        port: The port; 0 for any free port.
        host: The address to listen on.
        token: Hub token to read the results with; ``None`` uses the current login.
        as_me: Whether visitors' jobs use this token, too.
        allow_hosts: More host names that are accepted if the page acts with the token.
        log: Receives the messages for the user, such as the address.

    Raises:
        ConfigError: The results dataset does not exist, the port is in use, the address is not one
            of this machine, or a limit or a host name is invalid.
    """
    limits = Limits.from_environment()
    names = allowed_names(allow_hosts)
    login_token = take_token()
    token = token or login_token
    keep_secret(token)
    if as_me and token is None:
        raise ConfigError(
            "--as-me needs a token: set HF_TOKEN, pass --token-file, or run `hf auth login`."
        )
    port = _free_port(host, port)
    repo = Repo(results, "dataset")
    _check_results(repo, token)
    guarded = token is not None and (as_me or not _is_public(repo))
    settings = Settings(
        results=results,
        results_token=token,
        visitor_token=token if as_me else None,
        limits=limits,
        refresh=refresh_seconds(),
        hosts=names | {host.lower()} if guarded else None,
    )
    from huggingface_hub import constants

    from hf_sfda.space.app import launch

    def started(url: str) -> None:
        log(f"{results} at {url} (Ctrl-C ends it)")
        if as_me:
            log("All visitors of this page read the Hub with your token.")

    launch(
        settings,
        folder=Path(constants.HF_HOME) / "hf-sfda-space",
        started=started,
        server_name=host,
        server_port=port,
        quiet=True,
    )


def _check_results(results: Repo, token: str | None) -> None:
    """Check that the results dataset exists.

    If the Hub cannot be reached, start anyway; the app shows the error.

    Raises:
        ConfigError: The dataset does not exist, or the token may not read it.
    """
    try:
        head = find_head(hub_api(token), results)
    except SfdaError:
        return
    if head is None:
        raise ConfigError(
            f"There is no {results}, or no token that may read it. Check the name, fill it with "
            f"`hf-sfda publish RUN --to {results.id}`, or pass --token-file if it is private."
        )


def _is_public(results: Repo) -> bool:
    """Whether everybody may read the results; ``False`` if the request fails."""
    try:
        return find_head(hub_api(None), results) is not None
    except SfdaError:
        return False


def _free_port(host: str, port: int) -> int:
    """Check that a port is free, or find a free one for 0. gradio would silently use another.

    Raises:
        ConfigError: The port is in use, or the address is not one of this machine.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"Cannot listen on {host}, port {port}: {error}. Choose another with --port or "
                "--host."
            ) from error
        return int(probe.getsockname()[1])
