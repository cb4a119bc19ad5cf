"""Random tensors, with PyTorch's numbers on the CPU (backend/random.py), and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.engine import Op
from ..backend import devices, dtypes, random
from ..backend.dtypes import as_dtype, get_default_dtype
from ..backend.random import Generator
from ..tensor import Tensor, wrap
from ._method import read_shape, tensor_method
from .arithmetic import Clone, Where
from .creation import empty_like

_on_device: dict[str, Generator] = {}


def _generator(generator: Generator | None, where: devices.device) -> Generator:
    """The given stream, or the default one of the device."""
    if generator is not None:
        return generator
    if where.type == "cuda":
        return stream(where)
    return random.default_generator


def stream(where: devices.device) -> Generator:
    """A GPU's default stream, which starts from the CPU's seed."""
    index = where.index
    if index is None:
        index = int(devices.namespace_for(where).cuda.runtime.getDevice())
    name = f"cuda:{index}"
    if name not in _on_device:
        _on_device[name] = Generator(device=name).manual_seed(random.default_generator.initial_seed())
    return _on_device[name]


def streams() -> dict[str, Generator]:
    """The GPUs' default streams that have been used so far."""
    return dict(_on_device)


def _place(array: Any, where: devices.device) -> Any:
    return devices.to_device(array, where)


def manual_seed(seed):
    """Starts every device's default stream from `seed`; on the CPU the numbers are PyTorch's. Returns the CPU's."""
    for generator in _on_device.values():  # the same objects: captured graphs draw from them
        generator.manual_seed(int(seed))
    return random.default_generator.manual_seed(int(seed))


def seed():
    """Starts the default stream from a random seed, which is returned."""
    return manual_seed(random.default_generator.seed()).initial_seed()


def initial_seed():
    """The seed that the default stream was started from."""
    return random.default_generator.initial_seed()


def get_rng_state():
    """The state of the CPU's default stream, a uint8 tensor in PyTorch's layout."""
    return wrap(random.default_generator.state_array())


def set_rng_state(new_state):
    """Puts the CPU's default stream back to a state of `get_rng_state`."""
    random.default_generator.set_state_array(new_state.array)


def _get_state(self):
    """The state as a uint8 tensor, in PyTorch's layout."""
    return wrap(self.state_array())


def _set_state(self, new_state):
    """Puts the stream back to a state of `get_state`."""
    self.set_state_array(new_state.array)


Generator.get_state, Generator.set_state = _get_state, _set_state  # type: ignore[attr-defined]


def _options(dtype: Any, device: Any) -> tuple[dtypes.dtype, devices.device]:
    return (get_default_dtype() if dtype is None else as_dtype(dtype)), (
        devices.get_default() if device is None else devices.device(device)
    )


def rand(*shape, size=None, generator=None, dtype=None, device=None, requires_grad=False):
    """Uniform in [0, 1)."""
    d, where = _options(dtype, device)
    array = _generator(generator, where).uniform(
        read_shape(shape if size is None else (*shape, size), "rand"), 0.0, 1.0, d.numpy
    )
    return wrap(_place(array, where), requires_grad)


def randn(*shape, size=None, generator=None, dtype=None, device=None, requires_grad=False):
    """Normal, mean 0, standard deviation 1."""
    d, where = _options(dtype, device)
    array = _generator(generator, where).normal(
        read_shape(shape if size is None else (*shape, size), "randn"), 0.0, 1.0, d.numpy
    )
    return wrap(_place(array, where), requires_grad)


def randint(low, high=None, size=None, *, generator=None, dtype=None, device=None, requires_grad=False):
    """Integers in [low, high): randint(high, size) or randint(low, high, size)."""
    if size is None:
        low, high, size = 0, low, high
    elif high is None:  # randint(10, size=(2, 3))
        low, high = 0, low
    if size is None:
        raise TypeError("randint(): missing the size, as in randint(0, 10, (2, 3))")
    d, where = (dtypes.int64 if dtype is None else as_dtype(dtype)), _options(None, device)[1]
    array = _generator(generator, where).randint(int(low), int(high), read_shape((size,), "randint"), d.numpy)
    return wrap(_place(array, where), requires_grad)


