"""Debian packages made of a few small files."""

from __future__ import annotations

import io
import tarfile


def ar(members):
    """An ar archive as dpkg-deb writes it."""
    content = b"!<arch>\n"
    for name, data in members.items():
        header = f"{name:<16}{'0':<12}{'0':<6}{'0':<6}{'100644':<8}{len(data):<10}`\n"
        content += header.encode() + data + b"\n" * (len(data) % 2)
    return content


def tar(files, compression="xz"):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as archive:
        link = tarfile.TarInfo("./usr/share/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def write_deb(path, files, compression="xz"):
    data = tar(files, compression)
    suffix = f".{compression}" if compression else ""
    path.write_bytes(
        ar({"debian-binary": b"2.0\n", "control.tar.xz": b"odd", f"data.tar{suffix}": data})
    )
    return path
