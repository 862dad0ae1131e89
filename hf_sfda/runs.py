"""A finished run read back: what was ranked, by which settings, on which samples."""

from __future__ import annotations

from pathlib import Path

from hf_sfda.config import RankConfig
from hf_sfda.errors import ConfigError, TargetError
from hf_sfda.foreign import read_json_file
from hf_sfda.progress import Progress
from hf_sfda.target import target_of
from hf_sfda.typed import expanded
from hf_sfda.types import Ranking, Target

RESTORE = (
    "Rank again with the settings of that run (`hf-sfda rank --config RUN/config.yaml`): only what "
    "is missing is extracted."
)
"""What to do where features are gone. It names no directory: a ranking that comes from a results
dataset has none here."""


def read_ranking(directory: str | Path) -> Ranking:
    """Read ``ranking.json`` of a run directory.

    Raises:
        ConfigError: It is missing or is none.
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
    """The settings that a ranking was made with.

    Raises:
        ConfigError: They hold an option that this hf-sfda does not know.
    """
    return RankConfig.from_dict(
        {key: value for key, value in ranking.config.items() if key != "fingerprint"}
    )


def load_ranked_target(
    ranking: Ranking,
    *,
    target: Target | None = None,
    token: str | None = None,
    progress: Progress | None = None,
) -> Target:
    """The samples that were ranked on, which no ranking carries.

    Args:
        ranking: Its dataset is loaded at the commit that was ranked, whatever the branch holds
            today.
        target: For callers that have it already: then nothing is loaded.
        token: Hub token.
        progress: Listens.

    Raises:
        TargetError: The dataset cannot be had, or is not what was ranked: its labels would not
            belong to the features.
    """
    if target is None:
        config = config_of(ranking)
        revision = ranking.dataset.get("revision") or config.revision
        target = target_of(config.replace(revision=revision), token=token, progress=progress)
    if target.fingerprint != ranking.dataset["fingerprint"]:
        raise TargetError(
            f"{target.dataset_id} is no longer what was ranked (fingerprint "
            f"{ranking.dataset['fingerprint'][:12]} then, {target.fingerprint[:12]} now), so its "
            "labels do not belong to the stored features. Run `hf-sfda rank` again."
        )
    return target
