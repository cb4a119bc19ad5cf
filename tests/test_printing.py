"""How tensors print: recorded texts, and PyTorch's own beside ours over many shapes, values, dtypes and options."""

import itertools
import re

import ml_dtypes
import numpy as np
import pytest

import minitorch
from minitorch import nn
from minitorch.printing import set_printoptions


@pytest.fixture(autouse=True)
def default_options():
    yield
    set_printoptions(profile="default")


NAN, INF = float("nan"), float("inf")
RECORDED = [
    ([], "tensor([])"),
    (7, "tensor(7)"),
    (3.14159, "tensor(3.1416)"),
    (-0.0, "tensor(-0.)"),
    (1e-5, "tensor(1.0000e-05)"),
    ([1.0, 2.0, 3.0], "tensor([1., 2., 3.])"),
    ([1.0, 2.5, -3.0], "tensor([ 1.0000,  2.5000, -3.0000])"),
    ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
    ([0.0, 1e9], "tensor([0.0000e+00, 1.0000e+09])"),
    ([0.0, NAN], "tensor([0., nan])"),
    ([INF, 2.0], "tensor([inf, 2.])"),
    ([NAN, 1.5, -INF], "tensor([   nan, 1.5000,   -inf])"),
    ([True, False], "tensor([ True, False])"),
    ([[1, -20], [300, 4]], "tensor([[  1, -20],\n        [300,   4]])"),
    (
        [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]],
        "tensor([[[1., 2.],\n         [3., 4.]],\n\n        [[5., 6.],\n         [7., 8.]]])",
    ),
    (
        list(range(30)),
        "tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15, 16, 17,\n"
        "        18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29])",
    ),
    (list(range(2000)), "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"),
]


@pytest.mark.parametrize("data, text", RECORDED, ids=lambda value: str(value)[:20])
def test_recorded(data, text):
    assert repr(minitorch.tensor(data)) == str(minitorch.tensor(data)) == text


def test_notes():
    """What is not as usual stands after the numbers."""
    ones = minitorch.ones(2)
    assert repr(minitorch.zeros(0, 3)) == "tensor([], size=(0, 3))"
    assert repr(minitorch.zeros(0, dtype=minitorch.int64)) == "tensor([], dtype=minitorch.int64)"
    assert repr(ones.double()) == "tensor([1., 1.], dtype=minitorch.float64)"
    assert repr(ones.requires_grad_()) == "tensor([1., 1.], requires_grad=True)"
    assert repr(ones + 1) == "tensor([2., 2.], grad_fn=<AddBackward>)"
    assert repr(nn.Parameter(minitorch.ones(2))) == "Parameter containing:\ntensor([1., 1.], requires_grad=True)"

    class Weight(minitorch.Tensor):
        pass

    assert repr(Weight(np.ones(2, np.float32))) == "Weight([1., 1.])"


def test_default_dtype_is_not_named():
    minitorch.set_default_dtype(minitorch.float64)
    try:
        assert repr(minitorch.ones(1)) == "tensor([1.])"
        assert repr(minitorch.ones(1, dtype=minitorch.float32)) == "tensor([1.], dtype=minitorch.float32)"
    finally:
        minitorch.set_default_dtype(minitorch.float32)


def test_long_notes_go_to_the_next_line():
    text = repr(minitorch.ones(18, dtype=minitorch.float64, requires_grad=True) * 2)
    assert text.endswith("2., 2.],\n       dtype=minitorch.float64, grad_fn=<MulBackward>)")


def test_format():
    half = minitorch.tensor(0.5)
    assert f"{half:.2f}, {half}, {half[None]}" == "0.50, 0.5, tensor([0.5000])"
    with pytest.raises(TypeError):
        format(minitorch.ones(2), ".2f")


