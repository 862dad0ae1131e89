"""Find the candidates: Hub ids, folders, lists of these, or the most downloaded ones of the Hub.

None is dropped silently: a checkpoint that is left out is a :class:`Candidate` with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hf_sfda.scan.entries import resolve_entries
from hf_sfda.scan.query import query_hub
from hf_sfda.types import Candidate, Modality

__all__ = ["find_candidates"]


def find_candidates(
    models: Sequence[str] = (),
    *,
    modality: Modality | None = None,
    top: int = 20,
    max_params: int | None = None,
    token: str | None = None,
) -> list[Candidate]:
    """List the candidates; those left out come with a reason, in ``Candidate.skip``.

    Args:
        models: Hub ids (``org/name``, ``org/name@revision``), model folders, folders of model
            folders, or text files with one of these a line. Empty asks the Hub for the most
            downloaded checkpoints of the modality, one listing a pipeline tag and no call a model.
        modality: What the models will be fed. Named models that cannot take it are left out.
        top: How many eligible candidates a Hub query may bring; named models are not counted.
        max_params: Models with more parameters, or of unknown size, are left out.
        token: User access token; ``None`` takes the login.

    Returns:
        Named models in the order given; a query's by downloads, with those passed over on the way.

    Raises:
        ScanError: No models were named and the Hub cannot be asked.
    """
    if models:
        candidates: Iterable[Candidate] = resolve_entries(
            models, modality=modality, max_params=max_params, token=token
        )
    else:
        candidates = query_hub(modality, top=top, max_params=max_params, token=token)
    return _without_duplicates(candidates)


def _without_duplicates(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The first of each (place, revision): the same folder may be spelt in two ways."""
    first: dict[tuple[str, str | None], Candidate] = {}
    for candidate in candidates:
        place = str(candidate.path.resolve()) if candidate.path else candidate.model_id
        first.setdefault((place, candidate.revision), candidate)
    return list(first.values())
