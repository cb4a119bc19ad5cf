"""exp in float32 as a polynomial, and the largest number of a row, so that the compiler makes vector code of them.

    exp(x) = 2^n e^r,  n = round(x / log 2),  |r| <= log(2)/2: a polynomial of degree 5         relative error 2e-7

The coefficients give the least largest relative error.
"""

from __future__ import annotations

import math

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compile import inline

f32 = np.float32
INVERSE_LOG2 = f32(1 / math.log(2))
LOG2_HIGH = f32(0.693359375)  # few bits: n * LOG2_HIGH is exact
LOG2_LOW = f32(math.log(2) - 0.693359375)
E2, E3, E4, E5 = map(f32, (0.499992311000824, 0.16667115688323975, 0.041890330612659454, 0.008312501013278961))
ONE = f32(1)
LOWEST, HIGHEST = f32(-127 * math.log(2)), f32(128 * math.log(2))


@intrinsic
def _float_of_bits(context, bits):
    """An int32's bits, read as a float32."""

    def code(context, builder, signature, args):
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.int32), code


@inline
def exp(x):
    """e^x for a float32; 0 below -87.7, infinity above 88.4, NaN for NaN."""
    inside = min(max(x, LOWEST), HIGHEST)
    n = np.rint(inside * INVERSE_LOG2)
    r = (inside - n * LOG2_HIGH) - n * LOG2_LOW
    p = ONE + r * (ONE + r * (E2 + r * (E3 + r * (E4 + r * E5))))
    # the bits of 2^n; those of 2^-127 are made those of 0, those of 2^128 of infinity
    return p * _float_of_bits(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))


@intrinsic
def _order(context, x):
    """A float32 as an int32 of the same order; NaN is above infinity (or below -infinity)."""

    def code(context, builder, signature, args):
        word = ir.IntType(32)
        bits = builder.bitcast(args[0], word)
        return builder.xor(bits, builder.and_(builder.ashr(bits, word(31)), word(0x7FFFFFFF)))

    return types.int32(types.float32), code


@intrinsic
def _back(context, n):
    """The float32 of which this is the order."""

    def code(context, builder, signature, args):
        word = ir.IntType(32)
        bits = builder.xor(args[0], builder.and_(builder.ashr(args[0], word(31)), word(0x7FFFFFFF)))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.int32), code


@inline
def largest(x, i):
    """The largest number of row i; NaN where there is a positive one. As integers: with floats, what a comparison with
    NaN gives depends on the order of the comparisons, so that they would have to be made one by one."""
    top = _order(x[i, 0])
    for j in range(x.shape[1]):
        n = _order(x[i, j])
        top = n if n > top else top
    return _back(top)
