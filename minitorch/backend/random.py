"""Random numbers: PyTorch's own streams on the CPU, a counter-based stream on a GPU. Arrays only, no tensors.

From the same seed a CPU `Generator` gives the numbers that PyTorch's gives: integers, permutations and draws of True
and False are equal; floating point numbers are equal to a rounding or two (compilers fuse multiplications with
additions, and PyTorch's sines and logarithms differ from NumPy's in the last bit). How a draw uses the engine's words
is said at the draw. `state_array()` has PyTorch's own layout, so a stream can be handed over in either direction.

The engine is a Mersenne Twister, mt19937, with the classic seeding of 2002. Two kinds of word feed every draw:

    w32   the next 32-bit word                          u32 = (w32 mod 2^24) 2^-24     24 random bits, in [0, 1)
    w64   the next two words, the first one on top      u64 = (w64 mod 2^53) 2^-53     53 random bits, in [0, 1)

Where PyTorch has several streams for one draw, this is the one followed: that of processors other than Intel's (on
those `bernoulli_` with a scalar p, and so dropout, and `exponential_`, and so `multinomial` without replacement, may
run in Intel's MKL, which is another generator altogether).
"""

from __future__ import annotations

import contextlib
import math
import operator
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from . import capture, checks, fastpath
from .devices import device as as_device
from .devices import namespace_for

DEFAULT_SEED = 67280421310721  # PyTorch's, for a generator that nobody has seeded
LARGE = 1024  # numbers for which a compiled draw pays
BLOCK = 1 << 15  # numbers made at a time: their words are still in the cache when they are turned into numbers

FLOAT32: np.dtype = np.dtype(np.float32)
FLOAT64: np.dtype = np.dtype(np.float64)
MANTISSA_BITS = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}
LARGEST = {
    "float16": 65504.0,
    "bfloat16": (2 - 2.0**-7) * 2.0**127,
    "float32": (2 - 2.0**-23) * 2.0**127,
    "float64": (2 - 2.0**-52) * 2.0**1023,
}

# PyTorch's record of a generator, 5056 bytes. `next` is the place of the next word among the 624 and `left` is
# 625 - next, but right after seeding they are 0 and 1. Of the normal fields only normal_y is still in use.
CPU_STATE = np.dtype(
    [
        ("seed", "<u8"),
        ("left", "<i4"),
        ("seeded", "<i4"),
        ("next", "<u8"),
        ("state", "<u8", 624),
        ("normal_x", "<f8"),
        ("normal_y", "<f8"),
        ("normal_rho", "<f8"),
        ("normal_is_valid", "<i4"),
        ("padding", "<i4"),
        ("next_float_normal", "<f4"),
        ("next_float_normal_is_valid", "u1"),
    ],
    align=True,
)
GAMMA = 0x9E3779B97F4A7C15  # SplitMix64's step
INVERSE_GAMMA = pow(GAMMA, -1, 2**64)
DEVICE_STATE = np.dtype([("seed", "<u8"), ("offset", "<u8")])  # 16 bytes, as PyTorch's on CUDA


