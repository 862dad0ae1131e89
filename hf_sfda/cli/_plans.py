"""Show a plan, or execute it with ``--yes``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hf_sfda.cli._options import Consent
from hf_sfda.cli._output import Output
from hf_sfda.errors import PublishError
from hf_sfda.foreign import clean_lines

if TYPE_CHECKING:
    from rich.text import Text

    from hf_sfda.hub.changes import StepResult
    from hf_sfda.hub.plan import Plan

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def show_or_execute(
    output: Output, plan: Plan, consent: Consent, token: str | None
) -> list[StepResult]:
    """Print a plan and how to execute it; with consent, execute it and print the results.

    Args:
        output: Where to print.
        plan: The plan.
        consent: Whether to execute the plan.
        token: Hub token.

    Returns:
        The results of the executed steps.

    Raises:
        PublishError: The plan has another digest, or a step failed.
    """
    from hf_sfda.hub.plan import execute

    for warning in plan.warnings:
        output.warn(warning)
    if consent.expect not in (None, plan.digest):
        raise PublishError(
            f"The plan is now {plan.digest}, not {consent.expect}: something changed in between. "
            "Nothing was written; run without --yes to see it."
        )
    if not consent.yes:
        _show(output, plan, [])
        if plan.steps:
            output.log(f"Nothing was written. Carry it out: add --yes --expect {plan.digest}")
        return []
    if output.human:  # show the plan first; the other formats print one document at the end
        _show(output, plan, [])
    results = execute(plan, token)
    if not output.human:
        _show(output, plan, results)
    for result in results:
        output.log(f"Done  {result.description}  {result.url}")
    return results


def _show(output: Output, plan: Plan, results: list[StepResult]) -> None:
    if output.human and not sys.stdout.isatty():
        sys.stdout.write(clean_lines(plan.render()))  # without wrapping: the diff may be piped
        return
    output.document(
        {**plan.to_dict(), "done": [result.to_dict() for result in results]},
        human=lambda width: _coloured(clean_lines(plan.render())),
        agent=lambda: plan.render() + "".join(f"done\t{r.description}\t{r.url}\n" for r in results),
        quiet=lambda: "\n".join(result.url for result in results),
    )


def _coloured(text: str) -> Text:
    from rich.text import Text

    lines = Text(overflow="fold")
    for line in text.splitlines(keepends=True):
        lines.append(line, style=_STYLES.get(line[:1], ""))
    return lines
