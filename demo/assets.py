"""Pinned downloads: the package manager of the user fetches, a sha256 decides.

pip, npm and apt-get are called as they are set up on this machine, so mirrors, proxies and
certificates work as they do everywhere else. Only archives that are copied, never built, are
asked for.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hf_sfda.errors import SfdaError

_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)\s+--hash=sha256:(?P<sha256>\w{64})")
_GOT = re.compile(r"Got\s+([0-9a-f]{64})")
_LAST_LINES = 6
_SUFFIXES = {"pip": "whl", "npm": "tgz", "deb": "deb"}


class AssetError(SfdaError):
    """A package could not be had, or is not the one that was pinned."""


@dataclass(frozen=True)
class Pin:
    """One file of one version of one package."""

    name: str
    version: str
    sha256: str
    manager: Literal["pip", "npm", "deb"] = "pip"

    @property
    def filename(self) -> str:
        """Name under which the file is kept; the package manager's own name does not matter."""
        version = self.version.replace(":", "%3a")  # epoch of a Debian version; as apt writes it
        return f"{self.name}-{version}.{_SUFFIXES[self.manager]}"

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.manager})"


NSFWJS = Pin(
    "nsfwjs", "4.3.0", "4496790efc9bdc6f3e85a826a8e482c1fa1e9db4b3d18c095e98cc0c73cfb12f", "npm"
)
"""The one asset that pip does not bring; the demo does without it where npm is missing."""


def read_pins(requirements: Path) -> dict[str, Pin]:
    """Read a hash-checking requirements file.

    Args:
        requirements: Lines ``name==version --hash=sha256:HEX``; comments and blank lines.

    Returns:
        Package name -> pin.

    Raises:
        AssetError: A line without exact version and sha256.
    """
    pins = {}
    for number, line in enumerate(requirements.read_text().splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _PIN.fullmatch(line.strip())
        if match is None:
            raise AssetError(
                f"{requirements.name} line {number} is {line.strip()!r}; it must read "
                "'name==version --hash=sha256:HEX'."
            )
        pins[match["name"]] = Pin(match["name"], match["version"], match["sha256"])
    return pins


def fetch(pin: Pin, folder: Path, download: Callable[[Pin, Path], None] | None = None) -> Path:
    """The pinned file, downloaded unless it is there already.

    Args:
        pin: What to fetch.
        folder: Where downloads are kept; created if need be.
        download: Puts the file of a pin into an empty folder; by default pip, npm or apt-get.

    Returns:
        Path of a file whose sha256 is the pinned one.

    Raises:
        AssetError: The package manager failed, or the file is another one. Nothing of it was
            opened, and it is not kept.
    """
    kept = folder / pin.filename
    if is_kept(pin, folder):
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as name:
        arrived = Path(name)
        (download or {"pip": _pip, "npm": _npm, "deb": _apt}[pin.manager])(pin, arrived)
        files = list(arrived.iterdir())
        if len(files) != 1:
            raise AssetError(f"{pin}: expected one file, got {sorted(f.name for f in files)}.")
        found = sha256_of(files[0])
        if found != pin.sha256:
            raise _mismatch(pin, found)
        files[0].replace(kept)
    return kept


def is_kept(pin: Pin, folder: Path) -> bool:
    """Whether the pinned file lies in the folder, whole."""
    kept = folder / pin.filename
    return kept.is_file() and sha256_of(kept) == pin.sha256


def sha256_of(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def npm() -> str | None:
    """Path of npm, None where there is none."""
    return shutil.which("npm")


def _pip(pin: Pin, folder: Path) -> None:
    # pip takes hashes from files only. The file lies outside the folder that pip fills.
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}\n")
        requirements.flush()
        command = [sys.executable, "-m", "pip", "download", "--quiet"]
        command += ["--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"]
        command += ["--require-hashes", "--requirement", requirements.name, "--dest", str(folder)]
        _run(pin, command)


def _npm(pin: Pin, folder: Path) -> None:
    program = npm()
    if program is None:
        raise AssetError(f"{pin}: npm is not on PATH. Install Node.js, or leave this model out.")
    command = [program, "pack", f"{pin.name}@{pin.version}", "--ignore-scripts", "--silent"]
    _run(pin, [*command, "--pack-destination", str(folder)])


def _apt(pin: Pin, folder: Path) -> None:
    program = shutil.which("apt-get")
    if program is None:
        raise AssetError(
            f"{pin}: apt-get is not on PATH. Run this on Debian, or put the package into "
            f"{folder.parent} as {pin.filename}."
        )
    command = [program, "download", "--quiet", f"{pin.name}={pin.version}"]
    try:
        _run(pin, command, folder)
    except AssetError:
        # Without an index, or with an old one, apt-get knows no package of this version.
        _run(pin, [program, "update", "--quiet"])
        _run(pin, command, folder)


def _run(pin: Pin, command: list[str], cwd: Path | None = None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode == 0:
        return
    other = _GOT.search(done.stderr)
    if other is not None:
        raise _mismatch(pin, other[1])
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    said = "\n  ".join(lines[-_LAST_LINES:])
    raise AssetError(
        f"{pin}, sha256 {pin.sha256}: the download failed. {pin.manager} said:\n  {said}\n"
        f"Check that {pin.manager} reaches its index and has this version, then run again; "
        "what is already there is kept."
    )


def _mismatch(pin: Pin, found: str) -> AssetError:
    return AssetError(
        f"{pin}: expected sha256 {pin.sha256}, found {found}. The index serves another file than "
        "the one that was pinned, so it was thrown away unopened. Run again; if that does not "
        "help, clear the cache of the package manager or ask who runs your mirror."
    )
