"""A snapshot of one dataset of a leaderboard: its current samples and candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hf_sfda.config import RankConfig
from hf_sfda.errors import PublishError, ScanError
from hf_sfda.hub import explain, retry_read
from hf_sfda.hub.access import Account, Repo
from hf_sfda.leaderboard.record import dataset_folder, pool_folder
from hf_sfda.leaderboard.state import State
from hf_sfda.publish.privacy import is_private
from hf_sfda.types import Candidate, Target

if TYPE_CHECKING:
    from huggingface_hub import HfApi


@dataclass(frozen=True, eq=False)
class DatasetSnapshot:
    """The current samples and candidates of one dataset.

    Attributes:
        config: The settings of the ranking.
        target: The samples.
        folder: The folder of the pool that these samples and settings belong to.
        candidates: Each model once; skipped ones have a reason.
    """

    config: RankConfig
    target: Target
    folder: str
    candidates: tuple[Candidate, ...]


def take_snapshot(
    api: HfApi, me: Account, state: State, config: RankConfig, token: str | None
) -> DatasetSnapshot:
    """Load the samples of a dataset and find its candidates.

    If the settings name no models, the Hub is queried. The query may no longer return a model that
    was measured earlier, so such models are also looked up by name: a model stays in the pool
    until it is deleted.

    Raises:
        TargetError: The dataset cannot be loaded or cannot be ranked on.
        ConfigError: A metric of the settings does not score such labels.
        ScanError: The candidates cannot be listed.
        PublishError: It is unknown whether a model of the pool still exists.
    """
    from hf_sfda.dataset import target_of
    from hf_sfda.pipeline import config_for
    from hf_sfda.scan import find_candidates

    target = target_of(config, token=token)
    config = config_for(config, target)
    settings = state.settings
    prefix = f"{dataset_folder(config)}/"
    measured = sorted({m.model for m in state.measurements if m.folder.startswith(prefix)})
    candidates: list[Candidate] = []
    names: Sequence[str] = settings.models
    if not names:
        candidates = find_candidates(
            modality=target.modality, token=token, **settings.candidate_options
        )
        candidates = _without_private(api, me, state.repo, candidates)
        listed = {candidate.model_id for candidate in candidates}
        names = [model for model in measured if model not in listed]
    if names:
        candidates += find_candidates(
            names,
            modality=target.modality,
            max_params=settings.candidate_options["max_params"],
            token=token,
        )
    revisions = dict(model.split("@", 1) for model in settings.models if "@" in model)
    unique: dict[str, Candidate] = {}
    for candidate in candidates:
        unique.setdefault(candidate.model_id, candidate)
    for candidate in unique.values():
        _refuse_local(candidate)
        if candidate.model_id in measured:
            _check_availability(api, candidate, revisions.get(candidate.model_id))
    return DatasetSnapshot(config, target, pool_folder(target, config), tuple(unique.values()))


def check_hub_target(target: Target) -> None:
    """Check that a dataset is on the Hub and not local, so that others can load the same samples.

    Raises:
        PublishError: The dataset is a local folder or file.
    """
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


def _check_availability(api: HfApi, candidate: Candidate, revision: str | None) -> None:
    """Check why a model of the pool is skipped: it was deleted, or only the request failed.

    Raises:
        PublishError: The model may still exist, so it must not be removed from the pool.
    """
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
    """Remove our private models, unless the leaderboard is private, too.

    A query with our token also returns our private models. A public leaderboard must not name them.
    """
    ours = [candidate for candidate in candidates if me.owns(Repo(candidate.model_id))]
    if not ours or is_private(api, results):
        return candidates
    private = {c.model_id for c in ours if is_private(api, Repo(c.model_id))}
    return [candidate for candidate in candidates if candidate.model_id not in private]
