"""Public files: fetched with a bar, checked before they are believed, unpacked with care."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import os
import sys
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from .files import LoadError, atomic_file

CHUNK = 1 << 20  # bytes
LIMIT = 4 << 30  # bytes: no data set here is larger


def download(urls: list[str], path: str, digest: str, size: int | None = None) -> None:
    """The file from the first address that has it; kept if it is there already. `digest`: its MD5 or SHA-256, in hex.

    `path` is what it was before until the last byte has come and the checksum is right.
    """
    if os.path.isfile(path) and checksum(path, digest) == digest:
        return
    errors = []
    for url in urls:
        try:
            print(f"Downloading {url} to {path}", file=sys.stderr)
            _fetch(url, path, digest, size)
            return
        except (http.client.HTTPException, OSError, LoadError) as error:  # a URLError is an OSError
            errors.append(f"Tried {url}, got:\n{error}")
    raise RuntimeError(f"Error downloading {os.path.basename(path)}:\n" + "\n".join(errors))


def _fetch(url: str, path: str, expected: str, size: int | None) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "minitorch"})
    with urllib.request.urlopen(request, timeout=60) as answer, atomic_file(path) as file:
        digest, came = _hash(expected), 0
        total = int(answer.headers.get("Content-Length") or 0)
        with _progress(os.path.basename(path), total) as advance:
            while chunk := answer.read(CHUNK):
                came += len(chunk)
                if came > (size or LIMIT):
                    raise LoadError(f"{url}: stopped: expected {size or LIMIT:,} bytes at most, more came")
                digest.update(chunk)
                file.write(chunk)
                advance(len(chunk))
        if digest.hexdigest() != expected:
            raise LoadError(
                f"{url}: the checksum of what came is {digest.hexdigest()}, expected {expected}; {came:,} bytes came"
                + (f", expected {size:,}" if size else "")
            )


@contextlib.contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[int], Any]]:
    """A bar, where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        yield lambda n: None
        return
    with tqdm(total=total or None, unit="B", unit_scale=True, desc=name, disable=None) as bar:
        yield bar.update


def _hash(digest: str):
    """MD5 or SHA-256, as the length of the hexadecimal digest says."""
    return hashlib.new({32: "md5", 64: "sha256"}[len(digest)], usedforsecurity=False)


def checksum(path: str | os.PathLike, like: str) -> str:
    """The file's checksum, of the same kind as `like`."""
    digest = _hash(like)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def unpacked(path: str) -> Iterator[BinaryIO]:
    """The file, or what is packed in it (.gz); a damaged archive is reported with its name."""
    try:
        with open(path, "rb") as raw:
            yield gzip.GzipFile(fileobj=raw) if path.endswith(".gz") else raw  # type: ignore[misc]
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise LoadError(f"{path}: a damaged or truncated gzip file ({error})") from None
