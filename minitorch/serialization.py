"""Saving and loading: one safetensors file, written in one step, read without executing anything.

    save({"model": model.state_dict(), "step": 10}, "run.ckpt")        any nesting of tensors and plain values
    checkpoint = load("run.ckpt")
    save_safetensors(model.state_dict(), "model.safetensors")          a flat file of tensors, as Hugging Face's
    model.load_state_dict(load_safetensors("model.safetensors"))

The file is a safetensors file (utils/files.py), so any reader of those opens the tensors. Its metadata holds the
structure round them as JSON, and the CRC-32 of that text:

    {"version": 1,
     "entries": {name: {"dtype", "shape", "crc32", "order"?}},          what the file must hold; order: of the axes
     "tensors": [{"in": name, "kind", "requires_grad"?, "device"?, "shape"?, "offset"?, "strides"?}],
     "root": node}

A node is a JSON number, text, true, false, null or list for itself, and otherwise one tag with its content:
{"tensor": 3}, {"dict": [[key, value], ...]} (OrderedDict, Counter), {"tuple": [...]}, {"bytes": base64},
{"float": "nan"}, {"int": hexadecimal}, {"number": [NumPy dtype, hexadecimal bytes]}, {"dtype": name},
{"device": name}, {"Size": [...]}, {"set": [...]}, {"object": [number, "module:Class", [[attribute, value], ...]]} for
a module, dataclass or namespace, {"same": number} for one met before, {"function": "module:name"} for an operation of
minitorch's. Tensors that share memory are stored once and share it again: `in` names the stored tensor, `offset` and
`strides` (in elements) say which part of it a view sees. Every tensor is checked against its checksum, every tag
against this list, every class against those that the running program has.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import math
import os
import sys
import types
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .backend.devices import device, namespace_of, to_device, to_numpy
from .backend.dtypes import DTYPES, OF_NUMPY, dtype
from .tensor import Size, Tensor, wrap
from .utils.files import CODES, NUMPY, LoadError, atomic_file, no_constant, raw_bytes, reader, write_arrays

__all__ = [
    "LoadError", "add_safe_globals", "atomic_file", "load", "load_safetensors", "safe_globals", "save", "save_safetensors",
]  # fmt: skip

VERSION = 1
STRUCTURE, CHECKSUM = "minitorch", "minitorch.crc32"  # the keys in the metadata
MAPPINGS = (dict, OrderedDict, Counter)
MAX_DEPTH = 100  # of containers in each other
OWN = ("minitorch.ops.", "minitorch.nn.")  # whose functions a file may name: they take tensors and give tensors

Path = tuple  # of keys, from the outermost container inwards


def where(path: Path) -> str:
    return "obj" + "".join(f"[{key!r}]" for key in path)


# --- from objects to nodes -------------------------------------------------------------------------------------------

ALLOWED = (
    "save() takes tensors, NumPy arrays and numbers, None, bool, int, float, str, bytes, dtypes, devices and sizes, in "
    "dicts, lists, tuples, sets, dataclasses, namespaces and modules"
)


def _saved_by_attributes(kind: type) -> bool:
    """Whether an object of this class is its `__dict__`: a module, a dataclass, a namespace."""
    if kind in (argparse.Namespace, types.SimpleNamespace):
        return True
    if getattr(kind, "__dictoffset__", 0) == 0 or issubclass(kind, (Tensor, tuple, list, dict)):
        return False
    nn = sys.modules.get("minitorch.nn")
    return "__dataclass_fields__" in vars(kind) or (nn is not None and issubclass(kind, nn.Module))


def _by_name(name: str) -> Any:
    """The class or function "module:name" that the running program has; nothing is imported. None: there is none."""
    module, _, path = name.partition(":")
    found = sys.modules.get(module)
    for part in path.split("."):
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
    return found


def _name_of(kind: Any) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _unsupported(value: Any, path: Path) -> TypeError:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    article = "a " if name[0].lower() not in "aeiou" else "an "
    hint = ""
    if isinstance(value, Tensor):
        hint = f"; save {where(path)}.detach()"
    elif isinstance(value, types.FunctionType):
        hint = "; only minitorch's own functions are saved: make it a method of the class"
    elif hasattr(value, "state_dict"):
        hint = f"; save {where(path)}.state_dict(), and load it into a new one with load_state_dict()"
    elif hasattr(value, "get_state") and hasattr(value, "manual_seed"):
        hint = f"; save {where(path)}.get_state()"
    elif isinstance(value, Mapping):
        hint = f"; save dict({where(path)})"
    elif isinstance(value, tuple):
        hint = f"; save tuple({where(path)})"
    elif hasattr(value, "value") and hasattr(kind, "__members__"):
        hint = f"; save {where(path)}.value"
    elif isinstance(value, os.PathLike):
        hint = f"; save str({where(path)})"
    elif isinstance(value, np.ndarray):
        hint = f"; an array of {value.dtype} has no place in a safetensors file"
    else:
        for plain in (str, int, float, list):
            if isinstance(value, plain):
                hint = f"; save {plain.__name__}({where(path)})"
    return TypeError(f"{where(path)} is {article}{name}: {ALLOWED}{hint}")


class _Stored:
    """A tensor or array on its way into the file."""

    def __init__(self, array: Any, path: Path, record: dict[str, Any]):
        self.array, self.path, self.record = array, path, record
        self.low, self.high = _extent(array)


class _Encoder:
    def __init__(self) -> None:
        self.stored: list[_Stored] = []
        self.number: dict[int, int] = {}  # id of a tensor or array -> its place in `stored`
        self.alive: list[Any] = []  # so that no id is given out twice
        self.open: set[int] = set()  # the containers that we are inside of
        self.objects: dict[int, int] = {}  # id of a module, dataclass or namespace -> its number

    def node(self, value: Any, path: Path) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if -(2**63) <= value < 2**63 else {"int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if kind is list:
            return self.items(value, path)
        if kind is tuple:
            return {"tuple": self.items(value, path)}
        if kind in MAPPINGS:
            with self.inside(value, path):
                pairs = [[self.key(k, path), self.node(v, (*path, k))] for k, v in value.items()]
            return {kind.__name__: pairs}
        if kind is bytes:
            return {"bytes": base64.b64encode(value).decode()}
        if kind is Size:
            return {"Size": list(value)}
        if kind is dtype:
            return {"dtype": value.name}
        if kind is device:
            return {"device": str(value)}
        if kind is set:
            return {"set": self.items(list(value), path)}
        if isinstance(value, Tensor) and (kind is Tensor or kind in _parameter_classes()):
            return self.tensor(value, path)
        if kind in (np.ndarray, np.memmap) and value.dtype.name in CODES:
            return self.keep(value, value, path, {"kind": "array"})
        if isinstance(value, np.generic) and value.dtype.name in CODES:
            return {"number": [value.dtype.name, value.tobytes().hex()]}
        if kind is types.FunctionType and value.__module__.startswith(OWN) and _by_name(_name_of(value)) is value:
            return {"function": _name_of(value)}
        if _saved_by_attributes(kind):
            return self.object(value, path)
        raise _unsupported(value, path)

    def object(self, value: Any, path: Path) -> dict:
        """A module, dataclass or namespace: its class by name, and its attributes."""
        name = _name_of(type(value))
        if _by_name(name) is not type(value):
            raise TypeError(
                f"{where(path)} is of the class {name.replace(':', '.')}, which nothing finds by that name: "
                "define it at the top of a file"
            )
        with self.inside(value, path):
            if id(value) in self.objects:
                return {"same": self.objects[id(value)]}
            number = self.objects[id(value)] = len(self.objects)
            self.alive.append(value)
            pairs = [[self.key(k, path), self.node(v, (*path, k))] for k, v in vars(value).items()]
        return {"object": [number, name, pairs]}

    def items(self, values: list | tuple, path: Path) -> list:
        with self.inside(values, path):
            return [self.node(value, (*path, i)) for i, value in enumerate(values)]

    def key(self, key: Any, path: Path) -> Any:
        if key is None or type(key) in (bool, int, float, str, bytes):
            return self.node(key, path)
        if type(key) is tuple:
            return {"tuple": [self.key(part, path) for part in key]}
        raise TypeError(
            f"{where(path)} has the key {key!r}, a {type(key).__name__}: keys may be None, bool, int, float, str, "
            "bytes, and tuples of these"
        )

    @contextmanager
    def inside(self, container: Any, path: Path) -> Iterator[None]:
        if id(container) in self.open:
            raise ValueError(f"{where(path)} contains itself: a file has no cycles")
        if len(path) >= MAX_DEPTH:
            raise ValueError(f"{where(path)}: more than {MAX_DEPTH} containers in each other")
        self.open.add(id(container))
        yield
        self.open.remove(id(container))

    def tensor(self, tensor: Tensor, path: Path) -> dict:
        record: dict[str, Any] = {"kind": type(tensor).__name__.lower()}
        if tensor.requires_grad:
            record["requires_grad"] = True
        if tensor.device.type != "cpu":
            record["device"] = str(tensor.device)
        return self.keep(tensor, tensor.array, path, record)

    def keep(self, owner: Any, array: Any, path: Path, record: dict[str, Any]) -> dict:
        number = self.number.get(id(owner))
        if number is None:
            number = self.number[id(owner)] = len(self.stored)
            self.alive.append(owner)
            self.stored.append(_Stored(array, path, record))
        return {"tensor": number}


def _parameter_classes() -> tuple:
    nn = sys.modules.get("minitorch.nn")  # a Parameter exists only if the module has been imported
    return (nn.Parameter, nn.Buffer) if nn is not None else ()


def _address(array: Any) -> int:
    if isinstance(array, np.ndarray):
        return array.__array_interface__["data"][0]
    return array.__cuda_array_interface__["data"][0]


def _extent(array: Any) -> tuple[int, int]:
    """The addresses of the first byte and after the last byte that the array's elements take."""
    if not array.size or not (isinstance(array, np.ndarray) or hasattr(array, "__cuda_array_interface__")):
        return 0, 0
    low = high = _address(array)
    for length, step in zip(array.shape, array.strides, strict=True):
        low, high = low + min(0, (length - 1) * step), high + max(0, (length - 1) * step)
    return low, high + array.itemsize


