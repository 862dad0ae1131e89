"""Names that may be shown to the world: Hub ids as they are, local paths by their last part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath, PureWindowsPath
from typing import Any

from hf_sfda.types import ModelRow

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", re.ASCII)


def is_local_model(row: ModelRow) -> bool:
    """Whether a row is about a folder of the machine that ran it.

    Local checkpoints are keyed by their content; one that never got that far is known by its
    name, as far as a path can be told from an id.
    """
    if row.revision is not None:
        return row.revision.startswith("sha256:")
    return _HUB_ID.fullmatch(row.model_id) is None


def public_model(row: ModelRow) -> str:
    """The Hub id, or the last part of the path."""
    return _last_part(row.model_id) if is_local_model(row) else row.model_id


def public_dataset(dataset: Mapping[str, Any]) -> str:
    """The Hub id, or the last part of the path of a dataset without a revision."""
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


def _last_part(path: str) -> str:
    flavour = PureWindowsPath if "\\" in path else PurePath
    return flavour(path).name or "local"
