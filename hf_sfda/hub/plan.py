"""A plan of changes on the Hub: it is made and shown first, then executed step by step.

Nothing else writes to the Hub.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hf_sfda.errors import PublishError
from hf_sfda.hub.access import who_am_i
from hf_sfda.hub.api import hub_api
from hf_sfda.hub.changes import FileChange, StepResult
from hf_sfda.journal import Journal
from hf_sfda.secrets import redact

if TYPE_CHECKING:
    from huggingface_hub import HfApi


class Step(Protocol):
    """One change on the Hub. It is atomic, except for a collection, which changes item by item."""

    @property
    def files(self) -> tuple[FileChange, ...]:
        """The files that change; a step of another kind has none."""
        return ()

    def where(self) -> str:
        """What is written, in one line: the repository and the kind of change."""

    def diff(self) -> str:
        """The changes as unified diffs."""

    def execute(self, api: HfApi) -> StepResult:
        """Make the change.

        Raises:
            PublishError: The Hub refuses or fails.
        """


@dataclass(frozen=True)
class Plan:
    """The steps of a change on the Hub, in their order.

    Attributes:
        run_dir: Directory of the published run; ``None`` if the plan is not about a run.
        user: Name of the account that writes.
        steps: The changes.
        up_to_date: One line for each request that needs no change.
        warnings: What the user should know before they confirm.
        title: First line of the plan; empty for the publication of a run.
    """

    run_dir: Path | None
    user: str
    steps: tuple[Step, ...]
    up_to_date: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    title: str = ""

    @property
    def digest(self) -> str:
        """A hash of all changes: two plans with the same digest write the same bytes."""
        content = self.user + self._steps()
        content += "".join(file.sha256 for step in self.steps for file in step.files)
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def render(self) -> str:
        """The plan as text for the user: each step with its files and their diffs."""
        head = f"{self.title or f'Publish {self.run_dir}'} as {self.user}\n"
        tail = "".join(f"\nNothing to do: {line}\n" for line in self.up_to_date)
        return redact(head + self._steps() + tail)

    def to_dict(self) -> dict[str, Any]:
        """The plan as a JSON document."""
        return {
            "run": None if self.run_dir is None else str(self.run_dir),
            "user": self.user,
            "digest": self.digest,
            "steps": [
                {
                    "where": step.where(),
                    "files": [{"path": file.path, "change": file.verb} for file in step.files],
                    "diff": step.diff(),
                }
                for step in self.steps
            ],
            "settled": list(self.up_to_date),
            "warnings": list(self.warnings),
        }

    def _steps(self) -> str:
        parts: list[str] = []
        for number, step in enumerate(self.steps, 1):
            parts.append(f"\n{number}. {step.where()}\n")
            parts += [f"   {file.verb:<8}{file.path}\n" for file in step.files]
            parts.append(f"\n{step.diff()}")
        return "".join(parts)


def execute(plan: Plan, token: str | None = None) -> list[StepResult]:
    """Execute the steps of a plan in order and record them in the run's journal.

    If a step fails, the steps before it stay done. Repeat the same command to do the rest: its new
    plan holds only the missing steps.

    Args:
        plan: The plan that the user saw.
        token: A token of the account that made the plan.

    Raises:
        PublishError: A step failed; the message names the steps that were done before it.
    """
    api = hub_api(token)
    if (user := who_am_i(api).name) != plan.user:
        raise PublishError(
            f"The plan was made by {plan.user}, but this token is {user}'s. Nothing was written."
        )
    journal = Journal(plan.run_dir)
    results: list[StepResult] = []
    for number, step in enumerate(plan.steps, 1):
        try:
            result = step.execute(api)
        except PublishError as error:
            journal.write("publishing failed", step=step.where(), reason=str(error))
            finished = "; ".join(earlier.description for earlier in results) or "nothing"
            raise PublishError(
                f"{error} (Step {number} of {len(plan.steps)}; done before it: {finished}. "
                "The same command does the rest.)"
            ) from error
        results.append(result)
        journal.write("published", what=result.description, url=result.url, commit=result.commit)
    return results