def _repeats(array: Any) -> bool:
    """Whether two indices may mean the same memory, as in expanded tensors."""
    reach = array.itemsize
    steps = zip(array.strides, array.shape, strict=True)
    for step, length in sorted((abs(step), length) for step, length in steps if length > 1):
        if step < reach:
            return True
        reach += step * (length - 1)
    return False


def _layout(array: Any) -> tuple:
    return _address(array), array.shape, array.strides, array.dtype


def _families(stored: list[_Stored]) -> Iterator[list[_Stored]]:
    """Groups of arrays that share memory. What repeats its own elements is stored by value, alone."""
    family: list[_Stored] = []
    end: tuple[Any, int] = (None, 0)
    for one in sorted(stored, key=lambda s: (isinstance(s.array, np.ndarray), s.low)):
        library = type(one.array)
        if one.low == one.high or _repeats(one.array):
            yield [one]
        elif family and end[0] is library and one.low < end[1]:
            family.append(one)
            end = library, max(end[1], one.high)
        else:
            if family:
                yield family
            family, end = [one], (library, one.high)
    if family:
        yield family


def _entries(stored: list[_Stored]) -> tuple[dict[str, np.ndarray], dict[str, dict]]:
    """The arrays to write, under names; completes the records with where in them each tensor is found."""
    place = {id(one): i for i, one in enumerate(stored)}
    chosen: dict[int, tuple[Any, list[_Stored]]] = {}  # place of the name-giving member -> what to write, who uses it
    for family in _families(stored):
        family.sort(key=lambda one: place[id(one)])
        first = family[0]
        if len(family) == 1 or len({_layout(one.array) for one in family}) == 1:
            chosen[place[id(first)]] = first.array, family
            continue
        base, namer = _common_base(family)
        low, itemsize = _extent(base)[0], base.itemsize
        for one in family:
            if _layout(one.array) != _layout(base):
                one.record["shape"] = list(one.array.shape)
                one.record["offset"] = (_address(one.array) - low) // itemsize
                one.record["strides"] = [step // itemsize for step in one.array.strides]
        chosen[place[id(namer)]] = base, family

    arrays: dict[str, np.ndarray] = {}
    information: dict[str, dict] = {}
    for number in sorted(chosen):
        array, family = chosen[number]
        name = _entry_name(stored[number].path, arrays)
        array = to_numpy(array)
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("="))
        entry: dict[str, Any] = {"dtype": CODES[array.dtype.name], "shape": list(array.shape)}
        if not array.flags.c_contiguous:
            order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
            if array.transpose(order).flags.c_contiguous:
                entry["order"] = order
            array = array.copy(order="C")
        entry["crc32"] = zlib.crc32(raw_bytes(array).data)
        arrays[name], information[name] = array, entry
        for one in family:
            one.record["in"] = name
    return arrays, information


