"""Refuse dataset settings that name files outside the dataset.

``datasets`` follows the file patterns in the README of a repository, even to files of this machine
or to other servers. So the patterns are checked before ``datasets`` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hf_sfda.errors import TargetError
from hf_sfda.foreign import MAX_YAML_BYTES, ForeignError, read_yaml

SETTINGS_FILES = ("README.md", ".huggingface.yaml")
"""The files in which ``datasets`` looks for ``configs``."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|.*::")  # also a drive letter


def names_data_files(folder: Path) -> bool:
    """Whether the settings in the folder of a dataset name its data files."""
    for name in SETTINGS_FILES:
        with suppress(OSError, ForeignError):
            if any(
                "data_files" in c or "data_dir" in c for c in _configs(_settings(folder / name))
            ):
                return True
    return False


def check_folder(dataset: str, folder: Path) -> None:
    """Refuse settings in the folder of a dataset that name files outside it.

    Raises:
        TargetError: A pattern of ``data_files`` or ``data_dir`` is an absolute path, contains
            ``..`` or has a scheme; or the settings cannot be read.
    """
    for name in SETTINGS_FILES:
        try:
            configs = list(_configs(_settings(folder / name)))
        except OSError:
            continue
        except ForeignError as error:
            raise TargetError(
                f"{dataset}: the settings in its {name} cannot be read ({error}). "
                "Correct them, or pass another revision."
            ) from error
        for pattern in (pattern for config in configs for pattern in _patterns(config)):
            if _leads_outside(pattern):
                raise TargetError(
                    f"{dataset}: its {name} names data files outside the repository "
                    f"({pattern[:80]!r}), which are never read. Only relative paths without '..' "
                    "are allowed in data_files and data_dir."
                )


def _settings(file: Path) -> Any:
    """The settings in a file; ``None`` if a README has none.

    Raises:
        ForeignError: They cannot be read.
        OSError: There is no such file.
    """
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    # Line ends are not translated: the pattern that finds the settings depends on them.
    with file.open(encoding="utf-8", errors="replace", newline="") as lines:
        text = lines.read(MAX_YAML_BYTES + 1)
    if len(text) > MAX_YAML_BYTES:  # `datasets` would read the rest unchecked
        raise ForeignError(f"larger than {MAX_YAML_BYTES // 1_000_000} MB")
    if file.name != "README.md":
        return read_yaml(text)
    # The expression that `datasets` uses itself, so that everything it reads is checked.
    match = REGEX_YAML_BLOCK.search(text.removeprefix("\ufeff"))
    return read_yaml(match[2]) if match else None


def _configs(settings: Any) -> Iterator[Mapping[str, Any]]:
    configs = settings.get("configs") if isinstance(settings, Mapping) else None
    if isinstance(configs, Mapping):
        configs = [configs]
    for config in configs if isinstance(configs, (list, tuple)) else ():
        if isinstance(config, Mapping):
            yield config


def _patterns(config: Mapping[str, Any]) -> Iterator[str]:
    for key in ("data_files", "data_dir"):
        yield from _strings(config.get(key))


def _strings(value: Any) -> Iterator[str]:
    """All strings in a nested value, without the keys of mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, (list, tuple, set)):
        for inner in value:
            yield from _strings(inner)


def _leads_outside(pattern: str) -> bool:
    """Whether a pattern is not a plain path inside the repository.

    Example:
        >>> [_leads_outside(p) for p in ("data/*.csv", "/etc/passwd", "a/../../b", "file:///x")]
        [False, True, True, True]
    """
    text = pattern.strip().replace("\\", "/")
    return (
        text.startswith(("/", "~"))
        or ".." in re.split(r"[/{},]", text)
        or _SCHEME.match(text) is not None
        or "\0" in text
    )