def test_options():
    x = minitorch.tensor([1.0, 2.34567, 999.0])
    set_printoptions(precision=2)
    assert repr(x) == "tensor([  1.00,   2.35, 999.00])"
    set_printoptions(sci_mode=True)
    assert repr(x) == "tensor([1.00e+00, 2.35e+00, 9.99e+02])"
    set_printoptions(profile="default")
    assert repr(x) == "tensor([  1.0000,   2.3457, 999.0000])"
    with pytest.raises(ValueError, match="unknown profile 'long'; expected one of default, short, full"):
        set_printoptions(profile="long")


def test_a_large_tensor_prints_at_once():
    large = minitorch.tensor(0.5).expand(10**5, 10**5)  # 40 GB, if anyone touched it all
    assert repr(large).count("0.5000") == 36


SHAPES = [(), (1,), (0,), (30,), (1001,), (2, 3), (0, 3), (3, 0), (40, 30), (2, 3, 4), (7, 8, 20), (2, 2, 2, 130)]
VALUES = {
    "normal": lambda rng, s: rng.normal(size=s),
    "large": lambda rng, s: rng.normal(size=s) * 1e5,
    "tiny": lambda rng, s: rng.normal(size=s) * 1e-5,
    "wide": lambda rng, s: np.exp(rng.normal(size=s) * 10),
    "whole": lambda rng, s: np.floor(rng.normal(size=s) * 10),
    "large whole": lambda rng, s: np.floor(rng.normal(size=s) * 1e9),
    "zeros": lambda rng, s: np.zeros(s),
    "minus zeros": lambda rng, s: -np.zeros(s),
    "nan": lambda rng, s: np.full(s, np.nan),
    "some inf": lambda rng, s: np.where(rng.random(s) < 0.3, -np.inf, rng.normal(size=s)),
    "some inf, whole": lambda rng, s: np.where(rng.random(s) < 0.3, np.inf, np.floor(rng.normal(size=s) * 9)),
    "some nan": lambda rng, s: np.where(rng.random(s) < 0.3, np.nan, 0),
}
DTYPES = "float32 float64 float16 bfloat16 int64 int16 uint8 bool".split()
OPTIONS = [
    dict(profile="default"),
    dict(precision=2),
    dict(profile="short"),
    dict(profile="full", linewidth=120),
    dict(profile="default", sci_mode=True),
    dict(profile="default", sci_mode=False),
    dict(profile="default", threshold=10, edgeitems=1),
    dict(profile="default", threshold=10, edgeitems=0),
    dict(profile="default", threshold=20, linewidth=20),
]


def flat(text):
    """One text whether or not a note went to the next line: our dtypes' names are longer."""
    return re.sub(r"\b(mini)?torch\.", "", text).replace(",\n       dtype", ", dtype")


@pytest.mark.parity
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ",".join(f"{k}={v}" for k, v in o.items()))
def test_prints_as_pytorch(options):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    rng = np.random.default_rng(0)
    set_printoptions(**options)
    torch.set_printoptions(**options)
    try:
        for shape, kind, name in itertools.product(SHAPES, VALUES, DTYPES):
            if name == "bool" and kind != "whole":
                continue
            values = np.asarray(VALUES[kind](rng, shape))
            with np.errstate(all="ignore"):
                if "float" not in name:
                    values = np.asarray(np.nan_to_num(values))
                array = values.astype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
            theirs = torch.from_numpy(array.astype(np.float32) if name == "bfloat16" else array.copy())
            theirs = theirs.to(getattr(torch, name))
            assert flat(repr(minitorch.from_numpy(array))) == flat(repr(theirs)), (shape, kind, name)
    finally:
        torch.set_printoptions(profile="default")


@pytest.mark.parity
def test_gradients_print_as_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: `make test-parity` installs it")
    for library in (torch, minitorch):
        library.manual_seed(0)
    for make in (lambda t: t.rand(3, requires_grad=True), lambda t: t.rand(30, 5, requires_grad=True) * 2):
        assert repr(make(minitorch)) == repr(make(torch)).replace("Backward0", "Backward")
