"""Size of the download of a dataset, without downloading it."""

from __future__ import annotations

from collections.abc import Iterable

from hf_sfda.dataset.sources import (
    as_target_error,
    hub_files,
    in_parts,
    local_path,
    no_progress_bars,
    split_to_read,
)
from hf_sfda.hub import hub_api, retry_download, retry_read

_PATHS_PER_REQUEST = 500


def download_size(
    dataset: str,
    *,
    revision: str | None = None,
    split: str | None = None,
    samples: int = 2000,
    token: str | None = None,
) -> int | None:
    """Bytes of a configuration of a Hub dataset that a run reads.

    These are the files of one split, or of all splits where splits cannot be read one by one. Of a
    very large split, only parts are read; their size is an estimate.

    Args:
        dataset: Hub id, ``org/name`` or ``org/name:config``.
        revision: Branch, tag or commit.
        split: As in :func:`~hf_sfda.dataset.load.load_target`.
        samples: Size of the sample.
        token: User access token; ``None`` uses the saved login.

    Returns:
        The size, including files that are in the cache already; ``None`` for a local dataset.

    Raises:
        TargetError: The dataset cannot be opened.
    """
    if local_path(dataset).exists():
        return None
    from datasets import load_dataset_builder

    repo, _, config = dataset.partition(":")
    with no_progress_bars(), as_target_error(dataset):
        api = hub_api(token)
        sha = retry_read(
            api.resolve_revision, repo, repo_type="dataset", revision=revision
        ).resolved
        hub_files(api, repo, sha)  # refuses settings that name files outside the repository
        builder = retry_download(
            load_dataset_builder, repo, name=config or None, revision=sha, token=token
        )
        chosen, places = split_to_read(builder, dataset, split)
        if (parts := in_parts(builder, dataset, repo, chosen, token)) is not None:
            return parts.estimate(samples)
        inside = f"hf://datasets/{repo}@{sha}/"
        # `zip://a.csv::hf://...` is a file inside a file
        names = (place.rpartition("::")[2] for place in places)
        files = sorted({name.removeprefix(inside) for name in names})
        total = 0
        for paths in _chunks(files):
            infos = retry_read(api.get_paths_info, repo, paths, revision=sha, repo_type="dataset")
            total += sum(getattr(info, "size", 0) for info in infos)
    return total


def _chunks(files: list[str]) -> Iterable[list[str]]:
    return (files[i : i + _PATHS_PER_REQUEST] for i in range(0, len(files), _PATHS_PER_REQUEST))
