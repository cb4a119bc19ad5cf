"""Files: written in one step (`atomic_file`), and the safetensors format, read with suspicion.

    8 bytes       n, the length of the header
    n bytes       JSON: {name: {"dtype", "shape", "data_offsets": [begin, end]}, ..., "__metadata__": {text: text}}
    the rest      the tensors' bytes, without gaps, in C order, little-endian

A reader trusts nothing: every length and offset is checked against the file's size before memory is asked for. The
safetensors library reads and writes the same format; this reader adds the offsets to its messages, and this writer
works on a file that is open already, so that a save that was killed leaves nothing but a name that we recognise.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

try:
    import fcntl
except ImportError:  # no flock on Windows: leftovers stay there until they are deleted by hand
    fcntl = None  # type: ignore[assignment]

MAX_HEADER = 100_000_000  # bytes; the safetensors library refuses more, too
TEMPORARY = ".minitorch-tmp"

CODES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32",
    "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
}  # fmt: skip
NUMPY = {code: np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name) for name, code in CODES.items()}


class LoadError(RuntimeError):
    """A file that cannot be loaded: truncated, altered, or not of minitorch. Names the file and the place in it."""


# --- written in one step ---------------------------------------------------------------------------------------------


@contextmanager
def atomic_file(path: Any) -> Iterator[BinaryIO]:
    """Opens a new file for writing that becomes `path` when the block ends, complete and in one step.

    Until then, and after an error, `path` is what it was before: the bytes go to a temporary name in the same folder,
    are synced to the disk, and renamed. Temporary files of processes that were killed are deleted on the way.
    """
    path = os.path.realpath(os.fspath(path))  # a symbolic link stays one: its target is replaced
    folder, name = os.path.split(path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{path}: the folder {folder} does not exist; make it first")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    _remove_leftovers(folder)
    temporary, descriptor = _open_temporary(folder, name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            with suppress(FileNotFoundError):
                os.fchmod(descriptor, stat.S_IMODE(os.stat(path).st_mode))
            yield file
            file.flush()
            os.fsync(descriptor)
            os.replace(temporary, path)  # the lock is held until here
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the new name, too, survives a power cut
    finally:
        os.close(descriptor)


def _open_temporary(folder: str, name: str) -> tuple[str, int]:
    while True:
        temporary = os.path.join(folder, f".{name[:50]}.{os.urandom(6).hex()}{TEMPORARY}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        taken = False
        if fcntl is not None:
            try:  # the lock dies with its process: so a leftover is told from a save that is going on
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                taken = True
            except OSError:
                pass  # a file system without locks: then nobody takes it for a leftover either
        if not taken and os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # another process took it for a leftover before it was locked


def _remove_leftovers(folder: str) -> None:
    with os.scandir(folder) as found:
        names = [f.path for f in found if f.name.startswith(".") and f.name.endswith(TEMPORARY)]
    for leftover in names if fcntl is not None else ():
        with suppress(OSError):  # locked by a living process, deleted by another one, or not ours to delete
            descriptor = os.open(leftover, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(leftover)
            finally:
                os.close(descriptor)


def write_arrays(file: BinaryIO, entries: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    """Writes C-contiguous arrays as a safetensors file. (The library would need a second name, or a second copy.)"""
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    order = sorted(entries, key=lambda name: -entries[name].itemsize)  # each begins at a multiple of its itemsize
    for name in order:
        array = entries[name]
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": CODES[array.dtype.name], "shape": list(array.shape), "data_offsets": [begin, end],
        }  # fmt: skip
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"the structure takes {len(text):,} bytes as JSON, more than the {MAX_HEADER:,} of a safetensors header; "
            "keep long lists of numbers as tensors"
        )
    file.write(struct.pack("<Q", len(text)))
    file.write(text)
    for name in order:
        file.write(raw_bytes(entries[name]).data)


def raw_bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)


# --- read with suspicion ---------------------------------------------------------------------------------------------


class Reader:
    """A safetensors file whose header has been checked: `metadata`, `table` {name: (dtype, shape, begin)}, `array`."""

    def __init__(self, file: BinaryIO, name: str):
        self.file, self.name = file, name
        self._mapped: mmap.mmap | None = None
        file.seek(0, os.SEEK_END)
        size = file.tell()
        file.seek(0)
        start = file.read(9)
        if len(start) < 8:
            raise self.error(f"truncated: {size} bytes, the length of a safetensors header takes 8")
        length = struct.unpack("<Q", start[:8])[0]
        if start[8:] != b"{":
            _refuse_pickle(start, name)
        if length > min(size - 8, MAX_HEADER):
            raise self.error(f"truncated or altered: the header says it has {length:,} bytes, the file {size:,}", 0)
        if start[8:] != b"{":
            raise self.error("not a safetensors file: the header does not begin with '{'", 8)
        file.seek(8)
        try:
            text = file.read(length).decode()
            header = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=no_constant)
        except (ValueError, RecursionError) as error:
            raise self.error(f"truncated or altered: the header is not JSON ({error})", 8) from None
        self.start, self.size = 8 + length, size
        try:
            self.metadata = _checked_metadata(header.pop("__metadata__", {}))
            self.table = self._checked_table(header)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise self.error(f"malformed header: {type(error).__name__}: {error}", 8) from None

    def error(self, message: str, offset: int | None = None) -> LoadError:
        return LoadError(f"{self.name}{f', at byte {offset:,}' if offset is not None else ''}: {message}")

    def _checked_table(self, header: dict) -> dict[str, tuple[np.dtype, tuple[int, ...], int]]:
        """Dtype, shape and place of each tensor, in the file's order, when they fill the file exactly."""
        table, expected = {}, 0
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            if set(entry) != {"dtype", "shape", "data_offsets"}:
                raise ValueError(f"tensor {name!r} has the fields {sorted(entry)}")
            (begin, end), shape = entry["data_offsets"], tuple(entry["shape"])
            if not all(type(n) is int and 0 <= n < 2**63 for n in (begin, end, *shape)) or len(shape) > 64:
                raise ValueError(f"tensor {name!r}: shape {list(shape)} and offsets {[begin, end]}")
            if entry["dtype"] not in NUMPY:
                raise self.error(f"tensor {name!r} has dtype {entry['dtype']}; minitorch reads {', '.join(NUMPY)}")
            kind = NUMPY[entry["dtype"]]
            needed = math.prod(shape) * kind.itemsize
            if math.prod(max(n, 1) for n in shape) * kind.itemsize >= 2**63:
                raise ValueError(f"tensor {name!r}: no array has the shape {list(shape)}")
            if needed != end - begin:
                raise ValueError(
                    f"tensor {name!r}: {entry['dtype']} of shape {list(shape)} takes {needed:,} bytes, its offsets say "
                    f"{end - begin:,}"
                )
            if begin != expected:
                raise ValueError(f"tensor {name!r} begins at {begin:,}, expected {expected:,}")
            if self.start + end > self.size:
                raise self.error(
                    f"truncated: tensor {name!r} ends at byte {self.start + end:,}, the file has {self.size:,}",
                    self.start + begin,
                )
            table[name], expected = (kind, shape, begin), end
        if self.start + expected != self.size:
            surplus = self.size - self.start - expected
            raise self.error(f"altered: {surplus:,} bytes follow the last tensor", self.start + expected)
        return table

    def array(self, name: str, crc32: int | None = None, order: list[int] | None = None) -> np.ndarray:
        """The named tensor, read into new memory and compared with its checksum."""
        kind, shape, begin = self.table[name]
        array = np.empty(shape, kind)
        data = raw_bytes(array)
        self.file.seek(self.start + begin)
        if self.file.readinto(data) != data.size:  # type: ignore[attr-defined]
            raise self.error(f"truncated while it was read: tensor {name!r}", self.start + begin)
        self._check_sum(name, array, crc32)
        if order is not None:  # the layout in memory that it had: products round alike in the same layout only
            if sorted(order) != list(range(array.ndim)):
                raise self.error(f"tensor {name!r}: {order} is not an order of {array.ndim} axes")
            laid_out = np.empty([shape[axis] for axis in order], kind).transpose(np.argsort(order))
            laid_out[...] = array
            array = laid_out
        return array

    def mapped(self, name: str, crc32: int | None = None) -> np.ndarray:
        """The named tensor in the file itself, mapped into memory: a page is read when somebody looks at it.

        A page that is written to becomes the process's own; the file never changes.
        """
        kind, shape, begin = self.table[name]
        begin += self.start
        if begin % kind.alignment:
            return self.array(name, crc32)  # kernels want numbers to begin at multiples of their size
        if self._mapped is None:
            try:
                self._mapped = mmap.mmap(self.file.fileno(), self.size, access=mmap.ACCESS_COPY)
            except (ValueError, OSError) as error:  # shorter than it was, or a file system without mapping
                if os.fstat(self.file.fileno()).st_size < self.size:
                    raise self.error(f"truncated while it was read: tensor {name!r}", begin) from error
                return self.array(name, crc32)
        array: np.ndarray = np.ndarray(shape, kind, self._mapped, begin)
        self._check_sum(name, array, crc32)
        return array

    def _check_sum(self, name: str, array: np.ndarray, crc32: int | None) -> None:
        if crc32 is not None and zlib.crc32(raw_bytes(array).data) != crc32:
            raise self.error(
                f"altered: tensor {name!r} ({array.nbytes:,} bytes) does not have the checksum that it was saved with",
                self.start + self.table[name][2],
            )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name occurs twice")
    return made


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _checked_metadata(metadata: Any) -> dict[str, str]:
    if not isinstance(metadata, dict) or not all(type(value) is str for value in metadata.values()):
        raise ValueError("__metadata__ must be a map from text to text")
    return metadata


def _refuse_pickle(start: bytes, name: str) -> None:
    if start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and start[1] in range(2, 6)):
        raise LoadError(
            f"{name}: a pickle of Python objects, as torch.save's .pt and .bin are; loading one can run any code, "
            "so minitorch reads none. Convert it where PyTorch is: tensors = torch.load(FILE, weights_only=True); then "
            "safetensors.torch.save_file(tensors, 'model.safetensors'), to be read with load_safetensors()"
        )


@contextmanager
def reader(f: Any) -> Iterator[Reader]:
    if hasattr(f, "read") and hasattr(f, "seek"):
        yield Reader(f, str(getattr(f, "name", f"<{type(f).__name__}>")))
        return
    name = os.fspath(f)
    if name.endswith(TEMPORARY):
        raise LoadError(f"{name}: the leftover of a save that did not finish; the file it was meant for is intact")
    with open(name, "rb") as file:
        yield Reader(file, name)