def _common_base(family: list[_Stored]) -> tuple[Any, _Stored]:
    """A contiguous array that all of these are views of, and the member that it is named after."""
    low, high = min(one.low for one in family), max(one.high for one in family)
    first = family[0]
    itemsize = first.array.itemsize
    for one in family:
        if one.array.dtype != first.array.dtype or (one.low - low) % itemsize:
            raise TypeError(
                f"{where(first.path)} ({first.array.dtype}) and {where(one.path)} ({one.array.dtype}) share memory, "
                "seen as different types: that cannot be saved; save a clone() of one of them"
            )
    for one in family:
        if (one.low, one.high) == (low, high) and one.array.flags.c_contiguous:
            return one.array, one
    lowest = next(one.array for one in family if one.low == low)
    at_low = [slice(-1, None) if step < 0 else slice(1) for step in lowest.strides]
    corner = lowest[(*at_low, ...)]  # with the dots a view, also of an array without axes
    strided = namespace_of(lowest).lib.stride_tricks.as_strided
    return strided(corner, ((high - low) // itemsize,), (itemsize,)), first


def _entry_name(path: Path, taken: Mapping[str, Any]) -> str:
    """model.weight for obj["model"]["weight"]: a flat dict keeps its keys as the file's names."""
    name = ".".join(str(key) for key in path).encode("utf-8", "backslashreplace").decode() or "tensor"
    unique, n = name, 2
    while unique in taken or unique == "__metadata__":
        unique, n = f"{name}#{n}", n + 1
    return unique


# --- from nodes to objects -------------------------------------------------------------------------------------------


class _Unknown(Exception):
    """A file names what the running program does not have."""


class _Decoder:
    def __init__(self, tensors: list[Any]):
        self.tensors = tensors
        self.objects: dict[int, Any] = {}

    def node(self, node: Any, depth: int = 0) -> Any:
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} containers in each other")
        if isinstance(node, list):
            return [self.node(item, depth + 1) for item in node]
        ((tag, body),) = node.items()
        if tag == "tensor":
            return self.tensors[_natural(body)]
        for kind in MAPPINGS:
            if tag == kind.__name__:
                pairs = [(self.node(key, depth + 1), self.node(value, depth + 1)) for key, value in body]
                return kind(dict(pairs))
        if tag == "tuple":
            return tuple(self.node(item, depth + 1) for item in body)
        if tag == "bytes":
            return base64.b64decode(body, validate=True)
        if tag == "int":
            return int(body, 16)
        if tag == "float":
            return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[body]
        if tag == "number":
            name, data = body
            return np.frombuffer(bytes.fromhex(data), NUMPY[CODES[name]], count=1)[0]
        if tag == "dtype":
            return DTYPES[body]
        if tag == "device":
            return device(body)
        if tag == "Size":
            return Size(_natural(length) for length in body)
        if tag == "set":
            return {self.node(item, depth + 1) for item in body}
        if tag == "function":
            function = _by_name(body)
            if type(function) is not types.FunctionType or not body.startswith(OWN) or _name_of(function) != body:
                raise _Unknown(f"names the function {body!r}, which is not one of minitorch's operations")
            return function
        if tag == "object":
            number, name, pairs = body
            return self.object(number, name, pairs, depth)
        if tag == "same":
            return self.objects[_natural(body)]
        raise ValueError(f"unknown type {tag!r}; was the file written by a newer minitorch?")

    def object(self, number: int, name: str, pairs: list, depth: int) -> Any:
        """An object of a class that the program has defined: made empty, then its attributes set. No code of it runs."""
        kind = _by_name(name)
        shown = name.replace(":", ".")
        if kind is None:
            raise _Unknown(f"holds an object of the class {shown}: define or import it before load()")
        if not isinstance(kind, type) or not _saved_by_attributes(kind):
            raise _Unknown(f"names {shown}, which is not a module, dataclass or namespace: it is not made")
        made: Any = object.__new__(kind)
        self.objects[_natural(number)] = made
        for key, value in pairs:
            if type(key) is not str:
                raise ValueError(f"the attribute {key!r}")
            vars(made)[key] = self.node(value, depth + 1)
        return made


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} where a count was expected")
    return number


