"""Recurrent layers: a state that walks through a sequence.      Lesson 08.

One op is one layer in one direction over the whole sequence. What does not wait for the state, the input's product
W_ih x_t + b for all times, is an ordinary `linear` before it; what does, W_hh h, is the loop.

The rows of `x` (N, ...) are the packed layout of `nn.utils.rnn`: those of time 0, then those of time 1, and so on.
`batch_sizes[t]` says how many of the B sequences still live at time t, the longest first; without padding it is B
every time. `reverse` walks from the last time to the first.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from ..autograd.autocast import casts
from ..autograd.engine import Op
from ..backend.devices import table
from ..tensor import Tensor, wrap
from .arithmetic import clone
from .matmul import linear
from .random import dropout
from .shape import cat, stack, unbind


class RNNSequence(Op):
    """h_t = f(x_t + W h_{t-1}), f tanh or relu.            x, h: (N, H)   h0: (B, H)   W: (H, H)

    Backpropagation through time: h_t is used twice, as this time's output and as the next time's state. With z_t the
    argument of f, and from the last time to the first,

        dh_t     = dy_t + W^T dz_{t+1}                      the output's gradient, and what the next step sends back
        dz_t     = dh_t f'(z_t),    f' = 1 - h_t^2 for tanh; 1 where h_t > 0, else 0 for relu
        dx_t     = dz_t,    dh_0 = W^T dz_1
        dW       = sum_t dz_t h_{t-1}^T                     all times in one product, once the dz_t are known

    Lesson 08.
    """

    materialize = False

    def forward(self, x, h0, W, *, batch_sizes, nonlinearity="tanh", reverse=False):
        xp = self.xp
        W_T = xp.ascontiguousarray(W.T)
        h, y = h0.copy(), xp.empty(x.shape, dtype=x.dtype)
        for start, stop in _steps(batch_sizes, reverse):
            state, y_t = h[: stop - start], y[start:stop]
            xp.matmul(state, W_T, out=y_t)
            y_t += x[start:stop]
            if nonlinearity == "tanh":
                xp.tanh(y_t, out=y_t)
            else:
                xp.maximum(y_t, 0, out=y_t)
            state[:] = y_t
        self.save(h0, W, y, batch_sizes, nonlinearity, reverse)
        return y

    def backward(self, dy):
        h0, W, y, batch_sizes, nonlinearity, reverse = self.saved
        xp, steps = self.xp, _steps(batch_sizes, reverse)
        slope = 1 - y * y if nonlinearity == "tanh" else (y > 0).astype(y.dtype)
        dh, dz = xp.zeros(h0.shape, dtype=y.dtype), []
        for start, stop in reversed(steps):
            live = stop - start
            dz_t = (dy[start:stop] + dh[:live]) * slope[start:stop]
            dh = _with_sleeping(xp.matmul(dz_t, W), dh, xp)
            dz.append(dz_t)
        dz = _in_order_of_time(dz[::-1], reverse, xp)
        h_before = _in_order_of_time(_before(h0, y, steps, xp), reverse, xp)
        dW = xp.matmul(dz.swapaxes(0, 1), h_before) if self.needs[2] else None
        return dz, dh, dW


class LSTMSequence(Op):
    """Long short-term memory: a cell c that is kept, i.e. multiplied by f and added to, rather than rewritten.

    x: (N, 4H)   h0: (B, P)   c0: (B, H)   W: (4H, P)   R: (P, H) or None      y: (N, P)   c: (N, H)   gates: (N, 4H)

        z_t = x_t + W h_{t-1}                    four parts of H: z_i, z_f, z_g, z_o
        i   = s(z_i)    f = s(z_f)    g = tanh(z_g)    o = s(z_o)         s(z) = 1 / (1 + e^-z)
        c_t = f c_{t-1} + i g
        m_t = o tanh(c_t)
        h_t = m_t, or with a projection R m_t (P < H; otherwise P = H)

    Backpropagation through time, each line from the one above it read backwards, times last to first:

        dh_t = dy_t + W^T dz_{t+1}               the output's gradient, and what the next step sends back
        dm_t = dh_t, or R^T dh_t
        do   = dm_t tanh(c_t)
        dc_t = dm_t o (1 - tanh(c_t)^2) + dc_{t+1} f_{t+1}         from h_t, and kept: no matrix on the cell's own way
        di   = dc_t g      dg = dc_t i      df = dc_t c_{t-1}
        dz_i = di i (1-i)  dz_f = df f (1-f)    dz_g = dg (1-g^2)    dz_o = do o (1-o)       s' = s (1 - s)
        dx_t = dz_t,    dW = sum_t dz_t h_{t-1}^T,    dR = sum_t dh_t m_t^T

    dW and dR are one product each, after the loop. The gates are an output only so that the gradient's gradient finds
    them. Hochreiter, Schmidhuber 1997; the projection: arXiv:1402.1128. Lesson 08.
    """

    materialize = False

    def forward(self, x, h0, c0, W, R=None, *, batch_sizes, reverse=False):
        xp, H = self.xp, c0.shape[1]
        W_T = xp.ascontiguousarray(W.T)
        h, c = h0.copy(), c0.copy()
        gates = xp.empty(x.shape, dtype=x.dtype)
        y, cells = (xp.empty((x.shape[0], n), dtype=x.dtype) for n in (h0.shape[1], H))
        for start, stop in _steps(batch_sizes, reverse):
            live = stop - start
            z, c_t, y_t = gates[start:stop], cells[start:stop], y[start:stop]
            xp.matmul(h[:live], W_T, out=z)
            z += x[start:stop]
            i, f, g, o = (z[:, k * H : (k + 1) * H] for k in range(4))
            _sigmoid_in_place(z[:, : 2 * H], xp)
            xp.tanh(g, out=g)
            _sigmoid_in_place(o, xp)
            xp.multiply(f, c[:live], out=c_t)
            c_t += i * g
            if R is None:
                xp.multiply(o, xp.tanh(c_t), out=y_t)
            else:
                xp.matmul(o * xp.tanh(c_t), R.T, out=y_t)
            c[:live], h[:live] = c_t, y_t
        self.save(h0, c0, W, R, y, cells, gates, batch_sizes, reverse)
        return y, cells, gates

    def backward(self, dy, dcells, dgates):
        h0, c0, W, R, y, cells, gates, batch_sizes, reverse = self.saved
        xp, steps, H = self.xp, _steps(batch_sizes, reverse), c0.shape[1]
        dy = xp.zeros(y.shape, dtype=y.dtype) if dy is None else dy
        dh, dc = xp.zeros(h0.shape, dtype=y.dtype), xp.zeros(c0.shape, dtype=y.dtype)
        dzs, dhs, ms = [], [], []
        for (start, stop), c_before in zip(reversed(steps), reversed(_before(c0, cells, steps, xp))):
            live = stop - start
            i, f, g, o = (gates[start:stop, k * H : (k + 1) * H] for k in range(4))
            tanh_c = xp.tanh(cells[start:stop])
            dh_t = dy[start:stop] + dh[:live]
            dm = dh_t if R is None else xp.matmul(dh_t, R)
            dc_t = dm * o * (1 - tanh_c * tanh_c) + dc[:live]
            dc_t = dc_t if dcells is None else dc_t + dcells[start:stop]
            parts = [dc_t * g, dc_t * c_before, dc_t * i, dm * tanh_c]  # di, df, dg, do
            if dgates is not None:
                parts = [d + dgates[start:stop, k * H : (k + 1) * H] for k, d in enumerate(parts)]
            di, df, dg, do = parts
            dz = xp.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g * g), do * o * (1 - o)], axis=1)
            dc = _with_sleeping(dc_t * f, dc, xp)
            dh = _with_sleeping(xp.matmul(dz, W), dh, xp)
            dzs.append(dz)
            if R is not None:
                dhs.append(dh_t)
                ms.append(o * tanh_c)

        dz = _in_order_of_time(dzs[::-1], reverse, xp)
        h_before = _in_order_of_time(_before(h0, y, steps, xp), reverse, xp)
        dW = xp.matmul(dz.swapaxes(0, 1), h_before) if self.needs[3] else None
        dR = None
        if R is not None and self.needs[4]:
            dR = xp.matmul(xp.concatenate(dhs, axis=0).swapaxes(0, 1), xp.concatenate(ms, axis=0))
        return dz, dh, dc, dW, dR


class GRUSequence(Op):
    """Gated recurrent unit: the state itself is the memory; z says how much of it stays, r how much the new sees of it.

    x: (N, 3H)   h0: (B, H)   W: (3H, H)   b: (3H,) or None      y: (N, H)   gates: (N, 4H)

        r, z = s(x_r + W_r h_{t-1} + b_r), s(x_z + W_z h_{t-1} + b_z)           s(a) = 1 / (1 + e^-a)
        q    = W_n h_{t-1} + b_n                 r multiplies it whole, so this bias cannot be put into x
        n    = tanh(x_n + r q)
        h_t  = (1 - z) n + z h_{t-1}

    Backpropagation through time, with a_r, a_z, a_n the arguments of s and tanh, times last to first:

        dh_t = dy_t + dh_{t+1} z_{t+1} + W^T (da_r, da_z, dq)_{t+1}       the output's; kept by z; through the gates
        dn   = dh_t (1 - z)         dz   = dh_t (h_{t-1} - n)
        da_n = dn (1 - n^2)         da_z = dz z (1 - z)
        dq   = da_n r               da_r = da_n q r (1 - r)
        dx_t = (da_r, da_z, da_n)   dW = sum_t (da_r, da_z, dq)_t h_{t-1}^T    db = sum_t (da_r, da_z, dq)_t

    r, z, n, q are the output `gates`, so that the gradient's gradient finds them. arXiv:1406.1078; r after the product:
    arXiv:1412.3555. Lesson 08.
    """

    materialize = False

    def forward(self, x, h0, W, b=None, *, batch_sizes, reverse=False):
        xp, H = self.xp, h0.shape[1]
        W_T = xp.ascontiguousarray(W.T)
        h, product = h0.copy(), xp.empty((h0.shape[0], 3 * H), dtype=x.dtype)
        gates, y = (xp.empty((x.shape[0], k * H), dtype=x.dtype) for k in (4, 1))
        for start, stop in _steps(batch_sizes, reverse):
            state, y_t, x_t = h[: stop - start], y[start:stop], x[start:stop]
            r, z, n, q = (gates[start:stop, k * H : (k + 1) * H] for k in range(4))
            rz, a = gates[start:stop, : 2 * H], product[: stop - start]
            xp.matmul(state, W_T, out=a)
            if b is not None:
                a += b
            xp.add(x_t[:, : 2 * H], a[:, : 2 * H], out=rz)
            _sigmoid_in_place(rz, xp)
            q[:] = a[:, 2 * H :]
            xp.multiply(r, q, out=n)
            n += x_t[:, 2 * H :]
            xp.tanh(n, out=n)
            xp.subtract(state, n, out=y_t)  # h = n + z (h - n)
            y_t *= z
            y_t += n
            state[:] = y_t
        self.save(h0, W, y, gates, batch_sizes, reverse)
        return y, gates

    def backward(self, dy, dgates):
        h0, W, y, gates, batch_sizes, reverse = self.saved
        xp, steps, H = self.xp, _steps(batch_sizes, reverse), h0.shape[1]
        before = _before(h0, y, steps, xp)
        dy = xp.zeros(y.shape, dtype=y.dtype) if dy is None else dy
        dh, das, das_n = xp.zeros(h0.shape, dtype=y.dtype), [], []
        for (start, stop), h_before in zip(reversed(steps), reversed(before)):
            r, z, n, q = (gates[start:stop, k * H : (k + 1) * H] for k in range(4))
            d_r, d_z, d_n, d_q = (0 if dgates is None else dgates[start:stop, k * H : (k + 1) * H] for k in range(4))
            dh_t = dy[start:stop] + dh[: stop - start]
            da_n = (dh_t * (1 - z) + d_n) * (1 - n * n)
            da_z = (dh_t * (h_before - n) + d_z) * z * (1 - z)
            da_r = (da_n * q + d_r) * r * (1 - r)
            da = xp.concatenate([da_r, da_z, da_n * r + d_q], axis=1)
            dh = _with_sleeping(dh_t * z + xp.matmul(da, W), dh, xp)
            das.append(da)
            das_n.append(da_n)

        da, da_n = (_in_order_of_time(parts[::-1], reverse, xp) for parts in (das, das_n))
        dx = xp.concatenate([da[:, : 2 * H], da_n], axis=1) if self.needs[0] else None
        dW = xp.matmul(da.swapaxes(0, 1), _in_order_of_time(before, reverse, xp)) if self.needs[2] else None
        return dx, dh, dW, (da.sum(0) if self.needs[3] else None)


def _steps(batch_sizes: tuple, reverse: bool) -> list:
    """The rows [start, stop) of every time, in the order in which the state walks through them."""
    ends = list(accumulate(batch_sizes))
    steps = [(end - live, end) for end, live in zip(ends, batch_sizes)]
    return steps[::-1] if reverse else steps


def _in_order_of_time(parts: list, reverse: bool, xp: Any) -> Any:
    """Rows, from one part for each step."""
    return xp.concatenate(parts[::-1] if reverse else parts, axis=0)


def _before(first: Any, states: Any, steps: list, xp: Any) -> list:
    """The states that each step started from: those of the step before, or the first ones of sequences that begin."""
    parts, last, awake = [], 0, 0
    for start, stop in steps:
        live = stop - start
        known = [states[last : last + min(live, awake)]] if awake else []
        parts.append(xp.concatenate([*known, first[awake:live]], axis=0) if live > awake or not known else known[0])
        last, awake = start, live
    return parts


def _with_sleeping(d: Any, before: Any, xp: Any) -> Any:
    """The gradient of the whole state, from that of its first rows: sequences that do not live now keep theirs."""
    return d if d.shape[0] == before.shape[0] else xp.concatenate([d, before[d.shape[0] :]], axis=0)


def _sigmoid_in_place(z: Any, xp: Any) -> None:
    xp.maximum(z, -80, out=z)  # e^80 is still a float32
    xp.negative(z, out=z)
    xp.exp(z, out=z)
    z += 1
    xp.reciprocal(z, out=z)


# --- layers: what `nn.LSTM` and its kin call -------------------------------------------------------------------------


@casts
def lstm(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
    """LSTM layers, one on the other: (output, h_n, c_n).        input: (T, B, C)   hx: two of (layers, B, H)

    params: for each layer and direction W_ih, W_hh, and where there are any b_ih, b_hh, W_hr.
    Packed sequences: `lstm(data, batch_sizes, hx, params, has_biases, ..., bidirectional)`.
    """
    call = _read_call("lstm", input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    return _layers("lstm", *call)


@casts
def gru(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
    """GRU layers: (output, h_n); as `lstm`, with one state.        input: (T, B, C)   hx: (layers, B, H)"""
    call = _read_call("gru", input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    return _layers("gru", *call)


@casts
def rnn_tanh(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
    """Layers of tanh(W_ih x + b_ih + W_hh h + b_hh): (output, h_n); as `gru`."""
    call = _read_call("rnn_tanh", input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    return _layers("rnn_tanh", *call)


@casts
def rnn_relu(input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first):
    """Layers of relu(W_ih x + b_ih + W_hh h + b_hh): (output, h_n); as `gru`."""
    call = _read_call("rnn_relu", input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    return _layers("rnn_relu", *call)


@casts
def lstm_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of an LSTM: (h, c).        input: (B, C)   hx: (h, c), each (B, H)"""
    if not isinstance(hx, (tuple, list)) or len(hx) != 2:
        raise RuntimeError(f"lstm_cell: expected two hidden states (h, c), got {_describe(hx)}")
    return _cell("lstm", "lstm_cell", input, hx, w_ih, w_hh, b_ih, b_hh)


