"""What the names of columns say: usual names of labels, texts, pairs, words and ids.

Case, spaces, ``_`` and ``-`` do not matter in a usual name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LABEL_NAMES = (
    "label", "labels", "class", "cls", "classname", "classes", "category", "categories", "target",
    "targets", "y", "intent", "labelname", "labeltext", "labelid", "classlabel", "classid",
    "categoryname", "categoryid", "targetname", "goldlabel",
)  # fmt: skip
"""Usual names of label columns, the most reliable first."""

CERTAIN = ("label", "labels")
"""A column with one of these names is preferred to a ``ClassLabel`` with another name."""

VALUE_NAMES = ("label", "labels", "target", "targets", "y")
"""Those of :data:`LABEL_NAMES` that a column of floats may have: the others name classes."""

TEXT_NAMES = ("text", "sentence", "content")
"""Names of the input column, the most reliable first, if there are several text columns."""

PAIR_NAMES = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "context"),
    ("question", "passage"),
    ("query", "passage"),
    ("text1", "text2"),
    ("texta", "textb"),
    ("sentencea", "sentenceb"),
)
"""Usual names of two text columns that are one input, in their order."""

WORD_NAMES = ("tokens", "words", "token", "word")
"""Usual names of a column with the words of a sentence. They decide if words and tags are both
strings."""

_NAME_ENDS = ("text", "name", "names", "string", "str")
_CLASS_NAMES = ("labelname", "labeltext", "classname", "categoryname", "targetname")

_PANDAS_INDEX = re.compile(r"__index_level_\d+__|Unnamed: 0(\.\d+)?")
"""Names under which pandas stores its index as a column."""

_IDS = re.compile(r"(^|[ _.-])(id|idx|index|uid|uuid|guid)(s|[ _.-]str)?$", re.IGNORECASE)
_CAMEL_ID = re.compile(r"[a-z](Id|ID|Idx)s?$")
_BOOKKEEPING = ("split", "fold", "subset", "width", "height")


def key_of(name: str) -> str:
    """A name as the lists of usual names have it."""
    return "".join(letter for letter in name.lower() if letter not in " _-")


def class_name_keys(label: str) -> tuple[str, ...]:
    """The keys (see :func:`key_of`) of columns with the names of the classes that a label column
    numbers, the likeliest first.

    Example:
        >>> [key in class_name_keys("kind") for key in ("kindtext", "classname", "text")]
        [True, True, False]
    """
    return (*(key_of(label) + end for end in _NAME_ENDS), *_CLASS_NAMES)


def is_pandas_index(name: str) -> bool:
    """Whether a column is the index of a pandas table. It is neither input nor label."""
    return _PANDAS_INDEX.fullmatch(name) is not None


def is_id(name: str) -> bool:
    """Whether a name says that the column holds ids.

    Example:
        >>> [is_id(name) for name in ("speaker_id", "idx", "tweetId", "covid", "label_id")]
        [True, True, True, False, False]
    """
    ids = _IDS.search(name) or _CAMEL_ID.search(name)
    return ids is not None and key_of(name) not in LABEL_NAMES


def is_bookkeeping(name: str) -> bool:
    """Whether a name says that the column describes rows or files: ids, splits, sizes of images.

    Such a column is a label only if the user names it: its values repeat, and mean nothing.
    """
    return is_id(name) or key_of(name) in _BOOKKEEPING


def is_derived(name: str, others: Iterable[str]) -> bool:
    """Whether a name is that of another column with a word before or after it.

    Example:
        >>> is_derived("premise_parse", ["premise"]), is_derived("texts", ["text"])
        (True, False)
    """
    parts = re.split(r"[ _.-]", name.lower())
    for other in others:
        own = re.split(r"[ _.-]", other.lower())
        if len(own) < len(parts) and own in (parts[: len(own)], parts[-len(own) :]):
            return True
    return False


def is_named_pair(names: Sequence[str]) -> bool:
    """Whether two columns have names of :data:`PAIR_NAMES`, in whatever order."""
    return any({key_of(name) for name in names} == set(pair) for pair in PAIR_NAMES)


def usual_pair(names: Sequence[str]) -> tuple[str, ...]:
    """Two columns in the order of their pair, if they are usual for pairs; otherwise nothing.

    They have names of :data:`PAIR_NAMES`, or names that differ only in the number or letter at
    their ends.

    Example:
        >>> usual_pair(["Hypothesis", "premise"]), usual_pair(["func2", "func1"])
        (('premise', 'Hypothesis'), ('func1', 'func2'))
    """
    if len(names) != 2:
        return ()
    by_key = {key_of(name): name for name in names}
    for pair in PAIR_NAMES:
        if by_key.keys() == set(pair):
            return tuple(by_key[key] for key in pair)
    return next(iter(numbered_names(names)), ())


def numbered_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ only in the number or letter at their ends, from 0, 1 or a on.

    Example:
        >>> numbered_names(["goal", "option2", "option1", "data", "date"])
        [('option1', 'option2')]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name[:-1].lower(), []).append(name)
    ordered = [tuple(sorted(group, key=lambda name: name[-1].lower())) for group in groups.values()]
    return [group for group in ordered if len(group) > 1 and _is_run(group)]


def _is_run(names: Sequence[str]) -> bool:
    ends = "".join(name[-1].lower() for name in names)
    return any(run.startswith(ends) for run in ("0123456789", "123456789", "abcdefghi"))
