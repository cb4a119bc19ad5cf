"""The op table: every public operation, what it is tried on, and what it must refuse.

A row is a `Case`. Its samples are drawn by a seeded generator as NumPy arrays; each array becomes a tensor, of minitorch
or of PyTorch, when a test calls the operation, so one table drives every check (see `harness.py`). In a sample

- an array stands for a tensor (the same array twice: the same tensor twice); a floating one wants a gradient;
- `const(array)` is a floating tensor that wants none; `named("float32")` is that attribute of the library under test;
- lists, tuples and slices are searched for arrays; anything else is passed as it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FLOATS = ("bfloat16", "float16", "float32", "float64")
INTS = ("uint8", "int8", "int16", "int32", "int64")
NUMBERS = FLOATS + INTS
ALL = NUMBERS + ("bool",)

CASES: list[Case] = []


@dataclass(frozen=True)
class const:
    """A tensor that wants no gradient."""

    array: np.ndarray


@dataclass(frozen=True)
class named:
    """An attribute of the library under test, say a dtype."""

    name: str


@dataclass(frozen=True)
class Sample:
    args: tuple
    kwargs: dict
    smooth: bool = True  # the function is differentiable here and well scaled: central differences may be taken
    gradient: bool = True
    large: bool = False  # no differences, and not on the guard


def S(*args, **kwargs) -> Sample:
    return Sample(arrays(args), kwargs)


def rough(*args, **kwargs) -> Sample:
    """At ties, kinks, poles, infinities: values and first gradients compare with PyTorch's, differences mean nothing."""
    return Sample(arrays(args), kwargs, smooth=False)


def edge(*args, **kwargs) -> Sample:
    """Values only: gradients there are accidents, PyTorch's too."""
    return Sample(arrays(args), kwargs, smooth=False, gradient=False)


def large(*args, **kwargs) -> Sample:
    """For fast paths that take only large inputs."""
    return Sample(arrays(args), kwargs, smooth=False, large=True)


def arrays(args: tuple) -> tuple:
    """NumPy makes scalars of 0-d arrays at every turn; back."""
    return tuple(np.asarray(a) if isinstance(a, np.generic) else a for a in args)


@dataclass(frozen=True)
class Error:
    """A call that must fail, and a pattern that its message must hold."""

    match: str
    args: tuple
    kwargs: dict


def E(match: str, *args, **kwargs) -> Error:
    return Error(match, args, kwargs)


# ---------------------------------------------------------------- domains: (rng, size) -> float64 values

Domain = Callable[[np.random.Generator, int], np.ndarray]


def between(low: float, high: float) -> Domain:
    return lambda rng, size: rng.uniform(low, high, size)


def away_from(*points: float, low: float = -3.0, high: float = 3.0, gap: float = 0.1) -> Domain:
    """Uniform values, none closer than `gap` to a point where the derivative breaks."""

    def draw(rng: np.random.Generator, size: int) -> np.ndarray:
        values = rng.uniform(low, high, 8 * size + 64)
        near = np.min([np.abs(values - point) for point in points], axis=0) < gap
        return values[~near][:size]

    return draw


def fractional(rng: np.random.Generator, size: int) -> np.ndarray:
    """Away from the integers and the halves."""
    return rng.integers(-3, 3, size) + rng.choice([0.0, 0.5], size) + rng.uniform(0.1, 0.4, size)


def distinct(rng: np.random.Generator, size: int) -> np.ndarray:
    """All values at least 0.2 apart, for what depends on order."""
    return (rng.permutation(size) - size / 2) * 0.25 + rng.uniform(0.0, 0.05, size)


real = between(-2.0, 2.0)
positive = between(0.2, 3.0)
nonzero = away_from(0.0, gap=0.3)
unit = between(-0.9, 0.9)
probability = between(0.05, 0.95)
above_one = between(1.1, 4.0)

SPECIAL = np.array(
    [np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -3.0, 1e-30, -1e-30, 1e30, -1e30, 20.0]
)
MILD = np.array(
    [np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, -3.0, 20.0]
)  # whose squares and quotients are exact enough


