"""Short names for local checkpoints: the folder they share is said once, not in every row."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from hf_sfda.types import Ranking


def with_short_names(ranking: Ranking) -> tuple[Ranking, str | None]:
    """The ranking for display, and the folder that was left off its names.

    Hub ids stay as they are. Paths lose the folder that all of them share, unless two models
    would then have the same name.

    Args:
        ranking: Its rows, whatever their status.

    Returns:
        A copy with shorter names; the shared folder, or ``None`` if there is none.
    """
    ids = [row.model_id for row in ranking.rows]
    folder = _shared_folder([model_id for model_id in ids if _is_path(model_id)])
    if folder is None:
        return ranking, None
    names = [os.path.relpath(name, folder) if _is_path(name) else name for name in ids]
    if len(set(names)) < len(set(ids)):
        return ranking, None
    rows = [replace(row, model_id=name) for row, name in zip(ranking.rows, names, strict=True)]
    return replace(ranking, rows=tuple(rows)), folder


def _is_path(model_id: str) -> bool:
    return model_id.startswith((".", "/", "~")) or model_id.count("/") > 1 or "\\" in model_id


def _shared_folder(paths: list[str]) -> str | None:
    if len(paths) < 2:
        return None
    try:
        folder = os.path.commonpath([Path(path).parent for path in paths])
    except ValueError:  # absolute and relative ones, or two drives
        return None
    return folder if folder not in ("", os.sep, ".") else None
