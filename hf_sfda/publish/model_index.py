"""The ``model-index`` of a model card: our row in, the author's rows as they were.

The rows are made by huggingface_hub's own classes. Only ours go through them: on the way back into
a ``model-index`` they put rows of one task and dataset together under the *first* one's source, and
an author's accuracy would come out as ours or the other way round. For the same reason our task
type is one that no other row has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.publish.front_matter import Card, add_key, checked, locate, root
from hf_sfda.publish.splice import child, replace_items
from hf_sfda.publish.statement import Statement

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TASK_TYPE = "transferability"
SOURCE = "hf-sfda"
_KEY = "model-index"


def eval_result(statement: Statement) -> EvalResult:
    """The row, as huggingface_hub knows it."""
    from huggingface_hub import EvalResult

    row = statement.row
    return EvalResult(
        task_type=TASK_TYPE,
        task_name=f"Transferability, {str(row['task']).replace('-', ' ')}",
        dataset_type=row["dataset"],
        dataset_name=statement.name,
        dataset_config=row["dataset_config"],
        dataset_split=row["dataset_split"],
        dataset_revision=row["dataset_revision"],
        metric_type=row["metric"],
        metric_name=f"{row['metric']} (estimated without fine-tuning)",
        metric_value=statement.value,
        metric_args=statement.settings(),
        source_name=SOURCE,
        source_url=statement.url,
    )


def put_result(card: Card, model_name: str, result: EvalResult) -> Card:
    """The card with this row, in the place of an older row of ours on the same split, if any.

    Args:
        card: The author's card.
        model_name: For a ``model-index`` that is made.
        result: From :func:`eval_result`.

    Raises:
        PublishError: The card's ``model-index`` is malformed, or written in a way that cannot be
            extended without rewriting it.
    """
    from huggingface_hub.repocard_data import eval_results_to_model_index

    made = eval_results_to_model_index(model_name, [result])
    if _KEY not in card.data:
        return add_key(card, _KEY, made)
    index, nodes = _index(card)
    if not index:
        text = replace_items(card.yaml, nodes[0], [], made, newline=card.newline, parent=root(card))
        return checked(card, card.with_yaml(text), lambda data: {**data, _KEY: made})
    new, old = made[0]["results"], index[0]["results"]
    doomed = [i for i, row in enumerate(old) if _says_the_same(row, new[0])]
    at = doomed[0] if doomed else len(old)

    def expected(data: dict[str, Any]) -> dict[str, Any]:
        kept = [(i, row) for i, row in enumerate(data[_KEY][0]["results"]) if i not in doomed]
        data[_KEY][0]["results"] = [
            *(row for i, row in kept if i < at), *new, *(row for i, row in kept if i > at),
        ]  # fmt: skip
        return data

    entry = nodes[0].value[0]
    text = replace_items(
        card.yaml, child(entry, "results"), doomed, new, newline=card.newline, parent=entry
    )
    return checked(card, card.with_yaml(text), expected)


def _says_the_same(row: dict[str, Any], ours: dict[str, Any]) -> bool:
    """Whether a row is ours and about the same split, whatever the revision and the value."""
    dataset = row["dataset"]
    same = all(dataset.get(key) == ours["dataset"].get(key) for key in ("type", "config", "split"))
    mine = (row.get("source") or {}).get("name") == SOURCE and row["task"]["type"] == TASK_TYPE
    return same and mine


def _index(card: Card) -> tuple[list[Any], list[Any]]:
    """The ``model-index`` and, in a list of one, its node, once huggingface_hub can read it."""
    node = child(root(card), _KEY)
    index = card.data[_KEY]
    if not isinstance(index, list):
        raise _malformed(card, node, f"`{_KEY}` is not a list")
    for i, entry in enumerate(index):
        if not isinstance(entry, dict) or not isinstance(entry.get("results"), list):
            raise _malformed(card, node.value[i], f"`{_KEY}[{i}]` has no list `results`")
        results = child(node.value[i], "results")
        for j, row in enumerate(entry["results"]):
            if complaint := _complaint(entry, row):
                where = f"`{_KEY}[{i}].results[{j}]` {complaint}"
                raise _malformed(card, results.value[j], where)
    return index, [node]


def _complaint(entry: dict[str, Any], row: Any) -> str | None:
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
