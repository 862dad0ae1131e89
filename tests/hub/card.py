"""README front matter: reading it, and the checks of the Hub's ``validate-yaml``."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.hub.repo import Commit

__all__ = ["as_list", "check_card", "front_matter"]

_FRONT_MATTER = re.compile(
    r"\A(?:\ufeff)?\s*---[ \t]*\r?\n(.*?)(?:\r?\n)?---[ \t]*(?:\r?\n|\Z)", re.DOTALL
)


def as_list(value: Any) -> list[Any]:
    """A scalar as a list of one, nothing as an empty list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def front_matter(commit: Commit) -> dict[str, Any]:
    """The metadata of the README; broken or missing metadata reads as none."""
    readme = commit.files.get("README.md")
    match = _FRONT_MATTER.match(readme.data.decode("utf-8", "replace")) if readme else None
    try:
        data = yaml.load(match[1], _DatesAsText) if match else None
    except yaml.YAMLError:
        data = None
    return data if isinstance(data, dict) else {}


def check_card(content: str) -> tuple[list[str], list[str]]:
    """Errors and warnings for a card's text."""
    match = _FRONT_MATTER.match(content)
    if match is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.load(match[1], _DatesAsText)
    except yaml.YAMLError as error:
        return [f"bad indentation or syntax: {error}"], []
    if data is not None and not isinstance(data, dict):
        return ["metadata must be an object"], []
    return _check_model_index((data or {}).get("model-index")), []


def _check_model_index(index: Any) -> list[str]:
    if index is None:
        return []
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for i, model in enumerate(index):
        if not isinstance(model, dict) or not model.get("name"):
            errors.append(f'"model-index[{i}].name" is required')
            continue
        for j, result in enumerate(as_list(model.get("results"))):
            where = f"model-index[{i}].results[{j}]"
            required = {"task": ("type",), "dataset": ("type", "name")}
            for part, keys in required.items():
                errors += [
                    f'"{where}.{part}.{key}" is required'
                    for key in keys
                    if not (result.get(part) or {}).get(key)
                ]
            for k, metric in enumerate(as_list(result.get("metrics"))):
                if metric.get("type") is None or metric.get("value") is None:
                    errors.append(f'"{where}.metrics[{k}]" needs "type" and "value"')
    return errors


class _DatesAsText(yaml.SafeLoader):
    """The metadata goes out as JSON, where a date is text."""


_DatesAsText.yaml_implicit_resolvers = {
    letter: [rule for rule in rules if rule[0] != "tag:yaml.org,2002:timestamp"]
    for letter, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