def randperm(n, *, generator=None, dtype=None, device=None, requires_grad=False):
    """0 ... n-1 in random order."""
    d, where = (dtypes.int64 if dtype is None else as_dtype(dtype)), _options(None, device)[1]
    return wrap(_place(_generator(generator, where).permutation(int(n)).astype(d.numpy), where), requires_grad)


def rand_like(input, *, dtype=None, device=None, requires_grad=False):
    """`rand` with the shape, dtype and device of input, drawn in the order of its memory."""
    if not input.array.flags.c_contiguous:
        return empty_like(input, dtype=dtype, device=device).uniform_().requires_grad_(requires_grad)
    return rand(input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def randn_like(input, *, dtype=None, device=None, requires_grad=False):
    """`randn` with the shape, dtype and device of input, drawn in the order of its memory."""
    if not input.array.flags.c_contiguous:
        return empty_like(input, dtype=dtype, device=device).normal_().requires_grad_(requires_grad)
    return randn(input.shape, dtype=dtype or input.dtype, device=device or input.device, requires_grad=requires_grad)


def randint_like(input, low, high=None, *, dtype=None, device=None):
    """`randint` with the shape, dtype and device of input, drawn in the order of its memory."""
    low, high = (0, low) if high is None else (low, high)
    if not input.array.flags.c_contiguous:
        return empty_like(input, dtype=dtype, device=device).random_(low, high)
    return randint(low, high, input.shape, dtype=dtype or input.dtype, device=device or input.device)


@tensor_method
def bernoulli(input, p=None, *, generator=None):
    """1 with the probability that stands in each element, else 0."""
    g = _generator(generator, input.device)
    draw = g.bernoulli(input.detach().array if p is None else p, input.array.shape)
    return _constant(wrap(_place(draw, input.device).astype(input.array.dtype)), input)


def _constant(drawn: Tensor, *parameters: Any) -> Tensor:
    """Drawn numbers, in the graph as PyTorch's are: the parameters that they were drawn with get gradients of zero."""
    for p in parameters:
        if isinstance(p, Tensor) and p.requires_grad:
            drawn = Where.apply(wrap(drawn.xp.zeros((), dtype=bool)), p, drawn)
    return drawn


@tensor_method
def multinomial(input, num_samples, replacement=False, *, generator=None):
    """Indices drawn from each row with probability proportional to its elements."""
    return wrap(
        _place(
            _generator(generator, input.device).multinomial(input.detach().array, num_samples, replacement),
            input.device,
        )
    )


def normal(mean, std=1.0, size=None, *, generator=None, dtype=None, device=None):
    """Normal with the given mean and standard deviation, which may be tensors."""
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        like = mean if isinstance(mean, Tensor) else std
        from .shape import broadcast_shapes

        shape = broadcast_shapes(*[t.shape for t in (mean, std) if isinstance(t, Tensor)])
        drawn = randn(shape, generator=generator, dtype=like.dtype, device=like.device)
        plain = [p.detach() if isinstance(p, Tensor) else p for p in (std, mean)]
        return _constant(drawn * plain[0] + plain[1], mean, std)
    if size is None:
        raise TypeError("normal(): missing the size, as in normal(0.0, 1.0, (2, 3))")
    d, where = _options(dtype, device)
    return wrap(_place(_generator(generator, where).normal(read_shape((size,), "normal"), mean, std, d.numpy), where))


def _in_memory_order(array: Any, draw: Any, *beside: Any) -> Any:
    """`draw(shape, *beside)` as PyTorch fills a tensor whose axes lie in another order: from the front of the memory to
    its end. `beside`: arrays of the same shape that the draw needs, such as probabilities."""
    if array.flags.c_contiguous:
        return draw(array.shape, *beside)
    order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    drawn = draw(tuple(array.shape[axis] for axis in order), *[a.transpose(order) for a in beside])
    return drawn.transpose([order.index(axis) for axis in range(array.ndim)])


def _filling(name: str, draw: Any, doc: str) -> None:
    def method(self, *args, generator=None, **kwargs):
        from .index import copy_

        array = draw(_generator(generator, self.device), self, *args, **kwargs)
        return copy_(self, wrap(_place(array, self.device).astype(self.array.dtype, copy=False)))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = doc
    tensor_method(method)


def _float_dtype(self: Tensor, name: str) -> Any:
    if not self.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected a floating point tensor, got {self.dtype}")
    return self.array.dtype


def _uniform(g, self, a=0.0, b=1.0, **ends):
    a, b, dtype = ends.get("from", a), ends.get("to", b), _float_dtype(self, "uniform_")
    return _in_memory_order(self.array, lambda shape: g.uniform(shape, a, b, dtype))


def _normal(g, self, mean=0.0, std=1.0):
    dtype, contiguous = _float_dtype(self, "normal_"), self.array.flags.c_contiguous
    return _in_memory_order(self.array, lambda shape: g.normal(shape, mean, std, dtype, blocks=contiguous))


def _exponential(g, self, lambd=1.0):
    dtype = _float_dtype(self, "exponential_")
    return _in_memory_order(self.array, lambda shape: g.exponential(shape, lambd, dtype))


def _random(g, self, low=0, high=None):
    dtype = self.array.dtype
    if high is not None or low:
        low, high = (0, low) if high is None else (low, high)
        return _in_memory_order(self.array, lambda shape: g.randint(low, high, shape, dtype))
    return _in_memory_order(self.array, lambda shape: g.full_range(shape, dtype))


def _bernoulli(g, self, p=0.5):
    if not isinstance(p, Tensor):
        return _in_memory_order(self.array, lambda shape: g.bernoulli(p, shape))
    chances = self.xp.broadcast_to(p.detach().array, self.array.shape)
    return _in_memory_order(self.array, lambda shape, chances: g.bernoulli(chances, shape), chances)


_filling("uniform_", _uniform, "Fills the tensor with numbers uniform in [a, b).")
_filling("normal_", _normal, "Fills the tensor with normal numbers.")
_filling("exponential_", _exponential, "Fills the tensor with exponential numbers of rate lambd.")
_filling("random_", _random, "Fills the tensor with integers of the dtype's range, or of [from, to).")
_filling("bernoulli_", _bernoulli, "Fills the tensor with 1 (probability p) and 0.")


class Dropout(Op):
    """y = x m / (1 - p), where each m is 0 with probability p, else 1.      dx = dy m / (1 - p)      arXiv:1207.0580

    The division keeps the mean, so nothing is to be done at test time. Lesson 06.
    """

    def forward(self, x, *, keep, scale):
        self.save(keep, scale)
        return x * keep * scale

    def backward(self, dy):
        keep, scale = self.saved
        return dy * keep * scale


def _kept(shape: tuple, p: float, where: devices.device) -> Any:
    """Which elements of a contiguous tensor `dropout` would keep, for an op that has the dropout inside it."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if p == 1.0 or 0 in shape:
        return _place(np.zeros(shape, dtype=bool), where)
    return _place(_generator(None, where).bernoulli(1 - p, shape), where)


def dropout(input, p=0.5, training=True, inplace=False, *, generator=None):
    """Sets elements to zero with probability p and multiplies the others by 1 / (1 - p); nothing unless training."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not training or not input.numel():
        return input
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"dropout: expected a floating point tensor, got {input.dtype}")
    if p == 0.0:
        return Clone.apply(input) if not inplace else input
    if p == 1.0:
        out = input * 0.0
    else:
        g = _generator(generator, input.device)
        keep = _in_memory_order(input.array, lambda shape: g.bernoulli(1 - p, shape))
        out = Dropout.apply(input, keep=_place(keep, input.device), scale=1 / (1 - p))
    if inplace:
        from ..autograd.views import write

        return write(input, out, "dropout_")
    return out


