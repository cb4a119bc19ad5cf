"""Products of a few rows with a matrix that many of them need: what a recurrent layer does at each step.

BLAS copies the matrix into an order of its own in each call, which for 16 rows costs as much as the product. Here it is
copied once (`packed`): into panels of COLUMNS columns, in which the lines lie one after the other. A tile of C, ROWS
times COLUMNS numbers, stays in registers while k runs:

    C[r, :] += A[r, k] * panel[k, :]          for all r of the tile: one number of A times vectors of the panel

Each number of C is a sum in the order of k, whatever tile it is in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compile import inline

_WIDE = bool(binding.get_host_cpu_features().get("avx512f", False))
LANES = 16 if _WIDE else 8  # numbers in a vector
ROWS = 8 if _WIDE else 4  # so that a tile leaves registers for A and for the panel
COLUMNS = 2 * LANES

_FLOAT, _WORD = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_HALVES = range(0, COLUMNS, LANES)


def _spread(builder: Any, number: Any) -> Any:
    """A vector of one number."""
    undefined, first = ir.Constant(_VECTOR, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), LANES), None)
    one = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, undefined, first)


def _tile(rows: int) -> Any:
    @intrinsic
    def tile(context, a, step_a, k, panel, c, step_c):
        """`rows` rows of A (rows, k), by COLUMNS columns; arguments are addresses, and elements from row to row."""

        def code(context, builder, signature, args):
            a, step_a, k, panel, c, step_c = args

            def at(address, offset, kind):
                return builder.inttoptr(builder.add(address, offset), kind.as_pointer())

            def row(address, step, r):
                return builder.add(address, builder.mul(step, _WORD(4 * r)))

            zero = ir.Constant(_VECTOR, None)
            sums = [[cgutils.alloca_once(builder, _VECTOR) for _ in _HALVES] for _ in range(rows)]
            for s in sums:
                for half in s:
                    builder.store(zero, half)
            starts = [row(a, step_a, r) for r in range(rows)]
            with cgutils.for_range(builder, k, intp=_WORD) as loop:
                line = builder.add(panel, builder.mul(loop.index, _WORD(4 * COLUMNS)))
                vectors = [builder.load(at(line, _WORD(4 * j), _VECTOR), align=4) for j in _HALVES]
                offset = builder.mul(loop.index, _WORD(4))
                for start, s in zip(starts, sums):
                    number = _spread(builder, builder.load(at(start, offset, _FLOAT), align=4))
                    for half, v in zip(s, vectors):
                        term = builder.fmul(number, v, flags=("contract",))
                        builder.store(builder.fadd(builder.load(half), term, flags=("contract",)), half)
            for r, s in enumerate(sums):
                for half, j in zip(s, _HALVES):
                    builder.store(builder.load(half), at(row(c, step_c, r), _WORD(4 * j), _VECTOR), align=4)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 6), code

    return tile


_rows, _row = _tile(ROWS), _tile(1)


def packed(b: np.ndarray) -> np.ndarray:
    """B (k, n) as panels (ceil(n / COLUMNS), k, COLUMNS), the last one filled up with zeros."""
    k, n = b.shape
    panels = -(-n // COLUMNS)
    if n % COLUMNS:
        b = np.pad(b, ((0, 0), (0, panels * COLUMNS - n)))
    return np.ascontiguousarray(b.reshape(k, panels, COLUMNS).swapaxes(0, 1))


@inline
def times_packed(a, step_a, rows, k, panels, count, c, step_c):
    """C (rows, count * COLUMNS) = A B, with B in `count` panels; by addresses."""
    for p in range(count):
        panel, to = panels + 4 * p * k * COLUMNS, c + 4 * p * COLUMNS
        r = 0
        while r + ROWS <= rows:
            _rows(a + 4 * r * step_a, step_a, k, panel, to + 4 * r * step_c, step_c)
            r += ROWS
        while r < rows:
            _row(a + 4 * r * step_a, step_a, k, panel, to + 4 * r * step_c, step_c)
            r += 1
