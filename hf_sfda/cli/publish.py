"""``hf-sfda publish``: show what would change on the Hub, or change it with ``--yes``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hf_sfda.cli._options import Consent, with_shared_options
from hf_sfda.cli._output import Output
from hf_sfda.cli._plans import show_or_execute

_EXAMPLES = """
**Examples**

- `hf-sfda publish runs/me--plants --to me/results` — show the plan, write nothing

- `hf-sfda publish runs/me--plants --to me/results --yes`

- `hf-sfda publish runs/me--plants --to me/results --card me/vit --collection "For plants" --yes`

- `hf-sfda publish runs/me--plants --to me/results --create-pr acme/vit` — propose it to the owner
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("publish", epilog=_EXAMPLES)(publish)


@with_shared_options
def publish(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory that `hf-sfda rank` wrote.")
    ],
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Results dataset, OWNER/NAME; created if it does not exist.",
            show_default=False,
        ),
    ],
    cards: Annotated[
        list[str] | None,
        typer.Option(
            "--card",
            help="A model of yours; the score is written into its card. Repeatable.",
            show_default=False,
        ),
    ] = None,
    create_pr: Annotated[
        str | None,
        typer.Option(
            "--create-pr",
            help="A model of another owner: open or update one pull request there.",
            show_default=False,
        ),
    ] = None,
    eval_results: Annotated[
        str | None,
        typer.Option(
            "--eval-results",
            metavar="BENCHMARK[:TASK]",
            help="Also write .eval_results for a benchmark that you registered.",
            show_default=False,
        ),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection",
            help="Title of a collection that lists the best models.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Number of models in the collection.")] = 10,
    private: Annotated[
        bool, typer.Option("--private", help="Create new repositories as private.")
    ] = False,
    *,
    consent: Consent,
    token: str | None,
    output: Output,
) -> None:
    """Publish a run: results dataset, model cards, pull request, collection. Plan first."""
    from hf_sfda.publish import plan_publication

    plan = plan_publication(
        run,
        to=to,
        cards=tuple(cards or ()),
        create_pr=create_pr,
        eval_results=eval_results,
        collection=collection,
        top=top,
        private=private,
        token=token,
    )
    show_or_execute(output, plan, consent, token)
