"""The names that a publication reveals.

A Hub id stays as it is, of a local path only the last part remains. Private repositories of ours
are found, so that the user can be warned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath, PureWindowsPath
from typing import TYPE_CHECKING, Any

from hf_sfda.hub.access import Account, Repo, is_private
from hf_sfda.types import ModelRow, Ranking

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", re.ASCII)


def is_local_model(row: ModelRow) -> bool:
    """Whether a row's model is a local folder and not a Hub repository.

    A local checkpoint has a hash of its content as its revision. A candidate that failed earlier
    has no revision; then the name decides: it is local unless it has the form of a Hub id.
    """
    if row.revision is not None:
        return row.revision.startswith("sha256:")
    return _HUB_ID.fullmatch(row.model_id) is None


def public_model(row: ModelRow) -> str:
    """The Hub id of a model, or the last part of its local path."""
    return _last_part(row.model_id) if is_local_model(row) else row.model_id


def public_dataset(dataset: Mapping[str, Any]) -> str:
    """The Hub id of a dataset, or the last part of its local path if it has no revision."""
    name = str(dataset["id"])
    return name if dataset.get("revision") else _last_part(name)


def slug(dataset: str, config: str | None) -> str:
    """A folder name for a dataset.

    Example:
        >>> slug("me/plants", "leaves")
        'me--plants--leaves'
    """
    name = f"{dataset}/{config}" if config else dataset
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.strip("/").replace("/", "--")).lstrip(".")


def private_sources(
    api: HfApi, me: Account, ranking: Ranking, rows: Iterable[ModelRow]
) -> list[Repo]:
    """The private repositories among the dataset and the models of a run.

    Args:
        api: The Hub client.
        me: The account behind the token. Only its repositories are checked: a private repository of
            somebody else cannot be in our run.
        ranking: The run.
        rows: The models to check.
    """
    named = []
    if ranking.dataset.get("revision") is not None:
        named.append(Repo(str(ranking.dataset["id"]), "dataset"))
    named += [Repo(row.model_id) for row in rows if not is_local_model(row)]
    return [repo for repo in dict.fromkeys(named) if me.owns(repo) and is_private(api, repo)]


def _last_part(path: str) -> str:
    flavour = PureWindowsPath if "\\" in path else PurePath
    return flavour(path).name or "local"