def _view(base: Any, record: dict) -> Any:
    """The part of `base` that the record describes, after a check that it lies inside."""
    shape, strides = tuple(map(_natural, record["shape"])), tuple(record["strides"])
    low = high = _natural(record["offset"])
    for length, step in zip(shape, strides, strict=True):
        if type(step) is not int or not length:
            raise ValueError(f"a view of shape {shape} with strides {strides}")
        low, high = low + min(0, (length - 1) * step), high + max(0, (length - 1) * step)
    if low < 0 or high >= base.size or math.prod(shape) > base.size:
        raise ValueError(f"a view of shape {shape} with strides {strides} in {base.size} elements")
    corner = base.reshape(-1)[record["offset"] :]
    strided = namespace_of(base).lib.stride_tricks.as_strided
    return strided(corner, shape, tuple(step * base.itemsize for step in strides))


def _restored(bases: dict[str, np.ndarray], records: list[dict], locate: Callable, failure: Callable) -> list[Any]:
    """The tensors and arrays of the records; those of one entry share its memory, and its version counter."""
    moved: dict[tuple[str, str], Any] = {}
    counters: dict[tuple[str, str], list] = {}
    made: list[Any] = []
    for record in records:
        base = bases[record["in"]]
        kind = record["kind"]
        if kind == "array":
            made.append(_view(base, record) if "strides" in record else base)
            continue
        if kind not in ("tensor", "parameter", "buffer"):
            raise ValueError(f"unknown kind {kind!r}")
        if base.dtype not in OF_NUMPY:
            raise ValueError(f"a tensor of {base.dtype}, a dtype that minitorch's tensors do not have")
        place = locate(record.get("device", "cpu"))
        key = record["in"], str(place)
        if key not in moved:
            try:
                moved[key] = to_device(base, place)
            except RuntimeError as error:
                advice = f"tensor {record['in']!r} belongs on {place}: {error}; or load(FILE, map_location='cpu')"
                raise failure(advice) from error
        array = moved[key]
        array = _view(array, record) if "strides" in record else array[...]
        tensor = wrap(array, requires_grad=record.get("requires_grad", False) is True)
        if kind == "parameter":
            from .nn import Parameter

            tensor = Parameter(tensor.detach(), requires_grad=tensor.requires_grad)
        elif kind == "buffer":
            from .nn import Buffer

            tensor = Buffer(tensor.detach())
        tensor._counter = counters.setdefault(key, tensor._counter)
        made.append(tensor)
    return made


