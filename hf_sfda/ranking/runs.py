"""Read a finished run: its ranking, its settings and its samples."""

from __future__ import annotations

from pathlib import Path

from hf_sfda.config import RankConfig
from hf_sfda.dataset import target_of
from hf_sfda.errors import ConfigError, TargetError
from hf_sfda.foreign import read_json_file
from hf_sfda.session import Session
from hf_sfda.typed import expanded
from hf_sfda.types import Ranking, Target

RESTORE = (
    "Rank again with the settings of that run (`hf-sfda rank --config RUN/config.yaml`): only what "
    "is missing is extracted."
)
"""The advice if stored features are missing. It names no directory, because a ranking from a
results dataset has no run directory on this machine."""


def read_ranking(directory: str | Path) -> Ranking:
    """Read ``ranking.json`` of a run directory.

    Raises:
        ConfigError: The file is missing or invalid.
    """
    path = expanded(directory) / "ranking.json"
    try:
        return Ranking.from_dict(read_json_file(path))
    except OSError as error:
        raise ConfigError(
            f"Cannot read {path}: {error.strerror}. Give the directory that `hf-sfda rank` wrote, "
            "such as runs/NAME."
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is not a ranking: {error}") from error


def config_of(ranking: Ranking) -> RankConfig:
    """The configuration that a ranking was made with.

    Raises:
        ConfigError: It contains an option that this version of hf-sfda does not have.
    """
    return RankConfig.from_dict(
        {key: value for key, value in ranking.config.items() if key != "fingerprint"}
    )


def load_ranked_target(
    ranking: Ranking, session: Session | None = None, *, target: Target | None = None
) -> Target:
    """Load the samples of a ranking again, because a ranking does not contain them.

    Args:
        ranking: The ranking. Its dataset is loaded at the commit that was ranked.
        session: Its token is used, and its progress shows the reading.
        target: The samples, if the caller has them; then they are only checked.

    Raises:
        TargetError: The dataset cannot be loaded, or its samples are not those of the ranking, so
            that the labels would not belong to the stored features.
    """
    if target is None:
        config = config_of(ranking)
        revision = ranking.dataset.get("revision") or config.revision
        target = target_of(config.replace(revision=revision), session)
    if target.fingerprint != ranking.dataset["fingerprint"]:
        raise TargetError(
            f"{target.dataset_id} is no longer what was ranked (fingerprint "
            f"{ranking.dataset['fingerprint'][:12]} then, {target.fingerprint[:12]} now), so its "
            "labels do not belong to the stored features. Run `hf-sfda rank` again."
        )
    return target
