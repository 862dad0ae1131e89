"""Choose the input column and the label column of a dataset.

The label column is the first of these that exists:

1. a column called ``label`` or ``labels``;
2. a column with another usual name of labels;
3. the only column that is declared as ``ClassLabel``, or as lists of it, and has two classes;
4. the only column, or column of lists, in which values repeat; names of ids, splits and sizes of
   images do not count, and the dataset must not hold records, such as the objects of an image;
5. the only column of lists or of floats.

If several columns qualify equally and define different classes, an error asks the user to choose.
For a regression the only column of numbers comes after the names; for several labels all columns of
0 and 1 do.

The input is a column of sounds, else of images, else of texts. If there are several columns of
strings, those whose values are no texts (ids, codes, dates, names of few classes), and those named
after another column (``premise_parse`` beside ``premise``), do not count. Two columns with usual
names of pairs, or names that differ in the number at their ends, are read as pairs; else a usual
name decides. Notes say what is not read. A label that says which of several texts is right is
refused.

A column of lists of strings and a column with a tag for each of these strings are words and their
tags, unless the dataset has images, sounds, or texts with a class for each row.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_sfda.dataset.column_names import LABEL_NAMES, WORD_NAMES, is_id, key_of
from hf_sfda.dataset.evidence import Evidence
from hf_sfda.dataset.features import (
    holds_lists,
    holds_strings,
    is_image,
    is_list,
    is_sound,
    item_feature,
    listed,
    type_name,
)
from hf_sfda.dataset.input_columns import find_inputs, refuse_choices
from hf_sfda.dataset.label_columns import find_class_names, find_labels
from hf_sfda.errors import TargetError
from hf_sfda.types import LabelKind, Modality


@dataclass(frozen=True)
class Columns:
    """The columns to read.

    Attributes:
        inputs: The input column; two text columns for pairs of texts.
        labels: The label column, or several of them.
        modality: What the input column holds.
        notes: What was assumed, and which other columns are not read.
        of_words: Whether the input column holds lists of words, and the label column a tag for each
            word.
        class_names: The column with the names of the classes, if the label column has numbers.
    """

    inputs: tuple[str, ...]
    labels: tuple[str, ...]
    modality: Modality
    notes: tuple[str, ...] = ()
    of_words: bool = False
    class_names: str | None = None


def infer_columns(
    evidence: Evidence,
    *,
    input_column: str | None,
    label_column: str | None,
    task: LabelKind | None = None,
) -> Columns:
    """Choose the input and the label column. Columns that the user named are only checked.

    Args:
        evidence: What the features and the rows say.
        input_column: The input column that the user named, if any; ``first,second`` for two text
            columns that are read as pairs.
        label_column: The label column that the user named, if any; several for multi-label.
        task: What the labels are, if the user said so.

    Raises:
        TargetError: A column does not exist or cannot be used, or the choice is ambiguous.
    """
    features = evidence.features
    inputs = _given_inputs(features, input_column)
    labels = _given_labels(features, label_column)
    _check_names("--input-column", inputs, features)
    _check_names("--label-column", labels, features)
    if both := [name for name in inputs if name in labels]:
        raise TargetError(f"{both[0]!r} is given both as --input-column and as --label-column.")
    if words := _find_words(inputs, labels, task, evidence):
        return words
    modality = {name: _modality(name, evidence) for name in features}
    for name in inputs:
        _check_input(name, features, modality[name], alone=len(inputs) == 1)
    notes: tuple[str, ...] = ()
    if not labels:
        labels, notes = find_labels(inputs, task, evidence)
    for name in labels:
        _check_label(name, features[name], alone=len(labels) == 1)
    names = find_class_names(labels[0], task, evidence) if len(labels) == 1 else None
    if not inputs:
        candidates = {name: kind for name, kind in modality.items() if name != names}
        refuse_choices(candidates, labels, evidence)
        inputs, input_notes = find_inputs(candidates, labels, evidence)
        notes = (*notes, *input_notes)
    return Columns(inputs, labels, modality[inputs[0]] or "text", notes, class_names=names)


def _given_inputs(features: Mapping[str, Any], given: str | None) -> tuple[str, ...]:
    """The columns that ``--input-column`` names: one column, or two separated by a comma.

    Raises:
        TargetError: It names another number of columns, or the same column twice.
    """
    if given is None:
        return ()
    names = _divided(features, given)
    if len(names) == 1:
        return names
    if len(names) != 2 or "" in names or names[0] == names[1]:
        raise TargetError(
            f"--input-column {given!r} must name one column, or two different text columns that "
            f"are read as pairs: --input-column first,second. Columns: {listed(features)}."
        )
    return names


def _given_labels(features: Mapping[str, Any], given: str | None) -> tuple[str, ...]:
    """The columns that ``--label-column`` names: one, or several different ones.

    Raises:
        TargetError: It names no column.
    """
    if given is None:
        return ()
    names = tuple(dict.fromkeys(name for name in _divided(features, given) if name))
    if not names:
        raise TargetError(f"--label-column {given!r} names no column. Columns: {listed(features)}.")
    return names


def _divided(features: Mapping[str, Any], given: str) -> tuple[str, ...]:
    """The names in a list with commas. The name of a column may hold commas itself: the longest
    name that exists is taken, from the left.

    Example:
        >>> _divided({"a, b": 0, "c": 0}, "a, b, c"), _divided({"a": 0}, "a,x")
        (('a, b', 'c'), ('a', 'x'))
    """
    if given in features:
        return (given,)
    parts = given.split(",")
    names: list[str] = []
    while parts:
        joined = (",".join(parts[:n]).strip() for n in range(len(parts), 0, -1))
        name = next((name for name in joined if name in features), parts[0].strip())
        names.append(name)
        parts = parts[name.count(",") + 1 :]
    return tuple(names)


def _modality(name: str, evidence: Evidence) -> Modality | None:
    from datasets import Image

    feature = evidence.features[name]
    if is_sound(feature):
        return "audio"
    if is_image(feature):
        holds_sounds = not isinstance(feature, Image) and evidence.holds_sounds(name)
        return "audio" if holds_sounds else "image"
    return "text" if holds_strings(feature) else None


def _find_words(
    inputs: Sequence[str],
    labels: Sequence[str],
    task: LabelKind | None,
    evidence: Evidence,
) -> Columns | None:
    """A column of words and a column with a tag for each word; ``None`` for another task.

    Raises:
        TargetError: The task is ``token``, but there are no such columns; or there are several.
    """
    features = evidence.features
    lists = [name for name, feature in features.items() if holds_lists(feature)]
    texts = [name for name in lists if holds_strings(item_feature(features[name]))]
    if task == "token":
        _check_words(features, inputs, texts, labels, lists)
    elif task is not None or (not labels and _has_row_class(features, inputs)):
        return None
    elif not inputs and any(is_image(f) or is_sound(f) for f in features.values()):
        return None
    pairs = [
        (words, tags)
        for words in texts
        for tags in lists
        if words != tags
        and inputs in ((), (words,))
        and (labels == (tags,) or (not labels and key_of(tags) not in WORD_NAMES))
    ]
    aligned = [pair for pair in pairs if evidence.has_tags(*pair)]
    usual = [pair for pair in aligned or pairs if key_of(pair[0]) in WORD_NAMES]
    if not aligned and task != "token":
        return None
    if aligned or (inputs and labels):
        pairs = usual or aligned or pairs
    else:
        pairs = usual  # the names alone say which of two columns of strings has the words
    if not pairs:
        raise TargetError(
            "No column holds one tag for each word of another column, as --task token needs. "
            f"Columns: {listed(features)}. Pass the column with the words as --input-column "
            "and the column with their tags as --label-column. A csv file cannot hold lists; "
            "parquet and JSON lines can."
        )
    words, tags = _one_pair(pairs, evidence)
    return Columns((words,), (tags,), "text", of_words=True)


def _one_pair(pairs: Sequence[tuple[str, str]], evidence: Evidence) -> tuple[str, str]:
    """The words and the tags, if there is only one choice.

    Raises:
        TargetError: There are several.
    """
    if len(words := dict.fromkeys(words for words, _ in pairs)) > 1:
        raise TargetError(
            f"Several columns could be the words: {listed(words)}. Pass one of them with "
            "--input-column, and the column with their tags with --label-column."
        )
    if len(pairs) > 1:  # a column with the same tag for all words has nothing to rank by
        pairs = [pair for pair in pairs if evidence.distinct(pair[1])[0] > 1] or pairs
    if len(pairs) > 1:
        raise TargetError(
            f"Several columns have one tag for each word of {pairs[0][0]!r}: "
            f"{listed(tags for _, tags in pairs)}. Pass one of them with --label-column."
        )
    return pairs[0]


def _check_words(
    features: Mapping[str, Any],
    inputs: Sequence[str],
    texts: Sequence[str],
    labels: Sequence[str],
    lists: Sequence[str],
) -> None:
    """Refuse named columns that hold no words or no tags.

    Raises:
        TargetError: A column cannot be read with ``--task token``.
    """
    for option, named, allowed, what in (
        ("--input-column", inputs, texts, "the words of each sentence: lists of strings"),
        ("--label-column", labels, lists, "lists with a tag for each word"),
    ):
        if len(named) > 1:
            raise TargetError(f"{option} must name one column with --task token.")
        if named and named[0] not in allowed:
            kind = "lists of other values" if item_feature(features[named[0]]) else "no lists"
            raise TargetError(
                f"The column {named[0]!r} holds {kind}; with --task token, {option} must hold "
                f"{what}. Columns of lists: {listed(allowed) or 'none'}. A csv file cannot hold "
                "lists; parquet and JSON lines can."
            )


def _has_row_class(features: Mapping[str, Any], inputs: Sequence[str]) -> bool:
    """Whether there are texts beside the words, and a column with a class for each row: by its
    usual name, or as a ``ClassLabel``.
    """
    from datasets import ClassLabel

    classes = [
        name
        for name, feature in features.items()
        if item_feature(feature) is None
        and (key_of(name) in LABEL_NAMES or isinstance(feature, ClassLabel))
        and name not in inputs
    ]
    texts = [name for name, feature in features.items() if holds_strings(feature)]
    return bool(classes) and any(name not in classes and not is_id(name) for name in texts)


def _check_input(
    name: str, features: Mapping[str, Any], modality: Modality | None, *, alone: bool
) -> None:
    """Refuse an input column that holds no images, texts or sounds, or no texts in a pair.

    Raises:
        TargetError: The column cannot be read.
    """
    if modality == "text" or (alone and modality is not None):
        return
    needed = "images, texts or sounds" if alone else "texts, because it is one of a pair"
    raise TargetError(
        f"The input column {name!r} is of type {type_name(features[name])}; it must hold {needed}. "
        f"Columns: {listed(features)}. Pass another one with --input-column."
    )


def _check_label(name: str, feature: Any, *, alone: bool) -> None:
    """Refuse label columns that are not supported.

    Raises:
        TargetError: The column holds images, sounds, structs, lists of lists or of structs,
            values of several types, or lists beside other label columns.
    """
    from datasets import Json

    if isinstance(feature, Json):
        raise TargetError(
            f"The label column {name!r} holds values of several types; labels must be all class "
            "names or all whole numbers. Pass another column with --label-column."
        )
    item = item_feature(feature)
    if item is not None and not alone:
        raise TargetError(
            f"The label column {name!r} holds lists; several label columns must hold 0 and 1 each. "
            "Pass it alone as --label-column."
        )
    held = feature if item is None else item
    if isinstance(held, (Mapping, Json)) or is_list(held) or is_image(held) or is_sound(held):
        what = (
            f"label column {name!r} is of type"
            if item is None
            else f"lists in the label column {name!r} hold"
        )
        raise TargetError(
            f"The {what} {type_name(held)}; labels must be class names or numbers. Pass another "
            "one with --label-column."
        )


def _check_names(option: str, names: Sequence[str], features: Mapping[str, Any]) -> None:
    """Refuse the names of columns that do not exist.

    Raises:
        TargetError: There is one; the message has the names that exist.
    """
    for name in names:
        if name not in features:
            close = difflib.get_close_matches(name, features, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise TargetError(
                f"{option} {name!r} does not exist. Columns: {listed(features)}.{hint}"
            )
