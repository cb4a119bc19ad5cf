"""The error function and the gamma function's kin, which NumPy does not have.

    erf(x)  = x P(x^2)                                 for |x| < 1
    erfc(x) = e^(-x^2) Q(s) / (1 + x),  s = (x-3)/(x+3)  for x >= 1;   erfc(-x) = 2 - erfc(x)

P and Q are polynomials through Chebyshev points, computed with 40 digits; the relative error is below 4e-16 in float64
and 2e-7 in float32.

    log gamma(x) = (x - 1/2) log x - x + log(2 pi) / 2 + sum_k B_2k / (2k (2k - 1) x^(2k - 1))      for large x

(Stirling's series; B: Bernoulli's numbers). Small x are shifted up by gamma(x + 1) = x gamma(x), negative ones reflected
by gamma(x) gamma(1 - x) = pi / sin(pi x). Derivatives of these three give psi = (log gamma)' and its derivatives.

CuPy brings its own kernels.
"""

from __future__ import annotations

import math
from typing import Any

# fmt: off
_ERF_64 = (
    1.1283791670955126, -0.37612638903183543, 0.11283791670945006, -0.02686617064323777,
    0.0052239776071164225, -0.0008548325975389692, 0.00012055294904839707, -1.492473690741966e-05,
    1.6447424703317362e-06, -1.6208483801871705e-07, 1.3720064546777686e-08, -7.795898827002142e-10,
)
_ERF_32 = (
    1.1283791658483509, -0.37612626666720334, 0.11283594715160218, -0.026854212010626412,
    0.005189087423433974, -0.000801686428716587, 7.875875062685488e-05,
)
_ERFC_64 = (
    0.7160046047255598, -0.23092733308380942, 0.0990207536794397, -0.010235388898974797,
    -0.023803913108641873, 0.0219577640110464, -0.009750689293020153, 0.001618569162678321,
    0.0006458141903255687, -0.00036728890015408496, -2.055126597867079e-05, 5.612218387264961e-05,
    -1.5178397255443784e-06, -9.00048039570127e-06, 2.783920104403307e-07, 1.6070188403952283e-06,
    1.3843072329141904e-08, -2.970827737491967e-07, 8.491553399987563e-09, 2.781685419542643e-08,
)
_ERFC_32 = (
    0.7160046020178495, -0.23092726655249834, 0.09902113484692934, -0.01023854679268437,
    -0.023812054719248764, 0.02199925272634732, -0.009695637350467912, 0.0014107227525960054,
    0.0005263497997801942,
)
# fmt: on


def _polynomial(x: Any, coefficients: tuple) -> Any:
    y = x * coefficients[-1] + coefficients[-2]
    for c in coefficients[-3::-1]:
        y *= x
        y += c
    return y


def _small(x: Any) -> Any:
    return x * _polynomial(x * x, _ERF_64 if x.dtype.itemsize == 8 else _ERF_32)


def _tail(x: Any, xp: Any) -> Any:
    """erfc for x >= 1. e^(-x^2) is split at a short h, whose square is exact: e^(-h^2) e^(-(x-h)(x+h))."""
    x = xp.minimum(x, 27.5 if x.dtype.itemsize == 8 else 10.5)  # erfc underflows to 0 there
    grid = 4096 if x.dtype.itemsize == 8 else 128
    h = (xp.floor(x * grid) / grid).astype(x.dtype)
    q = _polynomial((x - 3) / (x + 3), _ERFC_64 if x.dtype.itemsize == 8 else _ERFC_32)
    return xp.exp(-h * h) * (xp.exp(-(x - h) * (x + h)) * q / (1 + x))


def erf(x: Any, xp: Any) -> Any:
    """erf of a float32 or float64 array."""
    if xp.__name__ == "cupy":
        return _cupy("erf")(x)
    a = xp.abs(x)
    large = xp.sign(x) * (1 - _tail(xp.maximum(a, 1), xp))
    return xp.where(a < 1, _small(xp.clip(x, -1, 1)), large)


def erfc(x: Any, xp: Any) -> Any:
    """1 - erf(x) of a float32 or float64 array, with full relative precision for large x."""
    if xp.__name__ == "cupy":
        return _cupy("erfc")(x)
    a = xp.abs(x)
    tail = _tail(xp.maximum(a, 1), xp)
    large = xp.where(x < 0, 2 - tail, tail)
    return xp.where(a < 1, 1 - _small(xp.clip(x, -1, 1)), large)