@casts
def gru_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """One step of a GRU: h.        input: (B, C)   hx: (B, H)"""
    return _cell("gru", "gru_cell", input, [hx], w_ih, w_hh, b_ih, b_hh)[0]


@casts
def rnn_tanh_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """tanh(W_ih x + b_ih + W_hh h + b_hh).        input: (B, C)   hx: (B, H)"""
    return _cell("rnn_tanh", "rnn_tanh_cell", input, [hx], w_ih, w_hh, b_ih, b_hh)[0]


@casts
def rnn_relu_cell(input, hx, w_ih, w_hh, b_ih=None, b_hh=None):
    """relu(W_ih x + b_ih + W_hh h + b_hh).        input: (B, C)   hx: (B, H)"""
    return _cell("rnn_relu", "rnn_relu_cell", input, [hx], w_ih, w_hh, b_ih, b_hh)[0]


_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a Tensor of shape {tuple(value.shape)}"
    return f"{len(value)}" if isinstance(value, (tuple, list)) else type(value).__name__


def _read_call(name: str, input: Any, hx: Any, params: Any, has_biases: Any, *options: Any) -> tuple:
    """Both ways to call: (input, hx, params, ...) and, packed, (data, batch_sizes, hx, params, ...).

    Returns rows, batch sizes, states, parameters and the options; the last is None, or how to make (T, B, ...) of rows.
    """
    unpack: Any
    if isinstance(has_biases, (tuple, list)):
        data, batch_sizes, hx, params, has_biases, options = input, hx, params, has_biases, options[0], options[1:]
        sizes = tuple(batch_sizes.tolist())
        if data.ndim != 2 or sum(sizes) != data.shape[0]:
            raise RuntimeError(
                f"{name}: expected packed data (N, C) with N the sum of batch_sizes, {sum(sizes)}, got shape "
                f"{tuple(data.shape)}"
            )
        if any(size > before for before, size in zip(sizes, sizes[1:])) or 0 in sizes:
            raise RuntimeError(f"{name}: expected batch_sizes that decrease, and above 0, got {list(sizes)}")
        rows, unpack = data, None
    else:
        if input.ndim != 3:
            raise RuntimeError(f"{name}: expected an input of 3 dimensions, got shape {tuple(input.shape)}")
        batch_first = options[-1]
        x = input.transpose(0, 1) if batch_first else input
        sizes = (x.shape[1],) * x.shape[0]
        rows, unpack, options = x.reshape(x.shape[0] * x.shape[1], x.shape[2]), (x.shape[:2], batch_first), options[:4]
    if not sizes:
        raise RuntimeError(f"{name}: Expected sequence length to be larger than 0 in RNN")
    states = list(hx) if name == "lstm" and isinstance(hx, (tuple, list)) else [hx]
    if len(states) != 1 + (name == "lstm"):
        raise RuntimeError(f"lstm: expected two hidden states (h_0, c_0), got {_describe(hx)}")
    return rows, sizes, states, list(params), has_biases, *options[:4], unpack


