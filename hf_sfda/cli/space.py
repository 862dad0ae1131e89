"""``hf-sfda space``: serve the leaderboard as an app, or deploy it as a Space."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from hf_sfda.cli._options import Consent, hub_id, with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.cli._plans import show_or_execute

_DEPLOY = """
**Examples**

- `hf-sfda space deploy me/leaderboard --results me/results` — show the plan, write nothing

- `hf-sfda space deploy me/leaderboard --results me/results --hardware zero-a10g --yes`

- `hf-sfda space deploy me/leaderboard --results me/results --variable HF_SFDA_MAX_SAMPLES=1000`

- `hf-sfda space deploy me/board --results me/private --private --secret HF_TOKEN=READ_TOKEN`
"""


_SERVE = """
**Examples**

- `hf-sfda space serve --results me/results`

- `hf-sfda space serve --results me/results --port 8000 --as-me` — private datasets, too
"""


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="The leaderboard as an app.", no_args_is_help=True)
    group.callback()(_group)
    group.command("serve", epilog=_SERVE)(serve)
    group.command("deploy", epilog=_DEPLOY)(deploy)
    app.add_typer(group, name="space")


def _group() -> None:
    """The leaderboard as an app, here or on the Hub."""


@with_shared_options
def serve(
    results: Annotated[
        str,
        typer.Option("--results", help="Results dataset to show, OWNER/NAME.", show_default=False),
    ],
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 7860,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 means all.")
    ] = "127.0.0.1",
    as_me: Annotated[
        bool,
        typer.Option("--as-me", help="Use your token for all visitors (default: anonymous)."),
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="With --as-me, requests are accepted only for IP addresses, localhost and this "
            "machine's name. Accept another host name too, such as that of a proxy; repeatable.",
            show_default=False,
        ),
    ] = None,
    *,
    token: str | None,
) -> None:
    """Serve the app on this machine until Ctrl-C.

    Environment variables such as HF_SFDA_MAX_SAMPLES limit what a visitor may rank (docs/space.md).
    """
    from hf_sfda.errors import ConfigError

    results_id = hub_id("--results", results, "dataset", "me/results")
    if find_spec("gradio") is None:
        raise ConfigError(
            'The app needs gradio, which is not installed. Run: pip install "hf-sfda[space]"'
        )
    from hf_sfda.space.serve import serve_here

    serve_here(
        results_id,
        port=port,
        host=host,
        token=token,
        as_me=as_me,
        allow_hosts=allow_host or (),
        log=lambda line: typer.echo(line),
    )


@with_shared_options
def deploy(
    space: Annotated[
        str,
        typer.Argument(
            metavar="SPACE", help="OWNER/NAME of the Space; created if it does not exist."
        ),
    ],
    results: Annotated[
        str,
        typer.Option("--results", help="Results dataset to show, OWNER/NAME.", show_default=False),
    ],
    variable: Annotated[
        list[str] | None,
        typer.Option(
            "--variable",
            metavar="NAME=VALUE",
            help="Set a variable of the Space, such as a limit; repeatable.",
            show_default=False,
        ),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            metavar="NAME[=VARIABLE]",
            help="Create the Space secret NAME from the environment variable NAME (or VARIABLE); "
            "repeatable.",
            show_default=False,
        ),
    ] = None,
    hardware: Annotated[
        str | None,
        typer.Option(
            help="Hardware, such as cpu-basic or zero-a10g. [default: unchanged]",
            show_default=False,
        ),
    ] = None,
    sleep: Annotated[
        int | None,
        typer.Option(
            metavar="SECONDS",
            help="Sleep after this time without a visitor; -1 for never.",
            show_default=False,
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Create the Space as private.")
    ] = False,
    *,
    consent: Consent,
    token: str | None,
    output: Output,
) -> None:
    """Create or update the app as a Space on the Hub. Shows the plan first."""
    from hf_sfda.space.deploy import plan_deploy
    from hf_sfda.space.deploy.options import make_options

    results_id = hub_id("--results", results, "dataset", "me/results")
    options = make_options(
        results_id,
        variables=tuple(variable or ()),
        secrets=tuple(secret or ()),
        hardware=hardware,
        sleep=sleep,
        private=private,
    )
    space_id = hub_id("SPACE", space, "space", "me/leaderboard")
    plan = plan_deploy(space_id, results_id, options, token=token)
    show_or_execute(output, plan, consent, token)
