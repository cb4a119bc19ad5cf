"""Normalisation over the last axes, and to unit length."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import E, S, const, large, positive, rough, row

F = "nn.functional."
row(F + "layer_norm", lambda d: [S(d(2, 3), (3, )), S(d(2, 3), (3, ), d(3), d(3)),
    S(d(2, 3, 4), (3, 4), d(3, 4), d(3, 4)), S(d(2, 3, 4), (4, ), d(4)), S(d(2, 3, 4), (4, ), None, d(4)),
    S(d(5), (5, ), d(5), d(5), 0.1), S(d(2, 3, 4), [2, 3, 4]), S(d(0, 3), (3, ), d(3), d(3)),
    S(d.transposed(3, 4), (4, ), d(4), d(4)), S(d.flipped(3, 4), (4, ), d.flipped(4), d.gapped(4)),
    S(d(3, 1), (1, ), d(1), d(1)), S(d(3, 4) * 50 + 1000, (4, ), d(4), d(4)), large(d(40, 30), (30, ), d(30), d(30)),
    large(d(300, 120), (120, ), d(120), d(120)), large(d(40, 30), (30, ), d(30)), large(d(40, 30), (30, )),
    large(d(40, 5, 6), (5, 6), d(5, 6), d(5, 6)), large(d.transposed(40, 30), (30, ), d(30), d(30)),
    rough(np.full((2, 3), 2.5), (3, ), eps=1e-3), rough(np.array([[1.0, np.inf], [np.nan, 1.0]]), (2, ))], tol=10,
    errors=lambda d: [E("(?s)3.*4|4.*3", d(2, 3), (4, )), E("(?s)3.*4|4.*3", d(2, 3), (3, ), d(4))])
row(F + "rms_norm", lambda d: [S(d(2, 3), (3, )), S(d(2, 3), (3, ), d(3)), S(d(2, 3, 4), (3, 4), d(3, 4)),
    S(d(2, 3, 4), (4, ), d(4), 0.1), S(d(3), (3, ), d(3)), S(d(0, 3), (3, ), d(3)),
    S(d.transposed(3, 4), (4, ), d.flipped(4)), rough(np.zeros((2, 3)), (3, ), eps=1e-3)], tol=4,
    errors=lambda d: [E("(?s)3.*4|4.*3", d(2, 3), (4, ))])
row(F + "normalize", lambda d: [S(d(2, 3)), S(d(2, 3), p=1.0), S(d(2, 3, 4), dim=-1), S(d(3), dim=0),
    S(d(2, 3), p=3.0, dim=0), rough(np.zeros((1, 3)))])


# --- over the batch, over groups of channels: running statistics are cloned, and returned after their update ---------


def batch(d):
    mean, var = lambda: const(d(3)), lambda: const(d(3, domain=positive))  # noqa: E731
    for shape in ((4, 3), (2, 3, 5), (2, 3, 2, 2), (1, 3, 2, 1, 2)):
        yield from (S(d(*shape), mean(), var(), d(3), d(3), True, 0.3), S(d(*shape), None, None, d(3), d(3), True), S(d(*shape), mean(), var(), d(3), d(3), False))
    yield from (S(d(4, 3), mean(), var()), S(d(4, 3), None, None, training=True, eps=0.1), S(d(4, 3), mean(), var(), d(3), None, True, 1.0, 0.1), S(d(4, 3), mean(), var(), None, d(3), True), S(d(4, 3), mean(), var(), None, d(3)), S(d(4, 3), mean(), var(), d(3)))
    yield from (S(d.transposed(4, 3, 2), mean(), var(), d.flipped(3), d.gapped(3), True), S(d.flipped(4, 3), mean(), var(), d(3), d(3), True), S(d(4, 3) * 50 + 1000, mean(), var(), d(3), d(3), True), S(d(0, 3, 2), mean(), var(), d(3), d(3)), S(d(0, 3, 2), mean(), var(), d(3), d(3), True), S(d(0), const(d(0)), const(d(0))))
    yield from (S(const(d(4, 3)), mean(), var(), d(3), d(3), True), S(d(4, 3), mean(), var(), const(d(3)), const(d(3)), True), rough(np.full((2, 3), 2.5), mean(), var(), d(3), d(3), True, eps=1e-3))


def batch_norm(lib, x, mean, var, *args, **kwargs):
    mean, var = mean if mean is None else mean.clone(), var if var is None else var.clone()
    return [lib.nn.functional.batch_norm(x, mean, var, *args, **kwargs), *([] if mean is None else [mean, var])]


row("batch_norm", batch, call=batch_norm, covers=("batch_norm", ), tol=40, result=None, errors=lambda d: [
    E("(?s)more than 1 value", d(1, 3), None, None, training=True), E("(?s)running_mean", d(4, 3), None, None),
    E("(?s)weight.*2.*4, 3", d(4, 3), None, None, d(2), training=True), E("(?s)bias.*2", d(4, 3), None, None, d(3), d(2), True),
    E("(?s)running_mean.*2", d(4, 3), const(d(2)), const(d(3)), training=True), E("(?s)2 dimensions.*1", d(3), None, None, training=True)])
row(F + "group_norm", lambda d: [S(d(2, 4, 3), 2, d(4), d(4)), S(d(2, 4), 2), S(d(2, 4, 3, 2), 4, d(4)), S(d(2, 6, 2, 1, 2), 3, None, const(d(6))),
    S(d(3, 4, 2), 1, d(4), d(4), 0.1), S(d.transposed(2, 4, 3), 2, d.flipped(4), d.gapped(4)), S(d.flipped(2, 4, 3), 2), S(d(0, 4, 3), 2, d(4), d(4)),
    rough(np.full((2, 4, 1), 2.5), 2, eps=1e-3)], tol=40, errors=lambda d: [
    E("(?s)divisible.*3", d(2, 4, 3), 3), E("(?s)weight.*3.*4", d(2, 4, 3), 2, d(3)), E("(?s)more than 1 value", d(1, 2), 2), E("(?s)2 dimensions", d(4), 2)])


def instance(d):
    mean, var = lambda: const(d(3)), lambda: const(d(3, domain=positive))  # noqa: E731
    for shape in ((2, 3, 5), (2, 3, 3, 2), (1, 3, 2, 1, 2)):
        yield from (S(d(*shape)), S(d(*shape), mean(), var(), d(3), d(3), True, 0.3), S(d(*shape), mean(), var(), d(3), d(3), False))
    yield from (S(d(2, 3, 4), None, None, d(3), None, eps=0.1), S(d.transposed(2, 3, 4), mean(), var(), d.flipped(3), d.gapped(3)), S(d.flipped(2, 3, 4)))


def instance_norm(lib, x, mean=None, var=None, *args, **kwargs):
    mean, var = mean if mean is None else mean.clone(), var if var is None else var.clone()
    return [lib.nn.functional.instance_norm(x, mean, var, *args, **kwargs), *([] if mean is None else [mean, var])]


row("instance_norm", instance, call=instance_norm, covers=("instance_norm", ), tol=40, result=None, errors=lambda d: [
    E("(?s)more than 1 spatial", d(2, 3, 1)), E("(?s)weight.*2", d(2, 3, 4), None, None, d(2)), E("(?s)running_mean", d(2, 3, 4), use_input_stats=False)])
row(
    "nn.functional.local_response_norm",
    lambda d: [S(d(2, 5, 3), 3), S(d(2, 4, 3, 2), 2, alpha=0.5, beta=0.5, k=2.0), S(d(1, 3, 2, 2, 2), 5, 1.0), S(d(2, 0, 3), 2)],
    tol=2,
    errors=lambda d: [E("3D", d(2, 3), 2)],
)


# --- one op for the end of a Transformer's block; on the CPU the function is the three that it is made of --------------


def residual(m, x, r, w, b, p=0.0, ndim=1, eps=1e-5):
    from minitorch.ops.random import _generator
    from minitorch.ops.residual import DropoutAddLayerNorm

    generator = _generator(None, x.device) if p else None
    return DropoutAddLayerNorm.apply(x, r, w, b, p=p, generator=generator, ndim=ndim, eps=eps)


row("DropoutAddLayerNorm", lambda d: [S(d(2, 3), d(2, 3), d(3), d(3)), S(d(2, 3), d(2, 3), None, d(3)), S(d(2, 3), d(2, 3), d(3), None, eps=0.1),
    S(d(2, 3, 4), d.transposed(2, 3, 4), d(3, 4), d(3, 4), ndim=2), S(d.flipped(3, 4), d(3, 4), d.gapped(4), None), S(d(3, 4), const(d(3, 4)), d(4), d(4)),
    S(const(d(3, 4)), d(3, 4), const(d(4)), d(4)), S(d(0, 3), d(0, 3), d(3), d(3)), large(d(40, 30), d(40, 30), d(30), d(30)),
    large(d(50, 264), d(50, 264), d(264), d(264)), rough(np.array([[1.0, np.inf], [np.nan, 1.0]]), np.ones((2, 2)), None, None)], tol=10, call=residual, torch=False)
row("DropoutAddLayerNorm (that drops)", lambda d: [S(d(3, 4), d(3, 4), d(4), d(4), 0.3), S(d(2, 3, 4), d(2, 3, 4), None, d(3, 4), 0.5, 2), S(d(3, 4), const(d(3, 4)), d(4), d(4), 0.1),
    S(const(d(3, 4)), d(3, 4), d(4), None, 0.1)], tol=10, call=residual, seeded=True, torch=False)
