"""The copy of hf-sfda in a repository that runs it: a leaderboard, a Job, a Space.

So no release on a package index is needed, and every update runs the version that set it up. Jobs
and workflows install a wheel. The copy is installed from the commit that added it; later commits
cannot change it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import shlex
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import hf_sfda
from hf_sfda.errors import PublishError
from hf_sfda.hub import retry_read
from hf_sfda.hub.access import Repo, hub_errors
from hf_sfda.hub.changes import FileChange
from hf_sfda.publish.cards import cards_directory
from hf_sfda.versions import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PACKAGE = "hf_sfda"
FOLDER = "leaderboard/package"
CLIENT = "huggingface_hub>=2.4,<3"
"""Requirement of the client that downloads the copy; it can use a token, for a private repository.
"""

_LEFTOVERS = (".pyc", ".pyo", ".orig", ".rej", ".swp", "~")
_NAME = f"hf_sfda-{__version__}"
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class PackageCopy:
    """A wheel of hf-sfda in a repository.

    Attributes:
        repo: The leaderboard.
        path: Path of the wheel in the repository.
        revision: The commit that added the wheel.
    """

    repo: Repo
    path: str
    revision: str

    @property
    def command(self) -> str:
        """The shell command that downloads the wheel, with a client of its own."""
        return f"uv run --with {shlex.quote(CLIENT)} {self.download}"

    @property
    def download(self) -> str:
        """The shell command that downloads the wheel below the working directory."""
        return shlex.join(
            [
                "hf", "download", self.repo.id, self.path, "--repo-type", self.repo.kind,
                "--revision", self.revision, "--local-dir", ".",
            ]
        )  # fmt: skip


def build_wheel() -> bytes:
    """Build a wheel of the running hf-sfda; the same files give the same bytes on every machine.

    Raises:
        PublishError: hf-sfda is not installed, so its dependencies are unknown.
    """
    info = f"{_NAME}.dist-info"
    files = {
        **package_files(),
        f"{info}/METADATA": _metadata().encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: hf-sfda\nRoot-Is-Purelib: true\n"
        b"Tag: py3-none-any\n",
        f"{info}/entry_points.txt": b"[console_scripts]\nhf-sfda = hf_sfda.cli:main\n",
    }
    record = "".join(
        f"{path},sha256={urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip('=')},"
        f"{len(content)}\n"
        for path, content in files.items()
    )
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    out = io.BytesIO()
    # Stored without compression, because compressed bytes depend on the version of zlib.
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as wheel:
        for path, content in files.items():
            entry = zipfile.ZipInfo(path, _FIRST_DAY)
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, content)
    return out.getvalue()


def package_files() -> dict[str, bytes]:
    """All files of the package, with the paths they have in a wheel: path -> content."""
    files = {}
    # An installed package contains the last two folders; in a checkout they are beside it.
    for folder, place in (
        (Path(hf_sfda.__file__).parent, PACKAGE),
        (cards_directory(), f"{PACKAGE}/_cards"),
        (space_directory(), f"{PACKAGE}/_space"),
    ):
        for path in _files(folder):
            files[f"{place}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    return files


def space_directory() -> Path:
    """The folder of the Space's own files: in the installed package, or beside it in a checkout."""
    package = Path(hf_sfda.__file__).parent
    installed, checkout = package / "_space", package.parent / "space"
    return installed if installed.is_dir() else checkout


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
        if path.is_file() and not hidden and not path.name.endswith(_LEFTOVERS):
            yield path


def changes_of_copy(present: dict[str, bytes]) -> tuple[FileChange, ...]:
    """The changes that replace the copies in a repository by the running version.

    Args:
        present: The wheels in the repository: path -> content.
    """
    path, wheel = f"{FOLDER}/{_NAME}-py3-none-any.whl", build_wheel()
    old = [
        FileChange(other, content, None, preview_before=_preview(content))
        for other, content in present.items()
        if other != path
    ]
    before = present.get(path)
    if before == wheel:
        return tuple(old)
    preview_before = None if before is None else _preview(before)
    new = FileChange(path, before, wheel, preview=_preview(wheel), preview_before=preview_before)
    return (new, *old)


def copies_in(paths: Sequence[str]) -> list[str]:
    """The wheels among the paths of a repository."""
    return sorted(p for p in paths if p.startswith(f"{FOLDER}/") and p.endswith(".whl"))


def find_copy(api: HfApi, repo: Repo, paths: Sequence[str], head: str) -> PackageCopy:
    """Find the copy in a leaderboard and the commit that added it.

    Args:
        api: The Hub client.
        repo: The leaderboard.
        paths: The paths of all its files.
        head: Its newest commit.

    Raises:
        PublishError: The repository has no copy, or the request fails.
    """
    wheels = copies_in(paths)
    if not wheels:
        raise PublishError(
            f"{repo} holds no copy of hf-sfda that could be installed. Add it with "
            f"`hf-sfda leaderboard init {repo.id}`, or name what to install with --requirement."
        )
    with hub_errors(f"Cannot read {repo}"):
        (file,) = retry_read(
            api.get_paths_info,
            repo.id,
            [wheels[-1]],
            repo_type=repo.kind,
            revision=head,
            expand=True,
        )
    commit = getattr(file, "last_commit", None)
    return PackageCopy(repo, wheels[-1], commit.oid if commit else head)


def _metadata() -> str:
    try:
        installed = importlib.metadata.distribution("hf-sfda")
    except importlib.metadata.PackageNotFoundError as error:
        raise PublishError(
            "hf-sfda is not installed here, only imported, so its dependencies are unknown. "
            "Install it with pip, then run the same command."
        ) from error
    lines = [
        "Metadata-Version: 2.3",
        "Name: hf-sfda",
        f"Version: {__version__}",
        f"Requires-Python: {installed.metadata['Requires-Python']}",
        *(f"Provides-Extra: {extra}" for extra in installed.metadata.get_all("Provides-Extra", [])),
        *(f"Requires-Dist: {requirement}" for requirement in installed.requires or ()),
    ]
    return "\n".join(lines) + "\n"


def _preview(wheel: bytes) -> tuple[str, ...]:
    digest = hashlib.sha256(wheel).hexdigest()[:12]
    return (f"a wheel of hf-sfda, {len(wheel):,} bytes, sha256 {digest}",)