def _locator(map_location: Any) -> Callable[[str], device]:
    if map_location is None:
        return device
    if isinstance(map_location, (str, device)):
        place = device(map_location)
        return lambda saved: place
    if isinstance(map_location, Mapping):
        return lambda saved: device(map_location.get(saved, saved))
    raise TypeError(
        "load(): map_location is a device ('cpu', 'cuda:1'), a dict from saved devices to devices, or None, not "
        f"{type(map_location).__name__}"
    )


# --- the public functions --------------------------------------------------------------------------------------------


def save(obj: Any, f: Any) -> None:
    """Saves tensors, parameters, NumPy arrays, plain values and whole modules, nested in dicts, lists and tuples, as `f`.

    Of a module, dataclass or namespace the class's name and the attributes are saved, no code; `load` needs the class.

    A path is written atomically: whoever reads it finds the old file or the new one, complete, whatever happens
    meanwhile. An open binary file is written to where it stands. Tensors that share memory share it after loading, too.
    """
    encoder = _Encoder()
    root = encoder.node(obj, ())
    entries, information = _entries(encoder.stored)
    structure = json.dumps(
        {"version": VERSION, "entries": information, "tensors": [one.record for one in encoder.stored], "root": root},
        separators=(",", ":"),
    )
    metadata = {"format": "pt", STRUCTURE: structure, CHECKSUM: f"{zlib.crc32(structure.encode()):08x}"}
    _write_to(f, entries, metadata)


