"""List the files of a folder. Links are followed; files of the operating system are left out."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from hf_sfda.dataset import sounds
from hf_sfda.dataset.images import SUFFIXES, UNREADABLE_SUFFIXES, size_of
from hf_sfda.errors import TargetError
from hf_sfda.types import Modality

_SYSTEM_NAMES = frozenset(
    [
        # macOS, beside names with a leading dot
        "__macosx", "icon\r", "network trash folder", "temporary items", "thevolumesettingsfolder",
        # Windows
        "$recycle.bin", "recycler", "recycled", "system volume information", "thumbs.db",
        "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "found.000", "picasa.ini",
        # Linux and Android
        "lost+found", "lost.dir",
        # network storage: Synology, QNAP
        "@eadir", "@tmp", "@sharebin", "#recycle", "#snapshot", "@recycle", "@recently-snapshot",
        "@__thumb",
        # version control, editors and tools, beside names with a leading dot
        "cvs", "_svn", "rcs", "sccs", "__pycache__", "_gsdata_", "node_modules", "_vti_cnf",
        "_macosx", "~snapshot", "_thumbs", "__thumbs__", "_thumbnails",
    ]
)  # fmt: skip
_SYSTEM_ENDINGS = ("~", "@synoeastream", "@synoresource", ":zone.identifier", ".lnk")
_COPY_ENDINGS = (
    ".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp", ".bak", ".swp",
)  # fmt: skip
"""Suffixes of backups and unfinished downloads, if they follow the suffix of an image or sound."""
_READ = SUFFIXES | sounds.SUFFIXES

SYSTEM = "left by a system or a tool"
NO_IMAGE = "not an image"
NO_SOUND = "not a sound file"
NO_READER = "image format that cannot be read"
NO_SOUND_READER = sounds.NO_READER
LOOP = "link to a folder that contains it"
DEAD_LINK = "link that leads nowhere"
NO_FILE = "pipe, socket or device"


@dataclass
class Files:
    """The files below a folder. Paths are relative to the folder and use ``/``.

    Attributes:
        images: Files that are images by their suffix or by their first bytes.
        sounds: Files that are sounds by their suffix.
        others: Other files -> the reason why they are neither.
        ignored: Reason -> number of files that are ignored in every folder.
    """

    images: list[str] = field(default_factory=list)
    sounds: list[str] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)

    def inputs(self, modality: Modality) -> list[str]:
        """The images, or the sounds."""
        return self.sounds if modality == "audio" else self.images

    def rest(self, modality: Modality) -> dict[str, str]:
        """All other files -> the reason why they are no images, or no sounds."""
        if modality == "image":
            return self.others | {file: _because(NO_IMAGE, file) for file in self.sounds}
        others = {
            file: reason if reason.startswith(NO_SOUND_READER) else _because(NO_SOUND, file)
            for file, reason in self.others.items()
        }
        return others | {file: _because(NO_SOUND, file) for file in self.images}


def _because(reason: str, file: str) -> str:
    return f"{reason} ({PurePosixPath(file).suffix.lower() or 'no suffix'})"


def is_system_name(name: str) -> bool:
    """Whether a file or folder with this name was created by a system or a tool.

    Example:
        >>> [is_system_name(name) for name in ("@eaDir", "._cat.png", "cat", "$1")]
        [True, True, False, False]
    """
    lower = name.lower()
    stem, _, ending = lower.rpartition(".")
    is_copy = f".{ending}" in _COPY_ENDINGS and PurePosixPath(stem).suffix in _READ
    return (
        lower.startswith((".", "~$"))
        or lower in _SYSTEM_NAMES
        or lower.endswith(_SYSTEM_ENDINGS)
        or is_copy
    )


def find_files(root: Path) -> Files:
    """List all files below ``root``.

    Links to folders are followed, unless the folder contains the link. Of the files that systems
    and tools create, only images and sounds are counted.

    Raises:
        TargetError: A folder cannot be listed.
    """
    files = Files()
    with warnings.catch_warnings():  # of Pillow, about large images
        warnings.filterwarnings("ignore", module="PIL")
        _sort(root, files)
    return files


def _sort(root: Path, files: Files) -> None:
    for path, relative, system in _walk(root, "", (os.path.realpath(root),), files):
        suffix = path.suffix.lower()
        if system:
            suffixes = {name.lower().rstrip("~") for name in path.suffixes}
            files.ignored[SYSTEM] += bool(suffixes & _READ)
        elif path.is_symlink() and not path.exists():
            files.ignored[DEAD_LINK] += 1
        elif not path.is_file():  # opening a pipe would block forever
            files.ignored[NO_FILE] += 1
        elif suffix in sounds.SUFFIXES:
            files.sounds.append(relative)
        elif suffix in SUFFIXES or size_of(path) is not None:
            files.images.append(relative)
        elif suffix in sounds.UNREADABLE_SUFFIXES:
            files.others[relative] = _because(NO_SOUND_READER, relative)
        elif suffix in UNREADABLE_SUFFIXES:
            files.others[relative] = _because(NO_READER, relative)
        else:
            files.others[relative] = _because(NO_IMAGE, relative)
    files.ignored = +files.ignored  # without zeros


def _walk(
    folder: Path, prefix: str, above: tuple[str, ...], files: Files, system: bool = False
) -> Iterator[tuple[Path, str, bool]]:
    """(path, relative path, whether a system or tool created it) of each file, sorted by name."""
    try:
        with os.scandir(folder) as entries:
            children = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise TargetError(
            f"The folder {folder} cannot be read ({error.strerror or error}). Change its "
            "permissions, or move it out of the dataset."
        ) from error
    for child in children:
        path, relative = folder / child.name, f"{prefix}{child.name}"
        of_system = system or is_system_name(child.name)
        if not path.is_dir():  # `child.is_dir` raises at a link to itself
            yield path, relative, of_system
            continue
        if of_system and child.is_symlink():
            continue
        place = os.path.realpath(path)
        if place in above:
            files.ignored[LOOP] += 1
            continue
        yield from _walk(path, f"{relative}/", (*above, place), files, of_system)
