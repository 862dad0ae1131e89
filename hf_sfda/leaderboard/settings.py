"""Parse and check ``leaderboard.yaml``, the settings of a leaderboard."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_sfda.config import CandidateOptions, RankConfig, option_types, with_current_names
from hf_sfda.errors import ConfigError
from hf_sfda.typed import read_settings, typed, unknown_keys

SETTINGS_FILE = "leaderboard.yaml"
DEFAULT_CANDIDATES = 20
"""Candidates per update: about as many as a Job on a CPU measures in an hour."""

_SCORING = (
    "metric", "metrics", "samples", "layers", "folds", "resamples", "permutations", "confidence",
    "seed", "max_length", "dtype", "batch_size",
)  # fmt: skip
"""Options of ``hf-sfda rank`` that ``leaderboard.yaml`` accepts for all datasets."""

_DATASET = ("revision", "split", "input_column", "label_column", "task")
"""Options of ``hf-sfda rank`` that it accepts for one dataset, beside its ``id``."""

_TOP_LEVEL = ("datasets", "models", "query", "budget", *_SCORING)
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(?:[@:][^\s:@]+)?", re.ASCII)


@dataclass(frozen=True)
class Budget:
    """The limits of one update; other candidates wait for the next update.

    Attributes:
        candidates: Largest number of candidates to measure.
        params: Largest total number of parameters of these candidates. A single model above this
            limit is skipped.
    """

    candidates: int = DEFAULT_CANDIDATES
    params: int | None = None


@dataclass(frozen=True)
class Settings:
    """The settings of a leaderboard.

    Attributes:
        targets: One configuration per dataset. They contain neither candidates nor a size limit,
            because these do not affect a score.
        models: The candidates: ``org/name`` or ``org/name@revision``. If empty, the candidates come
            from a query of the Hub.
        query: Which candidates the query returns; its limits of size hold for ``models``, too.
        budget: The limits of one update.
    """

    targets: tuple[RankConfig, ...]
    models: tuple[str, ...] = ()
    query: CandidateOptions = field(default_factory=CandidateOptions)
    budget: Budget = field(default_factory=Budget)

    @property
    def candidate_options(self) -> dict[str, Any]:
        """The options of the query, with no larger models than the budget allows."""
        limits = [n for n in (self.query.max_params, self.budget.params) if n is not None]
        return {**self.query.candidate_options, "max_params": min(limits, default=None)}


def parse_settings(text: str | bytes, name: str = SETTINGS_FILE) -> Settings:
    """Parse ``leaderboard.yaml``.

    Args:
        text: The content of the file.
        name: The file's name in error messages.

    Raises:
        ConfigError: The text is not YAML, or it has an unknown key or a value that is not allowed.
    """
    values = _mapping(with_current_names(read_settings(text, name)), _TOP_LEVEL, name)
    datasets = values.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        raise ConfigError(f"{name} names no datasets. Add a list: `datasets: [org/name]`.")
    scoring = {key: _typed(values, key, option_types()[key], name) for key in _SCORING}
    scoring = {key: value for key, value in scoring.items() if value is not None}
    targets = tuple(_target(entry, scoring, f"{name}, datasets") for entry in datasets)
    if len({(target.dataset, target.split) for target in targets}) < len(targets):
        raise ConfigError(f"{name} names the same split of a dataset twice.")
    models = tuple(
        _model(entry, name) for entry in _typed(values, "models", tuple[str, ...], name) or ()
    )
    if models and "query" in values:
        raise ConfigError(f"{name} has both `models` and `query`; keep one of them.")
    query = _part(values, "query", tuple(CandidateOptions().candidate_options), name)
    budget = _part(values, "budget", ("candidates", "params"), name)
    return Settings(
        targets=targets,
        models=models,
        query=_query(query, f"{name}, query"),
        budget=Budget(
            candidates=_count(budget, "candidates", f"{name}, budget") or DEFAULT_CANDIDATES,
            params=_count(budget, "params", f"{name}, budget"),
        ),
    )


def _query(values: Mapping[str, Any], name: str) -> CandidateOptions:
    stated = {key: value for key, value in values.items() if value is not None}
    try:
        return CandidateOptions(**stated)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _target(entry: Any, scoring: Mapping[str, Any], name: str) -> RankConfig:
    values = _mapping({"id": entry} if isinstance(entry, str) else entry, ("id", *_DATASET), name)
    options = {key: _typed(values, key, option_types()[key], name) for key in _DATASET}
    dataset = _typed(values, "id", str, name)
    if dataset is None or not _HUB_ID.fullmatch(dataset) or "@" in dataset:
        raise ConfigError(
            f"{name}: {dataset!r} is not a dataset on the Hub. Write org/name or org/name:config; "
            "what a Job measures must lie where the Job can get it."
        )
    try:
        return RankConfig.from_dict({"dataset": dataset, **options, **scoring})
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _model(entry: Any, name: str) -> str:
    if not isinstance(entry, str) or not _HUB_ID.fullmatch(entry) or ":" in entry:
        raise ConfigError(
            f"{name}, models: {entry!r} is not a model on the Hub. Write org/name or "
            "org/name@revision."
        )
    return entry


def _mapping(values: Any, allowed: tuple[str, ...], name: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(f"{name} must hold `key: value` lines. Allowed: {', '.join(allowed)}.")
    if unknown := unknown_keys(values, allowed):
        raise ConfigError(f"{name}: unknown key {unknown}")
    return values


def _part(
    values: Mapping[str, Any], key: str, allowed: tuple[str, ...], name: str
) -> dict[str, Any]:
    part = values.get(key)  # a key without a value counts as absent
    return _mapping({} if part is None else part, allowed, f"{name}, {key}")


def _typed(values: Mapping[str, Any], key: str, kind: Any, name: str) -> Any:
    try:
        return typed(values.get(key), kind | None, key)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def _count(values: Mapping[str, Any], key: str, name: str) -> int | None:
    count: int | None = _typed(values, key, int, name)
    if count is not None and count < 1:
        raise ConfigError(f"{name}: {key} is {count}; it must be at least 1.")
    return count
