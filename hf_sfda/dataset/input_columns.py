"""Find the input column, or two text columns that are one input, besides the label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from hf_sfda.dataset.column_names import (
    LABEL_NAMES,
    PAIR_NAMES,
    TEXT_NAMES,
    is_derived,
    is_id,
    is_named_pair,
    is_pandas_index,
    key_of,
    numbered_names,
    usual_pair,
)
from hf_sfda.dataset.evidence import Evidence
from hf_sfda.dataset.features import (
    described,
    holds_lists,
    holds_records,
    holds_strings,
    is_bytes,
    item_feature,
    listed,
)
from hf_sfda.errors import TargetError
from hf_sfda.types import Modality

_CHOICES = ("choice", "option", "ending", "candidate", "answer")
"""Words in the name of a column that holds the choices of a question."""

_PLACES = frozenset("abcdefgh012345678")

Modalities = Mapping[str, Modality | None]


def find_inputs(
    modality: Modalities, labels: Sequence[str], evidence: Evidence
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find the input columns, by the rules of :mod:`hf_sfda.dataset.columns`.

    Returns:
        The columns, and notes on what is not read.

    Raises:
        TargetError: There is no such column, or there are several.
    """
    features = {name: evidence.features[name] for name in modality}
    rest = [name for name in features if name not in labels and not is_pandas_index(name)]
    sounds = [name for name in rest if modality[name] == "audio"]
    images = [name for name in rest if modality[name] == "image"]
    images = [
        name for name in images if not is_bytes(features[name]) or evidence.holds_images(name)
    ]
    texts = [name for name in rest if modality[name] == "text"]
    if file := _find_file(sounds, images):
        return (file,), _note_on_texts(texts, evidence) if images else ()
    if ids := [name for name in texts if is_id(name)]:
        texts = [name for name in texts if name not in ids]
    if not texts:
        named_ids = (
            f" These have names of ids: {listed(ids)}; if they hold texts, use --input-column."
            if ids
            else ""
        )
        raise TargetError(
            f"No column holds images, texts or sounds besides the label {', '.join(labels)!r}."
            f"{named_ids} Columns: {described(evidence.features)}. Only tasks on "
            "images, on texts and on sounds are supported."
        )
    chosen = _find_texts(texts, evidence)
    notes = _note_on_unread(chosen, texts, evidence)
    if len(chosen) > 1:
        return chosen, (_pair_note(chosen), *notes)
    return chosen, (*_without_partner(features, chosen[0], labels), *notes)


def _find_file(sounds: Sequence[str], images: Sequence[str]) -> str | None:
    """The column of sounds or images: the only one, or the one with the usual name.

    Raises:
        TargetError: There are several.
    """
    files = [*sounds, *images]
    if len(files) < 2:
        return next(iter(files), None)
    usual = "audio" if sounds else "image"
    if usual in files and not (sounds and images):
        return usual
    raise TargetError(
        f"Several columns could be the input: {listed(files)}. Pass one of them with "
        "--input-column."
    )


def _find_texts(texts: Sequence[str], evidence: Evidence) -> tuple[str, ...]:
    """The column of texts, or the two that are one input.

    Raises:
        TargetError: There are several.
    """
    if len(texts) == 1:
        return (texts[0],)
    if pair := usual_pair(texts):
        return pair
    unlabelled = [name for name in texts if key_of(name) not in LABEL_NAMES] or list(texts)
    likely = [
        name for name in unlabelled if _is_usual(name, unlabelled) or _holds_texts(name, evidence)
    ]
    likely = [name for name in likely if not is_derived(name, likely)] or unlabelled
    if len(likely) == 1:
        return (likely[0],)
    if pair := usual_pair(likely):
        return pair
    usual = [name for key in TEXT_NAMES for name in likely if key_of(name) == key]
    if usual:
        return (usual[0],)
    pairs = filter(None, map(usual_pair, combinations(likely, 2)))
    example = next((f", such as {first},{second}" for first, second in pairs), "")
    raise TargetError(
        f"Several columns could be the input: {listed(likely)}. Pass one of them with "
        f"--input-column, or two of them for pairs of texts: --input-column first,second{example}."
    )


def _holds_texts(name: str, evidence: Evidence) -> bool:
    return evidence.kind_of_texts(name) == "texts"


def _is_usual(name: str, others: Sequence[str]) -> bool:
    """Whether a column has a usual name of texts, or of one of a pair that is there."""
    keys = {key_of(other) for other in others}
    return key_of(name) in TEXT_NAMES or any(
        key_of(name) in pair and keys.issuperset(pair) for pair in PAIR_NAMES
    )


