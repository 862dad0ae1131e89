"""Find the label column: by its name, by what the dataset declares, or by its values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hf_sfda.dataset.column_names import (
    CERTAIN,
    LABEL_NAMES,
    VALUE_NAMES,
    WORD_NAMES,
    class_name_keys,
    is_bookkeeping,
    is_pandas_index,
    key_of,
)
from hf_sfda.dataset.evidence import Evidence
from hf_sfda.dataset.features import (
    described,
    holds_booleans,
    holds_classes,
    holds_floats,
    holds_integers,
    holds_lists,
    holds_numbers,
    holds_records,
    holds_strings,
    is_image,
    is_sound,
    item_feature,
    listed,
)
from hf_sfda.errors import TargetError
from hf_sfda.types import LabelKind

_ROWS_PER_CLASS = 5
"""A column without other evidence is read as labels if each value occurs this often on average."""

_MULTI_LABEL = " Or rank all columns of 0 and 1 with --task multi-label."


def find_labels(
    inputs: Sequence[str], task: LabelKind | None, evidence: Evidence
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find the label column or columns, by the rules of :mod:`hf_sfda.dataset.columns`.

    The columns that the user named as ``inputs`` are no labels.

    Returns:
        The columns, and notes on other columns that could be meant.

    Raises:
        TargetError: There is no such column, or there are several.
    """
    from datasets import ClassLabel

    features = evidence.features
    rest = [
        name
        for name, feature in features.items()
        if name not in inputs
        and not (is_image(feature) or is_sound(feature))
        and not is_pandas_index(name)
    ]
    named = sorted(
        (name for name in rest if _is_named(name, features[name])),
        key=lambda name: LABEL_NAMES.index(key_of(name)),
    )
    if task not in (None, "single-label"):
        return _of_other_kind(rest, named, task, evidence), ()
    has_words = any(holds_lists(features[name]) and key_of(name) in WORD_NAMES for name in rest)
    declared = [
        name
        for name in rest
        if isinstance(features[name], ClassLabel)
        or (
            task is None
            and not has_words  # the lists are tags of words
            and isinstance(item_feature(features[name]), ClassLabel)
        )
    ]
    for candidates in ([name for name in named if key_of(name) in CERTAIN], named):
        if candidates:
            best = _unambiguous(candidates, declared, evidence)
            rivals = [*declared]
            if key_of(best) not in CERTAIN:
                rivals += _undeclared(rest, evidence)
            others = [name for name in rivals if name not in candidates]
            return (best,), _note_on_others(best, "by its name", others, evidence)
    if len(declared) > 1:  # a column with one class has nothing to rank by
        declared = [name for name in declared if evidence.distinct(name)[0] > 1] or declared
    if len(declared) > 1:
        raise TargetError(_several(declared) + _hint_on_binary(declared, evidence))
    if declared:
        (best,) = declared
        others = _undeclared(rest, evidence)
        return (best,), _note_on_others(best, "because its classes are declared", others, evidence)
    return _by_values(rest, task, evidence)


def find_class_names(label: str, task: LabelKind | None, evidence: Evidence) -> str | None:
    """The column with the names of the classes, such as ``label_text``, if the label column has
    only their numbers. A number and its name always come together.
    """
    feature = evidence.features[label]
    if task not in (None, "single-label") or getattr(feature, "names", None):
        return None
    if not holds_numbers(feature):
        return None
    names = (evidence.strings[key] for key in class_name_keys(label) if key in evidence.strings)
    return next((name for name in names if evidence.names_classes(label, name)), None)


def _is_named(name: str, feature: Any) -> bool:
    """Whether a column has a usual name of labels that fits its type."""
    return key_of(name) in (VALUE_NAMES if holds_floats(feature) else LABEL_NAMES)