def erfinv(x: Any, xp: Any) -> Any:
    """y with erf(y) = x: Winitzki's closed formula, right to three digits, then Halley's steps, each of which triples them.

    In float64 for every dtype. Beyond 1/2 the steps compare erfc(y) with 1 - |x|, which loses no digits there.
    """
    if xp.__name__ == "cupy":
        return _cupy("erfinv")(x)
    a = xp.abs(x.astype("float64"))
    inside = xp.where(a < 1, a, 0.0)
    log = xp.log1p(-inside * inside)
    half = 2 / (math.pi * 0.147) + log / 2
    y = xp.sqrt(xp.sqrt(half * half - log / 0.147) - half)
    for _ in range(3):
        error = xp.where(inside < 0.5, erf(y, xp) - inside, (1 - inside) - erfc(y, xp))
        step = error / (2 / math.sqrt(math.pi) * xp.exp(-y * y))
        y = y - step / (1 + y * step)
    y = xp.where(a < 1, y, xp.where(a == 1, math.inf, math.nan))
    return (xp.sign(x) * y).astype(x.dtype)


_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510, 43867 / 798, -174611 / 330)


def lgamma(x: Any, xp: Any) -> Any:
    """log |gamma(x)|, in float64 for every dtype: the error is some 1e-15 of the largest term."""
    if xp.__name__ == "cupy":
        return _cupy("gammaln")(x)
    given, dtype = x.astype("float64"), x.dtype
    turn = given < 0.5
    x = xp.where(turn, 1 - given, given)
    product = xp.ones_like(x)  # x (x + 1) ... up to 12
    for _ in range(12):
        small = x < 12
        product = xp.where(small, product * x, product)
        x = xp.where(small, x + 1, x)
    series, power = 0.0, 1 / x
    for k, b in enumerate(_BERNOULLI[:8], 1):
        series = series + b / (2 * k * (2 * k - 1)) * power
        power = power / (x * x)
    y = (x - 0.5) * xp.log(x) - x + 0.5 * math.log(2 * math.pi) + series - xp.log(product)
    sine = xp.abs(xp.sin(math.pi * (given - xp.round(given))))  # |sin(pi x)|, exact for large |x| too
    y = xp.where(turn, xp.log(math.pi / sine) - y, y)
    y = xp.where(xp.isinf(given) | (turn & (sine == 0)), math.inf, y)
    return y.astype(dtype)


def polygamma(n: int, x: Any, xp: Any) -> Any:
    """The n-th derivative of psi = (log gamma)', in float64 for every dtype.

    psi^(n)(x) = (-1)^(n+1) [(n - 1)! / x^n + n! / (2 x^(n+1)) + sum_k B_2k (2k + n - 1)! / ((2k)! x^(2k+n))]   (large x;
    for n = 0 the first term is log x),   psi^(n)(x) = psi^(n)(x + 1) - (-1)^n n! / x^(n+1),
    psi^(n)(x) = (-1)^n psi^(n)(1 - x) - pi d^n/dx^n cot(pi x).
    """
    if xp.__name__ == "cupy":
        return _cupy("digamma")(x) if n == 0 else _cupy("polygamma")(n, x)
    given, dtype = x.astype("float64"), x.dtype
    turn, sign = given < 0.5, (-1.0) ** n
    z = xp.where(turn, 1 - given, given)
    shifted, least = xp.zeros_like(z), 15 + n
    for _ in range(least):
        small = z < least
        shifted = xp.where(small, shifted + math.factorial(n) / z ** (n + 1), shifted)
        z = xp.where(small, z + 1, z)
    series = (math.factorial(n - 1) / z**n if n else -xp.log(z)) + math.factorial(n) / (2 * z ** (n + 1))
    for k, b in enumerate(_BERNOULLI, 1):
        series = series + b * math.factorial(2 * k + n - 1) / math.factorial(2 * k) / z ** (2 * k + n)
    y = -sign * (series + shifted)
    c = 1 / xp.tan(math.pi * (given - xp.round(given)))  # cot(pi x)
    slope = [0.0, 1.0]  # d^n/dx^n cot(pi x) as a polynomial in c, whose own derivative is -pi (1 + c^2)
    for _ in range(n):
        d = [k * a for k, a in enumerate(slope)][1:]
        slope = [-math.pi * (a + b) for a, b in zip([*d, 0.0, 0.0], [0.0, 0.0, *d])]
    cot = xp.zeros_like(c)
    for a in reversed(slope):
        cot = cot * c + a
    y = xp.where(turn, sign * y - math.pi * cot, y)
    pole = turn & (given == xp.round(given))
    at_pole = xp.where(given == 0, xp.copysign(math.inf, -given), math.nan) if n == 0 else -sign * math.inf
    y = xp.where(pole, at_pole, y)
    return xp.where(given == math.inf, math.inf if n == 0 else 0.0, y).astype(dtype)


def _cupy(name: str) -> Any:
    from cupyx.scipy import special

    return getattr(special, name)
