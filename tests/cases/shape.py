"""Views, permutations, joins, splits, repeats, triangles; and the functions that create tensors."""
# fmt: off
# ruff: noqa: E731

import numpy as np

from tests.cases.table import ALL, Draw, E, S, const, named, rough, row

X = lambda d: d(2, 3, 4)


def shaped(*argument_lists, shape=(2, 3, 4), layouts=True, **keyword_rest):
    """The same arguments on a tensor in order and on one whose memory order is reversed."""

    def make(d: Draw):
        for arguments in argument_lists:
            args, kwargs = (arguments, {}) if isinstance(arguments, tuple) else ((), arguments)
            yield S(d(*shape), *args, **kwargs)
            if layouts:
                yield S(d.transposed(*shape), *args, **kwargs)
        if layouts:
            args, kwargs = (argument_lists[0], {}) if isinstance(argument_lists[0], tuple) else ((), argument_lists[0])
            yield S(d.flipped(*shape), *args, **kwargs)

    return make


def also(make, *more):
    return lambda d: [*make(d), *(s for m in more for s in m(d))]


BAD_AXIS = lambda *a: lambda d: [E(r"(?s)(-3.*2|3.*-?3|range)", X(d), *a)]

row("reshape", also(shaped(((6, 4), ), ((-1, ), ), ((2, -1, 2), ), ((2, 3, 4), ), ((1, 24, 1), )),
    lambda d: [S(d(), (1, 1)), S(d(1), ()), S(d(0, 3), (3, 0)), S(d(2, 0), (0, 5)), S(d(0), (2, 0))]), dtypes=ALL,
    errors=lambda d: [E(r"(?s)5.*24|24.*5|2, 3, 4.*5|5.*2, 3, 4", X(d), (5, )), E("-1", X(d), (-1, -1)),
    E("(?i)-1|ambig", d(0), (-1, 0))])
row("Tensor.view", also(shaped((6, 4), (-1, ), ((2, -1, 2), ), (2, 3, 4), (1, 24, 1), layouts=False),
    lambda d: [S(d(), 1, 1), S(d(0, 3), 3, 0), S(d.transposed(3, 4), 3, 2, 2), S(d.gapped(2, 3), 6)]), view=True,
    dtypes=ALL, errors=lambda d: [E("reshape", d.transposed(3, 4), 12), E("(?s)5.*24|24.*5|2, 3, 4.*5|5.*2, 3, 4", X(d),
    5)])
row("Tensor.view_as", lambda d: [S(d(2, 3), np.zeros((3, 2)))], view=True)
row("ravel", lambda d: [S(d(2, 3)), S(d()), S(d.transposed(2, 3)), S(d(0, 2))])
row("Tensor.reshape_as", lambda d: [S(d(2, 3), np.zeros((3, 2)))])
row("permute", also(shaped(((2, 0, 1), ), ((0, 1, 2), ), ((-1, 1, 0), )), lambda d: [S(d(), ()), S(d(0, 2), (1, 0))]),
    view=True, dtypes=ALL, errors=lambda d: [E("(?i)permute|repeat|dim", X(d), (0, 0, 1)),
    E("(?s)2.*3|permute", X(d), (0, 1))])
row("transpose", also(shaped((0, 1), (0, 2), (-1, -2), (1, 1)), lambda d: [S(d(0, 2), 0, 1), S(d(), 0, -1)]), view=True,
    errors=BAD_AXIS(0, 3))
row("swapaxes", lambda d: [S(d(2, 3, 4), 0, 2), S(d(2, 3), -1, 0)], view=True)
row("t", lambda d: [S(d(2, 3)), S(d(3)), S(d()), S(d.flipped(2, 3)), S(d(0, 2))], view=True,
    errors=lambda d: [E("(?s)t.*3", X(d))])
row("Tensor.T", lambda d: [S(d(2, 3)), S(d(3, 1))], call=lambda m, x: x.T, view=True)
row("Tensor.mT", lambda d: [S(d(2, 3, 4)), S(d(3, 1))], call=lambda m, x: x.mT, view=True)
row("movedim", also(shaped((0, 2), (-1, 0), ((0, 1), (2, 0)))), view=True, covers=("moveaxis",), errors=BAD_AXIS(0, 3))
row("flatten", also(shaped((), (1, ), (0, 1), (1, -1)), lambda d: [S(d()), S(d(3)), S(d(2, 0, 3), 1)]), dtypes=ALL,
    errors=BAD_AXIS(0, 3))
