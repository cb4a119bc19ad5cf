"""Window functions, and other ready-made sequences."""
# fmt: off

from tests.cases.table import E, S, named, row

for name in ("hann_window", "hamming_window", "blackman_window", "bartlett_window", "kaiser_window"):
    row(name, lambda d: [S(n, *p) for n in (0, 1, 2, 5, 8) for p in ((), (False,))] + [S(7, dtype=named("float64"))],
        gradient=False, dtypes=(), tol=2, errors=lambda d: [E("negative", -1)])
row("hamming_window (its coefficients)", lambda d: [S(7, True, 0.6, 0.3), S(7, False, 0.5)], gradient=False, dtypes=(),
    call=lambda m, *a, **o: m.hamming_window(*a, **o))
row("scalar_tensor", lambda d: [S(3), S(2.5), S(2, dtype=named("int64"))], gradient=False, dtypes=())
row("range", lambda d: [S(0, 3), S(1, 2, 0.25), S(5, 1, -2), S(0, 3, dtype=named("int64"))], gradient=False, dtypes=(),
    errors=lambda d: [E("step|bound", 0, 3, -1)])
