"""Convert an uploaded file to a local dataset, or refuse it with a clear message.

Names in an archive never become paths. Files get numbers as names, in folders named after their
classes without unsafe characters.
"""

from __future__ import annotations

import codecs
import csv
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_sfda.errors import UploadError
from hf_sfda.format import show_bytes
from hf_sfda.space.archive import read_archive
from hf_sfda.space.settings import Limits

WANTED = (
    "Upload a zip with one folder of images or sounds a class, or a csv or tsv with a header and a "
    "column for the class."
)

_CHUNK = 1 << 20
_TABLES = {".csv": ",", ".tsv": "\t"}
_OTHERS = {
    b"\x1f\x8b": "a gzip archive", b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!": "a rar archive",
    b"BZh": "a bzip2 archive", b"\xfd7zXZ": "an xz archive", b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"PAR1": "a parquet file", b"ARROW1": "an arrow file", b"%PDF": "a PDF",
    b"\x89PNG": "a single image", b"\xff\xd8\xff": "a single image",
    b"GIF8": "a single image",
    b"\xd0\xcf\x11\xe0": "an old Office file",
}  # fmt: skip
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_UNSAFE = re.compile(r"[^\w.-]+")


def unpack(file: Path, into: Path, limits: Limits, *, name: str | None = None) -> Path:
    """Convert an uploaded file to a dataset.

    Args:
        file: The uploaded file. Its content determines its type; the suffix only has to match.
        into: A folder for the result only; created if it does not exist.
        limits: ``upload_bytes``, ``unpacked_bytes``, ``files``, ``image_pixels`` and ``pixels``.
        name: Name of the result; by default the file's name without unsafe characters.

    Returns:
        A folder of class folders, a folder of split folders with class folders, or a csv or tsv
        file: a value for ``RankConfig.dataset``.

    Raises:
        UploadError: The file cannot be used as a dataset; ``into`` is unchanged.
    """
    name = name or safe_name(file)
    head = _head(file, limits)
    into.mkdir(parents=True, exist_ok=True)
    with _all_or_nothing(into) as partial:
        if head.startswith(_ZIP):
            unpacked, result = partial / "data", into / name
            read_archive(file, unpacked, limits)
        else:
            suffix = _table_suffix(file, head)
            unpacked, result = partial / "table", into / f"{name}{suffix}"
            _read_table(file, unpacked, _TABLES[suffix])
        unpacked.rename(result)
    return result


def safe_name(file: Path) -> str:
    """A file's name without suffix, with letters, digits, ``_``, ``-`` and ``.`` only.

    Example:
        >>> safe_name(Path("My flowers (1).zip"))
        'My-flowers-1'
    """
    return _UNSAFE.sub("-", file.stem).strip("-.")[:60].strip("-.") or "upload"


def _head(file: Path, limits: Limits) -> bytes:
    """Check the size of a file and return its first bytes.

    Raises:
        UploadError: The file is too large, empty or unreadable.
    """
    try:
        size = file.stat().st_size
        if size > limits.upload_bytes:
            raise UploadError(
                f"The file has {show_bytes(size)}; at most {show_bytes(limits.upload_bytes)} are "
                "taken here. Upload a sample of the data, or push it to the Hub and give its id."
            )
        with file.open("rb") as opened:
            head = opened.read(512)
    except OSError as error:
        raise UploadError(
            f"The file cannot be read ({error.strerror or error}). Upload it again."
        ) from error
    if not head:
        raise UploadError(f"The file is empty. {WANTED}")
    return head


def _table_suffix(file: Path, head: bytes) -> str:
    """The suffix of a table, ``.csv`` or ``.tsv``.

    Raises:
        UploadError: The file is not a table.
    """
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            raise UploadError(f"The file is {what}. {WANTED}")
    if head[257:262] == b"ustar":
        raise UploadError(f"The file is a tar archive. {WANTED}")
    suffix = file.suffix.lower()
    if suffix in _TABLES:
        return suffix
    detail = f"is called {suffix} but " if suffix == ".zip" else f"({suffix or 'no suffix'}) "
    raise UploadError(f"The file {detail}is neither a zip nor a table. {WANTED}")


def _read_table(file: Path, out: Path, delimiter: str) -> None:
    """Copy a table and check that it is text with at least two columns and one row.

    Raises:
        UploadError: It is not.
    """
    lines = _copy_text(file, out)
    try:
        with out.open(encoding="utf-8", newline="") as text:
            header = next((row for row in csv.reader(text, delimiter=delimiter) if row), [])
    except csv.Error as error:
        raise UploadError(f"The header cannot be read: {error}. {WANTED}") from error
    if len(header) < 2:
        other = next((sign for sign in ";\t|," if sign in "".join(header)), None)
        hint = (
            f" It seems to be separated by {other!r}: save it as csv, with commas." if other else ""
        )
        raise UploadError(
            f"The table has one column; one with the text and one with the class are needed.{hint}"
        )
    if lines < 2:
        raise UploadError(f"The table has a header and no rows. {WANTED}")


def _copy_text(file: Path, out: Path) -> int:
    """Copy UTF-8 text without its byte order mark; return the number of lines that are not empty.

    Raises:
        UploadError: The file is not UTF-8 text.
    """
    lines, last, decoder = 0, b"", codecs.getincrementaldecoder("utf-8")()
    with file.open("rb") as source, out.open("wb") as target:
        part = source.readline(_CHUNK).removeprefix(codecs.BOM_UTF8)
        while part:
            try:
                text = decoder.decode(part)
            except UnicodeDecodeError as error:
                raise _no_text(lines, "bytes that are not UTF-8") from error
            if "\0" in text:
                raise _no_text(lines, "a NUL byte")
            lines += bool(text.strip()) and part.endswith(b"\n")
            target.write(part)
            last, part = part, source.readline(_CHUNK)
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            raise _no_text(lines, "half a letter") from error
    return lines + (bool(last.strip()) and not last.endswith(b"\n"))


def _no_text(lines: int, what: str) -> UploadError:
    return UploadError(
        f"The table is not UTF-8 text: {what} after line {lines:,}. Save it as `CSV UTF-8`."
    )


@contextmanager
def _all_or_nothing(into: Path) -> Iterator[Path]:
    """A temporary folder for partial results, which is removed on success and on failure."""
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=into))
    try:
        yield partial
    except OSError as error:
        raise UploadError(
            f"The file cannot be unpacked here ({error.strerror or error}). Try again later."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
