"""BatchNorm: a channel's moments in float32, over chunks of it. A channel of one chunk takes one kernel, others two.

In evaluation, with moments that are there, one kernel.
"""

from __future__ import annotations

from ...autograd.engine import _zeros
from ...backend.fastpath import fast_path
from ...ops.normalize import Rescale, RunningAverage, Standardize
from .launch import TYPES, Source, contiguous, plain

_source = Source("batchnorm.cu")
CHUNK, PARTS = 4096, 256  # elements of a channel that a block takes, at least; blocks of a channel, at most
LIMIT = 2**31 - 1024  # elements of an array: the kernels count a channel's in 32 bits


def _cut(x):
    """(elements of a channel, C, L, chunks of a channel, elements of a chunk), and the threads of a block."""
    B, C = x.shape[:2]
    count = x.size // C
    chunk = max(CHUNK, -(-count // PARTS))
    parts = -(-count // chunk)
    return (count, C, count // B, parts, chunk), 256 if count > 256 else 64


@fast_path(Standardize, "cupy")
class StandardizeCUDA(Standardize):
    half = True
    materialize = False  # nothing is made for the means' and variances' gradients, which there seldom are

    @staticmethod
    def accepts(x, w, b, *, axes, eps):
        return axes == (0, *range(2, x.ndim)) and _channels(x, w, b)

    def forward(self, x, w, b, *, axes, eps):
        xp, (cut, threads) = self.xp, _cut(x)
        count, C, _, parts, _ = cut
        y, found = xp.empty_like(x), None
        mean, variance = (xp.empty((1, C, *(1,) * (x.ndim - 2)), "float32") for _ in range(2))
        if parts > 1:
            found = xp.empty((C, parts, 2), "float32")
            _source.launch("chunk_moments", C * parts, threads, x, found, *cut, DTYPE=x.dtype)
        exact = x.dtype == mean.dtype
        rounded = (None, None) if exact else (xp.empty(mean.shape, x.dtype), xp.empty(mean.shape, x.dtype))
        _source.launch(
            "forward", C * parts, threads, x, _vector(w), _vector(b), y, found, mean, variance, *rounded, float(eps), *cut,
            DTYPE=x.dtype,
        )  # fmt: skip
        results = (mean, variance) if exact else rounded
        self.save(x, w, *results, axes, eps, count, b if b is None else b.shape, mean, variance)
        return y, *results

    def backward(self, dy, dmean, dvariance):
        x, w, _, _, axes, eps, count, b_shape, mean, variance = self.saved
        xp, (cut, threads) = self.xp, _cut(x)
        _, C, _, parts, _ = cut
        dy = xp.zeros(x.shape, x.dtype) if dy is None else contiguous(dy)
        dx = xp.empty_like(x) if self.needs[0] else None
        dw, db = (xp.empty(C, x.dtype) if self.needs[i] else None for i in (1, 2))
        found = None
        if parts > 1:
            found = xp.empty((C, parts, 2), "float32")
            _source.launch("chunk_sums", C * parts, threads, dy, x, mean, found, *cut, DTYPE=x.dtype)
        _source.launch(
            "backward", C * parts, threads, dy, x, _vector(w), mean, variance, _vector(dmean), _vector(dvariance), found,
            dx, dw, db, float(eps), *cut, DTYPE=x.dtype,
        )  # fmt: skip
        return dx, dw if dw is None else dw.reshape(w.shape), db if db is None else db.reshape(b_shape)

    def backward_tensors(self, grads):
        """The reference's formula wants all three gradients."""
        return super().backward_tensors([_zeros(self, i, True) if g is None else g for i, g in enumerate(grads)])

    def reference_saved(self):
        return self.saved[:8]


def _channels(x, *vectors):
    """Whether the kernels take x, with one number a channel in each of the others."""
    return x.ndim > 1 and plain(x) and x.size < LIMIT and all(v is None or v.size == x.shape[1] for v in vectors)


def _vector(v):
    return v if v is None else contiguous(v)


@fast_path(Rescale, "cupy")
class RescaleCUDA(Rescale):
    half = True

    @staticmethod
    def accepts(x, w, b, mean, variance, *, eps):
        return _channels(x, w, b, mean, variance)

    def forward(self, x, w, b, mean, variance, *, eps):
        y, (cut, threads) = self.xp.empty_like(x), _cut(x)
        _source.launch(
            "rescale", cut[1] * cut[3], threads, x, *map(_vector, (w, b, mean, variance)), y, float(eps), *cut,
            DTYPE=x.dtype,
        )  # fmt: skip
        if any(self.needs):
            mean, variance = mean.copy(), variance.copy()
        self.save(x if self.needs[1] else None, w, mean, variance, eps, b if b is None else b.shape)
        return y

    def backward(self, dy):
        x, w, mean, variance, eps, b_shape = self.saved
        xp, (cut, threads), dy = self.xp, _cut(dy), contiguous(dy)
        _, C, _, parts, _ = cut
        dx = xp.empty_like(dy) if self.needs[0] else None
        dw, db = (xp.empty(C, dy.dtype) if self.needs[i] else None for i in (1, 2))
        found = xp.empty((C, parts, 2), "float32") if self.needs[1] or self.needs[2] else None
        mean, variance = contiguous(mean), contiguous(variance)
        _source.launch(
            "rescale_backward", C * parts, threads, dy, dy if x is None else x, _vector(w), mean, variance, dx, found,
            float(eps), *cut, DTYPE=dy.dtype,
        )  # fmt: skip
        if found is not None:
            _source.launch("rescale_weights", C, 32, found, variance, dw, db, float(eps), parts, DTYPE=dy.dtype)
        return (
            dx, dw if dw is None else dw.reshape(w.shape), db if db is None else db.reshape(b_shape), None, None
        )  # fmt: skip

    def reference_saved(self):
        x, w, mean, variance, eps, b_shape = self.saved
        return x, w, mean, 1 / self.xp.sqrt(variance + eps), b_shape


@fast_path(RunningAverage, "cupy")
class RunningAverageCUDA(RunningAverage):
    half = True

    @staticmethod
    def accepts(running, value, *, momentum, factor):
        return (
            running.dtype in TYPES and value.dtype == running.dtype and value.size == running.size > 0
            and running.flags.c_contiguous
        )  # fmt: skip

    def forward(self, running, value, *, momentum, factor):
        C, value = running.size, contiguous(value)
        _source.launch("follow", -(-C // 64), 64, running, value, float(momentum), float(factor), C, DTYPE=value.dtype)
        return running
