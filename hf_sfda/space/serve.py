"""The app on one's own machine."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from hf_sfda.errors import ConfigError, SfdaError
from hf_sfda.hub import hub_api, keep_secret
from hf_sfda.publish.access import Repo, find_head
from hf_sfda.space.limits import Limits
from hf_sfda.space.settings import Settings, refresh_seconds, take_token


def serve_here(
    results: str,
    *,
    port: int,
    host: str,
    token: str | None = None,
    as_me: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the app until it is interrupted.

    Args:
        results: The results dataset.
        port: 0 takes any free one.
        host: Address to listen on.
        token: Reads the results; by default the one the Hub's own tools would use.
        as_me: Visitors use that token, too.
        say: Takes the address.

    Raises:
        ConfigError: There are no such results, the port is taken, the address is not ours, or a
            limit is no number.
    """
    limits = Limits.from_environment()
    found = take_token()
    token = token or found
    keep_secret(token)
    if as_me and token is None:
        raise ConfigError(
            "--as-me needs a token: set HF_TOKEN, pass --token-file, or run `hf auth login`."
        )
    settings = Settings(
        results=results,
        results_token=token,
        visitor_token=token if as_me else None,
        limits=limits,
        refresh=refresh_seconds(),
    )
    port = _free_port(host, port)
    _check_results(Repo(results, "dataset"), token)
    from huggingface_hub import constants

    from hf_sfda.space.app import launch

    app, url = launch(
        settings,
        folder=Path(constants.HF_HOME) / "hf-sfda-space",
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
    )
    say(f"{results} at {url} (Ctrl-C ends it)")
    if as_me:
        say("Whoever opens this page reads the Hub with your token.")
    app.block_thread()


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
