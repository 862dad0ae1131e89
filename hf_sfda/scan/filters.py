"""Which checkpoints the user asks for. Pure functions of what is known about one; no network.

The Hub's listing filters by what :func:`listing_query` can say; :func:`rejection` checks everything
on the fields that the listing brings, so that no filter needs a call per model.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hf_sfda.config import PERMISSIVE_LICENSES, CandidateOptions
from hf_sfda.scan import rules

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

NO_FILTER = CandidateOptions()


@dataclass(frozen=True, slots=True)
class Facts:
    """What the filters look at; ``None`` for what is not known.

    Attributes:
        model_id: Hub id or name of a folder.
        tags: The Hub's tags: ``license:mit``, ``dataset:imagenet-1k``, ``base_model:acme/vit``,
            languages and libraries as they are.
        params: Number of parameters.
        pipeline_tag: The Hub's task tag.
        downloads: Downloads in the last 30 days.
        created_at: When the repository was made.
    """

    model_id: str
    tags: frozenset[str]
    params: int | None = None
    pipeline_tag: str | None = None
    downloads: int | None = None
    created_at: datetime | None = None


def facts_of(info: ModelInfo) -> Facts:
    """The facts in an entry of the Hub's listing."""
    library = [info.library_name] if info.library_name else []
    return Facts(
        model_id=info.id,
        tags=frozenset([*(info.tags or []), *library]),
        params=info.safetensors.total if info.safetensors else None,
        pipeline_tag=info.pipeline_tag,
        downloads=info.downloads,
        created_at=info.created_at,
    )


def facts_of_card(
    model_id: str, card: Mapping[str, Any], *, library: str | None, params: int | None
) -> Facts:
    """The facts in the card of a folder; when it was made and downloaded is not known."""
    prefixes = {"license": "license:", "datasets": "dataset:", "base_model": "base_model:"}
    prefixes |= {"language": "", "tags": "", "library_name": ""}
    tags = [f"{prefix}{value}" for key, prefix in prefixes.items() for value in _texts(card, key)]
    return Facts(
        model_id=model_id,
        tags=frozenset([*tags, *([library] if library else [])]),
        params=params,
        pipeline_tag=next(iter(_texts(card, "pipeline_tag")), None),
    )


def _texts(card: Mapping[str, Any], key: str) -> list[str]:
    value = card.get(key)
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]


def rejection(facts: Facts, options: CandidateOptions) -> str | None:
    """The first filter that a model does not pass; ``None`` if it passes all.

    The reasons hold no value of the model, so that they can be counted.

    Example:
        >>> vit = Facts("acme/vit", frozenset(["license:mit"]), params=5)
        >>> rejection(vit, CandidateOptions(license=("apache-2.0",)))
        'its licence is not among those asked for'
        >>> rejection(vit, CandidateOptions(license=("permissive",)))
    """
    # A named folder has no owner; its files say nothing about who made it.
    owner, slash, _ = facts.model_id.partition("/")
    author = {owner.lower()} if slash else set()
    reasons = (
        _excluded(facts.model_id, options.exclude),
        _among(author, [name.lower() for name in options.author], "author"),
        None
        if (options.search or "").lower() in facts.model_id.lower()
        else "its id does not hold the text searched for",
        _among({facts.pipeline_tag or ""}, options.pipeline_tag, "task"),
        _among(facts.tags, options.library, "library"),
        _among(facts.tags, [f"license:{name}" for name in licenses(options)], "licence"),
        _among(facts.tags, options.language, "language"),
        _among(facts.tags, [f"dataset:{name}" for name in options.trained_on], "training data"),
        _among(facts.tags, [f"base_model:{name}" for name in options.base_model], "base model"),
        _less(facts.downloads, options.min_downloads, "downloads"),
        _less(facts.params, options.min_params, "parameters"),
        _older(facts.created_at, options.created_after),
    )
    return rules.first_reason(reasons)


def licenses(options: CandidateOptions) -> tuple[str, ...]:
    """The licence ids asked for, with the group ``permissive`` spelt out."""
    named = [name for name in options.license if name != "permissive"]
    group = PERMISSIVE_LICENSES if "permissive" in options.license else ()
    return tuple(dict.fromkeys([*named, *group]))


def _excluded(model_id: str, patterns: Collection[str]) -> str | None:
    matches = any(fnmatchcase(model_id.lower(), pattern.lower()) for pattern in patterns)
    return "excluded by name" if matches else None


def _among(known: Collection[str], wanted: Collection[str], what: str) -> str | None:
    if not wanted or not set(known).isdisjoint(wanted):
        return None
    return f"its {what} is not among those asked for"


def _less(known: int | None, least: int | None, what: str) -> str | None:
    if least is None or (known is not None and known >= least):
        return None
    unknown = f"its number of {what} is not known, and a least number is asked for"
    return unknown if known is None else f"it has fewer {what} than asked for"


def _older(created: datetime | None, after: str | None) -> str | None:
    if after is None:
        return None
    if created is None:
        return "when it was made is not known, and a date is asked for"
    earliest = datetime.fromisoformat(after).replace(tzinfo=UTC)
    return "it is older than asked for" if created < earliest else None


def listing_query(options: CandidateOptions) -> dict[str, Any]:
    """The filters that the Hub's listing applies, as arguments of ``HfApi.list_models``.

    The Hub combines tags by "and", so of a filter with several values none can be given.

    Example:
        >>> listing_query(CandidateOptions(license=("mit",), max_params=4_700_000, search="vit"))
        {'filter': ['license:mit'], 'search': 'vit', 'num_parameters': 'max:5M'}
    """
    tags = {
        "": (options.library, options.language),
        "license:": (licenses(options),),
        "dataset:": (options.trained_on,),
        "base_model:": (options.base_model,),
    }
    single = [
        prefix + values[0]
        for prefix, several in tags.items()
        for values in several
        if len(values) == 1
    ]
    sizes = _sizes(options.min_params, options.max_params)
    query = {"filter": single, "search": options.search, "num_parameters": sizes}
    return {name: value for name, value in query.items() if value}


def is_complete(options: CandidateOptions) -> bool:
    """Whether the Hub's listing applies all filters but the sizes, so that few are looked at."""
    several = (options.library, licenses(options), options.language, options.trained_on)
    return (
        all(len(values) < 2 for values in (*several, options.base_model))
        and not options.exclude
        and options.created_after is None
    )


def _sizes(least: int | None, most: int | None) -> str:
    """A range for the Hub in whole millions or billions, never narrower than what is asked for."""
    low = f"min:{least // 10**6}M" if least and least >= 10**6 else ""
    high = f"max:{math.ceil(most / 10**6)}M" if most else ""
    return ",".join(part for part in (low, high) if part)