def _write_to(f: Any, entries: dict[str, np.ndarray], metadata: dict[str, str]) -> None:
    if hasattr(f, "write"):
        write_arrays(f, entries, metadata)
        return
    with atomic_file(f) as file:
        write_arrays(file, entries, metadata)


def load(f: Any, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """What `save` saved as `f`, a path or an open binary file. Never executes anything, whatever the file holds.

    map_location: the device for the tensors, or a dict from saved devices to devices; by default each returns to the
    device it was saved from. weights_only: accepted, as PyTorch has it. Modules, dataclasses and namespaces are rebuilt
    from classes that the program has defined or imported by then, without calling them; nothing is imported.
    """
    locate = _locator(map_location)
    with reader(f) as source:
        text = source.metadata.get(STRUCTURE)
        if text is None:
            raise source.error("not written by save(); read the tensors of this safetensors file by load_safetensors()")
        if source.metadata.get(CHECKSUM) != f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}":
            raise source.error("altered: the structure does not have the checksum that it was saved with", 8)
        try:
            structure = json.loads(text, parse_constant=no_constant)
            if structure["version"] != VERSION:
                raise ValueError(f"format version {structure['version']!r}; this minitorch reads version {VERSION}")
            entries = structure["entries"]
            found = {name: (kind, list(shape)) for name, (kind, shape, _) in source.table.items()}
            if found != {name: (NUMPY[entry["dtype"]], entry["shape"]) for name, entry in entries.items()}:
                raise ValueError("the header's tensors are not those that were saved")
            bases = {name: source.array(name, entries[name]["crc32"], entries[name].get("order")) for name in found}
            return _Decoder(_restored(bases, structure["tensors"], locate, source.error)).node(structure["root"])
        except LoadError:
            raise
        except _Unknown as error:
            raise source.error(str(error), 8) from None
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError, binascii.Error) as error:
            raise source.error(f"malformed structure: {type(error).__name__}: {error}", 8) from None