def _by_values(
    rest: Sequence[str], task: LabelKind | None, evidence: Evidence
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The only column whose values repeat; otherwise the only one of lists, or of floats.

    Raises:
        TargetError: There is no such column, or there are several; or the rows hold records, which
            are probably what is to be predicted.
    """
    features = evidence.features
    repeating = [
        name for name in rest if holds_classes(features[name]) and _repeats(evidence.distinct(name))
    ]
    lists = [name for name in rest if task is None and holds_lists(features[name])]
    topics = [name for name in lists if key_of(name) not in WORD_NAMES]
    floats = [name for name in rest if holds_floats(features[name])]
    likely = [name for name in repeating if not is_bookkeeping(name)]
    class_names = [find_class_names(name, task, evidence) for name in likely]
    likely = [name for name in likely if name not in class_names]
    if likely or len(lists) == 1:
        likely += [name for name in topics if _repeats(evidence.distinct(name))]
    records = [name for name in features if holds_records(features[name])]
    if records and (likely or floats):
        raise TargetError(
            "No column is named or declared as the label, and these hold several records a row "
            f"(objects, answers, turns), which are not read: {listed(records)}. To rank by another "
            f"column, pass it with --label-column: {described(features)}."
        )
    if len(likely) == 1:
        return (likely[0],), _note_on_numbers(likely[0], floats, evidence)
    if likely:
        numbers = f" Columns of numbers, for a regression: {listed(floats)}." if floats else ""
        raise TargetError(_several(likely) + _hint_on_binary(likely, evidence) + numbers)
    others = (topics if len(lists) == 1 else []) or floats
    if len(others) == 1:
        return (others[0],), ()
    if len(floats) > 1:
        raise TargetError(_several(floats))
    ids = [name for name in repeating if is_bookkeeping(name)]
    hints = [
        f" By name, these are ids, splits or sizes and no labels: {listed(ids)}." if ids else "",
        " If one of them has a tag for each word of another, pass --task token."
        if len(lists) > 1
        else "",
    ]
    raise TargetError(
        f"No column looks like a label. Columns: {described(features)}. "
        f"Pass the label column with --label-column.{''.join(hints)}"
    )


def _of_other_kind(
    rest: Sequence[str],
    named: Sequence[str],
    task: LabelKind,
    evidence: Evidence,
) -> tuple[str, ...]:
    """The label column or columns of a regression, or of several labels a row."""
    features = evidence.features
    if task == "regression":
        candidates = [name for name in rest if holds_numbers(features[name])]
        candidates = [name for name in candidates if not is_bookkeeping(name)] or candidates
    else:
        candidates = [name for name in rest if holds_lists(features[name])]
        if not candidates and (columns := _binary(rest, evidence)):
            return tuple(columns)
    certain = [name for name in named if key_of(name) in CERTAIN]
    best = [name for name in named if name in candidates] or candidates or certain
    if len(best) == 1 or (best and best[0] in named):
        return (best[0],)
    if best:
        raise TargetError(_several(best))
    what = "numbers" if task == "regression" else "lists, and there are no columns of 0 and 1"
    raise TargetError(
        f"No column holds {what}, as --task {task} needs. Columns: "
        f"{described(features)}. Pass the label column with --label-column."
    )


def _hint_on_binary(names: Sequence[str], evidence: Evidence) -> str:
    return _MULTI_LABEL if _binary(names, evidence) else ""


def _binary(names: Sequence[str], evidence: Evidence) -> list[str]:
    """The columns of numbers that have two values, if there are two or more such columns."""
    features = evidence.features
    columns = [
        name
        for name in names
        if (holds_numbers(features[name]) or holds_booleans(features[name]))
        and evidence.distinct(name)[0] == 2
    ]
    return columns if len(columns) > 1 else []


def _unambiguous(candidates: Sequence[str], declared: Sequence[str], evidence: Evidence) -> str:
    """The best of several label columns, if all of them define the same classes.

    Raises:
        TargetError: They define different classes.
    """
    best = next((name for name in candidates if name in declared), candidates[0])
    if all(name == best or evidence.same_classes(best, name) for name in candidates):
        return best
    raise TargetError(_several(candidates))


def _undeclared(names: Sequence[str], evidence: Evidence) -> list[str]:
    """The columns of truth values, or of strings that seem to be names of few classes, by the first
    rows.
    """
    return [
        name
        for name in names
        if not is_bookkeeping(name)
        and (
            holds_booleans(evidence.features[name])
            or (holds_strings(evidence.features[name]) and evidence.kind_of_texts(name) == "names")
        )
    ]


def _note_on_others(
    best: str, reason: str, others: Sequence[str], evidence: Evidence
) -> tuple[str, ...]:
    """Say that other columns hold classes, too, and other ones than the label."""
    names = find_class_names(best, None, evidence)
    others = [
        name
        for name in others
        if name != names
        and evidence.distinct(name)[0] > 1
        and not evidence.same_classes(best, name)
    ]
    if not others:
        return ()
    return (
        f"The label is {best!r}, {reason}. Other columns hold classes, too: {listed(others)}. To "
        "rank by one of them, pass it with --label-column.",
    )


def _note_on_numbers(label: str, floats: Sequence[str], evidence: Evidence) -> tuple[str, ...]:
    """Say that a column was taken for classes because its values repeat, if numbers could be
    meant.
    """
    notes = []
    is_named = find_class_names(label, None, evidence) is not None
    if (
        holds_integers(evidence.features[label])
        and not is_named
        and evidence.distinct(label)[0] > 2
    ):
        notes.append(
            f"The whole numbers in {label!r} are read as classes. If they are values, pass --task "
            f"regression --label-column {label}."
        )
    if floats:
        notes.append(
            f"The label is {label!r}, because its values repeat. To rank by numbers instead, pass "
            f"their column with --label-column: {listed(floats)}."
        )
    return tuple(notes)


def _repeats(counts: tuple[int, int]) -> bool:
    distinct, rows = counts
    return 2 <= distinct and distinct * _ROWS_PER_CLASS <= rows


def _several(names: Sequence[str]) -> str:
    return (
        f"Several columns could be the label: {listed(names)}. Pass one of them with "
        "--label-column."
    )
