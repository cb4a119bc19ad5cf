"""Padding, interpolation, sampling at points, pixels between channels and space."""

import numpy as np

from tests.cases.table import ALL, E, S, away_from, const, edge, rough, row

F = "nn.functional."


def padding(d):
    x = lambda: d(2, 3, 5, 4)  # noqa: E731
    yield from (S(x(), (1, 2)), S(x(), (1, 2, 0, 3), "constant", 2.5), S(x(), (-1, 2, 1, -1)), S(x(), (0, 0, 1, 1, 2, 0)), S(x(), (-1, -1)), S(x(), ()), S(x(), (0, 0)), S(d(3), (2, 1), value=-1.0), S(d(0, 3), (1, 1, 2, 0)), S(x(), [1, 1]))
    yield from (S(d.transposed(3, 4), (1, 1)), S(d.flipped(3, 4), (2, 0, 0, 1)), edge(d.int(2, 3), (1, 1), value=7), edge(d.bool(2, 3), (1, 1), value=True), S(d(2, 2), (-2, 1)), rough(np.array([[np.inf, np.nan]]), (1, 0)))
    for mode in ("reflect", "replicate", "circular"):
        yield from (S(d(2, 3, 5), (1, 2), mode), S(d(3, 5), (2, 0), mode), S(x(), (1, 2, 3, 0), mode), S(d(3, 5, 4), (2, 2, 1, 1), mode), S(d(1, 2, 3, 4, 3), (1, 1, 2, 0, 0, 2), mode), S(x(), (-1, 2, 1, -2), mode), S(x(), (-1, -1, 0, 0), mode))
        yield from (S(d.transposed(2, 3, 5), (1, 1), mode), S(d.flipped(2, 3, 5), (2, 1), mode), S(x(), (0, 0, 0, 0), mode), S(d(0, 3, 5), (1, 1), mode))


row(F + "pad", padding, dtypes=ALL, errors=lambda d: [
    E("(?s)even", d(2, 3), (1, 1, 1)), E("(?s)even|at most", d(3), (1, 1, 1, 1)), E("(?s)negative.*-1|-1", d(2, 3), (-2, -2)), E("(?s)mirror", d(2, 3), (1, 1), "mirror"), E("(?s)less than", d(2, 3, 4), (4, 1), "reflect"), E("(?s)not be greater", d(2, 3, 4), (5, 1), "circular"),
    E("(?s)2D or 3D", d(4), (1, 1), "reflect"), E("(?s)2D or 3D", d(2, 3, 4, 5), (1, 1), "replicate"), E("(?s)value.*2", d(2, 3, 4), (1, 1), "replicate", 2.0),
])  # fmt: skip


def sizes(d):
    for o in ({"size": 9}, {"size": 3}, {"scale_factor": 2}, {"scale_factor": 1.7}, {"scale_factor": 0.6, "recompute_scale_factor": True}):
        for mode in ("nearest", "nearest-exact", "area"):
            yield from (S(d(2, 2, 5), **o, mode=mode), S(d(2, 2, 5, 4), **o, mode=mode), S(d(1, 2, 2, 3, 4), **o, mode=mode))
        for mode, shape in (("linear", (2, 2, 5)), ("bilinear", (2, 2, 5, 4)), ("bicubic", (1, 2, 5, 4)), ("trilinear", (1, 2, 2, 3, 4))):
            yield from (S(d(*shape), **o, mode=mode), S(d(*shape), **o, mode=mode, align_corners=True))
    yield from (S(d(2, 2, 5, 4), (5, 4), mode=mode) for mode in ("nearest", "bilinear", "bicubic", "area"))
    yield from (S(d(2, 2, 5, 4), (1, 7), mode="bilinear", align_corners=corners) for corners in (False, True))
    yield from (S(d(2, 2, 5, 4), None, (1.3, 2.0), "bicubic"), S(d.transposed(2, 2, 5, 4), 7, mode="bilinear"), S(d.flipped(2, 2, 5, 4), 3, mode="nearest"), S(d(0, 2, 4, 4), 2), S(d(1, 1, 1, 1), (3, 2), mode="bilinear"))
    yield from (edge(np.arange(12, dtype=np.uint8).reshape(1, 1, 3, 4), (5, 6)), rough(np.array([[[1.0, np.inf, 2.0, 3.0]]]), 6), rough(np.array([[[1.0, np.nan, 2.0, 3.0]]]), 7, mode="linear"))


row(F + "interpolate", sizes, tol=20, errors=lambda d: [
    E("(?s)mode.*cubic", d(1, 1, 4), 2, mode="cubic"), E("(?s)bilinear.*4D", d(1, 1, 4), 2, mode="bilinear"), E("(?s)align_corners", d(1, 1, 4), 2, align_corners=True), E("(?s)only one", d(1, 1, 4), 2, 2.0), E("(?s)either", d(1, 1, 4)),
    E("(?s)1 spatial|number", d(1, 1, 4), (2, 2)), E("(?s)recompute", d(1, 1, 4), 2, recompute_scale_factor=True), E("(?s)greater than 0", d(1, 1, 4), 0), E("(?s)linear.*int64", d.int(1, 1, 4), 2, mode="linear"),
])  # fmt: skip
row("antialias is refused", lambda d: [S(d(1, 1, 4, 4))], call=lambda lib, x, antialias=False: lib.nn.functional.interpolate(x, 8, mode="bilinear", antialias=antialias), torch=False, errors=lambda d: [E("antialias", d(1, 1, 4, 4), True)])



