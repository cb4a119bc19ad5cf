"""Recurrent layers over whole sequences, padded and packed, and single steps."""

import numpy as np

from tests.cases.table import Draw, E, S, const, large, row

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def parameters(d: Draw, kind: str, inputs: int, H: int, layers=1, directions=1, bias=True, P=0) -> list:
    """Small ones: a saturated gate has no slope left to compare."""
    found = []
    for layer in range(layers):
        features = inputs if layer == 0 else directions * (P or H)
        for _ in range(directions):
            shapes = [(GATES[kind] * H, features), (GATES[kind] * H, P or H), *[(GATES[kind] * H,)] * 2 * bias]
            found += [d(*shape) / 2 for shape in [*shapes, *[(P, H)] * bool(P)]]
    return found


def states(d: Draw, kind: str, layers: int, B: int, H: int, P: int = 0):
    h = d(layers, B, P or H)
    return (h, d(layers, B, H)) if kind == "lstm" else h


def sequences(kind: str):
    def sample(d, T=3, B=2, C=3, H=2, layers=1, both=False, bias=True, P=0, batch_first=False, make=S):
        options = bias, layers, 0.0, False, both, batch_first
        x = d(B, T, C) if batch_first else d(T, B, C)
        hx = states(d, kind, layers * (1 + both), B, H, P)
        return make(x, hx, parameters(d, kind, C, H, layers, 1 + both, bias, P), *options)

    def packed(d, sizes, C=3, H=2, layers=1, both=False, P=0):
        hx = states(d, kind, layers * (1 + both), sizes[0], H, P)
        p = parameters(d, kind, C, H, layers, 1 + both, True, P)
        return S(d(sum(sizes), C), np.array(sizes), hx, p, True, layers, 0.0, False, both)

    def samples(d: Draw):
        yield from (sample(d), sample(d, T=1, layers=2, both=True), sample(d, bias=False, both=True))
        yield from (sample(d, layers=2), sample(d, batch_first=True), sample(d, T=4, B=1, C=1, H=1))
        yield from (
            packed(d, [3, 2, 1]),
            packed(d, [3, 3, 1], both=True),
            packed(d, [2, 2], layers=2),
            packed(d, [1, 1]),
        )
        if kind == "lstm":
            yield from (
                sample(d, H=3, P=2, both=True),
                sample(d, H=3, P=1, layers=2, bias=False),
                packed(d, [3, 1], H=3, P=2),
            )
        yield sample(d, T=9, B=5, C=8, H=16, both=True, make=large)
        yield sample(d, B=0)

    return samples


def wrong(kind: str):
    def calls(d: Draw):
        p, hx, x = parameters(d, kind, 3, 2), states(d, kind, 1, 2, 2), d(4, 2, 3)
        options = True, 1, 0.0, False, False
        yield E("(?s)4 parameters.*got 3|MatrixRef", x, hx, p[:3], *options, False)
        yield E(r"(?s)\(1, 2.*\(2, 2, 2\)", x, states(d, kind, 2, 2, 2), p, *options, False)
        yield E("(?s)w_ih.*5", d(4, 2, 5), hx, p, *options, False)
        yield E("(?s)w_hh.*got", x, hx, [p[0], d(3, 2), *p[2:]], *options, False)
        yield E("(?s)b_hh.*got", x, hx, [*p[:3], d(7)], *options, False)
        yield E("length", d(0, 2, 3), hx, p, *options, False)
        yield E("(?s)batch_sizes.*5", d(4, 3), np.array([2, 2, 1]), hx, p, *options)
        yield E("(?s)float32.*float64|float64.*float32", x.astype("float32"), hx, p, *options, False)
        if kind == "lstm":
            yield E("two hidden states", x, hx[:1], p, *options, False)

    return calls


for kind in GATES:
    row(kind, sequences(kind), dtypes=("float32", "float64"), errors=wrong(kind), tol=20)


def steps(kind: str):
    def samples(d: Draw):
        for B, C, H, bias in ((2, 3, 2, True), (2, 3, 4, False), (1, 1, 1, True)):
            hx = d(B, H), d(B, H)
            yield S(d(B, C), hx if kind == "lstm" else hx[0], *parameters(d, kind, C, H, bias=bias))

    return samples


def wrong_steps(kind: str):
    def calls(d: Draw):
        p, good = parameters(d, kind, 3, 2), d(2, 2)
        hx = lambda h: (h, good) if kind == "lstm" else h  # noqa: E731
        yield E("input_size: got 4 expected 3", d(2, 4), hx(good), *p)
        yield E("(?s)batch size 2.*3", d(2, 3), hx(d(3, 2)), *p)
        yield E("hidden_size: got 5, expected 2", d(2, 3), hx(d(2, 5)), *p)
        yield E("(?s)expected.*shape", d(3), hx(good), *p)
        if kind == "lstm":
            yield E("two hidden states", d(2, 3), [good], *p)

    return calls


for kind in GATES:
    row(f"{kind}_cell", steps(kind), dtypes=("float32", "float64"), errors=wrong_steps(kind), tol=4)


def last_state_only(m, x, h0, c0, *weights):
    """Not all outputs wanted: the cell alone, the last state alone."""
    _, h, c = m.lstm(x, (h0, c0), weights, True, 1, 0.0, False, True, False)
    return (c * 2, h.sum(0)) if x.shape[0] % 2 else c


row(
    "lstm (its last cell)",
    lambda d: [
        S(d(T, 2, 3), const(d(2, 2, 2)), d(2, 2, 2), *parameters(d, "lstm", 3, 2, directions=2)) for T in (2, 3)
    ],
    call=last_state_only,
    dtypes=("float64",),
    tol=20,
)