class Draw:
    """Seeded arrays in a row's domain, of every layout."""

    def __init__(self, name: str, domain: Domain):
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))
        self.domain = domain

    def __call__(self, *shape: int, domain: Domain | None = None) -> np.ndarray:
        size = int(np.prod(shape))
        return np.asarray((domain or self.domain)(self.rng, size), np.float64).reshape(shape)

    def transposed(self, *shape: int, domain: Domain | None = None) -> np.ndarray:
        return self(*shape[::-1], domain=domain).T

    def flipped(self, *shape: int, domain: Domain | None = None) -> np.ndarray:
        """Negative strides, which only `from_numpy` can bring in."""
        return self(*shape, domain=domain)[(slice(None, None, -1),) * len(shape)]

    def gapped(self, *shape: int, domain: Domain | None = None) -> np.ndarray:
        """Every second column of a wider array."""
        return self(*shape[:-1], 2 * shape[-1], domain=domain)[..., ::2]

    def int(self, *shape: int, low: int = -5, high: int = 6, dtype: str = "int64") -> np.ndarray:
        return self.rng.integers(low, high, shape).astype(dtype)

    def bool(self, *shape: int) -> np.ndarray:
        return self.rng.random(shape) < 0.5

    def ties(self, *shape: int) -> np.ndarray:
        return self.rng.integers(0, 3, shape).astype(np.float64)

    def perm(self, *shape: int) -> np.ndarray:
        """Along the last axis a permutation."""
        return np.argsort(self.rng.random(shape), -1)


# ---------------------------------------------------------------- a row

Samples = Callable[[Draw], Iterable[Sample]]


@dataclass
class Case:
    name: str  # of the function: "exp", "nn.functional.gelu", "Tensor.view"; or, with `call`, a label
    make: Samples
    call: Callable[..., Any] | None = None  # call(library, *args, **kwargs) in place of the named function
    covers: tuple[str, ...] = ()  # public names that the call reaches, besides its own
    domain: Domain = real
    dtypes: tuple[str, ...] = FLOATS  # accepted input dtypes, tried on the first two samples
    result: str | Callable[[str], str] | None = (
        "same"  # its dtype: "same", "float", "sum", a dtype's name; None: not stated
    )
    gradient: bool = True
    second: bool = True
    view: bool = False  # the first output shares the first input's memory
    seeded: bool = False  # draws random numbers
    tol: float = 1.0  # multiplies the tolerances
    errors: Callable[[Draw], Iterable[Error]] = lambda d: ()
    torch: bool = True  # PyTorch has it under the same name
    _samples: list[Sample] | None = field(default=None, repr=False)

    def samples(self) -> list[Sample]:
        if self._samples is None:
            self._samples = list(self.make(Draw(self.name, self.domain)))
        return self._samples

    def failures(self) -> list[Error]:
        return list(self.errors(Draw(self.name + "!", self.domain)))

    @property
    def functions(self) -> set[str]:
        """The public names that this row stands for."""
        named = self.call is None or self.name.startswith("Tensor.")
        return ({self.name.rpartition(".")[2]} if named else set()) | set(self.covers)

    def result_dtype(self, dtype: str) -> str | None:
        rule = self.result
        if callable(rule):
            return rule(dtype)
        if rule == "same":
            return dtype
        if rule == "float":
            return dtype if dtype in FLOATS else "float32"
        if rule == "sum":
            return dtype if dtype in FLOATS else "int64"
        return rule


def row(name: str, make: Samples, **options) -> Case:
    case = Case(name, make, **options)
    CASES.append(case)
    return case


def then(*makers: Samples | None) -> Samples:
    """The samples of all makers, one after the other."""
    return lambda d: [sample for make in makers if make for sample in make(d)]


# ---------------------------------------------------------------- families


def unary_samples(d: Draw) -> list[Sample]:
    shapes = [S(d(2, 3, 4)), S(d()), S(d(0)), S(d(2, 0, 3)), S(d(1)), S(d(3, 1))]
    return [*shapes, S(d.transposed(3, 4)), S(d.flipped(4, 3)), S(d.gapped(2, 3))]


def with_options(*options: dict, special: np.ndarray) -> Samples:
    """For each set of options ordinary and special values."""
    return lambda d: [make(x, **o) for o in options for make, x in ((S, d(3, 4)), (rough, special.copy()))]


def unary(
    name: str,
    domain: Domain = real,
    *,
    options: Iterable[dict] = (),
    more: Samples | None = None,
    special=SPECIAL,
    **rest,
) -> Case:
    return row(name, then(unary_samples, with_options({}, *options, special=special), more), domain=domain, **rest)


