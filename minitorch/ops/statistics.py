"""The most frequent element, medians without NaN, covariances, integrals by trapezoids, rows made shorter, membership."""

from __future__ import annotations

from typing import Any

from ..autograd.autocast import casts
from ..autograd.views import write
from ..backend import checks, dtypes
from ..tensor import Tensor, wrap
from ._method import as_tensor_like, read_dim, tensor_method
from .arithmetic import where
from .index import gather, sort
from .reduce import ValuesIndices, norm
from .scan import _doubling


def _at(input: Tensor, place: Any, dim: int, keepdim: bool) -> ValuesIndices:
    """The elements at one place of each row along `dim`, an array (..., 1) of the rows moved to the end."""
    index = wrap(input.xp.moveaxis(place, -1, dim))
    values = gather(input, dim, index)
    return ValuesIndices(values, index) if keepdim else ValuesIndices(values.squeeze(dim), index.squeeze(dim))


def _rows(input: Tensor, dim: int, name: str) -> Any:
    """The rows along `dim`, and their order: (..., n) each."""
    if not input.shape[dim]:
        raise IndexError(f"{name}(): expected reduction dim {dim} to have non-zero size, got shape {list(input.shape)}")
    xp = input.xp
    rows = xp.moveaxis(input.detach().array, dim, -1)
    return rows, xp.argsort(dtypes.ordered(rows), axis=-1, kind="stable")


@tensor_method
def mode(input, dim=-1, keepdim=False):
    """(values, indices) of the most frequent element along `dim`, the smallest of several; where it stands last."""
    if not input.ndim:
        return ValuesIndices(input.clone(), input.new_zeros((), dtype=dtypes.int64))
    dim, xp = read_dim(dim, input.ndim), input.xp
    rows, order = _rows(input, dim, "mode")
    x = xp.take_along_axis(rows, order, axis=-1)
    i = xp.arange(x.shape[-1])
    first = xp.concatenate([xp.ones_like(x[..., :1], dtype=bool), x[..., 1:] != x[..., :-1]], axis=-1)
    start = _doubling(xp.where(first, i, 0), -1, xp.maximum, xp)  # of the run of equals that each is in
    end_of_longest = xp.argmax(i - start, axis=-1)[..., None]
    return _at(input, xp.take_along_axis(order, end_of_longest, axis=-1), dim, keepdim)


