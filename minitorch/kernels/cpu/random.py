"""Draws of True and False: the Mersenne Twister's words are made, compared and thrown away in the first-level cache.

The recurrence is  s[k] = s[k + 397] ^ twist(s[k], s[k + 1]),  indices modulo 624: in order of k it is made of three
loops without a dependence that is nearer than 227 words, so they become vector code; and so does the tempering. It
runs on the state of NumPy's bit generator, in place, under the generator's lock.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from ...backend.fastpath import fast_path
from ...backend.random import Generator
from .compile import _at, bytes_, inline, integer, kernel, over_rows

u32, u64 = np.uint32, np.uint64
N, M = 624, 397
UPPER, LOWER, MATRIX = u32(0x80000000), u32(0x7FFFFFFF), u32(0x9908B0DF)
MASK1, MASK2 = u32(0x9D2C5680), u32(0xEFC60000)
BITS53 = u64(2**53 - 1)


@inline
def _twist(a, b):
    y = u32((a & UPPER) | (b & LOWER))
    return u32(u32(y >> u32(1)) ^ u32(u32(u32(0) - u32(y & u32(1))) & MATRIX))


@inline
def _next_block(s):
    for k in range(N - M):
        s[k] = s[k + M] ^ _twist(s[k], s[k + 1])
    for k in range(N - M, N - 1):
        s[k] = s[k + M - N] ^ _twist(s[k], s[k + 1])
    s[N - 1] = s[M - 1] ^ _twist(s[N - 1], s[0])


@inline
def _tempered(y):
    y = u32(y ^ u32(y >> u32(11)))
    y = u32(y ^ u32(u32(y << u32(7)) & MASK1))
    y = u32(y ^ u32(u32(y << u32(15)) & MASK2))
    return u32(y ^ u32(y >> u32(18)))


@inline
def _bits53(first, second):
    return ((u64(first) << u64(32)) | u64(second)) & BITS53


@kernel
def _bernoulli(args, start, stop):
    """out[i] = 53 random bits < threshold. The state is N words and, behind them, the place of the next one."""
    state, words, out = carray(_at(integer(args, 0)), (N + 1,), u32), np.empty(N, u32), bytes_(args, 1)
    threshold = u64(integer(args, 2))
    s = state[:N]
    place, i = int(state[N]), 0
    while i < out.size:
        if place >= N:
            _next_block(s)
            place = 0
        pairs = min((N - place) // 2, out.size - i)
        rest, part = s[place:], out[i : i + pairs]
        for k in range(2 * pairs):
            words[k] = _tempered(rest[k])
        for k in range(pairs):
            part[k] = _bits53(words[2 * k], words[2 * k + 1]) < threshold
        place, i = place + 2 * pairs, i + pairs
        if place == N - 1 and i < out.size:  # a pair of the last word and the next block's first
            last = _tempered(s[N - 1])
            _next_block(s)
            out[i] = _bits53(last, _tempered(s[0])) < threshold
            place, i = 1, i + 1
    state[N] = place


@fast_path(Generator, "numpy")
class GeneratorCPU(Generator):
    """Not a generator, but what `Generator.bernoulli` calls."""

    @staticmethod
    def below(address: int, threshold: int, out: np.ndarray) -> None:
        """Fills the bool array with w64 mod 2^53 < threshold, from NumPy's Mersenne Twister at this address."""
        over_rows(_bernoulli, 1, 0, address, out.reshape(-1), threshold)