def points(d):
    for corners in (False, True):
        for mode in ("bilinear", "nearest", "bicubic"):
            for edges in ("zeros", "border", "reflection"):
                yield S(d(2, 2, 5, 5), d(2, 3, 2, 2, domain=OFF[corners]), mode, edges, corners)
                if mode != "bicubic":
                    yield S(d(1, 2, 5, 5, 5), d(1, 2, 1, 3, 3, domain=OFF[corners]), mode, edges, corners)
    yield from (S(d.transposed(2, 2, 5, 5), d.flipped(2, 3, 2, 2, domain=OFF[False])), S(d(2, 2, 5, 5), const(d(2, 3, 2, 2))), S(const(d(2, 2, 5, 5)), d(2, 3, 2, 2, domain=OFF[False])), S(d(2, 1, 5, 5), d(2, 0, 3, 2, domain=OFF[False])), S(d(1, 1, 1, 1), d(1, 2, 2, 2, domain=away_from(-2, -1, 0, 1, 2, low=-1.9, high=1.9)), padding_mode="border"))
    yield from (edge(d(1, 1, 4, 4), np.array([[[[0.0, 0.0], [np.nan, 0.0], [np.inf, 0.0], [-1.0, 1.0], [1e9, -1e9]]]])), edge(d(1, 1, 4, 4), np.array([[[[0.0, 0.0], [-1.0, 1.0]]]]), align_corners=True))


OFF = {  # 5 pixels: their centres and borders stand at multiples of 0.2, or of 0.25 with align_corners
    False: away_from(*np.arange(-2.0, 2.1, 0.2), low=-1.9, high=1.9, gap=0.02), True: away_from(*np.arange(-2.0, 2.1, 0.25), low=-1.9, high=1.9, gap=0.02),
}  # fmt: skip
row(F + "grid_sample", points, tol=20, errors=lambda d: [
    E("(?s)mode.*linear", d(1, 1, 4, 4), d(1, 2, 2, 2), "linear"), E("(?s)padding_mode.*wrap", d(1, 1, 4, 4), d(1, 2, 2, 2), padding_mode="wrap"), E("(?s)same number of dimensions", d(1, 1, 4, 4), d(1, 2, 2)), E("(?s)size 2 in last", d(1, 1, 4, 4), d(1, 2, 2, 3)),
    E("(?s)batch", d(2, 1, 4, 4), d(1, 2, 2, 2)), E("(?s)bicubic.*4D", d(1, 1, 2, 2, 2), d(1, 1, 1, 1, 3), "bicubic"), E("(?s)non-empty", d(1, 1, 0, 4), d(1, 2, 2, 2)), E("(?s)float32.*float64|float64.*float32", d(1, 1, 4, 4), const(d(1, 2, 2, 2).astype(np.float32))),
])  # fmt: skip
row(F + "affine_grid", lambda d: [S(d(2, 2, 3), (2, 1, 4, 5)), S(d(2, 2, 3), (2, 1, 4, 5), True), S(d(1, 3, 4), (1, 2, 3, 1, 4), False), S(d(1, 2, 3), (1, 1, 1, 3), True)], tol=4, errors=lambda d: [E("(?s)2, 3.*3, 3", d(2, 3, 3), (2, 1, 4, 5)), E("(?s)theta", d(3, 2, 3), (2, 1, 4, 5))])
row(F + "pixel_shuffle", lambda d: [S(d(2, 8, 3, 2), 2), S(d(9, 1, 2), 3), S(d(2, 3, 4, 2, 2), 2), S(d(2, 3, 4, 4), 1), S(d.transposed(2, 8, 3, 2), 2), edge(d(0, 4, 2, 2), 2)], errors=lambda d: [E("(?s)3 dimensions", d(4, 4), 2), E("(?s)upscale_factor", d(2, 6, 3, 3), 2)])
row(F + "pixel_unshuffle", lambda d: [S(d(2, 2, 6, 4), 2), S(d(1, 3, 6), 3), S(d(2, 3, 4, 4), 1), S(d.flipped(2, 2, 6, 4), 2)], errors=lambda d: [E("(?s)3 dimensions", d(4, 4), 2), E("(?s)divisible", d(2, 6, 3, 4), 2)])
row(F + "channel_shuffle", lambda d: [S(d(1, 4, 2, 2), 2), S(d(2, 6, 3), 3), S(d.transposed(2, 6, 2, 3), 2), S(d(1, 4, 2), 1)],
    errors=lambda d: [E("(?i)divi", d(1, 4, 2, 2), 3)])
row("channel_shuffle", lambda d: [S(d(1, 4, 2, 2), 2)])
row(F + "upsample", lambda d: [S(d(1, 2, 3), scale_factor=2), S(d(1, 1, 3, 2), (4, 5), mode="bilinear", align_corners=False)])
row(F + "upsample_nearest", lambda d: [S(d(1, 2, 3, 2), scale_factor=2)])
row(F + "upsample_bilinear", lambda d: [S(d(1, 2, 3, 2), (4, 4))])