@tensor_method
def nanmedian(input, dim=None, keepdim=False):
    """`median` of what is not NaN; with `dim`: (values, indices)."""
    if dim is None:
        return nanmedian(input.reshape(-1), 0)[0]
    if not input.ndim:
        return ValuesIndices(input.clone(), input.new_zeros((), dtype=dtypes.int64))
    dim, xp = read_dim(dim, input.ndim), input.xp
    rows, order = _rows(input, dim, "nanmedian")  # NaN last
    numbers = (rows == rows).sum(-1, keepdims=True)
    return _at(input, xp.take_along_axis(order, xp.maximum(numbers - 1, 0) // 2, axis=-1), dim, keepdim)


@tensor_method
def msort(input):
    """Sorted along the first dimension."""
    return sort(input, 0)[0]


@tensor_method
def cov(input, *, correction=1, fweights=None, aweights=None):
    """The covariances of variables (rows) over observations (columns): (n, n), or a number for one variable.

    fweights: how often each observation counts; aweights: how important it is.
    """
    if input.ndim > 2:
        raise RuntimeError(f"cov(): expected input to have two or fewer dimensions but got {input.ndim} dimensions")
    if input.dtype is dtypes.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input.reshape(1, -1) if input.ndim < 2 else input
    x = x if x.dtype.is_floating_point else x.float()
    count = x.shape[1]
    weights: Any = None
    for name, given, floating in (("fweights", fweights, False), ("aweights", aweights, True)):
        if given is None:
            continue
        if given.ndim > 1 or given.numel() != count or given.dtype.is_floating_point is not floating:
            kind = "floating point" if floating else "integral"
            raise RuntimeError(
                f"cov(): expected {name} to be {count} {kind} numbers, got {given.dtype} of shape {list(given.shape)}"
            )
        checks.require(~(given.array < 0), f"cov(): {name} cannot be negative")
        weights = given if weights is None else weights * given
    total = count if weights is None else weights.sum()
    mean = x.mean(1, keepdim=True) if weights is None else (x * weights).sum(1, keepdim=True) / total
    degrees = total - correction
    if aweights is not None and correction:
        degrees = total - correction * (weights * aweights).sum() / total
    degrees = max(degrees, 0) if not isinstance(degrees, Tensor) else degrees.clamp(min=0)
    centred = x - mean
    c = centred @ (centred if weights is None else centred * weights).t()
    return ((c / x.new_tensor(degrees)) if not isinstance(degrees, Tensor) else c / degrees).squeeze()


@tensor_method
def corrcoef(input):
    """The correlations of variables (rows) over observations (columns), between -1 and 1."""
    c = cov(input)
    if not c.ndim:
        return c / c
    deviation = c.diagonal().sqrt()
    return (c / deviation.unsqueeze(1) / deviation.unsqueeze(0)).clamp(-1, 1)


def _steps(y: Tensor, x: Any, dx: Any, dim: int, name: str) -> Any:
    """The distances between neighbours along `dim`, and the sums of neighbours there."""
    if x is not None and dx is not None:
        raise TypeError(f"{name}(): give x or dx, not both")
    n = y.shape[dim]
    a, b = y.narrow(dim, 0, max(n - 1, 0)), y.narrow(dim, min(1, n), max(n - 1, 0))
    if x is None:
        return (1 if dx is None else dx), a + b
    if x.ndim == 1:
        if len(x) != n:
            raise RuntimeError(f"{name}(): there must be one `x` value for each sample point, got {len(x)} for {n}")
        x = x.reshape((-1,) + (1,) * (y.ndim - 1 - dim))
        dim = 0
    else:
        x = x.reshape((1,) * (y.ndim - x.ndim) + tuple(x.shape)) if x.ndim < y.ndim else x
    m = x.shape[dim]
    return x.narrow(dim, min(1, m), max(m - 1, 0)) - x.narrow(dim, 0, max(m - 1, 0)), a + b


def trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integral of y along `dim` by trapezoids: sum of (x_{i+1} - x_i) (y_i + y_{i+1}) / 2, or of steps dx."""
    dim = read_dim(dim, y.ndim)
    if not y.shape[dim]:
        return y.sum(dim) * 0.0
    step, both = _steps(y, x, dx, dim, "trapezoid")
    return (both * step).sum(dim) / 2.0


def trapz(y, x=None, *, dx=None, dim=-1):
    """As `trapezoid`."""
    return trapezoid(y, x, dx=dx, dim=dim)


def cumulative_trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integral of y up to each point along `dim`, by trapezoids; one element less than y."""
    dim = read_dim(dim, y.ndim)
    step, both = _steps(y, x, dx, dim, "cumulative_trapezoid")
    return (both * step).cumsum(dim) / 2.0


@tensor_method
@casts
def renorm(input, p, dim, maxnorm):
    """The slices along `dim` whose p-norm exceeds maxnorm, scaled down to it."""
    if input.ndim < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {input.ndim} dimensions")
    if p <= 0 or maxnorm < 0:
        raise RuntimeError(f"renorm: expected p > 0 and maxnorm >= 0, got p={p} and maxnorm={maxnorm}")
    dim = read_dim(dim, input.ndim)
    size = norm(input, float(p), tuple(d for d in range(input.ndim) if d != dim), True)
    return input * where(size > maxnorm, maxnorm / (size + 1e-7), 1.0)


@tensor_method(name="renorm_")
def _renorm_in_place(self, p, dim, maxnorm):
    return write(self, renorm(self.clone(), p, dim, maxnorm), "renorm_")


def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """Whether each element is one of test_elements."""
    if not isinstance(elements, Tensor) and not isinstance(test_elements, Tensor):
        raise TypeError("isin(): expected a tensor as one of elements and test_elements")
    like: Any = elements if isinstance(elements, Tensor) else test_elements
    a, b = (as_tensor_like(t, like).detach().array for t in (elements, test_elements))
    found = like.xp.isin(a, b, invert=invert)
    return wrap(like.xp.asarray(found))
