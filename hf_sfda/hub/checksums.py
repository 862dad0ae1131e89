"""Compare downloaded files with their checksums. The Hub cache uses the checksum as file name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_DAMAGED = (
    "files arrive damaged (their checksums are not the Hub's); try again later, or check what "
    "lies between you and the Hub"
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
        OSError: The file is damaged after the second download, too.
        Exception: What ``download`` raises.
    """
    for _ in range(2):
        blob = Path(download()).resolve()
        if matches(blob):
            return blob.read_bytes()
        blob.unlink()
    raise OSError(_DAMAGED)


def load_verified(repo: str, load: Callable[[], T], forget: Callable[[], object]) -> T:
    """Load a dataset and verify its files; delete damaged files and download them once more.

    No other code checks this. Damaged bytes would be read as data, or fail in every later run.

    Args:
        repo: Dataset id.
        load: Downloads the dataset and reads it.
        forget: Removes what ``load`` derived from the files.

    Raises:
        OSError: The files are damaged after the second download, too.
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
    raise OSError(_DAMAGED)


def _blobs(repo: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repo, repo_type="dataset")
    return Path(constants.HF_HUB_CACHE) / name / "blobs"


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