def _noise(input: Tensor, p: float, training: bool, features: bool, name: str) -> Any:
    """Which elements, or whole channels, stay: booleans that broadcast against input; None if all do."""
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"{name}: dropout probability has to be between 0 and 1, but got {p}")
    if not training or not input.numel() or p == 0.0:
        return None
    if features and input.ndim < 2:
        raise RuntimeError(f"{name}: expected an input (N, C, ...), got shape {tuple(input.shape)}")
    shape = input.array.shape
    if features:
        shape = shape[:2] + (1,) * (len(shape) - 2)
    if p == 1.0:
        return input.xp.zeros(shape, dtype=bool)
    g = _generator(None, input.device)
    keep = g.bernoulli(1 - p, shape) if features else _in_memory_order(input.array, lambda s: g.bernoulli(1 - p, s))
    return _place(keep, input.device)


def _replaced(input: Tensor, output: Tensor, inplace: bool, name: str) -> Tensor:
    from ..autograd.views import write

    return write(input, output, name) if inplace else output


def feature_dropout(input, p=0.5, training=True, inplace=False):
    """`dropout` of whole channels.      input (N, C, ...)      arXiv:1411.4280"""
    keep = _noise(input, p, training, True, "feature_dropout")
    if keep is None:
        return input
    scale = 0.0 if p == 1.0 else 1 / (1 - p)
    return _replaced(input, Dropout.apply(input, keep=keep, scale=scale), inplace, "feature_dropout_")


