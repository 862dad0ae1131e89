"""Names of models as tables show them, and as people type them.

Local checkpoints have short names: the folder that they share is said once, not in every row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hf_sfda.errors import ConfigError
from hf_sfda.format import ELLIPSIS
from hf_sfda.types import Finetuned, ModelRow, Ranking

_NAMED = 10  # models that a message lists


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
    finetuned = ranking.finetuned and _renamed(
        ranking.finetuned, dict(zip(ids, names, strict=True))
    )
    return replace(ranking, rows=tuple(rows), finetuned=finetuned), folder


def _renamed(finetuned: Finetuned, names: Mapping[str, str]) -> Finetuned:
    measurements = tuple(
        replace(m, model_id=names.get(m.model_id, m.model_id)) for m in finetuned.measurements
    )
    rounds = tuple(replace(m, model_id=names.get(m.model_id, m.model_id)) for m in finetuned.rounds)
    return replace(finetuned, measurements=measurements, rounds=rounds)


def find_model(ranking: Ranking, name: str) -> ModelRow:
    """The row of a model that somebody typed.

    A name is, in this order, a whole one; the short one that the table shows; one that the table
    cut in the middle (``acme/vit…224``, three full stops do as well); or the last part of one.
    After each, ``@`` and the beginning of a commit choose among several revisions of a model.

    Raises:
        ConfigError: No ranked model is called so, or several are.
    """
    base, at, commit = name.rpartition("@")
    for rows in _matches(ranking, name) + (_matches(ranking, base, commit) if at else []):
        if len(rows) > 1:
            options = " or ".join(_listed(distinct_names(rows)))
            raise ConfigError(f"{name} may be {options}. Give more of the name.")
        if rows:
            return _ranked(rows[0])
    names = _listed([row.model_id for row in ranking.ranked])
    raise ConfigError(
        f"There is no {name} in this ranking. Ranked are {', '.join(names) or 'none'}."
    )


def _matches(ranking: Ranking, name: str, commit: str = "") -> list[list[ModelRow]]:
    """The rows that a name may mean, from the closest way of reading it to the freest."""
    short, _ = with_short_names(ranking)
    rows = [
        (row, short_row.model_id)
        for row, short_row in zip(ranking.rows, short.rows, strict=True)
        if (row.revision or "").startswith(commit)
    ]
    parts = re.split(rf"{ELLIPSIS}|\.\.\.", name)
    pattern = re.compile(".*".join(map(re.escape, parts)), re.DOTALL)
    ways: tuple[Callable[[str, str], bool], ...] = (
        lambda whole, short_name: whole == name,
        lambda whole, short_name: short_name == name,
        lambda whole, short_name: len(parts) > 1 and bool(pattern.fullmatch(short_name)),
        lambda whole, short_name: name != "" and whole.endswith(f"/{name}"),
    )
    return [
        list(
            {
                identity(row): row for row, short_name in rows if way(row.model_id, short_name)
            }.values()
        )
        for way in ways
    ]


def identity(row: ModelRow) -> tuple[str, str | None]:
    """What tells a row from all others of a ranking: the model and its commit."""
    return row.model_id, row.revision


def distinct_names(rows: Sequence[ModelRow]) -> list[str]:
    """Names of models, with the beginning of the commit where one model is there several times.

    Args:
        rows: Different models, or different revisions of one.
    """
    names = [row.model_id for row in rows]
    return [
        f"{name}@{(row.revision or '')[:7]}" if names.count(name) > 1 else name
        for name, row in zip(names, rows, strict=True)
    ]


def _ranked(row: ModelRow) -> ModelRow:
    if row.status != "ok":
        raise ConfigError(f"{row.model_id} was not ranked ({row.status}: {row.reason}).")
    return row


def _listed(names: list[str]) -> list[str]:
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return [*names[:_NAMED], *more]


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