def save_safetensors(tensors: Mapping[str, Any], path: Any, metadata: Mapping[str, str] | None = None) -> None:
    """Saves a flat dict of tensors, such as a state_dict, as a plain safetensors file, atomically.

    Tied tensors (the same memory under several names) are stored once, under the name that sorts first, as Hugging
    Face's writers do; the metadata keeps the other names, and `load_safetensors` gives them back.
    """
    stored: list[_Stored] = []
    for name, tensor in tensors.items():
        if type(name) is not str or name == "__metadata__":
            raise TypeError(f"save_safetensors(): names are text other than '__metadata__', got {name!r}")
        array = tensor.array if isinstance(tensor, Tensor) else tensor
        if not hasattr(array, "dtype") or array.dtype.name not in CODES:
            raise TypeError(f"save_safetensors(): {name!r} is a {type(tensor).__name__}: expected a tensor; see save()")
        stored.append(_Stored(array, (name,), {}))
    stored.sort(key=lambda one: one.path)
    aliases: dict[str, str] = {}
    for family in _families(stored):
        family.sort(key=lambda one: one.path)
        kept = family[0]
        for one in family[1:]:
            if _layout(one.array) != _layout(kept.array):
                raise ValueError(
                    f"save_safetensors(): {kept.path[0]!r} and {one.path[0]!r} are different parts of one memory; "
                    "clone() them, or use save(), which keeps views"
                )
            aliases[one.path[0]] = kept.path[0]
    entries, information = _entries([one for one in stored if one.path[0] not in aliases])
    checksums = {name: entry["crc32"] for name, entry in information.items()}
    own = {CHECKSUM: json.dumps(checksums, separators=(",", ":"))}
    given = {"format": "pt", **(metadata or {})}
    for name in aliases:
        if name in own or name in given:
            raise ValueError(f"save_safetensors(): {name!r} is the name of a tied tensor and of a line of the metadata")
    for name in set(own) & set(given):
        raise ValueError(f"save_safetensors(): metadata {name!r} is the file's own")
    # _families() goes by memory address: sorted, the same tensors give the same bytes in every run
    _write_to(path, entries, {**given, **own, **dict(sorted(aliases.items()))})


def load_safetensors(path: Any, device: Any = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file, whoever wrote it, by name. Names that were tied share one tensor again.

    On the CPU they are the file, mapped into memory: nothing is read before it is looked at, so a weight is copied once,
    by load_state_dict into the model. They may be changed; the file does not follow. (A program that writes into the file
    meanwhile, instead of replacing it as minitorch does, changes them.) `path` may be an open file: it is read.
    """
    with reader(path) as source:
        try:
            if STRUCTURE in source.metadata:  # written by save()
                entries = json.loads(source.metadata[STRUCTURE])["entries"]
                checksums = {name: _natural(entry["crc32"]) for name, entry in entries.items()}
            else:
                checksums = json.loads(source.metadata.get(CHECKSUM, "{}"))
                checksums = {name: _natural(checksums[name]) for name in checksums}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise source.error(f"malformed checksums in the metadata: {error}", 8) from None
        home = _locator(device)("cpu")
        tensors: dict[str, Tensor] = {}
        for name, (kind, _, begin) in source.table.items():
            if kind not in OF_NUMPY:
                place = source.start + begin
                raise source.error(f"tensor {name!r} has dtype {kind}, which minitorch's tensors do not have", place)
            array = source.array if hasattr(path, "read") else source.mapped
            tensors[name] = wrap(to_device(array(name, checksums.get(name)), home))
    for alias, name in source.metadata.items():
        if name in tensors and alias not in tensors and alias not in ("format", CHECKSUM):
            tensors[alias] = tensors[name]
    return tensors


def add_safe_globals(safe_globals: list) -> None:
    """Accepted: `load` needs no list, it never runs code of a file (see `load`)."""


@contextmanager
def safe_globals(safe_globals: list) -> Iterator[None]:
    """Accepted, like `add_safe_globals`."""
    yield