row("unflatten", lambda d: [S(d(2, 6), 1, (2, 3)), S(d(2, 6), -1, (-1, 2)), S(d(6, 2), 0, (3, 2)),
    S(d.transposed(6, 2), 0, (3, 2)), S(d(4), 0, (4, 1))], view=True, errors=lambda d: [E("(?s)6", d(2, 6), 1, (4, 2))])
row("squeeze", lambda d: [S(d(2, 1, 3, 1)), S(d(2, 1, 3), 1), S(d(2, 1, 3), 0), S(d(2, 1, 3), -2),
    S(d(1, 2, 1), (0, 2)), S(d(1, 1)), S(d()), S(d(1, 0), 0)], view=True, errors=BAD_AXIS(3))
row("unsqueeze", also(shaped((0, ), (1, ), (-1, ), (-4, )), lambda d: [S(d(), 0), S(d(0), 1)]), view=True,
    errors=lambda d: [E("(?s)4.*3|3.*4|range", X(d), 4)])
row("Tensor.expand", lambda d: [S(d(3, 1), 3, 4), S(d(3, 1), (2, 3, 4)), S(d(3, 1), -1, 2), S(d(), 2, 3), S(d(1), 0),
    S(d(1, 3), 0, 3), S(d.transposed(1, 3), 4, -1), S(d(3), 3)], view=True, dtypes=ALL,
    errors=lambda d: [E(r"(?s)3.*4|4.*3", d(3), 4), E("expand", d(2, 3), 3)])
row("Tensor.expand_as", lambda d: [S(d(3, 1), np.zeros((2, 3, 4)))], view=True)
row("broadcast_to", lambda d: [S(d(3, 1), (3, 4)), S(d(), (2, 3)), S(d(1, 3), (0, 3))], view=True,
    errors=lambda d: [E(r"(?s)3.*4|4.*3", d(3), (4, ))])
row("Tensor.contiguous", lambda d: [S(d(2, 3)), S(d.transposed(2, 3)), S(d.flipped(2, 3)), S(d())], dtypes=ALL)
row("select", also(shaped((0, 1), (1, -1), (-1, 0))), view=True, dtypes=ALL, errors=lambda d: [E("(?s)5", X(d), 0, 5),
    *BAD_AXIS(3, 0)(d)])
row("narrow", also(shaped((0, 1, 1), (1, 0, 2), (-1, 2, 2), (0, 0, 0), (1, -2, 2))), view=True,
    errors=lambda d: [E("(?s)4", X(d), 1, 1, 4)])


def read_only(array):
    array.flags.writeable = False
    return array


row("diagonal", also(shaped((), (1, ), (-1, ), (0, 1, 2), (1, -1, 0)),
    lambda d: [S(d(3, 3)), S(d(2, 3), 2), S(d(0, 2))]), view=True)
row("the diagonal of what cannot be written", lambda d: [S(read_only(d(3, 3).copy()))], call=lambda m, x: m.diagonal(x))
row("Tensor.unfold", lambda d: [S(d(7), 0, 3, 1), S(d(7), 0, 3, 2), S(d(7), 0, 2, 3), S(d(2, 6), 1, 2, 2),
    S(d(2, 6, 3), 1, 3, 2), S(d(5, 2), 0, 5, 1), S(d.transposed(4, 3), -1, 2, 1)], view=True,
    errors=lambda d: [E("(?s)5.*4|4.*5", d(4), 0, 5, 1)])

# ---------------------------------------------------------------- joins and splits

MIXED = lambda d: [S([d.int(2), d(2)])]
row("cat", also(lambda d: [S([d(2, 3), d(4, 3)]), S((d(2, 3), d(2, 1), d(2, 0)), dim=1), S([d(2, 3)], -1),
    S([d.transposed(2, 3), d.flipped(2, 3)], 0), S([d(0), d(2, 3)]), S([d(2)] * 3), S([d(0), d(2), d(0)])], MIXED), dtypes=ALL,
    covers=("concat", "concatenate"), errors=lambda d: [E("(?s)3.*2|2.*3", [d(2, 3), d(2, 2)]),
    E("(?i)empty|at least one|non-empty|expected", []), E("(?i)zero-dim|0-d|cat", [d(), d()])])
row("stack", also(lambda d: [S([d(2, 3), d(2, 3)]), S([d(2), d(2)], 1), S([d(2), d(2)], -1), S([d(), d()]),
    S([d(0, 2), d(0, 2)], dim=1)], MIXED), dtypes=ALL, errors=lambda d: [E(r"(?s)2.*3", [d(2), d(3)]), E("stack.*non-empty", [])])
