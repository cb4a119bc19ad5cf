"""Products of matrices: matmul and everything that is one, einsum, linear.      Lesson 02 (by indices)."""

from __future__ import annotations

import math
from typing import Any

from ..autograd import autocast, views
from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend import dtypes
from ..tensor import Tensor
from ._method import read_dims, tensor_method, unbroadcast


class MatMul(Op):
    """y = a @ b over the last two axes, the others broadcast.      a: (..., n, k)   b: (..., k, m)   y: (..., n, m)

    y_ij = sum_k a_ik b_kj
    da = dy @ b^T        because dy_ij/da_ik = b_kj
    db = a^T @ dy        because dy_ij/db_kj = a_ik

    Lesson 02.
    """

    def forward(self, a, b):
        self.save(a if self.needs[1] else None, b if self.needs[0] else None, a.shape, b.shape)
        return self.xp.matmul(a, b)

    def backward(self, dy):
        a, b, a_shape, b_shape = self.saved
        da = db = None
        if self.needs[0]:
            da = unbroadcast(self.xp.matmul(dy, b.swapaxes(-1, -2)), a_shape)
        if self.needs[1]:
            db = unbroadcast(self.xp.matmul(a.swapaxes(-1, -2), dy), b_shape)
        return da, db


class Linear(Op):
    """y = x W^T + b.            x: (..., n)   W: (m, n)   b: (m,)   y: (..., m)

    dx = dy W      dW = dy^T x, summed over all leading axes      db = sum of dy over them.     Lessons 03 and 06.
    """

    def forward(self, x, W, b):
        self.save(x if self.needs[1] else None, W if self.needs[0] else None, x.shape)
        y = self.xp.matmul(x.reshape((math.prod(x.shape[:-1]), x.shape[-1])), W.T)
        if b is not None:
            y += b
        return y.reshape((*x.shape[:-1], W.shape[0]))

    def backward(self, dy):
        x, W, shape = self.saved
        rows = math.prod(shape[:-1])
        dy = dy.reshape((rows, dy.shape[-1]))
        dx = self.xp.matmul(dy, W).reshape(shape) if self.needs[0] else None
        dW = self.xp.matmul(dy.swapaxes(0, 1), x.reshape((rows, shape[-1]))) if self.needs[1] else None
        return dx, dW, (dy.sum(0) if self.needs[2] else None)


def _check_dtypes(name: str, *tensors: Tensor) -> None:
    first = tensors[0]
    for t in tensors[1:]:
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): expected a Tensor, got {type(t).__name__}")
        if t.array.dtype != first.array.dtype:
            raise RuntimeError(
                f"{name}(): expected both tensors to have the same dtype, but got: {first.dtype} != {t.dtype}"
            )


@tensor_method
def matmul(input, other):
    """The product of vectors, matrices, or stacks of matrices (broadcast), as Python's @."""
    if autocast.blocks:
        input, other = autocast.cast("matmul", input, other)
    _check_dtypes("matmul", input, other)
    if not input.ndim or not other.ndim:
        raise RuntimeError(
            f"matmul: both arguments need to be at least 1D, but they are {input.ndim}D and {other.ndim}D"
        )
    a = input.unsqueeze(0) if input.ndim == 1 else input
    b = other.unsqueeze(1) if other.ndim == 1 else other
    if a.array.shape[-1] != b.array.shape[-2]:
        raise RuntimeError(
            f"matmul: shapes {tuple(input.shape)} and {tuple(other.shape)} cannot be multiplied: "
            f"the inner sizes {a.array.shape[-1]} and {b.array.shape[-2]} differ"
        )
    from .shape import broadcast_shapes

    broadcast_shapes(a.array.shape[:-2], b.array.shape[:-2])
    if b.ndim == 2 and a.ndim > 2:  # one large product rather than many small ones
        y = MatMul.apply(a.reshape(math.prod(a.array.shape[:-1]), a.array.shape[-1]), b).reshape(
            *a.array.shape[:-1], b.array.shape[-1]
        )
    else:
        y = MatMul.apply(a, b)
    if input.ndim == 1:
        y = y.squeeze(-2)
    return y.squeeze(-1) if other.ndim == 1 else y