def _without_batch(input: Tensor, ndims: tuple, name: str, f: Any) -> Tensor:
    """f of the input, which may lack the batch: then it has one dimension less."""
    if input.ndim not in ndims:
        raise RuntimeError(f"{name}: expected {ndims[0]}D or {ndims[1]}D input, got shape {tuple(input.shape)}")
    return f(input) if input.ndim == ndims[1] else f(input.unsqueeze(0)).squeeze(0)


def dropout1d(input, p=0.5, training=True, inplace=False):
    """Dropout of whole channels.      input (N, C, L) or (C, L)"""
    return _without_batch(input, (2, 3), "dropout1d", lambda x: feature_dropout(x, p, training, inplace))


def dropout2d(input, p=0.5, training=True, inplace=False):
    """Dropout of whole channels.      input (N, C, H, W), or (N, C, L): as in PyTorch, never without the batch"""
    return feature_dropout(input, p, training, inplace)


def dropout3d(input, p=0.5, training=True, inplace=False):
    """Dropout of whole channels.      input (N, C, D, H, W) or (C, D, H, W)"""
    if input.ndim != 4:
        return feature_dropout(input, p, training, inplace)
    return feature_dropout(input.unsqueeze(0), p, training, inplace).squeeze(0)


def _alpha_dropout(input, p, training, inplace, features, name):
    keep = _noise(input, p, training, features, name)
    if keep is None:
        return input
    if p == 1.0:
        return _replaced(input, input * 0.0, inplace, name + "_")
    alpha = 1.7580993408473766  # minus SELU's lowest value: scale * alpha of `selu`
    a = 1 / ((alpha * alpha * p + 1) * (1 - p)) ** 0.5
    shift = wrap(input.xp.asarray(alpha * a * p - ~keep * (alpha * a), dtype=input.array.dtype))
    return _replaced(input, Dropout.apply(input, keep=keep, scale=a) + shift, inplace, name + "_")


def alpha_dropout(input, p=0.5, training=False, inplace=False):
    """Sets elements to SELU's lowest value with probability p; mean and variance stay (arXiv:1706.02515)."""
    return _alpha_dropout(input, p, training, inplace, False, "alpha_dropout")


def feature_alpha_dropout(input, p=0.5, training=False, inplace=False):
    """`alpha_dropout` of whole channels.      input (N, C, ...)"""
    return _alpha_dropout(input, p, training, inplace, True, "feature_alpha_dropout")


def rrelu(input, lower=1.0 / 8, upper=1.0 / 3, training=False, inplace=False):
    """x for x > 0, else r x: r drawn from [lower, upper) for each element in training, else their mean. arXiv:1505.00853"""
    if lower > upper:
        raise RuntimeError(
            f"rrelu: lower bound should be less than or equal to the upper bound, got {lower} and {upper}"
        )
    if not training:
        from .activation import leaky_relu

        return leaky_relu(input, (lower + upper) / 2, inplace)
    g = _generator(None, input.device)

    low = input.array <= 0  # a number is drawn for each of these, and for no other
    slopes = input.xp.ones(low.shape, dtype=input.array.dtype)
    places = devices.nonzero(low if low.ndim else low.reshape(1))
    drawn = _place(g.uniform(places[0].shape, lower, upper, "float64"), input.device)
    slopes.reshape(low.shape or 1)[places] = drawn
    return _replaced(input, input * wrap(slopes), inplace, "rrelu_")


def rrelu_(input, lower=1.0 / 8, upper=1.0 / 3, training=False):
    """`rrelu` in place."""
    return rrelu(input, lower, upper, training, inplace=True)
