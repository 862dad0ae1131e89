"""Show a plan; with ``--yes``, carry exactly that out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hf_sfda.cli._output import Output
from hf_sfda.errors import PublishError
from hf_sfda.foreign import clean_lines

if TYPE_CHECKING:
    from rich.text import Text

    from hf_sfda.publish import Plan, StepResult

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Carry the plan out.")]
ExpectOption = Annotated[
    str | None,
    typer.Option(
        "--expect",
        metavar="PLAN",
        help="With --yes: only if the plan is still this one (its id is printed with it).",
        show_default=False,
    ),
]
AddressesOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Same as --format quiet: addresses only.")
]

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def offer(
    output: Output, plan: Plan, *, yes: bool, expect: str | None, token: str | None
) -> list[StepResult]:
    """Print a plan and what it needs to be carried out, or carry it out and print what was done.

    Raises:
        PublishError: It is no longer the plan that was shown, or a step could not be done.
    """
    from hf_sfda.publish import execute

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
        return []
    if output.human:  # before anything happens; the other forms are one document at the end
        _show(output, plan, [])
    done = execute(plan, token)
    if not output.human:
        _show(output, plan, done)
    for one in done:
        output.say(f"Done  {one.description}  {one.url}")
    return done


def _show(output: Output, plan: Plan, done: list[StepResult]) -> None:
    if output.human and not sys.stdout.isatty():
        sys.stdout.write(
            clean_lines(plan.render())
        )  # a diff must not be wrapped at some width on its way
        return
    output.document(
        {**plan.to_dict(), "done": [vars(one) for one in done]},
        human=lambda width: _coloured(clean_lines(plan.render())),
        agent=lambda: (
            plan.render() + "".join(f"done\t{one.description}\t{one.url}\n" for one in done)
        ),
        quiet=lambda: "\n".join(one.url for one in done),
    )


def _coloured(text: str) -> Text:
    from rich.text import Text

    lines = Text(overflow="fold")
    for line in text.splitlines(keepends=True):
        lines.append(line, style=_STYLES.get(line[:1], ""))
    return lines
