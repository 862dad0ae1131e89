"""The result of one model in one run, and the two forms in which the Hub reads it.

*A row of the card's* ``model-index``. It is made with huggingface_hub's own classes. The author's
rows must not pass through them: when these classes write a ``model-index``, they merge rows of the
same task and dataset under the source of the *first* row, so an author's accuracy could get our
name as its source. For the same reason our rows have a task type of their own.

*A file* ``.eval_results/*.yaml``. The Hub shows it on the model page and on the benchmark's
leaderboard, but only for datasets that are registered as benchmarks. A transferability score is not
an accuracy, so it must not appear in somebody else's benchmark. We write it only for a benchmark
that the user owns, under a task that the benchmark declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.foreign import ForeignError, listing, read_yaml
from hf_sfda.hub.access import Account, Repo, find_head, hub_errors, read_file
from hf_sfda.publish.edits import Card, add_key, checked, child, locate, replace_items, root
from hf_sfda.publish.leaderboards import Leaderboard, LeaderboardEntry, make_leaderboards
from hf_sfda.publish.names import is_local_model, slug
from hf_sfda.publish.row_files import Row
from hf_sfda.publish.rows import Run

if TYPE_CHECKING:
    from huggingface_hub import EvalResult, HfApi

TASK_TYPE = "transferability"
SOURCE = "hf-sfda"
_KEY = "model-index"
_TASKS_FILE = "eval.yaml"


@dataclass(frozen=True)
class ModelResult:
    """The result of one model in one run.

    Attributes:
        row: The model's row with the metric that sorts.
        entry: The model's place and its other scores.
        leaderboard: The run as a leaderboard.
        url: Link to the row's file in the results dataset, with the row's number.
    """

    row: Row
    entry: LeaderboardEntry
    leaderboard: Leaderboard
    url: str

    @property
    def name(self) -> str:
        """The name of the dataset, with its configuration."""
        config = self.row["dataset_config"]
        return f"{self.row['dataset']}:{config}" if config else str(self.row["dataset"])

    def settings(self) -> dict[str, Any]:
        """The facts needed to interpret the value or to reproduce it; values that are known."""
        row = self.row
        facts = {
            "view": row["view"],
            "n": row["n"],
            "seed": row["seed"],
            "low": _six_digits(row["low"]),
            "high": _six_digits(row["high"]),
            "confidence": row["confidence"],
            "noise_floor": _six_digits(row["noise_floor"]),
            "rank": row["rank"],
            "place": self.entry.place if "-" in self.entry.place else None,
            "candidates": len(self.leaderboard.entries),
            "config_fingerprint": row["config_fingerprint"],
            "model_revision": row["model_revision"],
            "tool": f"hf-sfda {row['tool_version']}",
        }
        return {key: value for key, value in facts.items() if value is not None}

    @property
    def value(self) -> float:
        """The score, rounded to six decimals."""
        return float(round(self.row["value"], 6))


def make_model_result(run: Run, model: str, results: Repo) -> ModelResult:
    """Look up the result of a model in a run.

    Args:
        run: The run.
        model: The model's Hub id.
        results: The results dataset that the run is published to.

    Raises:
        PublishError: The run has no score for this model, or its dataset is local, so that nobody
            else could check the score.
    """
    if run.rows[0]["dataset_revision"] is None:
        raise PublishError(
            f"The dataset {run.rows[0]['dataset']} is a local one, so nobody could check a score "
            "on it. Push it to the Hub and rank on it there, or publish without cards."
        )
    row = next((row for row in run.ranking.rows if row.model_id == model), None)
    if row is None or is_local_model(row):
        hub_models = [r.model_id for r in run.ranking.ranked if not is_local_model(r)]
        raise PublishError(
            f"{model} is not among the Hub models of this run. "
            f"Ranked were: {listing(hub_models) or 'none'}."
        )
    if row.status != "ok":
        raise PublishError(f"{model} was {row.status} in this run ({row.reason}).")
    (leaderboard,) = make_leaderboards(run.rows)
    entry = next(entry for entry in leaderboard.entries if entry.row["model"] == model)
    # The first row of a model has the metric that sorts.
    number = next(i for i, row in enumerate(run.rows) if row["model"] == model)
    url = f"{results.url}/blob/main/{run.path}#row-{number}"
    return ModelResult(row=dict(entry.row), entry=entry, leaderboard=leaderboard, url=url)


def eval_result(result: ModelResult) -> EvalResult:
    """Our row as an object of huggingface_hub."""
    from huggingface_hub import EvalResult

    row = result.row
    return EvalResult(
        task_type=TASK_TYPE,
        task_name=f"Transferability, {str(row['task']).replace('-', ' ')}",
        dataset_type=row["dataset"],
        dataset_name=result.name,
        dataset_config=row["dataset_config"],
        dataset_split=row["dataset_split"],
        dataset_revision=row["dataset_revision"],
        metric_type=row["metric"],
        metric_name=f"{row['metric']} (estimated without fine-tuning)",
        metric_value=result.value,
        metric_args=result.settings(),
        source_name=SOURCE,
        source_url=result.url,
    )


def put_result(card: Card, model_name: str, result: EvalResult) -> Card:
    """Add our row to a card; replace our older row on the same split, if there is one.

    Args:
        card: The author's card.
        model_name: The model's name, for a card without a ``model-index``.
        result: Our row, from :func:`eval_result`.

    Raises:
        PublishError: The card's ``model-index`` is malformed, or has a YAML style that cannot be
            extended without rewriting it.
    """
    from huggingface_hub.repocard_data import eval_results_to_model_index

    new_index = eval_results_to_model_index(model_name, [result])
    if _KEY not in card.data:
        return add_key(card, _KEY, new_index)
    index, nodes = _index(card)
    if not index:
        text = replace_items(
            card.yaml, nodes[0], [], new_index, newline=card.newline, parent=root(card)
        )
        return checked(card, card.with_yaml(text), lambda data: {**data, _KEY: new_index})
    new, old = new_index[0]["results"], index[0]["results"]
    remove = [i for i, row in enumerate(old) if _is_our_row(row, new[0])]
    position = remove[0] if remove else len(old)

    def expected(data: dict[str, Any]) -> dict[str, Any]:
        rows = [(i, row) for i, row in enumerate(data[_KEY][0]["results"]) if i not in remove]
        before = [row for i, row in rows if i < position]
        after = [row for i, row in rows if i > position]
        data[_KEY][0]["results"] = [*before, *new, *after]
        return data

    entry = nodes[0].value[0]
    text = replace_items(
        card.yaml, child(entry, "results"), remove, new, newline=card.newline, parent=entry
    )
    return checked(card, card.with_yaml(text), expected)


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


def _six_digits(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _is_our_row(row: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a row is an older version of ``new``: written by us, about the same split."""
    dataset = row["dataset"]
    keys = ("type", "config", "split")
    same_split = all(dataset.get(key) == new["dataset"].get(key) for key in keys)
    ours = (row.get("source") or {}).get("name") == SOURCE and row["task"]["type"] == TASK_TYPE
    return same_split and ours


