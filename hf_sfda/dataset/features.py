"""What a feature of a dataset holds, and how columns are shown in messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hf_sfda.foreign import listing

_LONGEST_NAME = 40  # of a column, in a message


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


def is_list(feature: Any) -> bool:
    """Whether a column holds lists, of whatever."""
    return item_feature(feature) is not None


def is_bytes(feature: Any) -> bool:
    """Whether a column holds bytes without a path."""
    return dtype_of(feature) in ("binary", "large_binary")


_STRINGS = ("string", "large_string")
_INTEGERS = tuple(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64))
_FLOATS = ("float16", "float32", "float64")
_CLASS_TYPES = frozenset([*_STRINGS, "bool", *_INTEGERS])


def holds_classes(feature: Any) -> bool:
    """Whether a column holds what may be classes: strings, whole numbers or truth values."""
    return dtype_of(feature) in _CLASS_TYPES


def holds_lists(feature: Any) -> bool:
    """Whether a column holds lists of what may be labels."""
    item = item_feature(feature)
    return item is not None and holds_classes(item)


def holds_floats(feature: Any) -> bool:
    """Whether a column holds numbers that may have fractions: floats, or decimals of databases."""
    return dtype_of(feature) in _FLOATS or dtype_of(feature).startswith("decimal")


def holds_booleans(feature: Any) -> bool:
    """Whether a column holds truth values."""
    return dtype_of(feature) == "bool"


def holds_integers(feature: Any) -> bool:
    """Whether a column holds whole numbers. So does a ``ClassLabel``."""
    return dtype_of(feature) in _INTEGERS


def holds_numbers(feature: Any) -> bool:
    """Whether a column holds whole numbers or floats. So does a ``ClassLabel``."""
    return holds_integers(feature) or holds_floats(feature)


def holds_strings(feature: Any) -> bool:
    """Whether a column holds strings."""
    return dtype_of(feature) in _STRINGS


def holds_records(feature: Any) -> bool:
    """Whether a column holds several records a row: the objects of an image, spans, turns.

    That is a list of records, or a record of lists, as ``datasets`` made of it before version 4.
    """
    item = item_feature(feature)
    if isinstance(item, Mapping):
        return not is_image(item)
    return isinstance(feature, Mapping) and any(map(is_list, feature.values()))


def dtype_of(feature: Any) -> str:
    """The type of the values as ``datasets`` names it; empty for lists and records."""
    return str(getattr(feature, "dtype", ""))


def type_name(feature: Any) -> str:
    """The type of a column, for a message."""
    from datasets import Json

    if isinstance(feature, Json):
        return "values of several types"
    return dtype_of(feature).removeprefix("large_") or type(feature).__name__


def described(features: Mapping[str, Any], names: Iterable[str] | None = None) -> str:
    """The names and types of columns, by default of all, for a message."""
    names = features if names is None else names
    return listed(f"{name} ({type_name(features[name])})" for name in names)


def listed(names: Iterable[str]) -> str:
    """Join the first names of columns for a message."""
    return listing(names, longest=_LONGEST_NAME)
