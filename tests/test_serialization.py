"""Saving and loading: what comes back, what is refused, and what a kill leaves behind."""

import argparse
import dataclasses
import io
import json
import math
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import Counter, OrderedDict, namedtuple

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minitorch
from minitorch import nn
from minitorch.serialization import LoadError, atomic_file, load, load_safetensors, save, save_safetensors
from minitorch.tensor import Tensor
from minitorch.utils.files import MAX_HEADER, TEMPORARY

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
NUMPY_DTYPES = "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 float32 float64".split()
TENSOR_DTYPES = [d for d in NUMPY_DTYPES if d not in ("uint16", "uint32", "uint64")] + ["bfloat16"]


def same(a, b):
    """Equality of type, dtype, shape and every bit; of containers, in order."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        return a.requires_grad == b.requires_grad and a.device == b.device and same(a.array, b.array)
    if isinstance(a, (np.ndarray, np.generic)):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(k, m) and same(v, w) for (k, v), (m, w) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def round_trip(obj):
    file = io.BytesIO()
    save(obj, file)
    return load(file)


def bits(dtype, shape, seed=0):
    """Any bit pattern: NaNs with payloads, infinities, denormals."""
    dtype = np.dtype(dtype)
    array = np.random.default_rng(seed).integers(0, 256, (*shape, dtype.itemsize), np.uint8)
    return np.asarray(array[..., 0] % 2 == 0) if dtype.name == "bool" else array.view(dtype).reshape(shape)


# --- what comes back -------------------------------------------------------------------------------------------------

plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**200), 2**200), st.floats(), st.text(), st.binary(),
    st.characters(exclude_categories=()), st.sampled_from([minitorch.float32, minitorch.bfloat16, minitorch.bool]),
    st.sampled_from([minitorch.device("cpu"), minitorch.device("cuda:1")]),
    st.lists(st.integers(0, 9), max_size=3).map(minitorch.Size),
)  # fmt: skip
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
arrays = st.builds(bits, st.sampled_from(NUMPY_DTYPES), shapes, st.integers(0, 9))
tensors = st.builds(
    lambda dtype, *rest: minitorch.from_numpy(bits(getattr(minitorch, dtype).numpy, *rest)),
    st.sampled_from(TENSOR_DTYPES), shapes, st.integers(0, 9),
)  # fmt: skip
scalars = st.sampled_from(
    [np.float32(1.5), np.int8(-3), np.uint64(2**64 - 1), np.bool_(True), np.float64(math.pi), ml_dtypes.bfloat16(2.5)]
)
keys = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(), st.binary()),
    lambda inner: st.lists(inner, max_size=2).map(tuple),
    max_leaves=3,
)
nested = st.recursive(
    st.one_of(plain, arrays, tensors, scalars),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4).map(OrderedDict),
        st.dictionaries(keys, st.integers(), max_size=4).map(Counter),
    ),
    max_leaves=12,
)


SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=SLOW)
@given(nested)
def test_any_nesting_comes_back(obj):
    assert same(round_trip(obj), obj)


def test_values_that_json_has_not():
    obj = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 2**63, 10**5000, "\ud800", b"\x00\xff", {1: 0, "1": 1}]
    back = round_trip(obj)
    assert same(back, obj) and math.copysign(1, back[3]) == -1
    with pytest.raises(LoadError, match="not JSON"):
        load(io.BytesIO(forged({"a": [float("nan")]})))


def test_requires_grad_and_parameters():
    weight = nn.Parameter(minitorch.arange(6.0).reshape(2, 3))
    frozen = nn.Parameter(minitorch.ones(2), requires_grad=False)
    computed = (weight * 2).sum()
    back = round_trip({"w": weight, "f": frozen, "x": minitorch.ones(2, requires_grad=True), "y": computed})
    assert type(back["w"]) is nn.Parameter and back["w"].requires_grad
    assert type(back["f"]) is nn.Parameter and not back["f"].requires_grad
    assert type(back["x"]) is Tensor and back["x"].requires_grad
    assert back["y"].requires_grad and back["y"].is_leaf and back["y"].item() == 30
    assert weight.grad is None


def test_generator_states():
    minitorch.manual_seed(5)
    minitorch.rand(7)
    generator = minitorch.Generator().manual_seed(3)
    states = round_trip({"default": minitorch.get_rng_state(), "own": generator.get_state()})
    expected = minitorch.rand(9).tolist(), minitorch.randn(9, generator=generator).tolist()
    minitorch.manual_seed(99)
    minitorch.set_rng_state(states["default"])
    generator.set_state(states["own"])
    assert (minitorch.rand(9).tolist(), minitorch.randn(9, generator=generator).tolist()) == expected


def test_layout_in_memory():
    """Values of any layout; and dense layouts stay, because products round alike in the same layout only."""
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    views = x.T, x.transpose(1, 2, 0), x[::2, 1:, ::-1], x[:, 0], np.broadcast_to(x[0], (6, 4, 5)), np.asfortranarray(x)
    for view in views:
        back = round_trip(minitorch.from_numpy(view.copy("K") if view.flags.forc else view)).array
        assert (back == view).all()
        if view.flags.forc:
            assert back.strides == view.copy("K").strides
    big_endian = np.arange(5, dtype=">i4")
    assert same(round_trip(big_endian), np.arange(5, dtype=np.int32))


def test_shared_memory_is_shared_again(tmp_path):
    weight = minitorch.arange(12.0).reshape(3, 4).requires_grad_()
    other = weight.detach()
    obj = {"decoder": weight, "embedding": weight, "detached": other, "row": other[1], "column": other[:, ::2].T}
    save(obj, tmp_path / "a.ckpt")
    back = load(tmp_path / "a.ckpt")
    assert same(back, obj)
    assert back["decoder"] is back["embedding"] and back["detached"] is not back["decoder"]
    version = back["decoder"]._version
    with minitorch.no_grad():
        back["row"].mul_(-1)
    assert back["decoder"][1].tolist() == [-4, -5, -6, -7] and back["column"][0].tolist() == [0, -4, 8]
    assert back["decoder"]._version == version + 1  # one counter for one memory
    assert len(stored(tmp_path / "a.ckpt")) == 1

    x = minitorch.arange(10)
    parts = {
        "left": x[:6],
        "right": x[4:],
        "reversed": minitorch.from_numpy(x.array[::-1]),
        "apart": minitorch.zeros(2),
    }
    save(parts, tmp_path / "b.ckpt")  # none of them holds them all
    back = load(tmp_path / "b.ckpt")
    assert same(back, parts)
    back["left"][5] = 77
    assert back["right"][1].item() == 77 and back["reversed"][4].item() == 77
    assert {name: shape for name, (shape, _) in stored(tmp_path / "b.ckpt").items()} == {"left": [10], "apart": [2]}


def test_a_number_within_the_shared_memory():
    x = minitorch.arange(10)
    parts = [x[4], x[4:7], x[5:9], x[8]]
    back = round_trip(parts)
    assert same(back, parts)
    back[3].fill_(-1)
    assert back[2].tolist() == [5, 6, 7, -1]


def test_only_what_is_seen_is_stored():
    x = minitorch.zeros(1000, 1000)
    file = io.BytesIO()
    save([x[:2, :2], minitorch.ones(1).expand(3)], file)
    assert len(file.getvalue()) < 2000


def stored(path):
    header = open(path, "rb").read()
    table = json.loads(header[8 : 8 + struct.unpack("<Q", header[:8])[0]])
    table.pop("__metadata__")
    return {name: (entry["shape"], entry["data_offsets"]) for name, entry in table.items()}


def test_other_readers(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    x = minitorch.randn(3, 4)
    state = {"b.weight": x, "a": x.T.clone(), "half": x.to(minitorch.bfloat16), "empty": minitorch.zeros(0, 3)}
    state["n"] = minitorch.tensor(7)
    save({"model": state, "step": 1}, tmp_path / "a")
    save_safetensors(state, tmp_path / "b")
    for name, prefix in (("a", "model."), ("b", "")):
        with safetensors.safe_open(tmp_path / name, "np") as file:
            assert (file.get_tensor(prefix + "b.weight") == x.array).all()
            assert (file.get_tensor(prefix + "a") == x.array.T).all()
            assert file.get_tensor(prefix + "half").dtype == ml_dtypes.bfloat16
            assert file.get_tensor(prefix + "empty").shape == (0, 3) and file.get_tensor(prefix + "n") == 7
            assert file.metadata()["format"] == "pt"  # transformers asks for it


def test_device_and_map_location(tmp_path):
    save({"x": minitorch.ones(2)}, tmp_path / "a")
    text = open(tmp_path / "a", "rb").read()
    metadata = json.loads(text[8 : 8 + struct.unpack("<Q", text[:8])[0]])["__metadata__"]
    structure = json.loads(metadata["minitorch"])
    structure["tensors"][0]["device"] = "cuda:0"  # as if it had been saved there
    moved = io.BytesIO(reforged(text, structure))
    for location in ("cpu", minitorch.device("cpu"), {"cuda:0": "cpu"}):
        assert load(moved, location)["x"].device.type == "cpu"
    with pytest.raises(TypeError, match="map_location is a device"):
        load(moved, 3.5)
    try:
        here = load(moved)["x"].device.type
    except RuntimeError as error:
        assert "map_location='cpu'" in str(error) and "cuda:0" in str(error)
    else:
        assert here == "cuda"


def test_a_device_array_is_copied_out(guard_device, tmp_path):
    x = minitorch.arange(6.0).reshape(2, 3).to(guard_device)
    obj = {"x": x, "again": x, "t": x.T}
    save(obj, tmp_path / "a")
    back = load(tmp_path / "a", map_location="cpu")
    assert back["x"] is back["again"] and back["t"].tolist() == x.cpu().T.tolist()
    assert load(tmp_path / "a")["x"].device == x.device


@pytest.fixture
def guard_device():
    from minitorch.backend import register_namespace
    from tests.guard import GuardArray, guard

    register_namespace("guard", guard, GuardArray)
    return minitorch.device("guard")


# --- what cannot be saved --------------------------------------------------------------------------------------------

Point = namedtuple("Point", "x y")


def hooked():
    model = nn.Linear(2, 2)
    model.register_forward_hook(lambda module, inputs, output: None)
    return model


def nested_class():
    class Inner(nn.Module):
        pass

    return Inner


@pytest.mark.parametrize(
    "obj, words",
    [
        ({"a": [1, {"b": {object}}]}, r"obj\['a'\]\[1\]\['b'\]\[0\] is a type: save\(\) takes tensors"),
        ({3: lambda: 0}, r"obj\[3\] is a function: save\(\) takes tensors"),
        (Point(1, 2), r"obj is a .*Point: .*; save tuple\(obj\)"),
        ([np.array(["x"])], r"obj\[0\] is a numpy.ndarray: .*array of <U1 has no place"),
        ([np.ma.masked_array([1], [True])], r"obj\[0\] is a numpy.ma"),
        ({"z": 1j}, r"obj\['z'\] is a complex"),
        ({(1, minitorch.float32): 1}, r"obj has the key minitorch.float32, a dtype: keys may be None"),
        (
            {"o": minitorch.optim.SGD([minitorch.nn.Parameter()])},
            r"obj\['o'\] is a .*SGD: .*; save obj\['o'\]\.state_dict\(\)",
        ),
        (
            {"m": hooked()},
            r"obj\['m'\]\['_forward_hooks'\]\[\d+\]\[0\] is a function: .*only minitorch's own functions",
        ),
        ({"m": nested_class()()}, r"is of the class .*Inner, which nothing finds by that name: define it at the top"),
        ({"g": minitorch.Generator()}, r"obj\['g'\] is a .*Generator: .*; save obj\['g'\]\.get_state\(\)"),
    ],
)
def test_what_cannot_be_saved_is_named(obj, words, tmp_path):
    (tmp_path / "f").write_bytes(b"before")
    with pytest.raises(TypeError, match=words):
        save(obj, tmp_path / "f")
    assert os.listdir(tmp_path) == ["f"] and (tmp_path / "f").read_bytes() == b"before"


def test_cycles_depth_and_mixed_views():
    cycle = {"a": []}
    cycle["a"].append(cycle)
    with pytest.raises(ValueError, match=r"obj\['a'\]\[0\] contains itself"):
        round_trip(cycle)
    shared = [1]
    assert round_trip([shared, shared]) == [[1], [1]]  # twice is no cycle
    deep = []
    for _ in range(99):
        deep = [deep]
    assert round_trip(deep) == deep
    deepest = 1
    for i in range(100):
        deepest = {i: deepest} if i % 2 else (deepest,)
    assert round_trip(deepest) == deepest
    with pytest.raises(ValueError, match="more than 100 containers"):
        round_trip([deep])
    x = np.arange(4, dtype=np.int32)
    with pytest.raises(TypeError, match=r"obj\[0\] \(int32\) and obj\[1\] \(float32\) share memory"):
        round_trip([x, x.view(np.float32)])


# --- what is refused -------------------------------------------------------------------------------------------------


def forged(header, data=b""):
    text = json.dumps(header).encode() if isinstance(header, dict) else header
    return struct.pack("<Q", len(text)) + text + data


def reforged(file, structure):
    """The file with another structure, checksum included: what a stranger could make."""
    import zlib

    length = struct.unpack("<Q", file[:8])[0]
    header = json.loads(file[8 : 8 + length])
    text = structure if isinstance(structure, str) else json.dumps(structure)
    header["__metadata__"].update({"minitorch": text, "minitorch.crc32": f"{zlib.crc32(text.encode()):08x}"})
    return forged(header, file[8 + length :])


@pytest.fixture(scope="module")
def small_file():
    x = minitorch.arange(3.0)
    file = io.BytesIO()
    half = minitorch.ones(2, dtype=minitorch.bfloat16)
    save({"w": x, "tied": x, "view": x[1:], "b": half, "lr": 0.001, 1: [True]}, file)
    return file.getvalue()


def test_every_truncation_is_refused(small_file, tmp_path):
    for n in range(len(small_file)):
        with pytest.raises(LoadError):
            load(io.BytesIO(small_file[:n]))
    (tmp_path / "cut").write_bytes(small_file[:-3])
    with pytest.raises(LoadError, match=rf"cut, at byte {len(small_file) - 4:,}: truncated: tensor 'b' ends at byte"):
        load(tmp_path / "cut")
    with pytest.raises(LoadError, match="altered: 1 bytes follow the last tensor"):
        load(io.BytesIO(small_file + b"x"))


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80, "random"])
def test_every_changed_byte_is_refused_or_harmless(small_file, mask):
    original = load(io.BytesIO(small_file))
    chooser, harmless = random.Random(0), 0
    for i in range(len(small_file)):
        data = bytearray(small_file)
        data[i] ^= chooser.randrange(1, 256) if mask == "random" else mask
        try:
            back = load(io.BytesIO(bytes(data)))
        except LoadError as error:
            assert "<BytesIO>" in str(error)
        else:
            harmless += 1
            assert same(back, original), i
    assert harmless < 30  # white space, and letters of the "format" line, which nobody reads


def test_a_changed_tensor_is_named(small_file):
    data = bytearray(small_file)
    data[-1] ^= 1
    with pytest.raises(LoadError, match=rf"at byte {len(data) - 4:,}: altered: tensor 'b' \(4 bytes\)"):
        load(io.BytesIO(bytes(data)))


def entry(shape, begin, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "file, words",
    [
        (b"", "truncated"),
        (struct.pack("<Q", 2**63) + b"{}", "the header says it has"),
        (struct.pack("<Q", MAX_HEADER + 1) + b"{" + b" " * 100, "the header says it has"),
        (forged(b"[1]"), "does not begin with '{'"),
        (forged(b"{\x00"), "not JSON"),
        (forged(b'{"a":' * 100_000), "not JSON"),
        (forged(b'{"a":1, "a":2}'), "a name occurs twice"),
        (forged({"x": 3}), "malformed header"),
        (forged({"x": {"dtype": "F32", "shape": [1]}}, b"1234"), "malformed header"),
        (forged({"x": entry([2**40], 0, 2**42)}), "truncated: tensor 'x' ends at byte 4,398,046"),
        (forged({"x": entry([2**40], 0, 0)}), "takes 4,398,046,511,104 bytes, its offsets say 0"),
        (forged({"x": entry([2**62, 4], 0, 0)}), "no array has the shape"),
        (forged({"x": entry([0, 2**62, 2**62], 0, 0)}), "no array has the shape"),
        (forged({"x": entry([-1, -1], 0, 4)}, b"1234"), "malformed header"),
        (forged({"x": entry([True], 0, 4)}, b"1234"), "malformed header"),
        (forged({"x": entry([1], 4, 0)}, b"1234"), "malformed header"),
        (forged({"x": entry([1], 0, 1, "F8_E4M3")}, b"1"), "dtype F8_E4M3; minitorch reads"),
        (forged({"x": entry([1], 0, 4), "y": entry([1], 2, 6)}, b"123456"), "begins at 2, expected 4"),
        (forged({"x": entry([1], 0, 4), "y": entry([1], 5, 9)}, b"123456789"), "begins at 5, expected 4"),
        (forged({"__metadata__": {"a": 1}}), "a map from text to text"),
        (b"PK\x03\x04" + b"\0" * 60, r"a pickle of Python objects.*weights_only=True.*load_safetensors"),
        (b"\x80\x02\x8a\nl\xfc\x9cF" + b"\0" * 60, "a pickle of Python objects"),
    ],
)
def test_forged_files_are_refused(file, words, tmp_path):
    (tmp_path / "forged").write_bytes(file)
    for reader in (load, load_safetensors):
        with pytest.raises(LoadError, match=words) as caught:
            reader(tmp_path / "forged")
        assert "forged" in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(version=2),
        lambda s: s.update(root={"module": "os.system"}),
        lambda s: s.update(root={"tensor": 99}),
        lambda s: s.update(root={"tensor": -1}),
        lambda s: s.update(root={"dict": [[[1], 2]]}),
        lambda s: s.update(root={"dict": 3}),
        lambda s: s.update(root={"tuple": [], "dict": []}),
        lambda s: s.update(root={"bytes": "%"}),
        lambda s: s.update(root={"dtype": "complex64"}),
        lambda s: s.update(root={"number": ["float32", "00"]}),
        lambda s: s.update(root={"device": "toaster"}),
        lambda s: s.pop("tensors"),
        lambda s: s["entries"].pop("w"),
        lambda s: s["entries"]["w"].update(order=[1]),
        lambda s: s["entries"]["w"].update(shape=[1, 3]),
        lambda s: s["tensors"][0].update(kind="model"),
        lambda s: s["tensors"][1].update(offset=2),
        lambda s: s["tensors"][1].update(offset=-1),
        lambda s: s["tensors"][1].update(strides=[-1], offset=0),
        lambda s: s["tensors"][1].update(strides=[0], shape=[10**12]),
        lambda s: s["tensors"][1].update(strides=[1, 1]),
    ],
)
def test_forged_structures_are_refused(small_file, change):
    header = json.loads(small_file[8 : 8 + struct.unpack("<Q", small_file[:8])[0]])
    structure = json.loads(header["__metadata__"]["minitorch"])
    assert same(load(io.BytesIO(reforged(small_file, structure))), load(io.BytesIO(small_file)))
    change(structure)
    with pytest.raises(LoadError, match="malformed structure|not an order"):
        load(io.BytesIO(reforged(small_file, structure)))


@dataclasses.dataclass
class Config:
    width: int = 4
    names: tuple = ("a",)


class Net(nn.Module):
    """A module with what modules have: a configuration, functions, parts and tensors that occur twice, buffers."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.act = nn.functional.gelu
        self.layers = nn.ModuleList([nn.Linear(config.width, config.width) for _ in range(2)])
        self.layers.append(self.layers[0])
        self.tied = nn.Linear(config.width, config.width)
        self.tied.weight = self.layers[0].weight
        self.norm = nn.BatchNorm1d(config.width)
        self.scale = nn.Buffer(minitorch.ones(1))
        self.frozen = nn.Parameter(minitorch.ones(1), requires_grad=False)

    def forward(self, x):
        for layer in self.layers:
            x = self.act(layer(x))
        return self.norm(self.tied(x)) * self.scale


