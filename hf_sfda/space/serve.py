"""The app on one's own machine."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from hf_sfda.errors import ConfigError, SfdaError
from hf_sfda.hub import hub_api, keep_secret
from hf_sfda.publish.access import Repo, find_head
from hf_sfda.space.hosts import allowed_names
from hf_sfda.space.limits import Limits
from hf_sfda.space.settings import Settings, refresh_seconds, take_token


def serve_here(
    results: str,
    *,
    port: int,
    host: str,
    token: str | None = None,
    as_me: bool = False,
    allow_hosts: Iterable[str] = (),
    say: Callable[[str], None] = print,
) -> None:
    """Serve the app until Ctrl-C or SIGTERM.

    Args:
        results: The results dataset.
        port: 0 takes any free one.
        host: Address to listen on.
        token: Reads the results; by default the one the Hub's own tools would use.
        as_me: Visitors use that token, too.
        allow_hosts: More host names that the page answers to when it acts with the token.
        say: Takes the address.

    Raises:
        ConfigError: There are no such results, the port is taken, the address is not ours, or a
            limit or a host name is malformed.
    """
    limits = Limits.from_environment()
    names = allowed_names(allow_hosts)
    found = take_token()
    token = token or found
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
        say(f"{results} at {url} (Ctrl-C ends it)")
        if as_me:
            say("All visitors of this page read the Hub with your token.")

    launch(
        settings,
        folder=Path(constants.HF_HOME) / "hf-sfda-space",
        started=started,
        server_name=host,
        server_port=port,
        quiet=True,
    )


def _check_results(results: Repo, token: str | None) -> None:
    """Refuse what is not on the Hub; a Hub that is down is the app's to bear and to tell."""
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
    """Whether everybody may read the results; no, if the Hub cannot be asked."""
    try:
        return find_head(hub_api(None), results) is not None
    except SfdaError:
        return False


def _free_port(host: str, port: int) -> int:
    """The port, or any free one for 0; gradio itself would try the next hundred."""
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
