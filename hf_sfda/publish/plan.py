"""The plan: exactly what will change where, made before anything is written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hf_sfda.errors import PublishError
from hf_sfda.foreign import read_json_file
from hf_sfda.hub import hub_api, redact
from hf_sfda.journal import Journal
from hf_sfda.publish.access import Repo, who_am_i
from hf_sfda.publish.changes import Done, FileChange
from hf_sfda.publish.collection import plan_collection
from hf_sfda.publish.eval_results import find_task
from hf_sfda.publish.model_card import CardPlanner
from hf_sfda.publish.privacy import disclosures
from hf_sfda.publish.pull_request import plan_pull_request
from hf_sfda.publish.results_dataset import check_target, plan_results
from hf_sfda.publish.rows import Run, make_run
from hf_sfda.types import Ranking

if TYPE_CHECKING:
    from huggingface_hub import HfApi

DEFAULT_TOP = 10
"""Models in a collection: about as many as anybody looks at."""


class Step(Protocol):
    """One thing that happens as a whole or not at all (a collection: item by item)."""

    @property
    def files(self) -> tuple[FileChange, ...]:
        """The files that change; none for a collection."""

    def where(self) -> str:
        """Which repository, in which way."""

    def diff(self) -> str:
        """What changes, line by line."""

    def carry_out(self, api: HfApi) -> Done:
        """Do it, or raise ``PublishError``."""


@dataclass(frozen=True)
class Plan:
    """What will be done, in this order.

    Attributes:
        run_dir: The run that is published, if it is one.
        user: Whose account writes.
        steps: The results come first, so that what links to them never points at nothing.
        settled: What was asked for and is there already.
        warnings: What to know before saying yes.
        title: What is done, where it is not a run that is published.
    """

    run_dir: Path | None
    user: str
    steps: tuple[Step, ...]
    settled: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    title: str = ""

    @property
    def digest(self) -> str:
        """Names the plan: two plans with the same digest change the same bytes."""
        content = self.user + self._steps()
        content += "".join(
            hashlib.sha256(file.after or b"").hexdigest()
            for step in self.steps
            for file in step.files
        )
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    def render(self) -> str:
        """The plan for a person: each step with its files and their diffs."""
        head = f"{self.title or f'Publish {self.run_dir}'} as {self.user}\n"
        tail = "".join(f"\nNothing to do: {what}\n" for what in self.settled)
        return redact(head + self._steps() + tail)

    def to_dict(self) -> dict[str, Any]:
        """The plan for a program."""
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
            "settled": list(self.settled),
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
    """Find out what publishing a run will change; writes nothing.

    Args:
        run_dir: The directory of a run, with its ``ranking.json``.
        to: The results dataset, ``you/results``; made if it does not exist.
        cards: Models of your own whose cards get the scores.
        create_pr: One model of somebody else, whose owner gets a pull request.
        eval_results: A registered benchmark of your own, ``you/benchmark`` or
            ``you/benchmark:task``; writes ``.eval_results/`` beside the cards.
        collection: Title of a collection of the best models.
        top: How many models the collection holds.
        private: Whether what is made is private.
        token: Hub token with write access; by default the one the Hub's own tools would use. It
            is no part of the plan.

    Raises:
        PublishError: Anything that can be known beforehand to fail; nothing was written.
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
    check_target(api, me, results)
    task = find_task(api, me, eval_results) if eval_results else None
    planner = CardPlanner(api, me, run, results, task)

    steps: list[Step] = []
    settled: list[str] = []

    def add(step: Step | None, what: str) -> None:
        if step is None:
            settled.append(what)
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
    warnings = disclosures(api, me, run, results, private=private) if steps else ()
    return Plan(Path(run_dir), me.name, tuple(steps), tuple(settled), warnings)


def carry_out(plan: Plan, token: str | None = None) -> list[Done]:
    """Do what a plan says, step by step, and write it into the run's journal.

    Each step is atomic, and the plan of the same command afterwards holds only what is missing: a
    publication that broke off is finished by repeating it.

    Args:
        plan: From :func:`plan_publication`.
        token: The same account's token.

    Raises:
        PublishError: A step could not be done. The steps before it were; the message names them.
    """
    api = hub_api(token)
    if (user := who_am_i(api).name) != plan.user:
        raise PublishError(
            f"The plan was made by {plan.user}, but this token is {user}'s. Nothing was written."
        )
    journal = Journal(plan.run_dir)
    done: list[Done] = []
    for number, step in enumerate(plan.steps, 1):
        try:
            done.append(step.carry_out(api))
        except PublishError as error:
            journal.write("publishing failed", step=step.where(), reason=str(error))
            finished = "; ".join(one.what for one in done) or "nothing"
            raise PublishError(
                f"{error} (Step {number} of {len(plan.steps)}; done before it: {finished}. "
                "The same command does the rest.)"
            ) from error
        journal.write("published", what=done[-1].what, url=done[-1].url, commit=done[-1].commit)
    return done


def load_run(run_dir: str | Path) -> Run:
    """The rows of a run directory.

    Raises:
        PublishError: It holds no ranking, or one of another version.
    """
    path = Path(run_dir) / "ranking.json"
    try:
        return make_run(Ranking.from_dict(read_json_file(path)))
    except FileNotFoundError as error:
        raise PublishError(
            f"{run_dir} holds no ranking.json. Pass the directory that `hf-sfda rank` wrote "
            "(by default runs/<dataset>)."
        ) from error
    except OSError as error:
        raise PublishError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        said = str(error) if "schema version" in str(error) else "it is not what hf-sfda writes."
        raise PublishError(f"Cannot publish {path}: {said}") from error


def _repo_id(text: str) -> str:
    repo_id = text.removeprefix("datasets/")
    if repo_id.count("/") != 1 or not all(repo_id.split("/")):
        raise PublishError(f"--to is {text!r}; give a dataset as OWNER/NAME, such as me/results.")
    return repo_id