def test_a_whole_module(tmp_path):
    model = Net(Config())
    x = minitorch.randn(5, 4)
    model(x)  # running statistics
    model.eval()
    save({"model": model, "args": argparse.Namespace(lr=0.1), "seen": {1, 2}}, tmp_path / "all")
    found = load(tmp_path / "all", weights_only=False)
    again = found["model"]
    assert found["args"] == argparse.Namespace(lr=0.1) and found["seen"] == {1, 2}
    assert type(again) is Net and again.config == model.config and again.act is nn.functional.gelu
    assert repr(again) == repr(model) and not again.training and (again(x) == model(x)).all()
    assert again.layers[2] is again.layers[0] and again.tied.weight is again.layers[0].weight
    assert type(again.scale) is nn.Buffer and not again.frozen.requires_grad
    assert [n for n, _ in again.named_parameters()] == [n for n, _ in model.named_parameters()]
    again.train()(x).sum().backward()  # it trains
    assert again.tied.weight.grad is not None and model.tied.weight.grad is None


def edited(source, old, new):
    """The file with one text of its structure exchanged, and a checksum that fits."""
    header = json.loads(source[8 : 8 + struct.unpack("<Q", source[:8])[0]])
    structure = header["__metadata__"]["minitorch"]
    assert old in structure
    return io.BytesIO(reforged(source, json.loads(structure.replace(old, new))))


