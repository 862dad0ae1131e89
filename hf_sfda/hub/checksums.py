"""Compare downloaded files with their checksums. The Hub cache uses the checksum as file name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class DamagedError(OSError):
    """A file does not have its checksum, even after a second download; the message says which."""


_ADVICE = (
    "damaged (its checksum is not the Hub's); try again later, or check what lies between you and "
    "the Hub"
)
_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def matches(blob: Path) -> bool:
    """Whether the content of a file in the cache has the checksum that is its name.

    The name is a sha256 for large files, a git blob hash for small files, and a plain sha1 for
    files from some mirrors. A file with any other name cannot be checked and counts as intact.
    """
    if not _CHECKSUM.fullmatch(blob.name):
        return True
    with blob.open("rb") as file:
        if len(blob.name) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == blob.name
        content = file.read()  # small: large files are named by their sha256
    headers = (f"blob {len(content)}\0".encode(), b"")
    digests = (hashlib.sha1(header + content, usedforsecurity=False) for header in headers)
    return blob.name in {digest.hexdigest() for digest in digests}


def read_verified(download: Callable[[], str]) -> bytes:
    """Download a file into the cache, verify it and read it; if damaged, download it once more.

    The client checks the size at most. A damaged file would stay in the cache and be read by every
    later run.

    Args:
        download: Returns the path of the file, such as ``hf_hub_download``.

    Raises:
        DamagedError: The file is damaged after the second download, too.
        Exception: What ``download`` raises.
    """
    for _ in range(2):
        blob = Path(download()).resolve()
        if matches(blob):
            return blob.read_bytes()
        blob.unlink()
    raise DamagedError(f"it arrives {_ADVICE}")


def snapshot_verified(repo: str, patterns: Collection[str], download: Callable[[], str]) -> Path:
    """Download files into the cache and verify them; download damaged files once more.

    Args:
        repo: The repository, for the message.
        patterns: The files that are downloaded. Others in the folder are not verified.
        download: Returns the folder of the files, such as ``snapshot_download``.

    Returns:
        The folder.

    Raises:
        DamagedError: A file is damaged after the second download, too.
        Exception: What ``download`` raises.
    """
    for _ in range(2):
        folder = Path(download())
        damaged = _remove_damaged(folder, patterns)
        if not damaged:
            return folder
    raise DamagedError(f"{damaged[0]} of {repo} arrives {_ADVICE}")


def _remove_damaged(folder: Path, patterns: Collection[str]) -> list[str]:
    """Delete files of a snapshot whose content does not have their checksum.

    Returns:
        The names of the deleted files, relative to ``folder``.
    """
    damaged = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            continue
        blob = path.resolve()
        if blob.is_file() and not matches(blob):
            blob.unlink()
            path.unlink(missing_ok=True)
            damaged.append(name)
    return damaged


def load_verified(repo: str, load: Callable[[], T], forget: Callable[[], object]) -> T:
    """Load a dataset and verify its files; delete damaged files and download them once more.

    No other code checks this. Damaged bytes would be read as data, or fail in every later run.

    Args:
        repo: Dataset id.
        load: Downloads the dataset and reads it.
        forget: Removes what ``load`` derived from the files.

    Raises:
        DamagedError: A file is damaged after the second download, too.
        Exception: What ``load`` raises.
    """
    folder = _blobs(repo)
    for _ in range(2):
        before = _names(folder)
        failure: Exception | None = None
        try:
            data = load()
        except Exception as error:
            failure = error
        # If loading failed, the cause may be a damaged file of an earlier run: check all files.
        suspects = _names(folder) - (before if failure is None else set())
        damaged = [name for name in sorted(suspects) if not matches(folder / name)]
        if not damaged:
            if failure is not None:
                raise failure
            return data
        for name in damaged:
            (folder / name).unlink()
        forget()
    raise DamagedError(f"a file of {repo} arrives {_ADVICE}")


def _blobs(repo: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repo, repo_type="dataset")
    return Path(constants.HF_HUB_CACHE) / name / "blobs"


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
