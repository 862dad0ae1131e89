"""Choose the input column and the label column from the features of a dataset."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_sfda.errors import TargetError
from hf_sfda.format import cut
from hf_sfda.types import LabelKind, Modality

LABEL_NAMES = (
    "label", "labels", "class", "cls", "classname", "classes", "category", "categories", "target",
    "targets", "y", "intent", "labelname", "labeltext", "labelid", "classlabel", "classid",
    "categoryname", "categoryid", "targetname", "goldlabel",
)  # fmt: skip
"""Usual names of label columns, the most reliable first. Case, spaces, ``_`` and ``-`` do not
matter."""

_CERTAIN = ("label", "labels")
"""A column with one of these names is preferred to a ``ClassLabel`` with another name."""

TEXT_NAMES = ("text", "sentence", "content")
"""Names of the input column, the most reliable first, if there are several text columns."""

PAIR_NAMES = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "context"),
    ("query", "passage"),
    ("text1", "text2"),
    ("texta", "textb"),
    ("sentencea", "sentenceb"),
)
"""Usual names of two text columns that are one input. Case, spaces, ``_`` and ``-`` do not matter.

Two text columns with these names are read as pairs if they are the only ones besides the label."""

WORD_NAMES = ("tokens", "words", "token", "word")
"""Usual names of a column with the words of a sentence. They decide if words and tags are both
strings. Case, spaces, ``_`` and ``-`` do not matter."""

_PANDAS_INDEX = re.compile(r"__index_level_\d+__|Unnamed: 0")
"""Names under which pandas stores its index as a column. It is neither input nor label."""

_MAX_NAMES = 10  # in a message
_ROWS_PER_CLASS = 5
"""A column without other evidence is read as labels if each value occurs this often on average."""


@dataclass(frozen=True)
class Columns:
    """The columns to read.

    Attributes:
        inputs: The input column; two text columns for pairs of texts.
        labels: The label column, or several of them.
        modality: What the input column holds.
        notes: A warning if pairs were inferred.
        of_words: Whether the input column holds lists of words, and the label column a tag for each
            word.
    """

    inputs: tuple[str, ...]
    labels: tuple[str, ...]
    modality: Modality
    notes: tuple[str, ...] = ()
    of_words: bool = False


def infer_columns(
    features: Mapping[str, Any],
    *,
    input_column: str | None,
    label_column: str | None,
    task: LabelKind | None = None,
    distinct: Callable[[str], tuple[int, int]],
    same_classes: Callable[[str, str], bool] = lambda first, second: False,
    holds_images: Callable[[str], bool] = lambda name: True,
    holds_sounds: Callable[[str], bool] = lambda name: False,
    has_tags: Callable[[str, str], bool] = lambda words, tags: False,
) -> Columns:
    """Choose the input and the label column. Columns that the user named are only checked.

    The label column is the first of these that exists: a column called ``label`` or ``labels``; a
    column with another name of :data:`LABEL_NAMES`; the only ``ClassLabel``; the only column with
    few distinct values; the only column of lists; the only column of floats. If several columns
    qualify equally and define different classes, an error asks the user to choose. For a regression
    the only column of numbers comes after the names; for several labels all columns of 0 and 1 do.

    The input is a column of sounds, else of images, else of texts. If there are several, a usual
    name decides; two text columns with names of :data:`PAIR_NAMES` are read as pairs.

    A column of lists of strings and a column with a tag for each of these strings are words and
    their tags, unless the dataset has images, sounds or a class for each row.

    Args:
        features: The ``Features`` of the dataset.
        input_column: The input column that the user named, if any; ``first,second`` for two text
            columns that are read as pairs.
        label_column: The label column that the user named, if any; several for multi-label.
        task: What the labels are, if the user said so.
        distinct: Column -> (number of distinct values, number of values).
        same_classes: Whether two columns define the same classes, possibly under other names.
        holds_images: Whether the bytes in a column are images.
        holds_sounds: Whether the bytes in a column are sound files.
        has_tags: (words, tags) -> whether the second column has a tag for each word of the first.

    Raises:
        TargetError: A column does not exist or cannot be used, or the choice is ambiguous.
    """
    inputs = _given_inputs(features, input_column)
    named = [("--input-column", name) for name in inputs]
    given_labels = label_columns(features, label_column)
    named += [("--label-column", name) for name in given_labels]
    for option, name in named:
        if name not in features:
            raise TargetError(_unknown(option, name, list(features)))
    for name in inputs:
        if name in given_labels:
            raise TargetError(f"{name!r} is given both as --input-column and as --label-column.")
    if words := _find_words(features, inputs, given_labels, task, has_tags):
        return words
    modality = {name: _modality(name, feature, holds_sounds) for name, feature in features.items()}
    for name in inputs:
        _check_input(name, features, modality[name], alone=len(inputs) == 1)
    labels = given_labels or _find_labels(features, inputs, task, distinct, same_classes)
    for name in labels:
        _check_label(name, features[name], alone=len(labels) == 1)
    columns = inputs or _find_inputs(features, modality, labels, holds_images)
    notes: tuple[str, ...] = ()
    if not inputs:
        alone = _without_partner(features, columns[0], labels)
        notes = (_pair_note(columns),) if len(columns) > 1 else alone
    return Columns(columns, labels, modality[columns[0]] or "text", notes)


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
            f"are read as pairs: --input-column first,second. Columns: {_list(features)}."
        )
    return names


def _pair_note(names: Sequence[str]) -> str:
    return (
        f"The texts are read as pairs of {names[0]!r} and {names[1]!r}. To read one column "
        "instead, pass it with --input-column."
    )


def label_columns(features: Mapping[str, Any], given: str | None) -> tuple[str, ...]:
    """The columns that ``--label-column`` names: one, or several different ones.

    Raises:
        TargetError: It names no column.
    """
    if given is None:
        return ()
    names = tuple(dict.fromkeys(name for name in _divided(features, given) if name))
    if not names:
        raise TargetError(f"--label-column {given!r} names no column. Columns: {_list(features)}.")
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


def item_feature(feature: Any) -> Any | None:
    """What a column of lists holds in its lists; ``None`` if it holds no lists."""
    from datasets import LargeList, List, Sequence

    if isinstance(feature, list):
        return feature[0]
    return feature.feature if isinstance(feature, (List, LargeList, Sequence)) else None


def is_image(feature: Any) -> bool:
    """Whether a feature is an ``Image``, or bytes with or without a path, as in pandas."""
    from datasets import Image, Value

    if isinstance(feature, Image):
        return True
    binary = (Value("binary"), Value("large_binary"))
    if isinstance(feature, Mapping):
        return set(feature) == {"bytes", "path"} and feature["bytes"] in binary
    return feature in binary


def is_sound(feature: Any) -> bool:
    """Whether a feature is an ``Audio``."""
    from datasets import Audio

    return isinstance(feature, Audio)


def _is_bytes(feature: Any) -> bool:
    return _dtype(feature) in ("binary", "large_binary")


def _modality(name: str, feature: Any, holds_sounds: Callable[[str], bool]) -> Modality | None:
    from datasets import Image

    if is_sound(feature):
        return "audio"
    if is_image(feature):
        return "audio" if not isinstance(feature, Image) and holds_sounds(name) else "image"
    return "text" if _dtype(feature) in ("string", "large_string") else None


def _find_words(
    features: Mapping[str, Any],
    inputs: Sequence[str],
    labels: Sequence[str],
    task: LabelKind | None,
    has_tags: Callable[[str, str], bool],
) -> Columns | None:
    """A column of words and a column with a tag for each word; ``None`` for another task.

    Raises:
        TargetError: The task is ``token``, but there are no such columns; or there are several.
    """
    lists = [name for name, feature in features.items() if _holds_lists(feature)]
    texts = [name for name in lists if _dtype(item_feature(features[name])) in _STRINGS]
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
        and (labels == (tags,) or (not labels and _key(tags) not in WORD_NAMES))
    ]
    aligned = [pair for pair in pairs if has_tags(*pair)]
    usual = [pair for pair in aligned or pairs if _key(pair[0]) in WORD_NAMES]
    if task == "token" and not aligned and not (inputs and labels):
        pairs = usual  # the names alone say which of two columns of strings has the words
    elif aligned or task == "token":
        pairs = usual or aligned or pairs
    else:
        return None
    if not pairs:
        if task == "token":
            raise TargetError(
                "No column holds one tag for each word of another column, as --task token needs. "
                f"Columns: {_list(features)}. Pass the column with the words as --input-column and "
                "the column with their tags as --label-column. A csv file cannot hold lists; "
                "parquet and JSON lines can."
            )
        return None
    if len(word_columns := dict.fromkeys(words for words, _ in pairs)) > 1:
        raise TargetError(
            f"Several columns could be the words: {_list(word_columns)}. Pass one of them with "
            "--input-column, and the column with their tags with --label-column."
        )
    if len(pairs) > 1:
        raise TargetError(
            f"Several columns have one tag for each word of {pairs[0][0]!r}: "
            f"{_list(tags for _, tags in pairs)}. Pass one of them with --label-column."
        )
    ((words, tags),) = pairs
    return Columns((words,), (tags,), "text", of_words=True)


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
                f"{what}. Columns of lists: {_list(allowed) or 'none'}. A csv file cannot hold "
                "lists; parquet and JSON lines can."
            )


def _has_row_class(features: Mapping[str, Any], inputs: Sequence[str]) -> bool:
    """Whether a column has a class for each row: by its usual name, or as a ``ClassLabel``."""
    from datasets import ClassLabel

    return any(
        item_feature(feature) is None
        and (_key(name) in LABEL_NAMES or isinstance(feature, ClassLabel))
        for name, feature in features.items()
        if name not in inputs
    )


def _find_inputs(
    features: Mapping[str, Any],
    modality: Mapping[str, Modality | None],
    labels: Sequence[str],
    holds_images: Callable[[str], bool],
) -> tuple[str, ...]:
    rest = [name for name in features if name not in labels and not _PANDAS_INDEX.fullmatch(name)]
    sounds = [name for name in rest if modality[name] == "audio"]
    images = [name for name in rest if modality[name] == "image"]
    images = [name for name in images if not _is_bytes(features[name]) or holds_images(name)]
    texts = [name for name in rest if modality[name] == "text"]
    if sounds and images:
        raise TargetError(
            f"Several columns could be the input: {_list([*sounds, *images])}. "
            "Pass one of them with --input-column."
        )
    if not sounds and not images and (pair := _usual_pair(texts)):
        return pair
    for candidates, preferred, more in (
        (sounds, ("audio",), ""),
        (images, ("image",), ""),
        (texts, TEXT_NAMES, ", or two of them for pairs of texts: --input-column first,second"),
    ):
        if len(candidates) == 1:
            return (candidates[0],)
        if named := [name for name in preferred if name in candidates]:
            return (named[0],)
        if candidates:
            raise TargetError(
                f"Several columns could be the input: {_list(candidates)}. "
                f"Pass one of them with --input-column{more}."
            )
    raise TargetError(
        f"No column holds images, texts or sounds besides the label {', '.join(labels)!r}. "
        "Columns: "
        + _list(map(_described(features), features))
        + ". Only tasks on images, on texts and on sounds are supported."
    )


def _usual_pair(names: Sequence[str]) -> tuple[str, ...]:
    """Two columns in the order of their pair, if :data:`PAIR_NAMES` has it; otherwise nothing."""
    by_key = {_key(name): name for name in names}
    for pair in PAIR_NAMES:
        if len(names) == 2 and by_key.keys() == set(pair):
            return tuple(by_key[key] for key in pair)
    return ()


def _without_partner(
    features: Mapping[str, Any], name: str, labels: Sequence[str]
) -> tuple[str, ...]:
    """Warn if a column is read alone because the other one of a usual pair holds no texts."""
    usual = {key for pair in PAIR_NAMES if _key(name) in pair for key in pair}
    others = [
        other
        for other, feature in features.items()
        if other not in (name, *labels) and _key(other) in usual and _dtype(feature) not in _STRINGS
    ]
    if not others:
        return ()
    return (
        f"Only {name!r} is read, not pairs of texts: {_list(map(_described(features), others))} "
        "holds no texts.",
    )


def _find_labels(
    features: Mapping[str, Any],
    inputs: Sequence[str],
    task: LabelKind | None,
    distinct: Callable[[str], tuple[int, int]],
    same_classes: Callable[[str, str], bool],
) -> tuple[str, ...]:
    from datasets import ClassLabel

    rest = [
        name
        for name, feature in features.items()
        if name not in inputs
        and not (is_image(feature) or is_sound(feature))
        and not _PANDAS_INDEX.fullmatch(name)
    ]
    named = sorted(
        (name for name in rest if _key(name) in LABEL_NAMES),
        key=lambda name: LABEL_NAMES.index(_key(name)),
    )
    if task not in (None, "single-label"):
        return _find_other_labels(features, rest, named, task, distinct)
    declared = [name for name in rest if isinstance(features[name], ClassLabel)]
    certain = [name for name in named if _key(name) in _CERTAIN]
    if not named and len(declared) > 1:
        raise TargetError(_several_labels(declared))
    for candidates in (certain, named, declared):
        if candidates:
            return (_unambiguous(candidates, declared, same_classes),)
    repeating = [
        name
        for name in rest
        if _dtype(features[name]) in _CLASS_TYPES and _has_few_values(distinct(name))
    ]
    if len(repeating) == 1:
        return (repeating[0],)
    if repeating:
        raise TargetError(
            _several_labels(repeating)
            + (
                " Or rank all columns of 0 and 1 with --task multi-label."
                if _binary(features, repeating, distinct)
                else ""
            )
        )
    for kind in (_holds_lists, _holds_floats) if task is None else (_holds_floats,):
        if len(others := [name for name in rest if kind(features[name])]) == 1:
            return (others[0],)
    lists = [name for name in rest if _holds_lists(features[name])]
    hint = " If one of them has a tag for each word of another, pass --task token."
    raise TargetError(
        f"No column looks like a label. Columns: {_list(map(_described(features), features))}. "
        f"Pass the label column with --label-column.{hint if len(lists) > 1 else ''}"
    )


def _find_other_labels(
    features: Mapping[str, Any],
    rest: Sequence[str],
    named: Sequence[str],
    task: LabelKind,
    distinct: Callable[[str], tuple[int, int]],
) -> tuple[str, ...]:
    """The label column or columns of a regression, or of several labels a row."""
    if task == "regression":
        candidates = [name for name in rest if _holds_numbers(features[name])]
    else:
        candidates = [name for name in rest if _holds_lists(features[name])]
        if not candidates and (columns := _binary(features, rest, distinct)):
            return tuple(columns)
    certain = [name for name in named if _key(name) in _CERTAIN]
    best = [name for name in named if name in candidates] or candidates or certain
    if len(best) == 1 or (best and best[0] in named):
        return (best[0],)
    if best:
        raise TargetError(_several_labels(best))
    what = "numbers" if task == "regression" else "lists, and there are no columns of 0 and 1"
    raise TargetError(
        f"No column holds {what}, as --task {task} needs. Columns: "
        f"{_list(map(_described(features), features))}. Pass the label column with --label-column."
    )


def _binary(
    features: Mapping[str, Any], names: Sequence[str], distinct: Callable[[str], tuple[int, int]]
) -> list[str]:
    """The columns of numbers that have two values, if there are two or more such columns."""
    columns = [
        name
        for name in names
        if (_holds_numbers(features[name]) or _dtype(features[name]) == "bool")
        and distinct(name)[0] == 2
    ]
    return columns if len(columns) > 1 else []


def _unambiguous(
    candidates: Sequence[str],
    declared: Sequence[str],
    same_classes: Callable[[str, str], bool],
) -> str:
    """The best of several label columns, if all of them define the same classes.

    Raises:
        TargetError: They define different classes.
    """
    best = next((name for name in candidates if name in declared), candidates[0])
    if all(name == best or same_classes(best, name) for name in candidates):
        return best
    raise TargetError(_several_labels(candidates))


def _key(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter not in " _-")


_STRINGS = ("string", "large_string")
_INTEGERS = tuple(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64))
_FLOATS = ("float16", "float32", "float64")
_CLASS_TYPES = frozenset(["string", "large_string", "bool", *_INTEGERS])


def _holds_lists(feature: Any) -> bool:
    """Whether a column holds lists of what may be labels."""
    item = item_feature(feature)
    return item is not None and _dtype(item) in _CLASS_TYPES


def _holds_floats(feature: Any) -> bool:
    """Whether a column holds numbers that may have fractions: floats, or decimals of databases."""
    return _dtype(feature) in _FLOATS or _dtype(feature).startswith("decimal")


def _holds_numbers(feature: Any) -> bool:
    return _dtype(feature) in _INTEGERS or _holds_floats(feature)


def _has_few_values(counts: tuple[int, int]) -> bool:
    distinct, rows = counts
    return 2 <= distinct and distinct * _ROWS_PER_CLASS <= rows


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
        f"The input column {name!r} is of type {_type(features[name])}; it must hold {needed}. "
        f"Columns: {_list(features)}. Pass another one with --input-column."
    )


def _check_label(name: str, feature: Any, *, alone: bool) -> None:
    """Refuse label columns that are not supported.

    Args:
        name: The column.
        feature: Its feature.
        alone: Whether it is the only label column.

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
    if item is not None and (
        isinstance(item, (Mapping, Json))
        or item_feature(item) is not None
        or is_image(item)
        or is_sound(item)
    ):
        raise TargetError(
            f"The lists in the label column {name!r} hold {_type(item)}; labels must be class "
            "names or numbers. Pass another one with --label-column."
        )
    if isinstance(feature, Mapping) or is_image(feature) or is_sound(feature):
        raise TargetError(
            f"The label column {name!r} is of type {_type(feature)}; labels must be class names "
            "or numbers. Pass another one with --label-column."
        )


def _several_labels(names: Sequence[str]) -> str:
    return (
        f"Several columns could be the label: {_list(names)}. Pass one of them with --label-column."
    )


def _unknown(option: str, name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{option} {name!r} does not exist. Columns: {_list(names)}.{hint}"


def _dtype(feature: Any) -> str:
    return str(getattr(feature, "dtype", ""))


def _type(feature: Any) -> str:
    from datasets import Json

    if isinstance(feature, Json):
        return "values of several types"
    return _dtype(feature).removeprefix("large_") or type(feature).__name__


def _described(features: Mapping[str, Any]) -> Callable[[str], str]:
    """Name of a column -> its name and type, for a message."""
    return lambda name: f"{name} ({_type(features[name])})"


def _list(names: Iterable[str]) -> str:
    """Join the first names for a message."""
    short_names = [cut(name, 40) for name in names]
    rest = len(short_names) - _MAX_NAMES
    return ", ".join(short_names[:_MAX_NAMES]) + (f" and {rest} more" if rest > 0 else "")