@pytest.mark.parametrize(
    "old, new, words",
    [
        (":Net", ":Missing", "holds an object of the class .*Missing: define or import it before"),
        (
            "argparse:Namespace",
            "subprocess:Popen",
            "names subprocess.Popen, which is not a module, dataclass or namespace",
        ),
        ("argparse:Namespace", "os:system", "names os.system, which is not"),
        ("argparse:Namespace", "antigravity:x", "holds an object of the class antigravity.x"),
        ("minitorch.ops.activation:gelu", "os:system", "names the function 'os:system', which is not one of"),
        ("minitorch.ops.activation:gelu", "minitorch.nn.init:math.exp", "names the function"),
        ("minitorch.ops.activation:gelu", "minitorch.nn.module:OrderedDict", "names the function"),
    ],
)
def test_a_file_makes_nothing_but_modules(old, new, words):
    file = io.BytesIO()
    save({"model": Net(Config()), "args": argparse.Namespace(lr=0.1)}, file)
    with pytest.raises(LoadError, match=words):
        load(edited(file.getvalue(), old, new))
    assert "antigravity" not in sys.modules


def test_rebuilding_runs_no_code_of_the_class():
    class_of = type("Loud", (nn.Module,), {"__module__": __name__, "__init__": lambda self: nn.Module.__init__(self)})
    globals()["Loud"] = class_of
    file = io.BytesIO()
    save(class_of(), file)
    for method in ("__init__", "__setattr__", "__new__", "__setstate__"):
        setattr(class_of, method, lambda *args: pytest.fail("code of the class ran"))
    file.seek(0)
    assert type(load(file)) is class_of


