"""Connectionist temporal classification: the likelihood of a sequence of labels that is shorter than the input.

arXiv has no copy of the paper: Graves, Fernandez, Gomez, Schmidhuber, ICML 2006.
"""

from __future__ import annotations

from typing import Any

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend import checks, dtypes
from ..backend.devices import table
from ..tensor import Tensor, wrap
from .arithmetic import where

_NEVER = -1e30  # stands for log 0: finite, so that differences of it are


class CTC(Op):
    """Minus the log-likelihood of labels l, each sequence its own loss.      x: (T, N, C) log-probabilities   y: (N,)

    A path gives each time one class; dropping repetitions, then blanks (0), makes a path a label sequence. The labels
    with blanks between and around them, s = 0 l_1 0 l_2 ... 0 (S = 2L + 1), are the states that a path goes through: it
    stays, goes on by one, or by two where a blank lies between two different labels. With a_t(s) the log-probability of
    all paths up to time t that end in state s, b_t(s) of all that start there (both with x_t(s) in them):

        a_t(s) = x_t(s) + log(e^a_{t-1}(s) + e^a_{t-1}(s-1) + [by two] e^a_{t-1}(s-2)),     b likewise from the end
        y      = -log(e^a_T(S) + e^a_T(S-1)),     p_t(s) = e^(a_t(s) + b_t(s) - x_t(s) + y): state s at t, given l

    dy/dx_t(c) = e^x_t(c) - sum of p_t(s) over the states s with label c

    The first term is not part of it, strictly: it is the slope of sum_c e^x_t(c), which is 1 for every t whatever the
    logits. As in PyTorch it is there so that after log_softmax's gradient, which takes the sum of dx away, all is as
    it should be, and that dx itself is already the gradient of the logits: softmax minus what the labels want.
    """

    def forward(self, x, *, states, skip, lengths, state_lengths, zero_infinity):
        xp = self.xp
        self.save(x, states, skip, lengths, state_lengths, zero_infinity)
        _, total = _forward_pass(_of_states(x, states, xp), skip, lengths, state_lengths, xp)
        return xp.where(total > _NEVER / 2, -total, 0.0 if zero_infinity else float("inf")).astype(x.dtype)

    def backward(self, dy):
        x, states, skip, lengths, state_lengths, zero_infinity = self.saved
        xp = self.xp
        a, b, z, total = _passes(x, states, skip, lengths, state_lengths, xp)
        hot = xp.expand_dims(states, -1) == xp.arange(x.shape[2])  # (N, S, C)
        p = xp.exp(xp.minimum(a + b - z - total, 0.0))  # (T, N, S)
        wanted = xp.matmul(p.transpose(1, 0, 2), hot.astype(dy.dtype)).transpose(1, 0, 2)
        alive = xp.expand_dims(xp.expand_dims(xp.arange(x.shape[0]), -1) < lengths, -1)
        impossible = 0.0 if zero_infinity else float("nan")
        dx = xp.where(alive, xp.where(total > _NEVER / 2, xp.exp(x) - wanted, impossible), 0.0)
        return xp.expand_dims(dy, -1) * dx


def _of_states(x: Any, states: Any, xp: Any) -> Any:
    """x_t(s): (T, N, S), log 0 made finite."""
    index = xp.broadcast_to(xp.expand_dims(states, 0), (x.shape[0], *states.shape))
    return xp.maximum(xp.take_along_axis(x, index, axis=2), _NEVER)


def _log_add(parts: list, xp: Any) -> Any:
    top = xp.maximum(xp.maximum(parts[0], parts[1]), parts[2])
    return top + xp.log(xp.exp(parts[0] - top) + xp.exp(parts[1] - top) + xp.exp(parts[2] - top))


def _moved(a: Any, by: int, xp: Any) -> Any:
    """a(s - by): towards the end for by > 0."""
    never = xp.full((a.shape[0], min(abs(by), a.shape[1])), _NEVER, dtype=a.dtype)
    return xp.concatenate([never, a[:, :-by]] if by > 0 else [a[:, -by:], never], axis=1)


def _forward_pass(z: Any, skip: Any, lengths: Any, state_lengths: Any, xp: Any) -> tuple:
    """a_t(s) as (T, N, S), and the log-likelihood (N,)."""
    n_states = z.shape[2]
    place = xp.arange(n_states)
    a = xp.where(place < 2, z[0], _NEVER)
    steps = [a]
    for t in range(1, z.shape[0]):
        jump = xp.where(skip, _moved(a, 2, xp), _NEVER)
        a = z[t] + _log_add([a, _moved(a, 1, xp), jump], xp)
        steps.append(a)
    a = xp.stack(steps, axis=0)
    times = xp.expand_dims(xp.expand_dims(xp.arange(z.shape[0]), -1) == lengths - 1, -1)
    last = xp.expand_dims(state_lengths, -1) - 1
    ends = times & ((place == last) | (place == last - 1))  # (T, N, S)
    final = xp.where(ends, a, 2 * _NEVER).transpose(1, 0, 2).reshape((z.shape[1], z.shape[0] * n_states))
    top = xp.take_along_axis(final, xp.expand_dims(xp.argmax(final, axis=1), -1), axis=1)
    return a, (top + xp.log(xp.exp(final - top).sum(1, keepdims=True))).reshape((z.shape[1],))


