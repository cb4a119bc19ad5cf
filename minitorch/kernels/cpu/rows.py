"""Copies of short rows: a vector at a time, the last one laid over the one before, so that no element goes alone.

(LLVM's own loops over 8 to 30 elements spend most of their time on finding out that the vector loop can run.)
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compile import floats_at, inline


def _block(width, step):
    @intrinsic
    def block(context, x, y, shift):
        """y[j] = x[j step] + shift for `width` elements j; x and y by their addresses."""

        def code(context, builder, signature, args):
            vector, small = ir.VectorType(ir.FloatType(), width), ir.IntType(32)

            def lanes(numbers):
                return ir.Constant(ir.VectorType(small, width), numbers)

            def read(offset):
                at = builder.add(args[0], ir.IntType(64)(4 * offset))
                return builder.load(builder.inttoptr(at, vector.as_pointer()), align=4)

            value = read(0)
            if step == 2:  # no element beyond the last one is read: the second half starts one early
                half = [2 * i for i in range(width // 2)]
                value = builder.shuffle_vector(value, read(width - 1), lanes(half + [width + 1 + i for i in half]))
            one = builder.insert_element(ir.Constant(vector, ir.Undefined), args[2], small(0))
            value = builder.fadd(value, builder.shuffle_vector(one, one, lanes([0] * width)))
            builder.store(value, builder.inttoptr(args[1], vector.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.none(types.int64, types.int64, types.float32), code

    return block


_plain16, _plain8, _plain4 = (_block(width, 1) for width in (16, 8, 4))
_apart8, _apart4 = (_block(width, 2) for width in (8, 4))


@inline
def copy(x, y, size, shift):
    """y = x + shift: rows of `size` floats, by their addresses."""
    if size >= 16:
        for j in range(0, size, 16):
            k = 4 * min(j, size - 16)
            _plain16(x + k, y + k, shift)
    elif size >= 8:
        _plain8(x, y, shift)
        _plain8(x + 4 * (size - 8), y + 4 * (size - 8), shift)
    elif size >= 4:
        _plain4(x, y, shift)
        _plain4(x + 4 * (size - 4), y + 4 * (size - 4), shift)
    else:
        a, b = floats_at(x, size), floats_at(y, size)
        for j in range(size):
            b[j] = a[j] + shift


@inline
def copy_apart(x, y, size, step, shift):
    """The same with x[0], x[step], x[2 step] ..."""
    if step == 1:
        copy(x, y, size, shift)
    elif step == 2 and size >= 8:
        for j in range(0, size, 8):
            k = min(j, size - 8)
            _apart8(x + 8 * k, y + 4 * k, shift)
    elif step == 2 and size >= 4:
        _apart4(x, y, shift)
        _apart4(x + 8 * (size - 4), y + 4 * (size - 4), shift)
    else:
        a, b = floats_at(x, size * step), floats_at(y, size)
        for j in range(size):
            b[j] = a[j * step] + shift


@inline
def fill(y, size, value):
    a = floats_at(y, size)
    for j in range(size):
        a[j] = value
