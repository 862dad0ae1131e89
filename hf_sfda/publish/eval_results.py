"""``.eval_results/*.yaml``: results of a model on a registered benchmark.

The Hub shows them on the model page and on the benchmark's leaderboard, but only for datasets that
are registered as benchmarks. A transferability score is not an accuracy, so it must not appear in
somebody else's benchmark. We write it only for a benchmark that the user owns, under a task that
the benchmark declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_sfda.errors import PublishError
from hf_sfda.foreign import ForeignError, listing, read_yaml
from hf_sfda.hub.access import Account, Repo, find_head, hub_errors, read_file
from hf_sfda.publish.model_result import ModelResult
from hf_sfda.publish.names import slug

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TASKS_FILE = "eval.yaml"


@dataclass(frozen=True)
class EvalTask:
    """A task of a registered benchmark.

    Attributes:
        benchmark: Dataset id.
        task: Task id, declared in the benchmark's ``eval.yaml``.
        revision: The benchmark's commit.
    """

    benchmark: str
    task: str
    revision: str


def find_task(api: HfApi, me: Account, name: str) -> EvalTask:
    """Look up ``BENCHMARK`` or ``BENCHMARK:TASK``.

    Raises:
        PublishError: The user does not own it, or it is not a registered benchmark, or it does not
            declare the task.
    """
    benchmark, _, wanted = name.partition(":")
    repo = Repo(benchmark, "dataset")
    if not benchmark.partition("/")[2]:
        raise PublishError(
            f"--eval-results is {name!r}; give OWNER/BENCHMARK or OWNER/BENCHMARK:TASK."
        )
    if not me.owns(repo):
        raise PublishError(
            f"{benchmark} is a benchmark of {repo.namespace}. A transferability score would be a "
            "wrong entry there; --eval-results takes a benchmark of your own."
        )
    sha = find_head(api, repo)
    if sha is None:
        raise PublishError(f"There is no dataset {benchmark} on the Hub to be a benchmark.")
    with hub_errors("Cannot list the registered benchmarks"):
        owner, short = benchmark.split("/")
        registered = [d.id for d in api.list_datasets(benchmark=True, author=owner, search=short)]
    if benchmark not in registered:
        raise PublishError(
            f"{benchmark} is not a registered benchmark, so the Hub would ignore results for it. "
            "Give it an eval.yaml and ask the Hub to register it, or publish without "
            "--eval-results: the results dataset and the card's model-index need no registration."
        )
    return EvalTask(benchmark, _choose(repo, _declared(api, repo, sha), wanted), sha)


def entry_file(task: EvalTask, result: ModelResult) -> tuple[str, bytes]:
    """The path and the content of our result file in a model's repository."""
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml
    from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]  # not typed so

    row = result.row
    created = row["created_at"]
    place = f"place {result.entry.place} of {len(result.leaderboard.entries)}"
    interval = "" if row["low"] is None else f", {row['low']:.4f} to {row['high']:.4f}"
    entry = EvalResultEntry(
        dataset_id=task.benchmark,
        task_id=task.task,
        value=result.value,
        dataset_revision=task.revision,
        date=None if created is None else str(created),
        source_url=result.url,
        source_name="hf-sfda",
        notes=f"{row['metric']} on {result.name} ({row['dataset_split']}), {place}{interval}",
    )
    path = f".eval_results/hf-sfda--{slug(task.benchmark, task.task)}.yaml"
    text = yaml_dump(eval_result_entries_to_yaml([entry]), sort_keys=False)
    return path, text.encode()


def _declared(api: HfApi, repo: Repo, sha: str) -> list[str]:
    content = read_file(api, repo, _TASKS_FILE, sha)
    try:
        data = read_yaml(content or b"")
        return [str(task["id"]) for task in data["tasks"]]
    except (ForeignError, KeyError, TypeError) as error:
        raise PublishError(
            f"{_TASKS_FILE} of {repo} lists no tasks. Add `tasks:` with an `id` each."
        ) from error


def _choose(repo: Repo, declared: list[str], wanted: str) -> str:
    if wanted in declared:
        return wanted
    if not wanted and len(declared) == 1:
        return declared[0]
    problem = f"has no task {wanted!r}" if wanted else f"has {len(declared)} tasks"
    raise PublishError(
        f"{repo} {problem}. Choose one: "
        + listing(f"--eval-results {repo.id}:{task}" for task in declared)
    )
