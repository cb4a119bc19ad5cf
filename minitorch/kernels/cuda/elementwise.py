"""Functions of one number: activations, exp, roots. One launch forward and one backward, in place of a launch for each
operation of the formula; and float16 and bfloat16 need no copies in float32.

Where the formula is a single operation in both directions (exp, -x), CuPy needs one launch too: such an op is taken in
half precision only (`half_only`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from ...backend.fastpath import fast_path
from ...ops.activation import (
    ELU,
    GELU,
    GELUTanh,
    HardSigmoid,
    HardSwish,
    LeakyReLU,
    LogSigmoid,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from ...ops.arithmetic import Neg, PowNumber
from ...ops.elementwise import Abs, Exp, Log, Reciprocal, Rsqrt, Sqrt
from .launch import Source, contiguous, plain

_source = Source("elementwise.cu")
BLOCKS = 4096  # of a grid at most; each thread goes on until nothing is left


def threads(n: int) -> int:
    """Threads of a block for n pieces of work: whole warps, 256 at most."""
    return min(256, -(-n // 32) * 32)


def grid(n: int, at_once: int = 1) -> tuple[int, int]:
    """Grid and block for n numbers, of which a thread takes `at_once`."""
    work = -(-n // at_once)
    return min(-(-work // 256), BLOCKS), threads(work)


def narrow(x: Any) -> bool:
    """An array of half precision that the kernels take."""
    return x.dtype.itemsize == 2 and plain(x)


def run(name: str, *arrays: Any, options: tuple = ()) -> None:
    """One of the kernels of elementwise.cu, on arrays of one size."""
    x = arrays[0]
    p, q, r = (*map(float, options), 0.0, 0.0, 0.0)[:3]
    _source.launch(name, *grid(x.size, 16 // x.itemsize), *arrays, x.size, p, q, r, DTYPE=x.dtype)


class Elementwise:
    """What the fast paths below share. The reference op stands after it among the bases."""

    half = True
    kernel: ClassVar[str]
    keeps_output: ClassVar[bool] = False  # backward reads y, not x
    half_only: ClassVar[bool] = False
    saved: Any
    xp: Any
    save: Any
    options: tuple = ()

    @classmethod
    def accepts(cls, x):
        return narrow(x) if cls.half_only else plain(x)

    def forward(self, x):
        return self.computed(x)

    def computed(self, x, *options):
        self.options = options
        y = self.xp.empty_like(x)
        run(f"{self.kernel}_forward", x, y, options=options)
        self.save(y if self.keeps_output else x)
        return y

    def backward(self, dy):
        (s,) = self.saved
        dx = self.xp.empty_like(s)
        run(f"{self.kernel}_backward", contiguous(dy), s, dx, options=self.options)
        return dx

    def reference_saved(self):
        return self.saved


def _register(reference: Any, kernel: str, keeps_output: bool = False, half_only: bool = False) -> None:
    body = {"kernel": kernel, "keeps_output": keeps_output, "half_only": half_only}
    body |= {"__doc__": reference.__doc__, "__module__": __name__}
    fast_path(reference, "cupy")(type(f"{reference.__name__}CUDA", (Elementwise, reference), body))


_register(ReLU, "relu", keeps_output=True)
_register(Tanh, "tanh", keeps_output=True)
_register(Sigmoid, "sigmoid", keeps_output=True)
_register(LogSigmoid, "log_sigmoid", keeps_output=True)
_register(GELU, "gelu")
_register(GELUTanh, "gelu_tanh")
_register(SiLU, "silu")
_register(HardSwish, "hard_swish")
_register(Sqrt, "root", keeps_output=True)
_register(Rsqrt, "inverse_root", keeps_output=True)
_register(Reciprocal, "reciprocal", keeps_output=True)
_register(Abs, "absolute")
_register(Exp, "exponential", keeps_output=True, half_only=True)
_register(Log, "logarithm", half_only=True)


@fast_path(Neg, "cupy")
class NegCUDA(Elementwise, Neg):
    half_only = True

    def forward(self, x):
        y = self.xp.empty_like(x)
        run("negative_forward", x, y)
        return y

    def backward(self, dy):
        return self.forward(contiguous(dy))


@fast_path(PowNumber, "cupy")
class PowNumberCUDA(Elementwise, PowNumber):
    """The square."""

    kernel = "square"

    @staticmethod
    def accepts(x, *, exponent):
        return exponent == 2 and plain(x)

    def forward(self, x, *, exponent):
        return self.computed(x)

    def reference_saved(self):
        return (self.saved[0], 2)


@fast_path(LeakyReLU, "cupy")
class LeakyReLUCUDA(Elementwise, LeakyReLU):
    kernel = "leaky_relu"

    @staticmethod
    def accepts(x, *, slope):
        return plain(x)

    def forward(self, x, *, slope):
        return self.computed(x, slope)

    def reference_saved(self):
        return (self.saved[0] > 0, self.options[0])


@fast_path(ELU, "cupy")
class ELUCUDA(Elementwise, ELU):
    kernel = "elu"

    @staticmethod
    def accepts(x, *, alpha, scale=1.0, input_scale=1.0):
        return plain(x)

    def forward(self, x, *, alpha, scale=1.0, input_scale=1.0):
        return self.computed(x, alpha, scale, input_scale)

    def reference_saved(self):
        return (self.saved[0], *self.options)


@fast_path(Softplus, "cupy")
class SoftplusCUDA(Elementwise, Softplus):
    kernel = "softplus"

    @staticmethod
    def accepts(x, *, beta, threshold):
        return plain(x)

    def forward(self, x, *, beta, threshold):
        return self.computed(x, beta, threshold)

    def reference_saved(self):
        return (self.saved[0], *self.options)


@fast_path(HardSigmoid, "cupy")
class HardSigmoidCUDA(Elementwise, HardSigmoid):
    kernel = "hard_sigmoid"

    def reference_saved(self):
        (x,) = self.saved
        return ((x > -3) & (x < 3),)