for name in ("hstack", "vstack"):
    row(name, lambda d: [S([d(3), d(3)]), S([d(2, 3), d(2, 3)]), S((d(), d()))])
for name in ("column_stack",):
    row(name, lambda d: [S([d(3), d(3)]), S([d(2, 3), d(2, 3)]), S((d(), d()))])
row("split", also(shaped((1, ), (2, ), (2, 2), (3, -1), ([1, 2], 1)), lambda d: [S(d(0, 3), 2), S(d(5), [0, 5])]),
    view=True, errors=lambda d: [E("(?s)3", X(d), [1, 1], 1)])
row("split_with_sizes", lambda d: [S(d(5), [2, 3]), S(d(2, 5), [1, 4], 1)], view=True, call=lambda m, x,
    *a: x.split_with_sizes(*a), covers=("split_with_sizes", ))
row("chunk", also(shaped((2, ), (3, 1), (5, -1), (2, 2)), lambda d: [S(d(7), 3), S(d(0), 2)]), view=True,
    errors=lambda d: [E("(?i)chunk", X(d), 0)])
row("unbind", also(shaped((), (1,), (-1,)), lambda d: [S(d(3))]), view=True)
row("iteration", lambda d: [S(d(3, 2)), S(d(2))], call=lambda m, x: list(x))
row("repeat", lambda d: [S(d(2, 3), 2, 2), S(d(2, 3), 3, 1, 2), S(d(3), (2, )), S(d(), 3), S(d(2), 0),
    S(d.transposed(2, 3), 1, 2)], call=lambda m, x, *a: x.repeat(*a), covers=("repeat", ),
    errors=lambda d: [E("(?s)repeat", d(2, 3), 2)])
row("tile", lambda d: [S(d(2, 3), (2,)), S(d(2, 3), (2, 1, 2)), S(d(), (3,)), S(d(3), (0,))])
row("repeat_interleave", lambda d: [S(d(2, 3), 2), S(d(2, 3), 2, dim=1), S(d(3, 2), np.array([0, 2, 1]), dim=0),
    S(d(3), np.array([1, 0, 3])), S(d(2, 3), 0, dim=0)], errors=lambda d: [E("3.*2", d(3), np.array([1, 2]), dim=0)])

# ---------------------------------------------------------------- rearrangements

row("flip", also(shaped(((0, ), ), ((0, 2), ), ((-1, ), )), lambda d: [S(d(0, 2), (0, )), S(d(1), (0, )),
    S(d(2, 3), ())]), dtypes=ALL, errors=lambda d: [*BAD_AXIS((3, ))(d), E("more than once|repeat", X(d), (0, 0))])
row("fliplr", lambda d: [S(d(2, 3))])
row("flipud", lambda d: [S(d(2, 3)), S(d(3))])
row("roll", also(shaped((1,), (2, 0), (-1, 1), ((1, 2), (0, 2)), (7, 2)), lambda d: [S(d(0), 1), S(d(1), 3)]))
row("tril", also(shaped((), (1, ), (-1, ), (5, )), lambda d: [S(d(3, 3)), S(d(0, 3))]), dtypes=ALL,
    errors=lambda d: [E("(?s)tril.*2|2.*tril", d(3))])
row("triu", also(shaped((), (1, ), (-1, ), (5, )), lambda d: [S(d(3, 3)), S(d(0, 3))]), dtypes=ALL,
    errors=lambda d: [E("(?s)triu.*2|2.*triu", d(3))])
row("diag", lambda d: [S(d(3)), S(d(3), 1), S(d(2), -2), S(d(3, 4)), S(d(3, 4), 1), S(d(3, 4), -2), S(d(0)),
    S(d(3, 3))], dtypes=ALL, errors=lambda d: [E("(?s)diag.*3|1.*2", X(d))])
row("atleast_1d", lambda d: [S(d()), S(d(2))])
row("atleast_2d", lambda d: [S(d()), S(d(2)), S(d(2, 3))])
row("broadcast_tensors", lambda d: [S(d(3, 1), d(4)), S(d(), d(2))], errors=lambda d: [E("(?s)3.*4", d(3), d(4))])
row("meshgrid", lambda d: [S(d(3), d(4), indexing="ij"), S(d(3), d(4), indexing="xy"), S(d(2), d(), indexing="ij")])

# ---------------------------------------------------------------- dtype and copies

for name in ("float", "double", "half", "bfloat16", "int", "long", "short", "char", "byte", "bool"):
    row(f"Tensor.{name}", lambda d: [rough(abs(d(3, 4)) * 2), S(d.int(3, low=0)), S(d.bool(3)), rough(abs(d(0))),
        rough(abs(d.transposed(2, 3)))], result=None)