def _layers(kind, rows, sizes, states, params, has_biases, num_layers, p, train, bidirectional, unpack):
    directions = 2 if bidirectional else 1
    projected = kind == "lstm" and states[0].shape[-1] != states[1].shape[-1]
    group = 2 + 2 * bool(has_biases) + projected
    if len(params) != group * num_layers * directions:
        raise RuntimeError(
            f"{kind}: expected {group * num_layers * directions} parameters, {group} for each of {num_layers} layers "
            f"in {directions} directions, got {len(params)}"
        )
    for state in states:
        if tuple(state.shape[:2]) != (num_layers * directions, sizes[0]) or state.ndim != 3:
            expected = f"({num_layers * directions}, {sizes[0]}, hidden size)"
            raise RuntimeError(f"{kind}: expected a hidden state of shape {expected}, got {tuple(state.shape)}")
    firsts = list(zip(*[unbind(state, 0) for state in states]))
    lasts = []
    for layer in range(num_layers):
        outputs = []
        for direction in range(directions):
            k = layer * directions + direction
            W_ih, W_hh, *rest = params[k * group : (k + 1) * group]
            b_ih, b_hh = rest[:2] if has_biases else (None, None)
            W_hr = rest[-1] if projected else None
            reverse = direction == 1
            y, *more = _sequence(kind, kind, rows, firsts[k], W_ih, W_hh, b_ih, b_hh, W_hr, sizes, reverse)
            outputs.append(y)
            lasts.append([_last(state, sizes, reverse) for state in (y, *more)])
        rows = outputs[0] if directions == 1 else cat(outputs, -1)
        if layer < num_layers - 1:
            rows = dropout(rows, p, train)
    if directions == 1:
        rows = clone(rows)  # programs may change the output in place; the op needs it as it was
    if unpack is not None:
        shape, batch_first = unpack
        rows = rows.reshape(*shape, rows.shape[1])
        rows = rows.transpose(0, 1) if batch_first else rows
    return rows, *[stack(ends) for ends in zip(*lasts)]