class Generator:
    """A stream of random numbers, and every way to draw from it. Draws return arrays of the generator's device.

    Generator() starts from PyTorch's default seed; `default_generator` starts from a new one in every process.
    A draw is atomic: threads may share a generator, each draw is a run of consecutive words.
    """

    xp: Any = np
    _block = BLOCK
    _longest: np.dtype = np.dtype(np.longdouble)  # wider than float64 where the processor has such

    _seed: int
    _untouched: bool  # no word drawn since seeding: PyTorch's state tells this from 624 words drawn
    _next_normal: float | None  # the second half of a pair, see normal()
    _next_float_normal: float | None  # nothing uses it any more; kept for states that hold one

    def __new__(cls, device: Any = "cpu"):
        if cls is Generator and as_device(device).type != "cpu":
            return object.__new__(DeviceGenerator)
        return object.__new__(cls)

    def __init__(self, device: Any = "cpu"):
        self.device = as_device(device)
        self._lock = threading.Lock()
        self._start_engine()
        self.manual_seed(DEFAULT_SEED)

    def __repr__(self) -> str:
        return f"Generator(device={str(self.device)!r}, seed={self._seed})"

    def __reduce__(self):
        return _restore, (str(self.device), self.state_array())

    # ---- seeds and states ----

    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of `seed`, an integer in [-2^63, 2^64); a negative one means 2^64 + seed, as in PyTorch.
        The Mersenne Twister uses the lowest 32 bits only."""
        try:
            number = operator.index(seed)
        except TypeError:
            raise TypeError(f"manual_seed(): expected an integer, got {type(seed).__name__}") from None
        if not -(2**63) <= number < 2**64:
            raise ValueError(f"manual_seed(): expected a seed in [-2**63, 2**64), got {number}; reduce it modulo 2**64")
        with self._lock:
            self._seed = number % 2**64
            self._seed_engine()
        return self

    def seed(self) -> int:
        """Starts the stream of a seed that the operating system chooses, 53 bits; returns it."""
        seed = secrets.randbits(53)
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed that this stream was started from."""
        return self._seed

    def state_array(self) -> np.ndarray:
        """The whole state, 5056 bytes in PyTorch's layout: `torch.set_rng_state(torch.from_numpy(...))` takes it."""
        record = np.zeros((), CPU_STATE)
        with self._lock:
            engine = self._engine.state["state"]
            place = 0 if self._untouched else engine["pos"]
            record["seed"], record["seeded"], record["state"] = self._seed, 1, engine["key"]
            record["next"], record["left"] = place, 1 if self._untouched else 625 - place
            if self._next_normal is not None:
                record["normal_y"], record["normal_is_valid"] = self._next_normal, 1
            if self._next_float_normal is not None:
                record["next_float_normal"], record["next_float_normal_is_valid"] = self._next_float_normal, 1
        return np.frombuffer(record.tobytes(), np.uint8).copy()

    def set_state_array(self, state: Any) -> None:
        """Goes on from a state that `state_array()` or `torch.get_rng_state()` gave."""
        record = _read_state(state, CPU_STATE, "a CPU generator")
        left, place = int(record["left"]), int(record["next"])
        if record["seeded"] != 1 or not (left + place == 625 and 1 <= place <= 624 or (left, place) == (1, 0)):
            raise ValueError(
                "set_state(): this is no state of a CPU generator: expected seeded = 1 and left + next = 625 (after "
                f"seeding left = 1, next = 0), got seeded = {record['seeded']}, left = {left}, next = {place}; "
                "pass on what get_state() gave, unchanged"
            )
        with self._lock:
            self._engine.state = {
                "bit_generator": "MT19937",
                "state": {"key": record["state"].astype(np.uint32), "pos": place or 624},
            }
            self._seed = int(record["seed"])
            self._untouched = place == 0
            self._next_normal = float(record["normal_y"]) if record["normal_is_valid"] else None
            valid = record["next_float_normal_is_valid"]
            self._next_float_normal = float(record["next_float_normal"]) if valid else None

    # ---- the engine: what a device replaces ----

    def _start_engine(self) -> None:
        self._engine = np.random.MT19937()
        self._source = np.random.Generator(self._engine)
        self._address = self._engine.ctypes.state_address  # 624 words and the place of the next one, uint32

    def _seed_engine(self) -> None:
        np.random.RandomState(self._engine).seed(self._seed & 0xFFFFFFFF)  # RandomState.seed is the classic seeding
        self._untouched = True
        self._next_normal = self._next_float_normal = None

    def _drawing(self) -> contextlib.AbstractContextManager:
        return self._lock

    def _words32(self, n: int) -> Any:
        self._untouched = self._untouched and n == 0
        return self._source.integers(0, 2**32, n, dtype=np.uint32)

    def _words64(self, n: int) -> Any:
        self._untouched = self._untouched and n == 0
        return self._source.integers(0, 2**64 - 1, n, dtype=np.uint64, endpoint=True)

    # ---- draws ----

    def random_u32(self, n: int) -> Any:
        """n raw words, uint32."""
        with self._drawing():
            return self._words32(_count("random_u32", n))

    def random_u64(self, n: int) -> Any:
        """n raw double words, uint64: two words each, the first one on top."""
        with self._drawing():
            return self._words64(_count("random_u64", n))

    def uniform(self, shape: Any, low: float = 0.0, high: float = 1.0, dtype: Any = np.float32) -> Any:
        """Numbers in [low, high): u (high - low) + low, with u = u64 for float64 and u32 for every other dtype.

        float16 and bfloat16 are computed in float32. A number that is rounded up to `high` becomes `low`.
        """
        dtype, low, high = _float_dtype("uniform", dtype), float(low), float(high)
        largest = LARGEST[dtype.name]
        if not (-largest <= low <= high <= largest and high - low <= largest):
            raise ValueError(
                f"uniform(): expected low <= high, both and high - low within the range of {dtype.name} "
                f"(+-{largest:.4g}), got low={low}, high={high}"
            )
        compute = _computed_in(dtype)
        first, last = compute.type(low), compute.type(high)
        with self._drawing():
            out = self.xp.empty(shape, dtype)
            if (kernels := self._kernels(out)) is not None:
                kernels.uniform(self, out, low, high)
                return out
            for part in self._blocks(out):
                u = self._unit(part.size, compute)
                if (low, high) != (0.0, 1.0):
                    u = self._scaled(u, last - first, first)
                part[...] = u
                if compute != dtype or (low, high) != (0.0, 1.0):
                    self.xp.putmask(part, part == last.astype(dtype), first.astype(dtype))
        return out

    def normal(
        self, shape: Any, mean: float = 0.0, std: float = 1.0, dtype: Any = np.float32, blocks: bool = True
    ) -> Any:
        """Normal numbers by Box-Muller: from u1, u2 uniform on [0, 1)

            r = sqrt(-2 log(1 - u1)),  a = 2 pi u2:      r cos(a) and r sin(a) are independent and normal.

        16 numbers and more: in blocks of 16, in float64 for float64 and in float32 otherwise. A block's 16 uniforms
        are u1[0..8) and u2[0..8); it becomes the 8 cosines, then the 8 sines. Of n numbers the last n mod 16 have no
        block of their own, so the last 16 are made again from 16 new words; before that float32 and float64 draw, and
        lose, the words of the last n mod 16. (float16 and bfloat16, which do not store their uniforms, draw no such.)

        Fewer than 16, or without `blocks`: one at a time, in float64 for every dtype, where u2 gives r and u1 the angle. The sine waits in
        the generator, for the next draw of this kind.
        """
        dtype, mean, std = _float_dtype("normal", dtype), float(mean), float(std)
        if not std >= 0:
            raise ValueError(f"normal(): expected std >= 0, got std={std}")
        with self._drawing(), np.errstate(over="ignore"):
            out = self.xp.empty(shape, dtype)
            flat = out.reshape(-1)
            if flat.size < 16 or not blocks:
                flat[...] = _round(self._single_normals(flat.size) * std + mean, dtype)
                return out
            compute = _computed_in(dtype)
            for part in self._blocks(flat[: flat.size // 16 * 16]):
                part[...] = self._normal_blocks(part.size, mean, std, compute)
            if flat.size % 16:
                if compute == dtype:
                    self._unit(flat.size % 16, compute)
                flat[-16:] = self._normal_blocks(16, mean, std, compute)
        return out

    def randint(self, low: int, high: int, shape: Any, dtype: Any = np.int64) -> Any:
        """Integers in [low, high): low + w32 mod (high - low), or w64 where high - low >= 2^28 (for the skew).

        For a floating dtype that cannot hold low or high - 1 exactly, the range shrinks to the nearest numbers inside.
        """
        dtype, low, high = np.dtype(dtype), operator.index(low), operator.index(high)
        if not low < high:
            raise ValueError(f"randint(): expected low < high, got low={low}, high={high}: no integer lies in between")
        if dtype.name in MANTISSA_BITS:
            least, most = -LARGEST[dtype.name], LARGEST[dtype.name]
        else:
            least, most = (0, 1) if dtype == np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if not max(least, -(2**63)) <= low <= high - 1 <= min(most, 2**63 - 2):
            raise ValueError(
                f"randint(): expected low and high - 1 to be numbers of dtype {dtype.name} "
                f"(from {least} to {most}) and of int64, got low={low}, high={high}"
            )
        if dtype.name in MANTISSA_BITS:
            low, high = _representable(low, high, dtype)
        span = high - low
        words = self._words64 if span >= 2**28 else self._words32
        with self._drawing():
            out = self.xp.empty(shape, dtype)
            for part in self._blocks(out):
                numbers = _modulo(words(part.size), span).astype(np.int64)
                numbers += np.int64(low)
                part[...] = numbers if dtype == np.int64 else _round(numbers, dtype)
        return out

    def full_range(self, shape: Any, dtype: Any = np.int64) -> Any:
        """PyTorch's `random_()` without bounds: integers from 0 to the dtype's largest, or, for a floating dtype, to
        2^(bits of its mantissa). From w64 for int64 and float64, from w32 otherwise; modulo the number of values."""
        dtype = np.dtype(dtype)
        if dtype.name in MANTISSA_BITS:
            span = 2 ** MANTISSA_BITS[dtype.name] + 1
        else:
            span = 2 if dtype == np.bool_ else int(np.iinfo(dtype).max) + 1
        words = self._words64 if dtype in (FLOAT64, np.dtype(np.int64)) else self._words32
        with self._drawing():
            out = self.xp.empty(shape, dtype)
            for part in self._blocks(out):
                part[...] = _round(_modulo(words(part.size), span).astype(np.int64), dtype)
        return out

    def permutation(self, n: int, dtype: Any = np.int64) -> Any:
        """0..n-1 in random order (Fisher-Yates): for i = 0 .. n-2 swap the numbers at i and j_i = i + w32 mod (n - i).

        All swaps at once, without a loop over i. Step i leaves position i for good, with what stood at j_i before;
        and what stood at i goes to j_i; call that one moved_i. Who last wrote to a position before step i? The latest
        earlier step with the same j, or nobody: then the position p still holds p. So

            result_i = moved_k,  k = the latest step before i with j_k = j_i;     j_i if there is none
            moved_i  = moved_k,  k = the latest step before i with j_k = i;       i   if there is none

        The second line is a chain of pointers, which is followed by doubling: log(length) passes.
        """
        n = _count("permutation", n)
        if n >= (2**32 - 1) // 20:  # from here on PyTorch uses another algorithm, on w64
            raise ValueError(f"permutation(): expected n < {(2**32 - 1) // 20}, got {n}; permute in parts")
        if n == 0:
            return self.xp.empty(0, dtype)
        i = np.arange(n, dtype=np.int64)
        j = i.copy()
        with self._drawing():
            j[:-1] += self._words32(n - 1) % np.arange(n, 1, -1, dtype=np.uint32)
        moved = i.copy()
        order = np.sort(j * n + i)  # by j, then by i; a sort of numbers is much faster than an argsort
        j = order // n
        i = order - j * n
        swaps = j != i
        target, step = j[swaps], i[swaps]
        latest = np.append(target[1:] != target[:-1], True)[: len(target)]
        moved[target[latest]] = step[latest]
        while not np.array_equal(moved, further := moved[moved]):
            moved = further
        again = np.flatnonzero(j[1:] == j[:-1]) + 1
        values = j.copy()
        values[again] = moved[i[again - 1]]
        result = np.empty(n, dtype)
        result[i] = values
        return result

    def bernoulli(self, p: Any, shape: Any = None) -> Any:
        """True with probability p, a number or an array that broadcasts to `shape` (p's own shape if none is given).

        A number, or a float64 array: u64 < p, as integers: w64 mod 2^53 < ceil(2^53 p). Other floating arrays: u32 < p.
        """
        if not hasattr(p, "shape") or isinstance(p, np.generic):
            p = float(p)
            if not 0 <= p <= 1:
                raise ValueError(f"bernoulli(): expected a probability p in [0, 1], got p={p}")
            threshold = np.uint64(math.ceil(p * 2**53))
            with self._drawing():
                out = self.xp.empty(() if shape is None else shape, np.bool_)
                if (kernels := self._kernels(out)) is not None:
                    kernels.bernoulli(self, out, int(threshold))
                    return out
                fast = fastpath.ACTIVE[np].get(Generator) if out.size >= LARGE and type(self) is Generator else None
                if fast is not None:
                    self._untouched = False
                    fast.below(self._address, int(threshold), out)
                    return out
                for part in self._blocks(out):
                    self.xp.less(self._bits53(part.size), threshold, out=part)
            return out
        compute = _computed_in(_float_dtype("bernoulli", p.dtype))
        p = p.astype(compute)
        wrong = "bernoulli(): expected probabilities in [0, 1], got an array with others, or NaN, in it"
        checks.require((p >= 0) & (p <= 1), wrong, ValueError)
        with self._drawing():
            out = self.xp.empty(p.shape if shape is None else shape, np.bool_)
            p = self.xp.ascontiguousarray(self.xp.broadcast_to(p, out.shape))
            for part, chance in zip(self._blocks(out), self._blocks(p)):
                part[...] = self._unit(part.size, compute) < chance
        return out

    def exponential(self, shape: Any, lambd: float = 1.0, dtype: Any = np.float32) -> Any:
        """Exponential numbers of rate lambd: -log(1 - u64) / lambd, in float64 for every dtype."""
        dtype, lambd = _float_dtype("exponential", dtype), float(lambd)
        if not lambd > 0:
            raise ValueError(f"exponential(): expected a rate lambd > 0, got lambd={lambd}")
        with self._drawing(), np.errstate(over="ignore"):
            out = self.xp.empty(shape, dtype)
            for part in self._blocks(out):
                part[...] = _round(self.xp.log1p(-self._unit(part.size, FLOAT64)) * (-1.0 / lambd), dtype)
        return out

    def multinomial(self, probs: Any, num_samples: int, replacement: bool = False) -> Any:
        """Indices drawn with the weights `probs`, (C,) or (rows, C), of any sum; int64, (..., num_samples).

        With replacement, two samples or more: the first index whose cumulated share reaches u64. Otherwise: with q
        exponential numbers, the places of the num_samples largest of probs / q, largest first (where several are
        equal, as zeros are when too few weights are positive, PyTorch's order is arbitrary; here the first index wins).
        """
        xp, num_samples = self.xp, _count("multinomial", num_samples)
        dtype = _float_dtype("multinomial", probs.dtype)
        if probs.ndim not in (1, 2):
            raise ValueError(f"multinomial(): expected probs of 1 or 2 dimensions, got shape {tuple(probs.shape)}")
        categories = probs.shape[-1]
        if num_samples < 1 or not replacement and num_samples > categories:
            raise ValueError(
                f"multinomial(): expected num_samples >= 1 and, without replacement, at most the number of categories, "
                f"{categories}; got num_samples={num_samples}, replacement={bool(replacement)}"
            )
        if categories > 2**24:
            raise ValueError(f"multinomial(): expected at most 2**24 categories, got {categories}")
        wrong = "multinomial(): expected finite probs >= 0, got a negative number, an infinity or a NaN"
        checks.require((probs >= 0) & (probs < np.inf), wrong, ValueError)
        wrong = "multinomial(): expected every row of probs to hold a number > 0, got a row of zeros"
        checks.require((probs > 0).any(-1), wrong, ValueError)
        if not replacement or num_samples == 1:
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                keys = (probs / self.exponential(probs.shape, 1.0, dtype)).astype(dtype)
            if num_samples == 1:
                return keys.argmax(-1, keepdims=True).astype(np.int64)
            order = xp.argsort(-keys.astype(_computed_in(dtype)), axis=-1, kind="stable")
            return xp.ascontiguousarray(order[..., :num_samples]).astype(np.int64)
        share = xp.cumsum(probs.astype(_computed_in(dtype)), axis=-1)
        share /= share[..., -1:].copy()
        with self._drawing():
            u = self._unit(math.prod(probs.shape[:-1]) * num_samples, FLOAT64).reshape(*probs.shape[:-1], num_samples)
        if probs.ndim == 1:
            return xp.searchsorted(share.astype(FLOAT64), u).astype(np.int64)
        out = xp.empty(u.shape, np.int64)
        for row in range(len(out)):
            out[row] = xp.searchsorted(share[row].astype(FLOAT64), u[row])
        return out

    # ---- parts of the draws ----

    def _kernels(self, out: Any) -> Any:
        """What fills the array `out` in one go, instead of the formula: a device may have it."""
        return None

    def _blocks(self, array: Any) -> Iterator[Any]:
        """`array`, which is contiguous, as flat pieces that fit in the cache."""
        flat = array.reshape(-1)
        for start in range(0, flat.size, self._block):
            yield flat[start : start + self._block]

    def _unit(self, n: int, dtype: np.dtype) -> Any:
        """n numbers in [0, 1): u64 for float64, u32 for float32."""
        if dtype == FLOAT64:
            return self._bits53(n).view(np.int64) * np.float64(2.0**-53)
        words = self._words32(n)
        words &= np.uint32(2**24 - 1)
        u = words.view(np.int32).astype(np.float32)
        u *= np.float32(2.0**-24)
        return u

    def _scaled(self, x: Any, factor: Any, shift: Any) -> Any:
        """x factor + shift as a processor's fused multiply-add gives it, rounded once (in float64 almost always)."""
        wide = FLOAT64.type if x.dtype == FLOAT32 else self._longest.type
        return (x * wide(factor) + wide(shift)).astype(x.dtype)

    def _bits53(self, n: int) -> Any:
        """n integers w64 mod 2^53."""
        words = self._words64(n)
        words &= np.uint64(2**53 - 1)
        return words

    def _normal_blocks(self, n: int, mean: float, std: float, dtype: np.dtype) -> Any:
        """n normal numbers, n a multiple of 16, in blocks of 8 cosines and 8 sines."""
        rows = np.arange(n // 8)
        halves = self._unit(n, dtype).reshape(-1, 8).take(rows.reshape(-1, 2).T.reshape(-1), axis=0)  # all u1, all u2
        u1, angle = halves.reshape(2, -1)
        radius = np.log(dtype.type(1) - u1)
        radius *= dtype.type(-2)
        np.sqrt(radius, out=radius)
        angle *= dtype.type(2 * math.pi)
        y = np.stack([np.cos(angle), np.sin(angle)])
        y *= radius
        if mean:
            y = self._scaled(y, dtype.type(std), dtype.type(mean))
        elif std != 1:
            y *= dtype.type(std)
        return y.reshape(-1, 8).take(rows.reshape(2, -1).T.reshape(-1), axis=0).reshape(-1)

    def _single_normals(self, n: int) -> Any:
        """n normal numbers, float64, in pairs; the last sine waits for the next call."""
        values = [] if self._next_normal is None else [self._next_normal]
        u = self._unit(2 * ((n - len(values) + 1) // 2), FLOAT64).tolist() if n else []
        for u1, u2 in zip(u[::2], u[1::2]):
            radius, angle = math.sqrt(-2 * math.log1p(-u2)), 2 * math.pi * u1
            values += [radius * math.cos(angle), radius * math.sin(angle)]
        self._next_normal = values[n] if len(values) > n else None
        return np.array(values[:n])


class DeviceGenerator(Generator):
    """A GPU's stream; `Generator(device="cuda")` makes one. Not PyTorch's numbers: a kernel that wants to fill a
    million numbers at once needs words that do not depend on one another. So word k is a mixing function of k
    (SplitMix64, Steele, Lea and Flood 2014):

        z = mix(seed) + k 0x9E3779B97F4A7C15,      w64 = mix(z),      k = 1, 2, ..., all modulo 2^64

    and the state is the pair (seed, offset), the offset being the k of the last word. w32 are the halves of w64. It is
    written with the array functions that every namespace has, so that it runs on whatever computes like NumPy; on CuPy
    kernels fill uniform, normal and boolean arrays with the same numbers in one launch (`_kernels`). The draws are the
    CPU's formulas but for normal numbers, made in whole pairs, and permutations, by sorting.
    """

    _block = 1 << 62
    _longest = FLOAT64
    _mixed: tuple[Any, int] = (None, 0)  # a seed and its mix

    def _start_engine(self) -> None:
        self.xp = namespace_for(self.device)

    def _seed_engine(self) -> None:
        self._moves_to(self._seed, None)
        self._offset = 0

    def _moves_to(self, seed: int, offset: int | None) -> None:
        """While a graph is captured: only places that the captured step itself has asked for can be gone back to."""
        capturing = None if capture.current is None else capture.active()
        if capturing is None:
            return
        draws = capturing.draws.get(self)
        if draws is None or (seed, offset) not in draws.asked:
            capture.refuse(
                "starting a random stream from a given place",
                "seed it before the step; a replay goes on where the stream is then",
            )

    @contextlib.contextmanager
    def _drawing(self) -> Iterator[None]:
        chosen = self.device.index is not None and hasattr(self.xp, "cuda")
        with self._lock, self.xp.cuda.Device(self.device.index) if chosen else contextlib.nullcontext():
            yield

    def state_array(self) -> np.ndarray:
        """(seed, offset), 16 bytes in the CPU's memory."""
        with self._lock:
            capturing = None if capture.current is None else capture.active()
            if capturing is not None:
                draws = capturing.draws.get(self) or _Draws(self, capturing)
                draws.asked.add((self._seed, self._offset))
            record = np.array((self._seed, self._offset), DEVICE_STATE)
        return np.frombuffer(record.tobytes(), np.uint8).copy()

    def set_state_array(self, state: Any) -> None:
        """Goes on from a state that `state_array()` of a device's generator gave."""
        record = _read_state(state, DEVICE_STATE, "a device's generator")
        with self._lock:
            self._moves_to(int(record["seed"]), int(record["offset"]))
            self._seed, self._offset = int(record["seed"]), int(record["offset"])

    def reserve(self, n: int) -> tuple[int, Any, int]:
        """Takes the next n words for a kernel that makes them itself: (start, base, offset). With

            k = (base[0] if base is not None else 0) + offset + 1 + i,      all modulo 2^64

        word i = 0 .. n-1 is mix(start + k 0x9E3779B97F4A7C15): `random_word(start, k)` in kernels/cuda/common.cuh.

        `base` is None, or, while a CUDA graph is captured, an array of one uint64 on the device: it is set before each
        replay to where the stream is then, so that every replay draws new numbers. A draw of several calls is atomic inside
        `with self._drawing():`; one call alone needs it only where threads share the generator.
        """
        capturing = None if capture.current is None else capture.active()
        if capturing is None:
            offset = self._offset
            self._offset += n
            return self._start, None, offset
        draws = capturing.draws.get(self)
        if draws is None:
            draws = capturing.draws[self] = _Draws(self, capturing)
        offset = self._offset - draws.origin
        self._offset += n
        return self._start, draws.base, offset

    @property
    def _start(self) -> int:
        if self._mixed[0] != self._seed:
            self._mixed = (self._seed, int(_mix(np.array([self._seed], np.uint64))[0]))
        return self._mixed[1]

    def _kernels(self, out: Any) -> Any:
        """Of kernels/cuda/random.py: the fast path for `DeviceGenerator`, if there is one, and if it fills this array."""
        fast = fastpath.ACTIVE[self.xp].get(DeviceGenerator)
        return fast if fast is not None and fast.takes(out) else None

    def _words64(self, n: int) -> Any:
        start, base, offset = self.reserve(n)
        k = self.xp.arange(offset + 1, offset + n + 1, dtype=np.uint64)
        if base is not None:
            k += base
        return _mix(k * np.uint64(GAMMA) + np.uint64(start))

    def _words32(self, n: int) -> Any:
        return self._words64((n + 1) // 2).view(np.uint32)[:n]

    def normal(
        self, shape: Any, mean: float = 0.0, std: float = 1.0, dtype: Any = np.float32, blocks: bool = True
    ) -> Any:
        """Normal numbers by Box-Muller: the first half of the uniforms are the radii, the second half the angles."""
        dtype, mean, std = _float_dtype("normal", dtype), float(mean), float(std)
        if not std >= 0:
            raise ValueError(f"normal(): expected std >= 0, got std={std}")
        compute = _computed_in(dtype)
        xp, scalar = self.xp, compute.type
        with self._drawing():
            out = xp.empty(shape, dtype)
            if (kernels := self._kernels(out)) is not None:
                kernels.normal(self, out, mean, std)
                return out
            pairs = (out.size + 1) // 2
            u = self._unit(2 * pairs, compute)
            radius = xp.sqrt(xp.log(scalar(1) - u[:pairs]) * scalar(-2))
            angle = u[pairs:] * scalar(2 * math.pi)
            y = xp.concatenate([radius * xp.cos(angle), radius * xp.sin(angle)])
            out.reshape(-1)[...] = (y * scalar(std) + scalar(mean))[: out.size]
        return out

    def permutation(self, n: int, dtype: Any = np.int64) -> Any:
        """0..n-1 in random order: the order that sorts n words."""
        n = _count("permutation", n)
        with self._drawing():
            return self.xp.argsort(self._words64(n)).astype(dtype)


class _Draws:
    """A device's stream while a graph is captured. The kernels' k are relative to `base`, which a small kernel sets before
    each replay to the stream's offset then; a replay moves the offset on by what the step draws. During the capture
    nothing is drawn, so afterwards the stream is where it was.

    `start`, the mixed seed, is a number in the captured kernels. Seeding anew changes it, to start'; since
    0x9E3779B97F4A7C15 is odd, it has an inverse modulo 2^64, and a shift of k does the same:

        start' + k 0x9E37... = start + (k + (start' - start) / 0x9E37...) 0x9E37...
    """

    def __init__(self, generator: DeviceGenerator, capturing: capture.Capture):
        self.generator, self.origin, self.start = generator, generator._offset, generator._start
        with capture.lasting(generator.xp):
            self.base = generator.xp.empty(1, np.uint64)
        self.total = 0
        self.asked: set[tuple[int, int | None]] = set()  # places that state_array() gave inside the step
        capturing.draws[generator] = self
        capturing.refresh.append(self.refresh)
        capturing.finish.append(self.finish)

    def finish(self) -> None:
        self.total = self.generator._offset - self.origin
        self.generator._offset = self.origin

    def refresh(self) -> None:
        g = self.generator
        with g._drawing():
            shift = (g._start - self.start) * INVERSE_GAMMA
            self.base.fill(np.uint64((g._offset + shift) % 2**64))
            g._offset += self.total


def _restore(device: str, state: np.ndarray) -> Generator:
    """A generator from its pickle."""
    generator = Generator(device)
    generator.set_state_array(state)
    return generator


def _read_state(state: Any, record: np.dtype, owner: str) -> np.ndarray:
    if not isinstance(state, np.ndarray) or state.dtype != np.uint8:
        kind = f"an array of {state.dtype.name}" if isinstance(state, np.ndarray) else type(state).__name__
        raise TypeError(f"set_state(): expected the state as a uint8 array in the CPU's memory, got {kind}")
    if state.size != record.itemsize:
        raise ValueError(
            f"set_state(): expected the state of {owner}, {record.itemsize} bytes, got {state.size} bytes; "
            f"a CPU's state has {CPU_STATE.itemsize}, a device's {DEVICE_STATE.itemsize}: were the two mixed up?"
        )
    return np.frombuffer(state.tobytes(), record)[0]


def _count(draw: str, n: int) -> int:
    number = operator.index(n)
    if number < 0:
        raise ValueError(f"{draw}(): expected a count >= 0, got {number}")
    return number


def _float_dtype(draw: str, dtype: Any) -> np.dtype:
    dtype = np.dtype(dtype)
    if dtype.name not in MANTISSA_BITS:
        raise TypeError(f"{draw}(): expected a floating dtype ({', '.join(MANTISSA_BITS)}), got {dtype.name}")
    return dtype


def _computed_in(dtype: np.dtype) -> np.dtype:
    """float64 for float64, float32 for float32 and everything narrower."""
    return FLOAT64 if dtype == FLOAT64 else FLOAT32


def _round(values: Any, dtype: np.dtype) -> Any:
    """values in `dtype`; into float16 and bfloat16 by way of float32, as PyTorch goes."""
    return values.astype(FLOAT32).astype(dtype) if dtype.name in ("float16", "bfloat16") else values.astype(dtype)


def _modulo(words: Any, span: int) -> Any:
    """words mod span, in place. By way of the quotient: NumPy has SIMD for quotients by one number, not remainders."""
    divisor = words.dtype.type(span)
    multiples = words // divisor
    multiples *= divisor
    words -= multiples
    return words


def _representable(low: int, high: int, dtype: np.dtype) -> tuple[int, int]:
    """The range [low, high) without the ends that rounding to `dtype` would move outside."""
    bits = MANTISSA_BITS[dtype.name]

    def rounded(n: int) -> int:
        return int(_round(np.array([n], np.int64), dtype)[0])

    if rounded(low + 1) < low:
        low = rounded(low + 1) + (1 << (abs(low + 1).bit_length() - bits))
    if rounded(high - 1) >= high:
        high = rounded(high - 1) - (1 << (abs(high - 1).bit_length() - bits))
    return low, high


def _mix(z: Any) -> Any:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


default_generator = Generator()
default_generator.seed()
