"""Is a downloaded file what the Hub holds? The cache names files by their checksum."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_CHECKSUM = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def matches(blob: Path) -> bool:
    """Whether the content of a file in the cache is what its name there says.

    The name is a checksum: sha256 for large files, that of git for others, and the plain sha1 from
    some mirrors. A file with another name cannot be checked and counts as good.
    """
    if not _CHECKSUM.fullmatch(blob.name):
        return True
    with blob.open("rb") as file:
        if len(blob.name) == 64:
            return hashlib.file_digest(file, "sha256").hexdigest() == blob.name
        content = file.read()  # a small one, or it would be kept by its sha256
    headers = (f"blob {len(content)}\0".encode(), b"")
    digests = (hashlib.sha1(header + content, usedforsecurity=False) for header in headers)
    return blob.name in {digest.hexdigest() for digest in digests}


def read_whole(repo: str, load: Callable[[], T], forget: Callable[[], object]) -> T:
    """Load a dataset; files that arrived damaged are removed and fetched once more.

    Nothing else would notice: damaged bytes would be read as data, or fail in every later run.

    Args:
        repo: Dataset id.
        load: Downloads and reads it.
        forget: Removes what was made of the files.

    Raises:
        OSError: Files arrive damaged again.
        Exception: Whatever ``load`` raises.
    """
    folder = _blobs(repo)
    for _ in range(2):
        before = _names(folder)
        failure: Exception | None = None
        try:
            data = load()
        except Exception as error:
            failure = error
        # After a failure a file that an earlier run left may be to blame.
        suspects = _names(folder) - (before if failure is None else set())
        damaged = [name for name in sorted(suspects) if not matches(folder / name)]
        if not damaged:
            if failure is not None:
                raise failure
            return data
        for name in damaged:
            (folder / name).unlink()
        forget()
    raise OSError(
        "files arrive damaged (their checksums are not the Hub's); try again later, or check what "
        "lies between you and the Hub"
    )


def _blobs(repo: str) -> Path:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repo, repo_type="dataset")
    return Path(constants.HF_HUB_CACHE) / name / "blobs"


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
