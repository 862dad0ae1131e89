"""Unpack an uploaded zip of class folders, which may be malicious.

First the directory of the zip is checked; then sizes are counted while the files are unpacked.
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

from hf_sfda.dataset.folder import NOUNS, Layout, arrange, outside
from hf_sfda.dataset.images import SUFFIXES, UNREADABLE_SUFFIXES, size_of
from hf_sfda.dataset.sounds import SUFFIXES as SOUNDS
from hf_sfda.dataset.sounds import UNREADABLE_SUFFIXES as UNREADABLE_SOUNDS
from hf_sfda.dataset.sounds import is_sound_head
from hf_sfda.dataset.walk import Files, is_system_name
from hf_sfda.errors import TargetError, UploadError
from hf_sfda.foreign import clean
from hf_sfda.format import show_bytes, show_count
from hf_sfda.space.settings import Limits
from hf_sfda.types import Modality

SHAPE = "Zip one folder of images or sounds a class: daisy/1.jpg, rose/1.jpg and so on."

_CHUNK = 1 << 20
_SUSPICIOUS = 50_000_000
"""Unpacked size in bytes from which the compression ratio is checked; a small archive may consist
of blank images."""
_RATIO = 100
"""Largest compression ratio. Deflate can reach 1,032. Image files are compressed already, and even
bitmaps seldom shrink to a tenth."""
_DIRECTORY = 512
"""Largest average size of an entry in the zip's directory in bytes, with its name."""
_BESIDE = "extra"
"""Folder for images outside the class folders; they are counted but not used."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DRIVE = re.compile(r"[A-Za-z]:")
_LONGEST = 80  # characters of a class name; its bytes are limited, too, by the file system


@dataclass(frozen=True)
class ArchiveFile:
    """A file of the uploaded archive that may be an image or a sound.

    Attributes:
        info: The entry in the zip.
        parts: Its path in the archive.
        suffix: The suffix of the unpacked file.
        readable: Whether its first bytes are those of a format that is read.
    """

    info: zipfile.ZipInfo
    parts: tuple[str, ...]
    suffix: str
    readable: bool


def read_archive(file: Path, out: Path, limits: Limits) -> None:
    """Unpack a zip into ``out/CLASS/000001.jpg`` or ``out/SPLIT/CLASS/000001.jpg``.

    It is a zip of images, or of sounds if there are more of them. Splits and classes are found as
    in a local folder (:mod:`hf_sfda.dataset.folder`). Files that have an image suffix but other
    content are unpacked, too, and so are images outside the splits, so that the loader can report
    their number. Other files and files that operating systems add are skipped.

    Args:
        file: The zip.
        out: The folder to create.
        limits: ``unpacked_bytes``, ``files``, ``image_pixels`` and ``pixels``.

    Raises:
        UploadError: The zip is not allowed; the message says why. The caller must remove the files
            written so far.
    """
    with _readable(file):
        _check_directory(file, limits)
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
            _check_size(infos, file.stat().st_size, limits)
            files = [(info, _parts(info)) for info in infos]
            _check_unique_names(infos)
            wanted = [
                (info, parts)
                for info, parts in files
                if parts and not info.is_dir() and not any(map(is_system_name, parts))
            ]
            entries, modality = _find_inputs(archive, wanted)
            folders = _folders(entries, modality)
            _write(archive, entries, folders, out, limits)


# -- the directory


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (UploadError, OSError):
        raise
    # zipfile, zlib and struct raise many kinds of errors, also NotImplementedError and
    # RuntimeError. For an uploaded file they all mean that it is damaged.
    except Exception as error:
        raise UploadError(
            f"The zip is damaged ({type(error).__name__}). Make it again, and check that the "
            "upload was complete."
        ) from error


def _check_directory(file: Path, limits: Limits) -> None:
    """Check the size of the zip's directory before zipfile reads it into memory.

    Raises:
        UploadError: The directory is missing or too large, or the zip has the zip64 format.
    """
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - (1 << 16) - 42))
        tail = opened.read()
    end = len(tail) - 22
    if tail[end : end + 4] != b"PK\x05\x06" or tail[-2:] != b"\0\0":  # the zip has a comment
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
            f"{limits.files:,} files are taken here. Zip a sample of the files."
        )


def _check_size(infos: Sequence[zipfile.ZipInfo], packed: int, limits: Limits) -> None:
    if not infos:
        raise UploadError(f"The zip is empty. {SHAPE}")
    if len(infos) > limits.files:
        raise UploadError(
            f"The zip holds {len(infos):,} files; at most {limits.files:,} are taken here. "
            "Zip a sample of the files."
        )
    total = sum(info.file_size for info in infos)
    if total > limits.unpacked_bytes:
        raise _too_much(total, limits)
    if total > _SUSPICIOUS and total > _RATIO * packed:
        raise UploadError(
            f"The zip of {show_bytes(packed)} would unpack to {show_bytes(total)}: images and "
            "sounds do not shrink like that. Zip the files themselves."
        )


def _too_much(total: int, limits: Limits) -> UploadError:
    return UploadError(
        f"The zip unpacks to {show_bytes(total)}; at most {show_bytes(limits.unpacked_bytes)} are "
        "taken here. Zip a sample of the files, or make them smaller."
    )


def _check_unique_names(infos: Sequence[zipfile.ZipInfo]) -> None:
    names = Counter(info.orig_filename for info in infos)
    if repeated := [name for name, count in names.items() if count > 1]:
        raise UploadError(
            f"The zip holds {_quoted(repeated[0])} twice. Make it again from a folder on your disk."
        )


def _parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    """The parts of an entry's path.

    Raises:
        UploadError: The path leads outside the archive, or the entry is a link, a special file,
            encrypted, or compressed with an unusual method.
    """
    name = info.orig_filename
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or _DRIVE.match(name):
        raise UploadError(
            f"The zip holds the name {_quoted(name)}, which leads outside it or is not a plain "
            "path. Make it again from inside the folder, with / between folders."
        )
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "a special file"
        raise UploadError(f"{_quoted(name)} is {what}. Zip the files themselves.")
    if info.flag_bits & 0x41:
        raise UploadError(f"{_quoted(name)} is encrypted. Make the zip without a password.")
    if info.compress_type not in _METHODS:
        raise UploadError(
            f"{_quoted(name)} is compressed in an unusual way (method {info.compress_type}). "
            "Make an ordinary zip (deflate)."
        )
    return tuple(part for part in parts if part not in ("", "."))


# -- the images or sounds


def _find_inputs(
    archive: zipfile.ZipFile, files: Sequence[tuple[zipfile.ZipInfo, tuple[str, ...]]]
) -> tuple[list[ArchiveFile], Modality]:
    """The images of a zip, or the sounds if there are more of them.

    Raises:
        UploadError: There are neither.
    """
    images, sounds = [], []
    for info, parts in files:
        with archive.open(info) as opened:
            head = opened.read(32)
        kind, suffix = image_suffix(head), PurePosixPath(parts[-1]).suffix.lower()
        if kind is not None or suffix in SUFFIXES or suffix in UNREADABLE_SUFFIXES:
            images.append(ArchiveFile(info, parts, kind or suffix, kind is not None))
        elif suffix in SOUNDS or suffix in UNREADABLE_SOUNDS:
            sounds.append(ArchiveFile(info, parts, suffix, is_sound_head(head)))
    n_images, n_sounds = (sum(file.readable for file in kind) for kind in (images, sounds))
    if not n_images and not n_sounds:
        tables = [parts[-1] for _, parts in files if parts[-1].lower().endswith((".csv", ".tsv"))]
        hint = f" Upload {_quoted(tables[0])} by itself." if tables else ""
        raise UploadError(
            f"None of the {len(files):,} files in the zip is an image or a sound (by their first "
            f"bytes).{hint} {SHAPE}"
        )
    return (sounds, "audio") if n_sounds > n_images else (images, "image")


def _folders(entries: Sequence[ArchiveFile], modality: Modality) -> list[tuple[str, ...]]:
    """The folder of each entry: (class,) or (split, class).

    Raises:
        UploadError: There are files outside class folders, class names that are too similar,
            fewer than two classes, or an ambiguous arrangement of folders.
    """
    paths = ["/".join(entry.parts) for entry in entries]
    layout = _layout(paths, modality)
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
            f"The zip has one class folder ({_quoted(next(iter(labels)))}); two or more are "
            f"needed. {SHAPE}"
        )
    if set(layout.splits) == {"train"} and len(places) == len(set(paths)):
        return [(names[places[path][1]],) for path in paths]
    splits = {split: class_name(split) for split in layout.splits}
    folders = {path: (splits[split], names[label]) for path, (split, label) in places.items()}
    return [folders.get(path, (_BESIDE,)) for path in paths]


def _layout(paths: Sequence[str], modality: Modality) -> Layout:
    """Find the splits and classes in the paths of the images or sounds.

    Raises:
        UploadError: They are not in class folders, or the arrangement is ambiguous.
    """
    ordered = sorted(set(paths))
    files = Files(sounds=ordered) if modality == "audio" else Files(images=ordered)
    noun = NOUNS[modality]
    loose = [path for path in paths if "/" not in path]
    try:
        layout = arrange("The zip", files, modality=modality)
    except TargetError as error:
        if len(loose) < len(paths):
            raise UploadError(f"{error} {SHAPE}") from error
        raise _outside(len(loose), len(paths), loose[0], noun) from error
    inside = {path for c in layout.splits.values() for files in c.values() for path in files}
    reason = outside(noun)
    lost = layout.ignored[reason] + sum(lost[reason] for lost in layout.left_out.values())
    if lost:
        stray = [path for path in paths if path not in inside]
        nearest = min(stray, key=lambda path: path.count("/"))
        raise _outside(lost, len(paths), nearest, noun)
    return layout


def _outside(count: int, total: int, example: str, noun: str) -> UploadError:
    return UploadError(
        f"{count:,} of {total:,} {noun}s lie outside class folders, such as {_quoted(example)}. "
        f"{SHAPE}"
    )


def _class_names(classes: set[str]) -> dict[str, str]:
    """Map each folder name in the archive to a safe class name.

    Raises:
        UploadError: Two names differ only in case or encoding, or a name has no usable character.
    """
    names: dict[str, str] = {}
    taken: dict[str, str] = {}
    for original in sorted(classes):
        name = class_name(original)
        if not name:
            raise UploadError(
                f"The folder {_quoted(original)} has no name that can serve as a class. Rename it."
            )
        key = unicodedata.normalize("NFKC", name).casefold()
        if key in taken:
            raise UploadError(
                f"The folders {_quoted(taken[key])} and {_quoted(original)} differ only in case or "
                "in how letters are encoded. Give each class one folder."
            )
        taken[key], names[original] = original, name
    return names


def class_name(folder: str) -> str:
    r"""Remove characters from a folder's name that are unsafe in a path or a page.

    Letters of all scripts stay.

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
    entries: Sequence[ArchiveFile],
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
                if left < 0:  # the zip's directory stated a smaller size
                    raise _too_much(limits.unpacked_bytes - left, limits)
                target.write(chunk)
        pixels += _checked_pixels(path, entry, limits)
        if pixels > limits.pixels:
            raise UploadError(
                f"The images have more than {show_count(limits.pixels)} pixels together, which "
                "is the most that is taken here. Zip a sample of them, or make them smaller."
            )


def _checked_pixels(path: Path, entry: ArchiveFile, limits: Limits) -> int:
    """The number of pixels that an image's header states; 0 if the header is unreadable.

    Raises:
        UploadError: The image has too many pixels.
    """
    width, height = size_of(path) or (0, 0)
    if width * height > limits.image_pixels:
        raise UploadError(
            f"{_quoted('/'.join(entry.parts))} has {width:,} x {height:,} pixels; at most "
            f"{show_count(limits.image_pixels)} are taken in an image. Make it smaller."
        )
    return width * height


def image_suffix(head: bytes) -> str | None:
    """The suffix of the image format with these first bytes; ``None`` if it is not an image.

    Example:
        >>> image_suffix(b"GIF89a"), image_suffix(b"MZ")
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


def _quoted(name: str) -> str:
    """A name from the archive for a message: short, on one line, without hidden characters."""
    visible = clean(name)
    return f"'{visible}'" if len(visible) <= 60 else f"'{visible[:59]}…'"
