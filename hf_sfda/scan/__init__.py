"""Find the candidates: Hub ids, folders, lists of these, a collection, or a query of the Hub.

None is dropped silently: a checkpoint that is left out is a :class:`Candidate` with a reason, and
those that a filter rejects are counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from hf_sfda.config import CandidateOptions
from hf_sfda.errors import ConfigError
from hf_sfda.foreign import listing
from hf_sfda.scan.choose import words_of
from hf_sfda.scan.entries import resolve_entries
from hf_sfda.scan.query import collection_models, query_hub
from hf_sfda.typed import unknown_keys
from hf_sfda.types import Candidate, Modality, Scan

__all__ = ["describe_rejected", "describe_represented", "find_candidates", "scan_candidates"]

_NAMED = 5  # models that a text names


def find_candidates(
    models: Sequence[str] = (),
    *,
    modality: Modality | None = None,
    token: str | None = None,
    **options: Any,
) -> list[Candidate]:
    """List the candidates; those left out come with a reason, in ``Candidate.skip``.

    Args:
        models: Hub ids (``org/name``, ``org/name@revision``), model folders, folders of model
            folders, or text files with one of these a line. Empty asks the Hub for the most
            downloaded checkpoints of the modality, one listing a pipeline tag and no call a model.
        modality: What the models will be fed. Named models that cannot take it are left out.
        token: User access token; ``None`` takes the login.
        **options: Fields of :class:`~hf_sfda.config.CandidateOptions`, such as ``top``,
            ``max_params`` and ``license``.

    Returns:
        Named models in the order given; a query's by downloads, with those passed over on the way.

    Raises:
        ConfigError: An option is unknown or has a value that is not allowed.
        ScanError: No models were named and the Hub cannot be asked.
    """
    if unknown := unknown_keys(options, sorted(CandidateOptions().candidate_options)):
        raise ConfigError(f"Unknown option {unknown}")
    chosen = CandidateOptions(**options)
    return list(scan_candidates(models, chosen, modality=modality, token=token).candidates)


def scan_candidates(
    models: Sequence[str],
    options: CandidateOptions,
    *,
    modality: Modality | None = None,
    token: str | None = None,
    about: Iterable[str] = (),
) -> Scan:
    """As :func:`find_candidates`, with the count of what the filters left out.

    Args:
        models: As in :func:`find_candidates`. The filters hold for them, too; one that does not
            pass has a row with the reason.
        options: Which models take part.
        modality: What the models will be fed.
        token: User access token; ``None`` takes the login.
        about: What the dataset is about: its id and classes. Of the fine-tunes of one base, the one
            whose card has most of these words is taken.

    Raises:
        ConfigError: Models are named beside a collection.
        ScanError: No models were named and the Hub cannot be asked.
    """
    if models and options.collection:
        raise ConfigError("Both models and a collection are given; keep one of them.")
    if models:
        scan = Scan(tuple(resolve_entries(models, options, modality=modality, token=token)))
    elif options.collection:
        names = collection_models(options.collection, token)
        members = resolve_entries(names, options, modality=modality, token=token, on_hub=True)
        top = None if options.candidates == "all" else options.top
        scan = _most_downloaded(members, top)
    else:
        scan = query_hub(options, modality=modality, token=token, words=words_of(about))
    return replace(scan, candidates=tuple(_without_duplicates(scan.candidates)))


def _most_downloaded(candidates: Iterable[Candidate], top: int | None) -> Scan:
    """The first ``top`` that can be ranked, and those passed over before them."""
    ordered = sorted(candidates, key=lambda candidate: -(candidate.downloads or 0))
    kept: list[Candidate] = []
    for candidate in ordered:
        if top is not None and sum(other.skip is None for other in kept) == top:
            break
        kept.append(candidate)
    return Scan(tuple(kept), listed=len(ordered), unseen=len(kept) < len(ordered))


def _without_duplicates(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The first of each (place, revision): the same folder may be spelt in two ways."""
    first: dict[tuple[str, str | None], Candidate] = {}
    for candidate in candidates:
        place = str(candidate.path.resolve()) if candidate.path else candidate.model_id
        first.setdefault((place, candidate.revision), candidate)
    return list(first.values())


def describe_rejected(scan: Scan) -> str:
    """How many models of a listing are no candidates, by reason; empty if all are.

    Example:
        >>> describe_rejected(Scan((), {"excluded by name": 2}, listed=5))
        '2 of 5 listed are no candidates: excluded by name (2)'
    """
    if not scan.rejected:
        return ""
    reasons = "; ".join(f"{reason} ({number:,})" for reason, number in scan.rejected.items())
    number = sum(scan.rejected.values())
    return f"{number:,} of {scan.listed:,} listed are no candidates: {reasons}"


def describe_represented(scan: Scan, model_id: str) -> str:
    """Which other models a candidate stands for; empty if none.

    Example:
        >>> describe_represented(Scan((), represents={"a/b": ("c/d", "e/f")}), "a/b")
        'stands for 2 others that are not run: c/d, e/f'
    """
    others = scan.represents.get(model_id, ())
    if not others:
        return ""
    number = f"{len(others):,} others that are" if len(others) > 1 else "another that is"
    return f"stands for {number} not run: {listing(others, most=_NAMED)}"
