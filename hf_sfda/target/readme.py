"""What a data set's own settings may name: files of the data set, and nothing else.

``datasets`` follows the patterns in the README of a repository wherever they lead: to files of this
machine, to other servers. So they are read first, and refused before any builder is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_sfda.errors import TargetError

SETTINGS_FILES = ("README.md", ".huggingface.yaml")
"""Where ``datasets`` looks for ``configs``."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|.*::")  # also a drive letter
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)^---", re.DOTALL | re.MULTILINE)


def names_data_files(folder: Path) -> bool:
    """Whether a folder with a repository's settings files says which files are its data.

    Args:
        folder: Holds the settings files, if there are any.
    """
    return any(
        "data_files" in config or "data_dir" in config
        for name in SETTINGS_FILES
        for config in _configs(_read(folder / name))
    )


def check_settings(shown: str, name: str, text: str) -> None:
    """Refuse settings that lead outside the repository.

    Args:
        shown: The data set, for messages.
        name: Of the file: one of :data:`SETTINGS_FILES`.
        text: What it holds.

    Raises:
        TargetError: A pattern of ``data_files`` or ``data_dir`` is an absolute path, climbs with
            ``..``, or names a scheme; or the settings cannot be read.
    """
    try:
        settings = _settings(name, text)
    except Exception as error:  # yaml's own, and RecursionError on nested input
        raise TargetError(
            f"{shown}: the settings in its {name} cannot be read ({type(error).__name__}). "
            "Correct them, or pass another revision."
        ) from error
    for config in _configs(settings):
        for pattern in _patterns(config):
            if _leads_outside(pattern):
                raise TargetError(
                    f"{shown}: its {name} names data files outside the repository "
                    f"({pattern[:80]!r}), which are never read. Only relative paths without '..' "
                    "are allowed in data_files and data_dir."
                )


def check_folder(shown: str, folder: Path) -> None:
    """:func:`check_settings` for the settings files in a folder."""
    for name in SETTINGS_FILES:
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        check_settings(shown, name, text)


def _read(file: Path) -> Any:
    try:
        return _settings(file.name, file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def _settings(name: str, text: str) -> Any:
    import yaml

    if name != "README.md":
        return yaml.safe_load(text)
    match = _FRONT_MATTER.match(text.removeprefix("\ufeff"))
    return yaml.safe_load(match[1]) if match else None


def _configs(settings: Any) -> Iterator[Mapping[str, Any]]:
    configs = settings.get("configs") if isinstance(settings, Mapping) else None
    for config in [configs] if isinstance(configs, Mapping) else configs or ():
        if isinstance(config, Mapping):
            yield config


def _patterns(config: Mapping[str, Any]) -> Iterator[str]:
    for key in ("data_files", "data_dir"):
        yield from _strings(config.get(key))


def _strings(value: Any) -> Iterator[str]:
    """Every string in a value, however it is nested; names of splits do no harm."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, (list, tuple, set)):
        for inner in value:
            yield from _strings(inner)


def _leads_outside(pattern: str) -> bool:
    """Whether a pattern is more than a path inside the repository.

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