def test_deep_and_endless_structures_are_refused(small_file):
    for text in ('{"version":1,"entries":{},"tensors":[],"root":' + "[" * 100_000, "[]", "x"):
        with pytest.raises(LoadError, match="malformed structure"):
            load(io.BytesIO(reforged(small_file, text)))
    header = json.loads(small_file[8 : 8 + struct.unpack("<Q", small_file[:8])[0]])
    structure = json.loads(header["__metadata__"]["minitorch"])
    structure["root"] = []
    for _ in range(200):
        structure["root"] = [structure["root"]]
    with pytest.raises(LoadError, match="more than 100 containers"):
        load(io.BytesIO(reforged(small_file, structure)))


def test_real_pickles_are_refused_and_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "exploded"), "w")

    import pickle

    for protocol in range(2, 6):
        (tmp_path / "bomb").write_bytes(pickle.dumps(Bomb(), protocol))
        with pytest.raises(LoadError, match="a pickle of Python objects"):
            load(tmp_path / "bomb")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    for new in (True, False):
        torch.save({"a": torch.ones(2)}, tmp_path / "model.pt", _use_new_zipfile_serialization=new)
        with pytest.raises(LoadError, match="model.pt: a pickle of Python objects"):
            load(tmp_path / "model.pt")
    assert sorted(os.listdir(tmp_path)) == ["bomb", "model.pt"]


