"""``hf-sfda publish``: show what would change on the Hub; with ``--yes``, change exactly that."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hf_sfda.cli._logging import send_warnings_to
from hf_sfda.cli._options import FormatOption, JsonOption, TokenOption, choose_format
from hf_sfda.cli._output import Format, Output

if TYPE_CHECKING:
    from rich.text import Text

    from hf_sfda.publish import Done, Plan

_EXAMPLES = """
**Examples**

- `hf-sfda publish runs/plants --to me/results` — show the plan, write nothing

- `hf-sfda publish runs/plants --to me/results --yes`

- `hf-sfda publish runs/plants --to me/results --card me/vit --collection "For plants" --yes`

- `hf-sfda publish runs/plants --to me/results --create-pr acme/vit` — propose it to the owner
"""

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("publish", epilog=_EXAMPLES)(publish)


def publish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, such as runs/plants.")],
    to: Annotated[
        str,
        typer.Option(
            "--to", help="Results dataset, OWNER/NAME; made if need be.", show_default=False
        ),
    ],
    cards: Annotated[
        list[str] | None,
        typer.Option(
            "--card",
            help="Your own model whose card gets the score; repeatable.",
            show_default=False,
        ),
    ] = None,
    create_pr: Annotated[
        str | None,
        typer.Option(
            "--create-pr",
            help="Somebody else's model: open, or update, one pull request there.",
            show_default=False,
        ),
    ] = None,
    eval_results: Annotated[
        str | None,
        typer.Option(
            "--eval-results",
            metavar="BENCHMARK[:TASK]",
            help="Also write .eval_results for a registered benchmark of your own.",
            show_default=False,
        ),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(
            "--collection", help="Title of a collection of the best models.", show_default=False
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="How many models the collection holds.")] = 10,
    private: Annotated[bool, typer.Option("--private", help="Make what is made private.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Carry the plan out.")] = False,
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect",
            metavar="PLAN",
            help="With --yes: only if the plan is still this one (its id is printed with it).",
            show_default=False,
        ),
    ] = None,
    token: TokenOption = None,
    format_: FormatOption = Format.auto,
    json_: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Same as --format quiet: addresses only.")
    ] = False,
) -> None:
    """Publish a run: results dataset, model cards, pull request, collection. Plan first."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from hf_sfda.errors import PublishError
    from hf_sfda.publish import carry_out, plan_publication

    output = Output(choose_format(format_, json_, quiet))
    send_warnings_to(output.warn)
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
    for warning in plan.warnings:
        output.warn(warning)
    if expect is not None and expect != plan.digest:
        raise PublishError(
            f"The plan is now {plan.digest}, not {expect}: something changed in between. "
            "Nothing was written; run without --yes to see it."
        )
    if not yes:
        _show(output, plan, [])
        if plan.steps:
            output.say(f"Nothing was written. Carry it out: add --yes --expect {plan.digest}")
        return
    if output.human:  # before anything happens; the other forms are one document at the end
        _show(output, plan, [])
    done = carry_out(plan, token)
    if not output.human:
        _show(output, plan, done)
    for one in done:
        output.say(f"Done  {one.what}  {one.url}")


def _show(output: Output, plan: Plan, done: list[Done]) -> None:
    if output.human and not sys.stdout.isatty():
        sys.stdout.write(plan.render())  # a diff must not be wrapped at some width on its way
        return
    output.document(
        {**plan.to_dict(), "done": [vars(one) for one in done]},
        human=lambda width: _coloured(plan.render()),
        agent=lambda: plan.render() + "".join(f"done\t{one.what}\t{one.url}\n" for one in done),
        quiet=lambda: "\n".join(one.url for one in done),
    )


def _coloured(text: str) -> Text:
    from rich.text import Text

    lines = Text(overflow="fold")
    for line in text.splitlines(keepends=True):
        lines.append(line, style=_STYLES.get(line[:1], ""))
    return lines