row("Tensor.to", lambda d: [S(d(3), named("float64")), rough(d(3), named("float32")),
    S(d(3), dtype=named("float64"), copy=True), rough(d(3), const(np.zeros(1, "float32"))), S(d(3), "cpu"),
    S(d(3), named("int64"))], result=None)
row("Tensor.type", lambda d: [S(d(3), named("float64")), S(d.int(3), named("float64"))], result=None)
row("Tensor.type_as", lambda d: [S(d(3), np.zeros(1)), S(d.int(3), np.zeros(1))])

# ---------------------------------------------------------------- creation

CREATE = {"gradient": False, "dtypes": (), "result": None}
for name in ("zeros", "ones"):
    row(name, lambda d: [S(2, 3), S((2, 3)), S(()), S(0), S(2, dtype=named("int64")), S(2, dtype=named("bool"))],
        errors=lambda d: [E("(?i)neg", -1)], **CREATE)
    row(f"{name}_like", lambda d: [S(d(2, 3)), S(d.int(2)), S(d(2), dtype=named("int32")), S(d.transposed(2, 3))],
        **CREATE)
row("full", lambda d: [S((2, 3), 1.5), S((2,), 3), S((), True), S((2,), 3, dtype=named("float64"))], **CREATE)
row("full_like", lambda d: [S(d(2, 3), 2), S(d.int(3), 2), S(d(2), 1, dtype=named("bool"))], **CREATE)
row("empty", lambda d: [S(2, 3), S((0, 2)), S(2, dtype=named("int64"))], call=lambda m, *a,
    **k: m.zeros_like(m.empty(*a, **k)), covers=("empty", ), **CREATE)
row("empty_like", lambda d: [S(d(2, 3)), S(d(2), dtype=named("int64"))], call=lambda m, *a,
    **k: m.zeros_like(m.empty_like(*a, **k)), covers=("empty_like", ), **CREATE)
row("arange", lambda d: [S(5), S(2, 7), S(1, 10, 3), S(0.0, 1.0, 0.1), S(5, 0, -2), S(3.0),
    S(5, dtype=named("float64")), S(0), S(1, 2.5, 0.5), S(start=1, end=4)], errors=lambda d: [E("(?i)step", 0, 5, 0),
    E("0 to 5 by -1", 0, 5, -1)], **CREATE)
row("linspace", lambda d: [S(0, 1, 5), S(-1.0, 2.0, 7), S(3, 3, 1), S(0, 1, 0), S(1, 0, 4, dtype=named("float64")),
    S(0, 10, 11, dtype=named("int64"))], **CREATE)
row("logspace", lambda d: [S(0, 2, 5), S(-1.0, 1.0, 4, dtype=named("float64")), S(0, 3, 4, base=2.0)], **CREATE)
row("eye", lambda d: [S(3), S(2, 4), S(0), S(3, dtype=named("int64"))], **CREATE)
row("tril_indices", lambda d: [S(3, 4), S(3, 3, -1), S(2, 3, offset=1)], **CREATE)
row("triu_indices", lambda d: [S(3, 4), S(3, 3, -1), S(2, 3, offset=1)], **CREATE)
row("tensor", lambda d: [S(1.5), S(2), S(True), S([1, 2]), S([1, 2.5]), S([[True], [False]]), S([]),
    S([[1.0], [2.0]], dtype=named("float64")), S((1, 2), dtype=named("int32")), S([1, 0], dtype=named("bool"))],
    errors=lambda d: [E("equal length", [[1, 2], [3]]), E("number.*str", "text")], **CREATE)
for name in ("as_tensor", "asarray"):
    row(name, lambda d: [S([1, 2]), S(1.5), S(d(2)), S(d(2), dtype=named("float32"))], **CREATE)
for name in ("new_zeros", "new_ones"):
    row(f"Tensor.{name}", lambda d: [S(d(2), (2, 3)), S(d.int(2), 3), S(d(2), 3, dtype=named("bool"))], **CREATE)
row("Tensor.new_full", lambda d: [S(d(2), (2, 3), 1.5), S(d.int(2), (3,), 2)], **CREATE)
row("Tensor.new_empty", lambda d: [S(d(2), (2, 3)), S(d.int(2), (0, ))], call=lambda m, x,
    *a: m.zeros_like(x.new_empty(*a)), **CREATE)
row("Tensor.new_tensor", lambda d: [S(d(2), [1.0, 2.0]), S(d.int(2), [1, 2])], **CREATE)