# --- flat files ------------------------------------------------------------------------------------------------------


def test_flat_files_keep_ties(tmp_path):
    weight = minitorch.randn(4, 3, requires_grad=True)
    state = {"z.decoder": weight, "a.embedding": weight.detach(), "bias": minitorch.zeros(4)}
    save_safetensors(state, tmp_path / "m", metadata={"author": "nobody"})
    back = load_safetensors(tmp_path / "m")
    assert set(back) == set(state) and back["z.decoder"] is back["a.embedding"] and not back["bias"].requires_grad
    assert all((back[name].array == state[name].array).all() for name in state)
    assert set(stored(tmp_path / "m")) == {"a.embedding", "bias"}  # the first name is kept, as by Hugging Face
    with pytest.raises(LoadError, match="not written by save"):
        load(tmp_path / "m")
    with pytest.raises(ValueError, match="'a' and 'b' are different parts of one memory"):
        save_safetensors({"a": weight.detach(), "b": weight.detach()[1:]}, tmp_path / "m")
    with pytest.raises(TypeError, match="'step' is a int"):
        save_safetensors({"step": 3}, tmp_path / "m")
    with pytest.raises(ValueError, match="metadata 'minitorch.crc32' is the file's own"):
        save_safetensors(state, tmp_path / "m", metadata={"minitorch.crc32": "x"})
    data = bytearray((tmp_path / "m").read_bytes())
    data[-1] ^= 4
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(LoadError, match="altered: tensor"):
        load_safetensors(tmp_path / "m")
    save({"deep": state, "n": 1}, tmp_path / "c")
    assert set(load_safetensors(tmp_path / "c")) == {"deep.z.decoder", "deep.bias"}