def _passes(x: Any, states: Any, skip: Any, lengths: Any, state_lengths: Any, xp: Any) -> tuple:
    """a, b, x_t(s), each (T, N, S), and the log-likelihood (N, 1)."""
    z = _of_states(x, states, xp)
    a, total = _forward_pass(z, skip, lengths, state_lengths, xp)
    place, last = xp.arange(z.shape[2]), xp.expand_dims(state_lengths, -1) - 1
    ends = (place == last) | (place == last - 1)
    jumped = xp.concatenate([skip[:, 2:], xp.zeros((skip.shape[0], min(2, skip.shape[1])), dtype=bool)], axis=1)
    b = xp.full(z.shape[1:], _NEVER, dtype=z.dtype)
    steps = []
    for t in range(z.shape[0] - 1, -1, -1):
        jump = xp.where(jumped, _moved(b, -2, xp), _NEVER)
        within = xp.expand_dims(lengths - 1 > t, -1)
        starts = xp.expand_dims(lengths - 1 == t, -1) & ends
        b = xp.where(within, z[t] + _log_add([b, _moved(b, -1, xp), jump], xp), xp.where(starts, z[t], _NEVER))
        steps.append(b)
    return a, xp.stack(steps[::-1], axis=0), z, xp.expand_dims(total, -1)


@casts
def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """Minus the log-likelihood of label sequences, from log_softmax's output.     log_probs: (T, N, C) or (T, C)

    targets: (N, L), padded, or all labels one after the other. The mean is of losses divided by target lengths.
    zero_infinity: sequences that cannot be made in the time they have count as 0, with no gradient.
    """
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"ctc_loss: {reduction!r} is not a valid value for reduction; use 'mean', 'sum' or 'none'")
    if not log_probs.dtype.is_floating_point or log_probs.ndim not in (2, 3):
        got = f"{log_probs.dtype} of shape {tuple(log_probs.shape)}"
        raise RuntimeError(f"ctc_loss: expected floating point log_probs (T, N, C) or (T, C), got {got}")
    single = log_probs.ndim == 2
    x = log_probs.unsqueeze(1) if single else log_probs
    xp, (n_times, n, classes) = log_probs.xp, x.shape
    if not 0 <= blank < classes:
        raise RuntimeError(f"ctc_loss: blank must be in label range, 0 to {classes - 1}, got {blank}")
    if targets.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"ctc_loss: expected targets of dtype int64 or int32, got {targets.dtype}")
    lengths = _lengths(input_lengths, n, "input_lengths")
    counts = _lengths(target_lengths, n, "target_lengths")
    if any(not 0 <= t <= n_times for t in lengths):
        raise RuntimeError(f"ctc_loss: expected input_lengths to be from 0 to {n_times}, got {lengths}")
    labels = _padded(targets, counts, single)
    longest = max(counts, default=0)
    states = xp.full((n, 2 * longest + 1), blank, dtype=xp.int64)
    known = xp.arange(longest) < table(xp, counts, xp.int64).reshape((-1, 1))
    labels = xp.where(known, labels[:, :longest], blank)
    message = f"ctc_loss: targets must be in label range, 0 to {classes - 1}"
    states[:, 1::2] = checks.in_range(labels, 0, classes, message, RuntimeError)
    skip = xp.zeros(states.shape, dtype=bool)
    skip[:, 2:] = (states[:, 2:] != blank) & (states[:, 2:] != states[:, :-2])
    options: dict[str, Any] = {"states": states, "skip": skip, "zero_infinity": zero_infinity}
    options["lengths"] = table(xp, lengths, xp.int64)
    loss = CTC.apply(x, **options, state_lengths=table(xp, [2 * c + 1 for c in counts], xp.int64))
    if 0 in lengths:  # no time: nothing but the empty sequence is possible
        empty = [0.0 if zero_infinity or not c else float("inf") for c in counts]
        loss = where(wrap(options["lengths"] == 0), wrap(table(xp, empty, loss.array.dtype)), loss)
    if reduction == "mean":
        return (loss / wrap(table(xp, [max(c, 1) for c in counts], loss.array.dtype))).mean()
    if reduction == "sum":
        return loss.sum()
    return loss.squeeze(0) if single else loss


def _lengths(lengths: Any, n: int, name: str) -> list:
    values = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    values = values if isinstance(values, list) else [values]
    if len(values) != n:
        raise RuntimeError(f"ctc_loss: {name} must be of size batch_size, {n}, got {len(values)}")
    return [int(v) for v in values]


def _padded(targets: Tensor, counts: list, single: bool) -> Any:
    """The labels as rows (N, L)."""
    t, xp, longest = targets.array, targets.xp, max(counts, default=0)
    if min(counts, default=0) < 0:
        raise RuntimeError(f"ctc_loss: expected target_lengths that are not negative, got {counts}")
    if t.ndim == 1 and not single:
        if sum(counts) != t.size:
            raise RuntimeError(f"ctc_loss: target_lengths add up to {sum(counts)}, but targets has {t.size} elements")
        rows, start = [], 0
        for c in counts:
            rows.append(xp.concatenate([t[start : start + c], xp.zeros(longest - c, dtype=t.dtype)]))
            start += c
        return xp.stack(rows) if rows else t.reshape((0, 0))
    t = t.reshape((1, -1)) if t.ndim == 1 else t
    if t.ndim != 2 or t.shape[0] != len(counts) or t.shape[1] < longest:
        got = tuple(targets.shape)
        raise RuntimeError(f"ctc_loss: expected targets of shape ({len(counts)}, {longest} or more), got {got}")
    return t
