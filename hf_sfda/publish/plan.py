"""Plan all changes of a publication before anything is written, then execute the plan."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hf_sfda.errors import ConfigError, PublishError
from hf_sfda.hub import hub_api, redact
from hf_sfda.journal import Journal
from hf_sfda.publish.access import Repo, who_am_i
from hf_sfda.publish.changes import FileChange, StepResult
from hf_sfda.publish.collection import plan_collection
from hf_sfda.publish.eval_results import find_task
from hf_sfda.publish.model_card import CardPlanner
from hf_sfda.publish.privacy import privacy_warnings
from hf_sfda.publish.pull_request import plan_pull_request
from hf_sfda.publish.results_dataset import check_results_repo, plan_results
from hf_sfda.publish.rows import Run, make_run
from hf_sfda.runs import read_ranking

if TYPE_CHECKING:
    from huggingface_hub import HfApi

DEFAULT_TOP = 10
"""Number of models in a collection: few enough to read."""


class Step(Protocol):
    """One change on the Hub. It is atomic, except for a collection, which changes item by item."""

    @property
    def files(self) -> tuple[FileChange, ...]:
        """The files that change; empty for a collection."""

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
    """The steps of a publication, in their order.

    Attributes:
        run_dir: Directory of the published run; ``None`` if the plan is not about a run.
        user: Name of the account that writes.
        steps: The changes. The results come first, because the cards link to them.
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
        content += "".join(
            hashlib.sha256(file.after or b"").hexdigest()
            for step in self.steps
            for file in step.files
        )
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


def plan_publication(
    run_dir: str | Path,
    *,
    to: str,
    cards: Sequence[str] = (),
    create_pr: str | None = None,
    eval_results: str | None = None,
    collection: str | None = None,
    top: int = DEFAULT_TOP,
    private: bool = False,
    token: str | None = None,
) -> Plan:
    """Plan the publication of a run; write nothing.

    Args:
        run_dir: The directory of a run, with its ``ranking.json``.
        to: The results dataset, ``you/results``; created if it does not exist.
        cards: Models of your own whose cards get the scores.
        create_pr: A model of another owner, who gets a pull request.
        eval_results: A registered benchmark of your own, ``you/benchmark`` or
            ``you/benchmark:task``; also write ``.eval_results/`` into the model repositories.
        collection: Title of a collection of the best models.
        top: Number of models in the collection.
        private: Whether new repositories and collections are private.
        token: Hub token with write access; ``None`` uses the current login. The plan does not
            contain it.

    Raises:
        PublishError: The publication would fail; nothing was written.
    """
    run = load_run(run_dir)
    results = Repo(_repo_id(to), "dataset")
    if eval_results and not (cards or create_pr):
        raise PublishError(
            "--eval-results writes into model repositories; name them with --card or --create-pr."
        )
    if top < 1:
        raise PublishError(f"top is {top}; it must be at least 1.")
    api = hub_api(token)
    me = who_am_i(api)
    check_results_repo(api, me, results)
    task = find_task(api, me, eval_results) if eval_results else None
    planner = CardPlanner(api, me, run, results, task)

    steps: list[Step] = []
    up_to_date: list[str] = []

    def add(step: Step | None, nothing_to_do: str) -> None:
        if step is None:
            up_to_date.append(nothing_to_do)
        else:
            steps.append(step)

    add(plan_results(api, results, run, private=private), f"{results} holds this run already")
    for model in dict.fromkeys(cards):
        add(planner.plan(model), f"the card of {model} says this already")
    if create_pr:
        add(
            plan_pull_request(planner, create_pr),
            f"{create_pr}, or your open pull request there, says this already",
        )
    if collection:
        add(
            plan_collection(
                api, me, run, collection, namespace=results.namespace, top=top, private=private
            ),
            f"collection {collection!r} is as it should be",
        )
    warnings = privacy_warnings(api, me, run, results, private=private) if steps else ()
    return Plan(Path(run_dir), me.name, tuple(steps), tuple(up_to_date), warnings)


def execute(plan: Plan, token: str | None = None) -> list[StepResult]:
    """Execute the steps of a plan in order and record them in the run's journal.

    If a step fails, the steps before it stay done. Repeat the same command to do the rest: its new
    plan holds only the missing steps.

    Args:
        plan: From :func:`plan_publication`.
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


def load_run(run_dir: str | Path) -> Run:
    """Load the ranking of a run directory and convert it to rows.

    Raises:
        PublishError: As in :func:`hf_sfda.runs.read_ranking`, or the ranking has no candidates.
    """
    try:
        return make_run(read_ranking(run_dir))
    except ConfigError as error:
        raise PublishError(str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PublishError(f"The ranking in {run_dir} is not what hf-sfda writes.") from error


def _repo_id(text: str) -> str:
    repo_id = text.removeprefix("datasets/")
    if repo_id.count("/") != 1 or not all(repo_id.split("/")):
        raise PublishError(f"--to is {text!r}; give a dataset as OWNER/NAME, such as me/results.")
    return repo_id
