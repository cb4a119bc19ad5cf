"""What is read from archives: a file in one, or a table that is made of many. Each returns the bytes of a file of ours.

Nothing is unpacked to the disk, and no name in an archive becomes a path.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zipfile
from collections.abc import Iterator
from typing import IO

from ..utils.download import CHUNK


def read_member(archive: str, member: str, size: int = -1) -> bytes:
    """A file in a .zip or a .tar.gz: its first `size` bytes, or all of it."""
    if archive.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed, packed.open(member) as file:
            return file.read(size)
    for name, file in _entries(archive):
        if name == member:
            return file.read(size)
    raise KeyError(f"there is no {member} in it")


def utf8(archive: str, member: str) -> bytes:
    """A text in latin-1 as UTF-8 with a byte-order mark. Its lines end in CR LF, whatever they end in there."""
    text = read_member(archive, member).decode("latin-1").replace("\r\n", "\n").rstrip("\n") + "\n"
    return ("\ufeff" + text.replace("\n", "\r\n")).encode()


def reviews(archive: str, folder: str) -> bytes:
    """The table of the reviews folder/pos/ID_RATING.txt, then folder/neg, by ID: label, rating, id, text.

    A tab in a text, or whatever may end a line, becomes a space.
    """
    rows = []
    for name, file in _entries(archive):
        if found := re.fullmatch(rf"{re.escape(folder)}/(pos|neg)/([0-9]+)_([0-9]+)\.txt", name):
            kind, number, rating = found.groups()
            text = " ".join(file.read().decode().replace("\t", " ").splitlines())
            rows.append((int(kind == "neg"), int(number), rating, text))
    if not rows:
        raise KeyError(f"there are no reviews in {folder}")
    lines = [f"{1 - negative}\t{rating}\t{number}\t{text}" for negative, number, rating, text in sorted(rows)]
    return "\n".join(["label\trating\tid\ttext", *lines, ""]).encode()


def _entries(archive: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The files of a .tar.gz in one pass, to the end, where gzip's own checksum stands. Each is read when it comes."""
    with gzip.open(archive) as packed, tarfile.open(fileobj=packed, mode="r|") as tar:
        while entry := tar.next():
            if entry.isfile() and (file := tar.extractfile(entry)):
                yield entry.name, file
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep all of them
        while packed.read(CHUNK):
            pass