def _need(name: str, expected: str, holds: bool, *tensors: Tensor) -> None:
    if not holds:
        raise RuntimeError(
            f"{name}: expected {expected}, got shapes " + ", ".join(str(tuple(t.shape)) for t in tensors)
        )


@tensor_method
@casts
def mm(input, mat2):
    """The product of two matrices."""
    _need("mm", "two matrices", input.ndim == mat2.ndim == 2, input, mat2)
    return matmul(input, mat2)


@tensor_method
@casts
def bmm(input, mat2):
    """The products of two stacks of matrices of the same length."""
    _need(
        "bmm",
        "two stacks of matrices of equal length",
        input.ndim == mat2.ndim == 3 and len(input) == len(mat2),
        input,
        mat2,
    )
    return matmul(input, mat2)


@tensor_method
@casts
def mv(input, vec):
    """A matrix times a vector."""
    _need("mv", "a matrix and a vector", input.ndim == 2 and vec.ndim == 1, input, vec)
    return matmul(input, vec)


@tensor_method
@casts
def dot(input, tensor):
    """The sum of the products of two vectors."""
    _need(
        "dot",
        "two vectors of equal length",
        input.ndim == tensor.ndim == 1 and input.shape == tensor.shape,
        input,
        tensor,
    )
    return matmul(input, tensor)


@tensor_method
@casts
def outer(input, vec2):
    """All products of the elements of two vectors: (n, m)."""
    _need("outer", "two vectors", input.ndim == vec2.ndim == 1, input, vec2)
    return input.unsqueeze(1) * vec2.unsqueeze(0)


@tensor_method
@casts
def vdot(input, other):
    """`dot`; the first vector would be conjugated if it were complex."""
    _check_dtypes("vdot", input, other)
    return dot(input, other)


@tensor_method
@casts
def inner(input, other):
    """The sums of products over the last axis of both: (..., n) and (..., n) give (..., ...)."""
    _check_dtypes("inner", input, other)
    if not input.ndim or not other.ndim:
        return input * other
    _need("inner", "last dimensions of equal size", input.shape[-1] == other.shape[-1], input, other)
    return tensordot(input, other, dims=([-1], [-1]))


@tensor_method
@casts
def kron(input, other):
    """Kronecker's product: each element of input times the whole of other, as blocks."""
    ndim = max(input.ndim, other.ndim)
    a, b = (t.reshape((1,) * (ndim - t.ndim) + tuple(t.shape)) for t in (input, other))
    left = [n for size in a.shape for n in (size, 1)]
    right = [n for size in b.shape for n in (1, size)]
    return (a.reshape(left) * b.reshape(right)).reshape([n * m for n, m in zip(a.shape, b.shape)])


@tensor_method
def cross(input, other, dim=None):
    """The cross product of vectors of 3 elements along `dim`, by default the first dimension of size 3.

    y_0 = a_1 b_2 - a_2 b_1, and so on round: two of the three axes rolled on by one against the other.
    """
    _need("cross", "tensors of the same number of dimensions", input.ndim == other.ndim, input, other)
    if dim is None:
        if 3 not in input.shape:
            raise RuntimeError(f"cross: no dimension of size 3 in input, got shape {tuple(input.shape)}")
        dim = tuple(input.shape).index(3)
    dim = read_dims(dim, input.ndim)[0]
    _need("cross", f"3 elements along dimension {dim}", input.shape[dim] == other.shape[dim] == 3, input, other)
    return input.roll(-1, dim) * other.roll(-2, dim) - input.roll(-2, dim) * other.roll(-1, dim)


