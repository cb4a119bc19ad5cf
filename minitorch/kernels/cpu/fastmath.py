"""exp and erf in float32 as polynomials, which the compiler turns into vector code; the C library's are scalar calls.

    exp(x) = 2^n e^r,  n = round(x / log 2),  |r| <= log(2)/2: a polynomial of degree 6         relative error 2e-7
    erf(x) = x P(x^2) / Q(x^2) on [-4, 4], +-1 beyond                                          absolute error 5e-7

The coefficients go through Chebyshev points, solved with 50 digits.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

f32 = np.float32
INVERSE_LOG2 = f32(1 / math.log(2))
LOG2_HIGH = f32(0.693359375)  # few bits: n * LOG2_HIGH is exact
LOG2_LOW = f32(math.log(2) - 0.693359375)
E2, E3, E4, E5, E6 = map(
    f32, (0.5, 0.16666415333747864, 0.04166635125875473, 0.00837512593716383, 0.0013941108481958508)
)
P0, P1, P2, P3, P4, P5, P6 = map(f32, (
    1.1283791065216064, 0.18600240349769592, 0.05461936444044113, 0.0039167944341897964, 0.00038993818452581763,
    4.901692136627389e-06, -1.4254958990989053e-08,
))  # fmt: skip
Q1, Q2, Q3, Q4, Q5 = map(f32, (
    0.4981728792190552, 0.11446501314640045, 0.015616207383573055, 0.001336751040071249, 6.532674888148904e-05,
))  # fmt: skip
ONE, HALF, FOUR = f32(1), f32(0.5), f32(4)
LOWEST, HIGHEST = f32(-87.0), f32(88.7)
INF = f32(np.inf)


@intrinsic
def _float_of_bits(typing_context, bits):
    """An int32's bits, read as a float32."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(types.float32))

    return types.float32(types.int32), codegen


@numba.njit(inline="always")
def exp(x):
    """e^x for a float32; 0 below -87, infinity above 88.7, NaN for NaN."""
    inside = min(max(x, LOWEST), HIGHEST)
    n = np.floor(inside * INVERSE_LOG2 + HALF)
    r = (inside - n * LOG2_HIGH) - n * LOG2_LOW
    p = ONE + r * (ONE + r * (E2 + r * (E3 + r * (E4 + r * (E5 + r * E6)))))
    half = np.int32(n) >> np.int32(1)  # 2^n as two factors, since 2^128 is no float32
    y = p * _float_of_bits(np.int32((half + np.int32(127)) << np.int32(23)))
    y = y * _float_of_bits(np.int32((np.int32(n) - half + np.int32(127)) << np.int32(23)))
    y = y if x <= HIGHEST else INF
    y = y if x >= LOWEST else f32(0)
    return y if x == x else x


@numba.njit(inline="always")
def erf(x):
    """The error function of a float32."""
    z = min(max(x, -FOUR), FOUR)
    t = z * z
    p = P0 + t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * (P5 + t * P6)))))
    q = ONE + t * (Q1 + t * (Q2 + t * (Q3 + t * (Q4 + t * Q5))))
    y = z * p / q
    return y if x == x else x
