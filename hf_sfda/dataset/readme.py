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
from hf_sfda.foreign import MAX_YAML_BYTES, ForeignError, read_yaml

SETTINGS_FILES = ("README.md", ".huggingface.yaml")
"""Where ``datasets`` looks for ``configs``."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|.*::")  # also a drive letter


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
    except ForeignError as error:
        raise _unreadable(shown, name, error) from error
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
            text = _text(folder / name)
        except OSError:
            continue
        except ForeignError as error:
            raise _unreadable(shown, name, error) from error
        check_settings(shown, name, text)


def _unreadable(shown: str, name: str, error: ForeignError) -> TargetError:
    return TargetError(
        f"{shown}: the settings in its {name} cannot be read ({error}). "
        "Correct them, or pass another revision."
    )


def _read(file: Path) -> Any:
    try:
        return _settings(file.name, _text(file))
    except (OSError, ForeignError):
        return None


def _text(file: Path) -> str:
    # Line ends stay as they are: where the settings end depends on them.
    with file.open(encoding="utf-8", errors="replace", newline="") as lines:
        text = lines.read(MAX_YAML_BYTES + 1)
    if len(text) > MAX_YAML_BYTES:  # else what lies beyond would be read, and not checked
        raise ForeignError(f"larger than {MAX_YAML_BYTES // 1_000_000} MB")
    return text


def _settings(name: str, text: str) -> Any:
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    if name != "README.md":
        return read_yaml(text)
    # The very expression that `datasets` uses: what it would read must not go past the checks.
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
