"""Add our row to the ``model-index`` of a model card; the author's rows do not change.

Our row is made with huggingface_hub's own classes. The author's rows must not pass through them:
when these classes write a ``model-index``, they merge rows of the same task and dataset under the
source of the *first* row, so an author's accuracy could get our name as its source. For the same
reason our rows have a task type of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.publish.front_matter import Card, add_key, checked, locate, root
from hf_sfda.publish.model_result import ModelResult
from hf_sfda.publish.splice import child, replace_items

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TASK_TYPE = "transferability"
SOURCE = "hf-sfda"
_KEY = "model-index"


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
    where = locate(card, node.start_mark.line, node.start_mark.column)
    return PublishError(
        f"{card.name}, {where}: {why}. It is left as it is; correct it and publish again."
    )