def test_files_of_the_safetensors_library(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    arrays = {name: bits(name, (2, 3)) for name in TENSOR_DTYPES if name != "bfloat16"}
    arrays["bfloat16"] = bits(ml_dtypes.bfloat16, (2, 3))
    numpy.save_file(arrays, tmp_path / "f", metadata={"made": "elsewhere"})
    back = load_safetensors(tmp_path / "f")
    assert all(same(back[name].array, arrays[name]) for name in arrays)
    numpy.save_file({"x": np.zeros(2, np.uint32)}, tmp_path / "f")
    with pytest.raises(LoadError, match="tensor 'x' has dtype uint32"):
        load_safetensors(tmp_path / "f")


# --- in one step -----------------------------------------------------------------------------------------------------


def leftovers(folder):
    return [name for name in os.listdir(folder) if name.endswith(TEMPORARY)]


def test_a_failed_save_changes_nothing(tmp_path, monkeypatch):
    save(1, tmp_path / "f")
    for function in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, lambda *_: (_ for _ in ()).throw(OSError("no space left")))
            with pytest.raises(OSError, match="no space left"):
                save(2, tmp_path / "f")
        assert load(tmp_path / "f") == 1 and os.listdir(tmp_path) == ["f"]
    with pytest.raises(FileNotFoundError, match="the folder .*nowhere does not exist"):
        save(1, tmp_path / "nowhere" / "f")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        save(1, tmp_path)