def _index(card: Card) -> tuple[list[Any], list[Any]]:
    """The ``model-index`` as data, and a list with its YAML node.

    Raises:
        PublishError: huggingface_hub could not read it.
    """
    node = child(root(card), _KEY)
    index = card.data[_KEY]
    if not isinstance(index, list):
        raise _malformed(card, node, f"`{_KEY}` is not a list")
    for i, entry in enumerate(index):
        if not isinstance(entry, dict) or not isinstance(entry.get("results"), list):
            raise _malformed(card, node.value[i], f"`{_KEY}[{i}]` has no list `results`")
        results = child(node.value[i], "results")
        for j, row in enumerate(entry["results"]):
            if problem := _problem(entry, row):
                message = f"`{_KEY}[{i}].results[{j}]` {problem}"
                raise _malformed(card, results.value[j], message)
    return index, [node]


def _problem(entry: dict[str, Any], row: Any) -> str | None:
    """Why huggingface_hub cannot read a row, or ``None`` if it can."""
    from huggingface_hub.repocard_data import model_index_to_eval_results

    try:
        model_index_to_eval_results([{"name": entry["name"], "results": [row]}])
    except KeyError as error:
        return f"lacks {error}"
    except (TypeError, AttributeError, ValueError) as error:
        return f"is malformed ({error})"
    return None


def _malformed(card: Card, node: Any, why: str) -> PublishError:
    where = f"{card.name}, {locate(card, node.start_mark)}"
    return PublishError(f"{where}: {why}. It is left as it is; correct it and publish again.")


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