def _note_on_unread(
    chosen: Sequence[str], texts: Sequence[str], evidence: Evidence
) -> tuple[str, ...]:
    """Say which other columns of texts or words are not read, unless they repeat the label or the
    input. Where a usual name decided, single words are no rivals.
    """
    by_name = any(key_of(name) in TEXT_NAMES for name in chosen)
    rivals = ("texts",) if by_name else ("texts", "words")
    unread = [
        name
        for name in texts
        if name not in chosen
        and key_of(name) not in LABEL_NAMES
        and not is_derived(name, chosen)
        and evidence.kind_of_texts(name) in rivals
    ]
    if not unread:
        return ()
    return (
        f"Other columns of strings are not read: {listed(unread)}. To read one of them, or two "
        "columns as pairs of texts, use --input-column.",
    )


def _note_on_texts(texts: Sequence[str], evidence: Evidence) -> tuple[str, ...]:
    """Say that images are read and the texts beside them, such as questions, are not."""
    unread = [name for name in texts if not is_id(name) and _holds_texts(name, evidence)]
    return (f"Texts beside the images are not read: {listed(unread)}.",) if unread else ()


def _pair_note(names: Sequence[str]) -> str:
    return (
        f"The texts are read as pairs of {names[0]!r} and {names[1]!r}. To read one column "
        "instead, pass it with --input-column."
    )


def _without_partner(
    features: Mapping[str, Any], name: str, labels: Sequence[str]
) -> tuple[str, ...]:
    """Warn if a column is read alone because the other one of a usual pair holds no texts."""
    usual = {key for pair in PAIR_NAMES if key_of(name) in pair for key in pair}
    others = [
        other
        for other, feature in features.items()
        if other not in (name, *labels) and key_of(other) in usual and not holds_strings(feature)
    ]
    if not others:
        return ()
    return (
        f"Only {name!r} is read, not pairs of texts: {described(features, others)} holds no texts.",
    )


# -- multiple choice


def refuse_choices(modality: Modalities, labels: Sequence[str], evidence: Evidence) -> None:
    """Refuse a label that says which of several texts of the row is right.

    Without the texts to choose from, such a label has nothing to do with the input.

    Raises:
        TargetError: There are as many columns of texts with numbered names, or texts in lists, as
            the label has values.
    """
    features = {name: evidence.features[name] for name in modality}
    if len(labels) > 1 or item_feature(features[labels[0]]) is not None:
        return
    (label,) = labels
    texts = [name for name in features if modality[name] == "text" and name != label]
    choices = next((g for g in numbered_names(texts) if _number(g, texts, label, evidence)), ())
    for name, feature in features.items():
        if not (holds_lists(feature) or holds_records(feature)):
            continue
        if any(word in key_of(name) for word in _CHOICES) and _are_choices(name, label, evidence):
            choices = (name,)
    if choices:
        raise TargetError(
            f"The label {label!r} seems to say which text of {listed(choices)} is right. Multiple "
            "choice is not supported. If the label is a class of another text, pass --input-column."
        )


def _number(group: Sequence[str], texts: Sequence[str], label: str, evidence: Evidence) -> bool:
    """Whether the label may be the number of one of the columns: it has as many values. Two columns
    without another text are a pair instead.
    """
    if is_named_pair(group) or evidence.distinct(label)[0] != len(group):
        return False
    if any(evidence.kind_of_texts(name) not in ("texts", "words") for name in group):
        return False
    others = [name for name in texts if name not in group and not is_derived(name, group)]
    return len(group) > 2 or any(_holds_texts(name, evidence) for name in others)


def _are_choices(name: str, label: str, evidence: Evidence) -> bool:
    """Whether a column has a list of texts in each row, and the label is a place in the list, its
    letter or number, or one of the texts.
    """
    lists = [_texts_in(value) for value in evidence.first(name)]
    if name == label or not all(lists):
        return False
    answers = list(zip(evidence.first(label), lists, strict=True))
    if any(isinstance(answer, str) for answer, _ in answers):
        return all(
            not answer or answer in texts or answer.strip().lower() in _PLACES
            for answer, texts in answers
        )
    lengths = set(map(len, lists))
    return len(lengths) == 1 and lengths == {evidence.distinct(label)[0]}


def _texts_in(value: Any) -> list[str]:
    """The texts of a list of texts or of records, or of a record of lists."""
    if isinstance(value, Mapping):
        value = next((part for part in value.values() if isinstance(part, list)), None)
    if not isinstance(value, list):
        return []
    items = [
        next(iter(item.values()), None) if isinstance(item, Mapping) else item for item in value
    ]
    return [item for item in items if isinstance(item, str)]