def binary_samples(d: Draw, second: Domain | None = None) -> list[Sample]:
    def e(*shape: int) -> np.ndarray:
        return d(*shape, domain=second)

    x = d(3, 2)
    pairs = [
        (d(2, 3, 4), e(2, 3, 4)), (d(3, 4), e()), (d(), e()), (d(2, 3, 4), e(4)), (d(2, 1, 4), e(3, 1)), (d(1), e(3, 2)),
        (d(0, 3), e(3)), (d(1, 0), e(2, 1)), (d(2, 3), e(2, 1)), (d.transposed(3, 4), e(3, 4)),
        (d(3, 4), d.transposed(3, 4, domain=second)), (d.flipped(2, 3), d.flipped(3, domain=second)),
        (d.gapped(2, 3), e(2, 1)), (x, d(3, 2, domain=second) if second else x),
    ]  # fmt: skip
    (a, b), *_ = pairs
    pairs.append((a[0, 0, :1].copy(), b[0, :1].copy()))  # (1,) and (1, 4)
    left, right = np.meshgrid(SPECIAL, SPECIAL, indexing="ij")
    return [S(*pair) for pair in pairs] + [rough(left.ravel(), right.ravel())]


def binary(
    name: str,
    domain: Domain = real,
    second: Domain | None = None,
    *,
    scalars: Iterable[Any] = (2, -0.5),
    more: Samples | None = None,
    **rest,
) -> Case:
    """Two tensors that broadcast, and a tensor with Python numbers."""
    numbers: Samples = lambda d: [S(d(2, 3), scalar) for scalar in scalars]  # noqa: E731
    return row(name, then(lambda d: binary_samples(d, second), numbers, more), domain=domain, **rest)


def compare(name: str, **rest) -> Case:
    """A comparison: ties must occur, and the answer is boolean."""

    def make(d: Draw) -> list[Sample]:
        samples = [s for s in binary_samples(d) if s.smooth]
        left, right = np.meshgrid(SPECIAL, SPECIAL, indexing="ij")
        return samples + [
            rough(d.ties(4, 5), d.ties(5)),
            rough(left, right),
            rough(d.ties(3, 4), 1),
            rough(d.int(3, 4), d.ties(4)),
        ]

    return row(name, make, gradient=False, dtypes=ALL, result="bool", **rest)


AXES: tuple[dict, ...] = (
    {"dim": 0},
    {"dim": -1},
    {"dim": 1, "keepdim": True},
    {"dim": (0, 2)},
    {"dim": (-1, 0), "keepdim": True},
)
ONE_AXIS: tuple[dict, ...] = ({"dim": 0}, {"dim": -1}, {"dim": 1, "keepdim": True})


def reduction_samples(d: Draw, axes: Iterable[dict], empty: bool, whole: bool) -> list[Sample]:
    samples = [S(d(2, 3, 4), **a) for a in axes] + [S(d.transposed(4, 3, 2), **a) for a in axes]
    samples += [
        S(d.flipped(3, 4), dim=1),
        S(d.gapped(3, 4), dim=0),
        S(d(3, 1, 2), dim=1),
        S(d(1, 3), dim=0),
        S(d(), dim=0),
    ]
    samples += [S(d(2, 0), dim=0), S(d(0, 3), dim=1, keepdim=True)]
    if whole:
        samples += [S(d(2, 3, 4)), S(d()), S(d(1, 1)), S(d.transposed(3, 4)), S(d.flipped(3, 4))]
    if empty:
        samples += [rough(d(2, 0), dim=1), rough(d(0, 3), dim=0, keepdim=True)] + ([rough(d(0))] if whole else [])
    return [*samples, rough(d.ties(3, 4), dim=1), edge(SPECIAL.reshape(4, 4).copy(), dim=1)]


def reduction(
    name: str,
    domain: Domain = real,
    *,
    axes: Iterable[dict] = AXES,
    empty: bool = True,
    whole: bool = True,
    more: Samples | None = None,
    **rest,
) -> Case:
    """Over one axis, several, all of them; `empty`: over no values too; `whole`: with no axis given."""
    return row(name, then(lambda d: reduction_samples(d, tuple(axes), empty, whole), more), domain=domain, **rest)