@tensor_method
@casts
def trace(input):
    """The sum of a matrix's diagonal."""
    _need("trace", "a matrix", input.ndim == 2, input)
    return input.diagonal().sum()


def _scaled_sum(input: Any, product: Any, beta: Any, alpha: Any) -> Any:
    if not product.dtype.is_floating_point:
        beta, alpha = int(beta), int(alpha)
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product  # so that NaN in input is ignored
    return (input if beta == 1 else input * beta) + product


@tensor_method(inplace=True)
@casts
def addmm(input, mat1, mat2, *, beta=1, alpha=1):
    """beta * input + alpha * (mat1 @ mat2)."""
    return _scaled_sum(input, mm(mat1, mat2), beta, alpha)


@tensor_method(inplace=True)
@casts
def baddbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * (batch1 @ batch2), matrix by matrix."""
    return _scaled_sum(input, bmm(batch1, batch2), beta, alpha)


@tensor_method(inplace=True)
@casts
def addmv(input, mat, vec, *, beta=1, alpha=1):
    """beta * input + alpha * (mat @ vec)."""
    return _scaled_sum(input, mv(mat, vec), beta, alpha)


@tensor_method(inplace=True)
@casts
def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """beta * input + alpha * (vec1 outer vec2)."""
    y = _scaled_sum(input, outer(vec1, vec2), beta, alpha)
    return y.to(dtypes.bool_) if {input.dtype, vec1.dtype, vec2.dtype} == {dtypes.bool_} else y


@tensor_method
@casts
def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """beta * input + alpha * the sum of the products batch1 @ batch2."""
    return _scaled_sum(input, bmm(batch1, batch2).sum(0, dtype=batch1.dtype), beta, alpha)


@tensor_method(name="addbmm_")
def _addbmm_in_place(self, batch1, batch2, *, beta=1, alpha=1):
    """`addbmm` in place; as in PyTorch the tensor takes the result's shape."""
    result = addbmm(self, batch1, batch2, beta=beta, alpha=alpha)
    if result.shape == self.shape:
        return views.write(self, result, "addbmm_")
    views.check_writable(self, "addbmm_", result.requires_grad)
    self.array = result.array
    views.take_place(self, result)
    return self


