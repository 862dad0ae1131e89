"""Today's facts about one dataset of a leaderboard: its samples and its candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_sfda.config import RankConfig
from hf_sfda.errors import PublishError, ScanError
from hf_sfda.hub import explain, retry_read
from hf_sfda.leaderboard.record import dataset_folder, pool_folder
from hf_sfda.leaderboard.state import State
from hf_sfda.publish.access import Account, Repo
from hf_sfda.publish.privacy import is_private
from hf_sfda.types import Candidate, Target

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True, eq=False)
class Survey:
    """What there is to rank, and on what.

    Attributes:
        config: How it is scored.
        target: The samples.
        folder: Of the pool these samples and settings belong to.
        candidates: Each model once, those left out with a reason.
    """

    config: RankConfig
    target: Target
    folder: str
    candidates: tuple[Candidate, ...]


def make_survey(
    api: HfApi, me: Account, state: State, config: RankConfig, token: str | None
) -> Survey:
    """Load the samples and list the candidates.

    A query is asked anew, and every model that was ever measured on this dataset is looked up by
    name: it stays in the pool when others overtake it in downloads, and leaves when it is gone.

    Raises:
        TargetError: The dataset cannot be had, or cannot serve.
        ScanError: The candidates cannot be listed.
        PublishError: The Hub does not say what became of a model in the pool.
    """
    from hf_sfda.scan import find_candidates
    from hf_sfda.target import target_of

    target = target_of(config, token=token)
    settings = state.settings
    mine = f"{dataset_folder(config)}/"
    measured = sorted({one.model for one in state.known if one.folder.startswith(mine)})
    found: list[Candidate] = []
    names: Sequence[str] = settings.models
    if not names:
        found = find_candidates(
            modality=target.modality, top=settings.top, max_params=settings.largest, token=token
        )
        found = _without_private(api, me, state.repo, found)
        there = {candidate.model_id for candidate in found}
        names = [model for model in measured if model not in there]
    if names:
        found += find_candidates(
            names, modality=target.modality, max_params=settings.largest, token=token
        )
    revisions = dict(model.split("@", 1) for model in settings.models if "@" in model)
    first: dict[str, Candidate] = {}
    for candidate in found:
        first.setdefault(candidate.model_id, candidate)
    for candidate in first.values():
        _refuse_local(candidate)
        if candidate.model_id in measured:
            _make_sure(api, candidate, revisions.get(candidate.model_id))
    return Survey(config, target, pool_folder(target, config), tuple(first.values()))


def check_hub_target(target: Target) -> None:
    """A leaderboard's dataset must have a commit, so that others can get the same samples."""
    if target.revision is None:
        raise PublishError(
            f"{target.dataset_id} is also a folder or file here, and that would be measured. Run "
            "the update from another directory."
        )


def _refuse_local(candidate: Candidate) -> None:
    if candidate.source == "local":
        raise ScanError(
            f"{candidate.model_id} is also a folder here, and that would be measured instead of "
            "the model on the Hub. Run the update from another directory."
        )


def _make_sure(api: HfApi, candidate: Candidate, revision: str | None) -> None:
    """A model in the pool counts as gone only if the Hub says so, not if the Hub is ill."""
    from huggingface_hub.errors import (
        DisabledRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if candidate.skip is None or candidate.revision is not None:
        return
    try:
        retry_read(api.model_info, candidate.model_id, revision=revision)
    except (RepositoryNotFoundError, RevisionNotFoundError, DisabledRepoError):
        return
    except Exception as error:  # transport and HTTP errors of several libraries
        raise PublishError(
            f"Cannot tell what became of {candidate.model_id}: {explain(error)}. "
            "Nothing was changed; run the same command again."
        ) from error
    raise PublishError(
        f"Cannot tell what became of {candidate.model_id}: {candidate.skip}. "
        "Nothing was changed; run the same command again."
    )


def _without_private(
    api: HfApi, me: Account, results: Repo, candidates: list[Candidate]
) -> list[Candidate]:
    """A query with our token also brings our private models; a public board must not name them."""
    mine = [candidate for candidate in candidates if me.owns(Repo(candidate.model_id))]
    if not mine or is_private(api, results):
        return candidates
    hidden = {c.model_id for c in mine if is_private(api, Repo(c.model_id))}
    return [candidate for candidate in candidates if candidate.model_id not in hidden]
