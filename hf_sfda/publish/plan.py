"""Plan all changes of a publication before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hf_sfda.errors import ConfigError, PublishError
from hf_sfda.hub import hub_api
from hf_sfda.hub.access import Repo, is_private, is_repo_id, who_am_i
from hf_sfda.hub.plan import Plan, Step
from hf_sfda.publish.collection import plan_collection
from hf_sfda.publish.finetuning_rows import finetuning_rows
from hf_sfda.publish.model_card import CardPlanner
from hf_sfda.publish.model_result import find_task
from hf_sfda.publish.names import private_sources
from hf_sfda.publish.pull_request import plan_pull_request
from hf_sfda.publish.results_dataset import check_results_repo, plan_results
from hf_sfda.publish.row_files import Row
from hf_sfda.publish.rows import Run, make_run
from hf_sfda.ranking.measurements import measured_times, read_measurements
from hf_sfda.ranking.runs import read_ranking

DEFAULT_TOP = 10
"""Number of models in a collection: few enough to read."""


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
        run_dir: The directory of a run, with its ``ranking.json`` and, if models were fine-tuned,
            its ``finetuned.json``.
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
    finetuning = load_finetuning_of(run, run_dir)
    results = Repo(to.removeprefix("datasets/"), "dataset")
    if not is_repo_id(results.id):
        raise PublishError(f"--to is {to!r}; give a dataset as OWNER/NAME, such as me/results.")
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

    # The results come first, because the cards link to them.
    wanted: list[tuple[Step | None, str]] = [
        (
            plan_results(api, results, run, finetuning, private=private),
            f"{results} holds this run already",
        )
    ]
    for model in dict.fromkeys(cards):
        wanted.append((planner.plan(model), f"the card of {model} says this already"))
    if create_pr:
        settled = f"{create_pr}, or your open pull request there, says this already"
        wanted.append((plan_pull_request(planner, create_pr), settled))
    if collection:
        update = plan_collection(
            api, me, run, collection, namespace=results.namespace, top=top, private=private
        )
        wanted.append((update, f"collection {collection!r} is as it should be"))
    steps = tuple(step for step, _ in wanted if step is not None)
    up_to_date = tuple(settled for step, settled in wanted if step is None)
    warnings: tuple[str, ...] = ()
    if steps and not is_private(api, results, if_new=private):
        warnings = tuple(
            f"{repo} is private, and {results} is public: its name and its results would be seen "
            "by everybody. Publish to a private dataset (--private) if that is not meant."
            for repo in private_sources(api, me, run.ranking, run.ranking.rows)
        )
    return Plan(Path(run_dir), me.name, steps, up_to_date, warnings)


def load_run(run_dir: str | Path) -> Run:
    """Load the ranking of a run directory and convert it to rows.

    Raises:
        PublishError: As in :func:`~hf_sfda.ranking.runs.read_ranking`, or it has no candidates.
    """
    try:
        return make_run(read_ranking(run_dir))
    except ConfigError as error:
        raise PublishError(str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PublishError(f"The ranking in {run_dir} is not what hf-sfda writes.") from error


def load_finetuning_of(run: Run, run_dir: str | Path) -> list[Row]:
    """The rows about fine-tuning of a run directory.

    Raises:
        PublishError: The measured accuracies cannot be read.
    """
    try:
        settings = read_measurements(Path(run_dir))
    except ConfigError as error:
        raise PublishError(str(error)) from error
    return finetuning_rows(run, settings, measured_times(Path(run_dir)))