@casts
def chain_matmul(*matrices):
    """The product of matrices, in the order that costs least."""
    if len(matrices) == 1 and isinstance(matrices[0], (list, tuple)):
        matrices = tuple(matrices[0])
    for m in matrices:
        _need("chain_matmul", "matrices", m.ndim == 2, m)
    n, sizes = len(matrices), [m.shape[0] for m in matrices] + [matrices[-1].shape[1]]
    best: dict[tuple[int, int], tuple] = {(i, i): (0, i) for i in range(n)}  # (first, last): cost, where it is split
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            costs = [
                (best[i, k][0] + best[k + 1, j][0] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            ]
            best[i, j] = min(costs)

    return _product(matrices, best, 0, n - 1)


def _product(matrices: Any, best: dict, i: int, j: int) -> Tensor:
    """The product of the matrices i to j, split where `best` says."""
    if i == j:
        return matrices[i]
    k = best[i, j][1]
    return mm(_product(matrices, best, i, k), _product(matrices, best, k + 1, j))


@casts
def tensordot(a, b, dims=2):
    """The sum over pairs of axes: the last `dims` of a with the first of b, or the two lists of axes in dims."""
    if isinstance(dims, int):
        axes_a, axes_b = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        axes_a, axes_b = (
            list(read_dims(tuple(d) if isinstance(d, (list, tuple)) else d, t.ndim) or ()) for d, t in zip(dims, (a, b))
        )
    for i, j in zip(axes_a, axes_b):  # a length of 1 is broadcast against the other's
        if a.shape[i] == 1 != b.shape[j]:
            b = b.sum(j, keepdim=True, dtype=b.dtype)
        elif b.shape[j] == 1 != a.shape[i]:
            a = a.sum(i, keepdim=True, dtype=a.dtype)
    shape_a, shape_b = a.array.shape, b.array.shape
    if [shape_a[i] for i in axes_a] != [shape_b[i] for i in axes_b]:
        raise RuntimeError(
            f"tensordot: contracted dimensions must match, got axes {axes_a} of {shape_a} and {axes_b} of {shape_b}"
        )
    rest_a = [i for i in range(a.ndim) if i not in axes_a]
    rest_b = [i for i in range(b.ndim) if i not in axes_b]
    n = math.prod(shape_a[i] for i in axes_a)
    x = a.permute(*rest_a, *axes_a).reshape(math.prod(shape_a[i] for i in rest_a), n)
    y = b.permute(*axes_b, *rest_b).reshape(n, math.prod(shape_b[i] for i in rest_b))
    return matmul(x, y).reshape([shape_a[i] for i in rest_a] + [shape_b[i] for i in rest_b])


@casts
def einsum(equation, *operands):
    """Sums of products named by letters: einsum("bij,bjk->bik", a, b). Repeated letters, Ellipsis, no arrow: all allowed."""
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = tuple(operands[0])
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(operands):
        raise RuntimeError(
            f"einsum(): the equation {equation!r} names {len(terms)} operands, but {len(operands)} were given"
        )
    tensors, names = [], []
    for term, t in zip(terms, operands):
        extra = t.ndim - (len(term) - 3 if "..." in term else len(term))
        if extra < 0 or (extra and "..." not in term):
            raise RuntimeError(
                f"einsum(): the number of subscripts in {term!r} does not match the {t.ndim} dimensions of its operand"
            )
        letters = list(term.replace("...", "." * 0 + "\0"))
        expanded: list[str] = []
        for letter in letters:
            expanded.extend([f"~{extra - i}" for i in range(extra)] if letter == "\0" else [letter])
        for letter in [c for c in expanded if expanded.count(c) > 1]:
            while expanded.count(letter) > 1:  # a repeated letter takes the diagonal
                i = expanded.index(letter)
                j = expanded.index(letter, i + 1)
                if t.shape[i] != t.shape[j]:
                    raise RuntimeError(
                        f"einsum(): subscript {letter!r} is repeated for sizes {t.shape[i]} and {t.shape[j]}"
                    )
                t = t.diagonal(0, i, j)
                expanded = [c for k, c in enumerate(expanded) if k not in (i, j)] + [letter]
        tensors.append(t)
        names.append(expanded)
    every = [c for own in names for c in own]
    dots = sorted({c for c in every if c[0] == "~"}, key=lambda c: -int(c[1:]))
    if arrow:
        out: list[str] = []
        for letter in right.replace("...", "\0"):
            out.extend(dots if letter == "\0" else [letter])
    else:
        out = dots + sorted({c for c in every if c[0] != "~" and "".join(terms).count(c) == 1})
    for c in out:
        if out.count(c) > 1 or (c not in every):
            raise RuntimeError(
                f"einsum(): output subscript {c!r} must appear once in the output and in an input of {equation!r}"
            )
    sizes: dict[str, int] = {}
    for t, own in zip(tensors, names):
        for n, c in zip(t.array.shape, own):
            if sizes.get(c, 1) not in (1, n) and n != 1:
                raise RuntimeError(f"einsum(): subscript {c!r} has size {n} for one operand and {sizes[c]} for another")
            sizes[c] = n if sizes.get(c, 1) == 1 else sizes[c]
    result, own = tensors[0], names[0]
    for k in range(1, len(tensors)):
        later = set(out).union(*names[k + 1 :]) if k + 1 < len(names) else set(out)
        result, own = _contract(result, own, tensors[k], names[k], later)
    summed = [i for i, c in enumerate(own) if c not in out]
    if summed:
        result = result.sum(tuple(summed))
        own = [c for c in own if c in out]
    return result.permute(*[own.index(c) for c in out])


def _contract(a: Tensor, a_names: list, b: Tensor, b_names: list, keep: set) -> tuple:
    """Two operands to one: letters that both have and nothing keeps are summed by one batched matrix product."""
    for t_names, other, which in ((a_names, b_names, 0), (b_names, a_names, 1)):
        lonely = [i for i, c in enumerate(t_names) if c not in other and c not in keep]
        if lonely:
            t = (a, b)[which].sum(tuple(lonely))
            kept = [c for i, c in enumerate(t_names) if i not in lonely]
            return _contract(t, kept, b, b_names, keep) if which == 0 else _contract(a, a_names, t, kept, keep)
    if a.dtype is not b.dtype and not (a.dtype.is_floating_point or b.dtype.is_floating_point):  # sums are int64
        a, b = (t.to(dtypes.promote_types(a.dtype, b.dtype)) for t in (a, b))
    sizes = {c: n for t, own in ((a, a_names), (b, b_names)) for n, c in zip(t.array.shape, own) if n != 1}
    both = [c for c in a_names if c in b_names]
    batch, inner = [c for c in both if c in keep], [c for c in both if c not in keep]
    rows, columns = [c for c in a_names if c not in both], [c for c in b_names if c not in both]
    size = lambda names: [sizes.get(c, 1) for c in names]  # noqa: E731

    def arrange(t: Tensor, own: list, order: list) -> Tensor:
        t = t.permute(*[own.index(c) for c in order])
        return t.expand(*size(order)) if list(t.shape) != size(order) else t

    x = arrange(a, a_names, batch + rows + inner).reshape(*size(batch), math.prod(size(rows)), math.prod(size(inner)))
    y = arrange(b, b_names, batch + inner + columns).reshape(
        *size(batch), math.prod(size(inner)), math.prod(size(columns))
    )
    return matmul(x, y).reshape(size(batch) + size(rows) + size(columns)), batch + rows + columns


@casts
def bilinear(input1, input2, weight, bias=None):
    """y_o = sum_ij a_i W_oij b_j + bias_o.     a (..., n), b (..., m), W (o, n, m), bias (o,)     result (..., o)"""
    _check_dtypes("bilinear", *[t for t in (input1, input2, weight, bias) if t is not None])
    fits = weight.ndim == 3 and input1.shape[:-1] == input2.shape[:-1]
    fits = fits and (input1.shape[-1], input2.shape[-1]) == tuple(weight.shape[1:])
    _need("bilinear", "(..., n), (..., m) and weight (o, n, m)", fits, input1, input2, weight)
    if bias is not None:
        _need("bilinear", f"bias of {weight.shape[0]} elements", tuple(bias.shape) == tuple(weight.shape[:1]), bias)
    y = einsum("bi,oij,bj->bo", input1.reshape(-1, input1.shape[-1]), weight, input2.reshape(-1, input2.shape[-1]))
    y = y.reshape(*input1.shape[:-1], weight.shape[0])
    return y if bias is None else y + bias


def linear(input, weight, bias=None):
    """input @ weight^T + bias.     input (..., in), weight (out, in), bias (out,)"""
    if autocast.blocks:
        input, weight, bias = autocast.cast("linear", input, weight, bias)
    _check_dtypes("linear", *[t for t in (input, weight, bias) if t is not None])
    if weight.ndim == 1:
        y = matmul(input, weight)
        return y if bias is None else y + bias
    if not input.ndim or input.array.shape[-1] != weight.array.shape[1]:
        raise RuntimeError(
            f"linear: input of shape {tuple(input.shape)} and weight of shape {tuple(weight.shape)} cannot be multiplied: "
            f"expected {weight.array.shape[1]} features in the input's last dimension"
        )
    if bias is not None and bias.array.shape != weight.array.shape[:1]:
        raise RuntimeError(f"linear: expected bias of shape {weight.array.shape[:1]}, got {tuple(bias.shape)}")
    return Linear.apply(input, weight, bias)