def _cell(kind, name, input, states, w_ih, w_hh, b_ih, b_hh):
    """One step: a sequence of length 1."""
    if input.ndim != 2:
        raise RuntimeError(f"{name}: expected an input (B, {w_ih.shape[-1]}), got shape {tuple(input.shape)}")
    if input.shape[1] != w_ih.shape[1]:
        raise RuntimeError(f"{name}: input has inconsistent input_size: got {input.shape[1]} expected {w_ih.shape[1]}")
    for i, state in enumerate(states):
        if state.ndim != 2 or state.shape[0] != input.shape[0]:
            got = f"{state.shape[0]}" if state.ndim == 2 else f"of shape {tuple(state.shape)}"
            raise RuntimeError(f"{name}: Input batch size {input.shape[0]} doesn't match hidden{i} batch size {got}")
        if state.shape[1] != w_hh.shape[1]:
            sizes = f"got {state.shape[1]}, expected {w_hh.shape[1]}"
            raise RuntimeError(f"{name}: hidden{i} has inconsistent hidden_size: {sizes}")
    outputs = _sequence(kind, name, input, states, w_ih, w_hh, b_ih, b_hh, None, (input.shape[0],), False)
    return [clone(outputs[0]), *outputs[1:]]


def _sequence(kind, name, rows, states, W_ih, W_hh, b_ih, b_hh, W_hr, batch_sizes, reverse):
    """One layer in one direction: the states after every row, for an LSTM with the cells."""
    h0 = states[0]
    gates, size = _GATES[kind], states[-1].shape[1]
    expected = [(gates * size, rows.shape[1]), (gates * size, h0.shape[1]), (gates * size,), (gates * size,)]
    expected.append((h0.shape[1], size))
    tensors = zip(("w_ih", "w_hh", "b_ih", "b_hh", "w_hr"), (W_ih, W_hh, b_ih, b_hh, W_hr), expected)
    for what, tensor, shape in tensors:
        if tensor is not None and tuple(tensor.shape) != shape:
            raise RuntimeError(
                f"{name}: expected {what} of shape {shape} for inputs of {rows.shape[1]} and states of {size} "
                f"features, got {tuple(tensor.shape)}"
            )
    for what, tensor in (("hidden state", h0), ("cell state", states[-1]), ("w_ih", W_ih), ("w_hh", W_hh)):
        if tensor.dtype != rows.dtype:
            raise RuntimeError(
                f"{name}: expected the input and the {what} to have the same dtype, got {rows.dtype} and {tensor.dtype}"
            )
    if kind == "gru":
        x = linear(rows, W_ih, b_ih)
        return GRUSequence.apply(x, h0, W_hh, b_hh, batch_sizes=batch_sizes, reverse=reverse)[:1]
    x = linear(rows, W_ih, b_ih if b_hh is None else b_ih + b_hh)
    if kind == "lstm":
        return LSTMSequence.apply(x, *states, W_hh, W_hr, batch_sizes=batch_sizes, reverse=reverse)[:2]
    options = {"nonlinearity": kind[4:], "batch_sizes": batch_sizes, "reverse": reverse}
    return (RNNSequence.apply(x, h0, W_hh, **options),)


def _last(states: Tensor, batch_sizes: tuple, reverse: bool) -> Tensor:
    """The state of each sequence where its walk ends: (B, ...)."""
    first, last = batch_sizes[0], batch_sizes[-1]
    if reverse:
        return states[:first]
    if first == last:
        return states[states.shape[0] - first :]
    ends: dict[int, int] = {}  # sequence -> its row at the last time that it lives
    for start, stop in _steps(batch_sizes, False):
        ends.update(zip(range(stop - start), range(start, stop)))
    return states[wrap(table(states.xp, [ends[k] for k in range(first)]))]