def test_links_and_permissions(tmp_path):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "f"
    (tmp_path / "link").symlink_to(target)
    save(1, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and load(target) == 1
    umask = os.umask(0)
    os.umask(umask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~umask
    target.chmod(0o600)
    save(2, target)
    assert target.stat().st_mode & 0o777 == 0o600 and load(target) == 2


def test_leftovers_of_a_kill_are_removed_and_never_loaded(tmp_path):
    save("old", tmp_path / "f")
    pid = os.fork()
    if pid == 0:  # dies where the new file is complete and has not got its name
        os.replace = lambda *_: os._exit(1)
        save("new", tmp_path / "f")
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    (leftover,) = leftovers(tmp_path)
    with pytest.raises(LoadError, match="leftover of a save that did not finish"):
        load(tmp_path / leftover)
    assert load(tmp_path / "f") == "old"
    with atomic_file(tmp_path / "g") as file:  # a save that is going on is not a leftover
        file.write(b"half")
        assert leftover not in os.listdir(tmp_path) and len(leftovers(tmp_path)) == 1
        save("newer", tmp_path / "f")
        assert len(leftovers(tmp_path)) == 1
        file.write(b" and half")
    assert (tmp_path / "g").read_bytes() == b"half and half"
    assert sorted(os.listdir(tmp_path)) == ["f", "g"] and load(tmp_path / "f") == "newer"


SAVER = """
import sys
import numpy as np
import minitorch
from minitorch.serialization import save
path, step = sys.argv[1], 0
while True:
    step += 1
    save({"x": minitorch.from_numpy(np.full(300_000, step, np.float32)), "step": step, "y": [np.full(7, step)] * 3}, path)
    print(step, flush=True)
"""


def test_killed_while_saving(tmp_path):
    """SIGKILL at random moments of a process that does nothing but save: the file is always one of its versions."""
    path, chooser, found = tmp_path / "f.ckpt", random.Random(1), 0
    for kills in range(1, 30):
        with subprocess.Popen([sys.executable, "-c", SAVER, path], cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"1\n"
            time.sleep(chooser.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
            last = int((b"1\n" + process.stdout.read()).split()[-1])
        found += len(leftovers(tmp_path))
        back = load(path)
        assert back["step"] in (last, last + 1)  # +1: saved, but not printed any more
        assert (back["x"].array == back["step"]).all() and all((y == back["step"]).all() for y in back["y"])
        if kills >= 4 and found:
            break
    assert found, "no kill hit a save: the test has not tested anything"
    save(0, path)
    assert os.listdir(tmp_path) == ["f.ckpt"]
