"""A zip of class folders, as hostile as it may be: checked by its directory first, then counted
while it is unpacked.
"""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hf_sfda.errors import TargetError, UploadError
from hf_sfda.foreign import clean
from hf_sfda.space.limits import Limits, show_bytes, show_count
from hf_sfda.target.folder import OUTSIDE, Layout, arrange
from hf_sfda.target.pictures import SUFFIXES, UNREADABLE_SUFFIXES, size_of_file
from hf_sfda.target.walk import Files, is_system_name

SHAPE = "Zip one folder of pictures a class: daisy/1.jpg, rose/1.jpg and so on."

_CHUNK = 1 << 20
_SUSPICIOUS = 50_000_000
"""Unpacked bytes from which an archive's ratio counts: a small one may be a hundred blank pages."""
_RATIO = 100
"""Deflate reaches 1,032. Pictures are compressed already; even bitmaps seldom shrink to a tenth."""
_DIRECTORY = 512
"""Bytes an entry may take in the directory on average, names included."""
_BESIDE = "extra"
"""Where images are written that belong to no class: a folder that is counted and not read."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST = 80  # characters of a class name; at most 320 bytes, which file systems do not take


@dataclass(frozen=True)
class Entry:
    """A file of the archive that may be a picture.

    Attributes:
        info: Where it is in the archive.
        parts: Its path.
        suffix: What it is written with.
        picture: Whether its first bytes are a picture's.
    """

    info: zipfile.ZipInfo
    parts: tuple[str, ...]
    suffix: str
    picture: bool


def read_archive(file: Path, out: Path, limits: Limits) -> None:
    """Unpack a zip into ``out/CLASS/000001.jpg`` or ``out/SPLIT/CLASS/000001.jpg``.

    Splits and classes are found as in a folder on disk (:mod:`hf_sfda.target.folder`). Files that
    are called pictures and are none are unpacked, too, and so are pictures beside the splits:
    whoever reads the folder counts them. Other files are left out, and so is what operating
    systems add.

    Args:
        file: The zip.
        out: Made here.
        limits: ``unpacked_bytes``, ``files``, ``image_pixels`` and ``pixels``.

    Raises:
        UploadError: Says what is wrong with it; what was written is the caller's to remove.
    """
    with _readable(file):
        _check_directory(file, limits)
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            _check_size(infos, file.stat().st_size, limits)
            files = [(info, _parts(info)) for info in infos]
            _check_twins(infos)
            wanted = [(i, parts) for i, parts in files if not i.is_dir() and not _is_junk(parts)]
            entries = _pictures(archive, wanted)
            folders = _folders(entries)
            _write(archive, entries, folders, out, limits)


# -- the directory


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (UploadError, OSError):
        raise
    # zipfile, zlib and struct each have errors of their own, NotImplementedError and RuntimeError
    # among them; on a stranger's bytes they all mean the same.
    except Exception as error:
        raise UploadError(
            f"The zip is damaged ({type(error).__name__}). Make it again, and check that the "
            "upload was complete."
        ) from error


def _check_directory(file: Path, limits: Limits) -> None:
    """Refuse a directory that would fill the memory, before it is read."""
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - (1 << 16) - 42))
        tail = opened.read()
    end = len(tail) - 22
    if tail[end : end + 4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":  # there is a comment
        end = tail.rfind(b"PK\x05\x06", 0, len(tail) - 18)
    if end < 0:
        raise UploadError(f"The zip is cut off: its directory is missing. {SHAPE}")
    count, directory = struct.unpack_from("<HL", tail, end + 10)
    if tail[max(0, end - 20) : end].startswith(b"PK\x06\x07") or count == 0xFFFF:
        raise UploadError(
            "The zip is in the zip64 format, for more than 65,534 files or 4 GB. "
            "Make a smaller one."
        )
    if count > limits.files or directory > limits.files * _DIRECTORY:
        raise UploadError(
            f"The zip lists {count:,} files ({show_bytes(directory)} of names); at most "
            f"{limits.files:,} files are taken here. Zip a sample of the pictures."
        )


def _check_size(infos: Sequence[zipfile.ZipInfo], packed: int, limits: Limits) -> None:
    if not infos:
        raise UploadError(f"The zip is empty. {SHAPE}")
    if len(infos) > limits.files:
        raise UploadError(
            f"The zip holds {len(infos):,} files; at most {limits.files:,} are taken here. "
            "Zip a sample of the pictures."
        )
    total = sum(info.file_size for info in infos)
    if total > limits.unpacked_bytes:
        raise _too_much(total, limits)
    if total > _SUSPICIOUS and total > _RATIO * packed:
        raise UploadError(
            f"The zip of {show_bytes(packed)} would unpack to {show_bytes(total)}: pictures do "
            "not shrink like that. Zip the pictures themselves."
        )


def _too_much(total: int, limits: Limits) -> UploadError:
    return UploadError(
        f"The zip unpacks to {show_bytes(total)}; at most {show_bytes(limits.unpacked_bytes)} are "
        "taken here. Zip a sample of the pictures, or make them smaller."
    )


def _check_twins(infos: Sequence[zipfile.ZipInfo]) -> None:
    names = Counter(info.orig_filename for info in infos)
    if twins := [name for name, count in names.items() if count > 1]:
        raise UploadError(
            f"The zip holds {_shown(twins[0])} twice. Make it again from a folder on your disk."
        )


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    """The path of an entry that would stay inside, and is a plain file or folder.

    Raises:
        UploadError: It is anything else.
    """
    name = info.orig_filename
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or _DRIVE.match(name):
        raise UploadError(
            f"The zip holds the name {_shown(name)}, which leads outside it or is no plain path. "
            "Make it again from inside the folder, with / between folders."
        )
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "a special file"
        raise UploadError(f"{_shown(name)} is {what}. Zip the files themselves.")
    if info.flag_bits & 0x41:
        raise UploadError(f"{_shown(name)} is encrypted. Make the zip without a password.")
    if info.compress_type not in _METHODS:
        raise UploadError(
            f"{_shown(name)} is compressed in an unusual way (method {info.compress_type}). "
            "Make an ordinary zip (deflate)."
        )
    return tuple(part for part in parts if part not in ("", "."))


def _is_junk(parts: tuple[str, ...]) -> bool:
    return not parts or any(map(is_system_name, parts))


# -- the pictures


def _pictures(
    archive: zipfile.ZipFile, files: Sequence[tuple[zipfile.ZipInfo, tuple[str, ...]]]
) -> list[Entry]:
    entries = []
    for info, parts in files:
        with archive.open(info) as opened:
            head = opened.read(32)
        kind, suffix = picture_suffix(head), PurePosixPath(parts[-1]).suffix.lower()
        if kind is not None or suffix in SUFFIXES or suffix in UNREADABLE_SUFFIXES:
            entries.append(Entry(info, parts, kind or suffix, kind is not None))
    if not any(entry.picture for entry in entries):
        tables = [parts[-1] for _, parts in files if parts[-1].lower().endswith((".csv", ".tsv"))]
        hint = f" Upload {_shown(tables[0])} by itself." if tables else ""
        raise UploadError(
            f"None of the {len(files):,} files in the zip is a picture (by their first bytes)."
            f"{hint} {SHAPE}"
        )
    return entries


def _folders(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """The folder each entry is written to: its class, or split and class.

    Raises:
        UploadError: Pictures outside class folders, names that clash, fewer than two classes, or
            folders that can be read in two ways.
    """
    paths = ["/".join(entry.parts) for entry in entries]
    layout = _layout(paths)
    places = {
        path: (split, label)
        for split, classes in layout.splits.items()
        for label, files in classes.items()
        for path in files
    }
    labels = {label for _, label in places.values()}
    names = _class_names(labels)
    if len(labels) < 2:
        raise UploadError(
            f"The zip has one class folder ({_shown(next(iter(labels)))}); two or more are "
            f"needed. {SHAPE}"
        )
    if set(layout.splits) == {"train"} and len(places) == len(set(paths)):
        return [(names[places[path][1]],) for path in paths]
    splits = {split: class_name(split) for split in layout.splits}
    folders = {path: (splits[split], names[label]) for path, (split, label) in places.items()}
    return [folders.get(path, (_BESIDE,)) for path in paths]


def _layout(paths: Sequence[str]) -> Layout:
    """How the pictures are arranged.

    Raises:
        UploadError: They are in no class folders, or in folders that can be read in two ways.
    """
    loose = [path for path in paths if "/" not in path]
    try:
        layout = arrange("The zip", Files(images=sorted(set(paths))))
    except TargetError as error:
        if len(loose) < len(paths):
            raise UploadError(f"{error} {SHAPE}") from error
        raise _outside(len(loose), len(paths), loose[0]) from error
    inside = {path for c in layout.splits.values() for files in c.values() for path in files}
    lost = layout.ignored[OUTSIDE] + sum(lost[OUTSIDE] for lost in layout.left_out.values())
    if lost:
        outside = [path for path in paths if path not in inside]
        raise _outside(lost, len(paths), min(outside, key=lambda path: path.count("/")))
    return layout


def _outside(count: int, total: int, example: str) -> UploadError:
    return UploadError(
        f"{count:,} of {total:,} pictures lie outside class folders, such as {_shown(example)}. "
        f"{SHAPE}"
    )


def _class_names(classes: set[str]) -> dict[str, str]:
    """Folder name in the archive -> class name on this disk.

    Raises:
        UploadError: Two would be the same class to a careless eye, or none is left of a name.
    """
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for original in sorted(classes):
        name = class_name(original)
        if not name:
            raise UploadError(
                f"The folder {_shown(original)} has no name that can serve as a class. Rename it."
            )
        key = unicodedata.normalize("NFKC", name).casefold()
        if key in taken:
            raise UploadError(
                f"The folders {_shown(taken[key])} and {_shown(original)} differ only in case or "
                "in how letters are encoded. Give each class one folder."
            )
        taken[key], names[original] = original, name
    return names


def class_name(folder: str) -> str:
    r"""A folder's name without what could harm a path or a page; letters of any script stay.

    Example:
        >>> class_name("  naïve\u202e café\n")
        'naïve café'
    """
    text = unicodedata.normalize("NFC", folder)
    text = " ".join(clean(text, instead=" ").replace("/", " ").split()).strip(". ")
    while len(text) > _LONGEST or len(text.encode()) > 240:
        text = text[:-1].rstrip(". ")
    return text


def _write(
    archive: zipfile.ZipFile,
    entries: Sequence[Entry],
    folders: Sequence[tuple[str, ...]],
    out: Path,
    limits: Limits,
) -> None:
    out.mkdir()
    left, pixels = limits.unpacked_bytes, 0
    for number, (entry, folder) in enumerate(zip(entries, folders, strict=True), start=1):
        path = out.joinpath(*folder, f"{number:06d}{entry.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry.info) as source, path.open("xb") as target:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:  # the directory lied
                    raise _too_much(limits.unpacked_bytes - left, limits)
                target.write(chunk)
        pixels += _checked_pixels(path, entry, limits)
        if pixels > limits.pixels:
            raise UploadError(
                f"The pictures have more than {show_count(limits.pixels)} pixels together, which "
                "is the most that is taken here. Zip a sample of them, or make them smaller."
            )


def _checked_pixels(path: Path, entry: Entry, limits: Limits) -> int:
    """Pixels of a picture by its header, without decoding it; 0 where it has none.

    Raises:
        UploadError: There are too many.
    """
    width, height = size_of_file(path) or (0, 0)
    if width * height > limits.image_pixels:
        raise UploadError(
            f"{_shown('/'.join(entry.parts))} has {width:,} x {height:,} pixels; at most "
            f"{show_count(limits.image_pixels)} are taken in a picture. Make it smaller."
        )
    return width * height


def picture_suffix(head: bytes) -> str | None:
    """The suffix of a picture with these first bytes; ``None`` if they are no picture's.

    Example:
        >>> picture_suffix(b"GIF89a"), picture_suffix(b"MZ")
        ('.gif', None)
    """
    for magic, suffix in _MAGIC:
        if head.startswith(magic):
            return suffix
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return ".bmp"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"mif1"):
        return ".avif"
    return ".ppm" if re.match(rb"P[1-6][\s#]", head) else None


_MAGIC = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", ".jp2"),
)


def _shown(name: str) -> str:
    """A stranger's name in a message: short, on one line, nothing that hides."""
    visible = clean(name)
    return f"'{visible}'" if len(visible) <= 60 else f"'{visible[:59]}…'"
