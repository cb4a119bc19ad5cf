"""Convolutions of images without columns: register tiles that read a padded copy of a piece of the image, in cache.

Lay the rows of a padded image one after the other, P elements each. Then an output at the flat place p reads, for each
tap t (a channel and an offset in the kernel), the element p + shift[t]: the same shift for all places. So a block of
outputs, CHANNELS x 3 vectors held in registers, is a loop over the taps: load 3 vectors of x at the shift, multiply them
by each channel's weight, add. The few places between two rows (P is wider than the output) are computed for nothing.

    stride s      the copy holds each residue class of rows and columns mod s by itself, so that what neighbouring
                  outputs read are neighbours; only the shifts change
    dx            the same with dy for a source and W turned; each residue class of dx has taps of its own
    dW            the same shifts: dW[o, t] = sum over p of dy[o, p] x[p + shift[t]], CHANNELS x 3 of them in registers

`Plan` holds the shifts. The copy is of one image, or of a band of its rows where that is large; dW takes several
small images together. It is cut into pieces by its sizes alone, so results do not depend on the number of threads.
"""

from __future__ import annotations

import functools
import itertools
import math

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ...backend.fastpath import fast_path
from ...ops.conv import Convolution, ConvolutionTranspose, ConvolutionWeight
from . import compile as settings
from .compile import FLOAT32, address, floats_at, inline, integers, kernel, matrix, over_rows, run, vector, word
from .rows import copy, copy_apart, fill

_features = llvm.get_host_cpu_features()
LANES = 16 if _features.get("avx512f") else 8 if _features.get("avx") else 4  # floats in a register
CHANNELS = 8 if LANES == 16 else 4  # of a tile; with 3 vectors each they fill the registers
PIECE = 1 << 16  # floats that a piece of the source may have: it stays in a core's second cache
PLACES = 640  # of a piece for dW, at least: its sums over the lanes have to be made once for each piece
PARTS, LARGE = 8, 1 << 21  # sums of dW that are kept apart; floats in all of them
ZERO = np.float32(0)
ALIGN = 64

# --- register tiles, in LLVM's vectors -------------------------------------------------------------------------------

_FLOAT, _WORD, _VECTOR = ir.FloatType(), ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
FUSED = ("contract",)  # a product and its sum may become one instruction


def _load(builder, pointer, index):
    """A vector, from a place that need not be aligned."""
    return builder.load(builder.bitcast(builder.gep(pointer, [index]), _VECTOR.as_pointer()), align=4)


def _store(builder, value, pointer, index):
    builder.store(value, builder.bitcast(builder.gep(pointer, [index]), value.type.as_pointer()), align=4)


def _spread(builder, value):
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _multiply_add(builder, total, a, b):
    builder.store(builder.fadd(builder.load(total), builder.fmul(a, b, flags=FUSED), flags=FUSED), total)


def _totals(builder, count):
    """`count` registers, at zero. (Memory for LLVM's first passes, which see that it need not be.)"""
    found = [cgutils.alloca_once(builder, _VECTOR) for _ in range(count)]
    for total in found:
        builder.store(ir.Constant(_VECTOR, [0.0] * LANES), total)
    return found


def _tile(vectors):
    @intrinsic
    def tile(context, weights, taps, x, shifts, y, step):
        """y[r, p] = sum over t of weights[t, r] x[p + shifts[t]]; r below CHANNELS, `vectors` vectors of places p."""

        def code(context, builder, signature, args):
            weights, x, y = (builder.inttoptr(args[i], _FLOAT.as_pointer()) for i in (0, 2, 4))
            shifts = builder.inttoptr(args[3], _WORD.as_pointer())
            totals = _totals(builder, CHANNELS * vectors)
            with cgutils.for_range(builder, args[1]) as loop:
                start = builder.gep(x, [builder.load(builder.gep(shifts, [loop.index]))])
                row = builder.gep(weights, [builder.mul(loop.index, _WORD(CHANNELS))])
                read = [_load(builder, start, _WORD(v * LANES)) for v in range(vectors)]
                for r in range(CHANNELS):
                    weight = _spread(builder, builder.load(builder.gep(row, [_WORD(r)])))
                    for v in range(vectors):
                        _multiply_add(builder, totals[r * vectors + v], read[v], weight)
            for r in range(CHANNELS):
                for v in range(vectors):
                    place = builder.add(builder.mul(args[5], _WORD(r)), _WORD(v * LANES))
                    _store(builder, builder.load(totals[r * vectors + v]), y, place)
            return context.get_dummy_value()

        return types.none(*[types.int64] * 6), code

    return tile


_tile1, _tile2, _tile3 = map(_tile, (1, 2, 3))


def _pick(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def _sums(builder, vectors):
    """The sum of each vector's lanes, as one vector: halves are added pair by pair, so that no lane is idle."""
    block = LANES
    while block > 1:
        half = block // 2
        if len(vectors) > 1:
            pairs, width = list(zip(vectors[::2], vectors[1::2])), 2 * LANES
        else:
            pairs, width = [(vectors[0], vectors[0])], vectors[0].type.count
        first = [i for i in range(width) if i % block < half]
        vectors = [
            builder.fadd(_pick(builder, a, b, first), _pick(builder, a, b, [i + half for i in first])) for a, b in pairs
        ]
        block = half
    return vectors[0]


@intrinsic
def _dots(context, y, step, x, shifts, vectors, sums):
    """sums[t, r] += sum over p of y[r, p] x[p + shifts[t]]; r below CHANNELS, t below 3."""

    def code(context, builder, signature, args):
        y, x, sums = (builder.inttoptr(args[i], _FLOAT.as_pointer()) for i in (0, 2, 5))
        shifts = builder.inttoptr(args[3], _WORD.as_pointer())
        starts = [builder.gep(x, [builder.load(builder.gep(shifts, [_WORD(t)]))]) for t in range(3)]
        rows = [builder.gep(y, [builder.mul(args[1], _WORD(r))]) for r in range(CHANNELS)]
        totals = _totals(builder, 3 * CHANNELS)
        with cgutils.for_range(builder, args[4]) as loop:
            place = builder.mul(loop.index, _WORD(LANES))
            read = [_load(builder, start, place) for start in starts]
            for r in range(CHANNELS):
                other = _load(builder, rows[r], place)
                for t in range(3):
                    _multiply_add(builder, totals[t * CHANNELS + r], read[t], other)
        for t in range(3):
            found = _sums(builder, [builder.load(totals[t * CHANNELS + r]) for r in range(CHANNELS)])
            pointer = builder.bitcast(builder.gep(sums, [_WORD(t * CHANNELS)]), found.type.as_pointer())
            builder.store(builder.fadd(builder.load(pointer, align=4), found), pointer, align=4)
        return context.get_dummy_value()

    return types.none(*[types.int64] * 6), code


# --- the plan --------------------------------------------------------------------------------------------------------


def _along(size, kernel, stride, padding, dilation, out, transposed):
    """One axis: for each tap (offset in the kernel, residue class of the target, of the source, shift); the zeros in
    front of the source; and how far the shifts reach."""
    if not transposed:
        return [(k, 0, k * dilation % stride, k * dilation // stride) for k in range(kernel)], padding
    taps = [
        (k, a, 0, (a + padding - k * dilation) // stride)
        for a, k in itertools.product(range(min(stride, size)), range(kernel))
        if (a + padding - k * dilation) % stride == 0
    ]
    front = max(0, -min((t[3] for t in taps), default=0))
    return [(k, a, p, shift + front) for k, a, p, shift in taps], front


class Plan:
    """What a convolution reads where. The source (x, or dy when `transposed`) has C channels, the target O.

    batch: given for dW, where a piece may hold several images. `words` are what the kernels read.
    """

    def __init__(self, channels, size, kernel, stride, padding, dilation, out, transposed=False, batch=0):
        C, O = channels  # of W's second and first axis
        axes = [
            _along(n, k, s, p[0], d, o, transposed)
            for n, k, s, p, d, o in zip(size, kernel, stride, padding, dilation, out)
        ]
        (down, top), (across, left) = axes
        reach = [max((t[3] for t in taps), default=0) for taps, _ in axes]
        source, target = (out, size) if transposed else (size, out)
        apart, steps = ((1, 1), stride) if transposed else (stride, (1, 1))  # of the source, of the target
        classes = [max((t[2] for t in taps), default=0) + 1 for taps, _ in axes]  # of the source's, those that are read
        rows, columns = (-(-n // s) for n, s in zip(target, steps))
        needed = columns + reach[1]
        pitch = columns
        for p in range(classes[1]):  # zeros behind a row serve the next one as zeros in front
            before = -((p - left) // apart[1]) if left > p else 0
            after = min(needed, (source[1] - 1 - p + left) // apart[1] + 1)
            pitch = max(pitch, needed - before, after)
        C_source, C_target = (O, C) if transposed else (C, O)
        each = C_source * math.prod(classes) * pitch  # elements in all rows of one number
        band = max(1, min(rows, PIECE // each - reach[0]))
        bands = -(-rows // band)
        band = -(-rows // bands)
        height = band + reach[0]
        images = 1
        if batch and bands == 1:
            images = max(1, min(-(-batch // 4), -(-PLACES // (height * pitch)), PIECE // (each * height)))
            pieces = -(-batch // images)
            if pieces > PARTS // 2:  # as many for each part
                images = -(-batch // (-(-pieces // PARTS) * PARTS))
        block = images * height * pitch
        self.size = _up(C_source * math.prod(classes) * block + pitch * reach[0] + needed + 4 * LANES)
        shifts, places, starts = [], [], [0]
        for a in itertools.product(*map(range, steps)):
            for c, (ky, ay, py, sy), (kx, ax, px, sx) in itertools.product(range(C_source), down, across):
                if (ay, ax) == a:
                    shifts.append(((c * classes[0] + py) * classes[1] + px) * block + sy * pitch + sx)
                    places.append((c * C if transposed else c) * math.prod(kernel) + ky * kernel[1] + kx)
            starts.append(len(shifts))
        self.count = len(shifts)
        shifts += [0] * (-len(shifts) % 3)
        self.shifts, self.starts, self.places = (np.array(a, np.int64) for a in (shifts, starts, places))
        self.step = math.prod(kernel) * (1 if transposed else C)
        self.O, self.bands, self.images = C_target, bands, images
        self.row = _up(block)  # a channel's elements in a piece of the target
        self.words = [
            C_source, *source, *apart, *classes, top, left, needed, pitch, height, images,  # the source
            C_target, *target, *steps, rows, columns, band, bands, self.row,
            address(self.shifts), address(self.starts), self.count, self.size,
        ]  # fmt: skip


_plan = functools.lru_cache(maxsize=512)(Plan)


def _up(n):
    return -(-n // LANES) * LANES


(CS, HS, WS, AY, AX, CY, CX, TOP, LEFT, NEEDED, PITCH, HEIGHT, IMAGES, CT, HT, WT, SY, SX, ROWS, COLUMNS, BAND, BANDS,
 ROW, SHIFTS, STARTS, TAPS, SIZE) = range(27)  # fmt: skip
FIRST = 8  # words before the plan's


@inline
def _read_source(args, x, image, count, row, to):
    """Rows from `row` of `count` images, with zeros round them, each residue class of rows and columns by itself."""
    C, H, W = word(args, 0, FIRST + CS), word(args, 0, FIRST + HS), word(args, 0, FIRST + WS)
    step_y, step_x = word(args, 0, FIRST + AY), word(args, 0, FIRST + AX)
    down, across = word(args, 0, FIRST + CY), word(args, 0, FIRST + CX)
    top, left, needed = word(args, 0, FIRST + TOP), word(args, 0, FIRST + LEFT), word(args, 0, FIRST + NEEDED)
    pitch, height, images = word(args, 0, FIRST + PITCH), word(args, 0, FIRST + HEIGHT), word(args, 0, FIRST + IMAGES)
    for c in range(C):
        for n in range(count):
            plane = x + 4 * ((image + n) * C + c) * H * W
            for py in range(down):
                for px in range(across):
                    start = max(0, -((px - left) // step_x))
                    width = min(needed, (W - 1 - px + left) // step_x + 1) - start
                    if width <= 0:
                        continue
                    at = to + 4 * (((((c * down + py) * across + px) * images + n) * height) * pitch + start)
                    for h in range(height):
                        i = (row + h) * step_y + py - top
                        if i < 0 or i >= H:
                            fill(at + 4 * h * pitch, width, ZERO)
                        else:
                            source = plane + 4 * (i * W + start * step_x + px - left)
                            copy_apart(source, at + 4 * h * pitch, width, step_x, ZERO)


@kernel
def _turn(args, start, stop):
    """Weights as the tiles read them: (channels / CHANNELS, taps, CHANNELS), zeros where there is no channel."""
    W, places, packed = vector(args, 0), integers(args, 1), matrix(args, 2)
    step, channels = word(args, 3), word(args, 4)
    T = places.shape[0]
    for strip in range(start, stop):
        for r in range(CHANNELS):
            o = strip * CHANNELS + r
            if o < channels:
                for t in range(T):
                    packed[strip, t * CHANNELS + r] = W[places[t] + o * step]
            else:
                for t in range(T):
                    packed[strip, t * CHANNELS + r] = ZERO


@kernel
def _correlate(args, start, stop):
    """Parts [start, stop) of the pieces of the target."""
    x, weights, bias, y = word(args, 0, 0), word(args, 0, 1), word(args, 0, 2), word(args, 0, 3)
    scratch, units, parts, bytes_each = word(args, 0, 4), word(args, 0, 5), word(args, 0, 6), word(args, 0, 7)
    O, H, W = word(args, 0, FIRST + CT), word(args, 0, FIRST + HT), word(args, 0, FIRST + WT)
    step_y, step_x = word(args, 0, FIRST + SY), word(args, 0, FIRST + SX)
    all_rows, columns, pitch = word(args, 0, FIRST + ROWS), word(args, 0, FIRST + COLUMNS), word(args, 0, FIRST + PITCH)
    band, bands, step = word(args, 0, FIRST + BAND), word(args, 0, FIRST + BANDS), word(args, 0, FIRST + ROW)
    shifts, starts = word(args, 0, FIRST + SHIFTS), word(args, 0, FIRST + STARTS)
    T, size = word(args, 0, FIRST + TAPS), word(args, 0, FIRST + SIZE)
    for part in range(start, stop):
        source = scratch + part * bytes_each
        result = source + 4 * size
        fill(source, size, ZERO)
        for unit in range(units * part // parts, units * (part + 1) // parts):
            image, first = unit // bands, unit % bands * band
            rows = min(band, all_rows - first)
            _read_source(args, x, image, 1, first, source)
            vectors = ((rows - 1) * pitch + columns + LANES - 1) // LANES
            for strip in range((O + CHANNELS - 1) // CHANNELS):
                for phase in range(step_y * step_x):
                    taps = word(starts, 0, phase)
                    count = word(starts, 0, phase + 1) - taps
                    at_weights, at_shifts = weights + 4 * CHANNELS * (strip * T + taps), shifts + 8 * taps
                    v = 0
                    while v < vectors:
                        a, b = source + 4 * LANES * v, result + 4 * LANES * v
                        left = vectors - v
                        if left == 1:
                            _tile1(at_weights, count, a, at_shifts, b, step)
                            v += 1
                        elif left == 2 or left == 4:
                            _tile2(at_weights, count, a, at_shifts, b, step)
                            v += 2
                        else:
                            _tile3(at_weights, count, a, at_shifts, b, step)
                            v += 3
                    for r in range(min(CHANNELS, O - strip * CHANNELS)):
                        o = strip * CHANNELS + r
                        shift = ZERO
                        if bias:
                            shift = floats_at(bias + 4 * o, 1)[0]
                        for h in range(rows):
                            i, j = (first + h) * step_y + phase // step_x, phase % step_x
                            width = (W - j + step_x - 1) // step_x
                            if i < H:
                                at = y + 4 * (((image * O + o) * H + i) * W + j)
                                if step_x == 1:
                                    copy(result + 4 * (r * step + h * pitch), at, width, shift)
                                else:
                                    row = floats_at(result + 4 * (r * step + h * pitch), width)
                                    target = floats_at(at, width * step_x)
                                    for k in range(width):
                                        target[k * step_x] = row[k] + shift


@kernel
def _weight(args, start, stop):
    """Parts [start, stop) of the pieces of x and dy: a sum of dW for each part, laid out as `_turn` does, and of db."""
    x, sums, totals, dy = word(args, 0, 0), word(args, 0, 1), word(args, 0, 2), word(args, 0, 3)
    scratch, batch, parts, bytes_each = word(args, 0, 4), word(args, 0, 5), word(args, 0, 6), word(args, 0, 7)
    O, H, W = word(args, 0, FIRST + CT), word(args, 0, FIRST + HT), word(args, 0, FIRST + WT)
    pitch, height, images = word(args, 0, FIRST + PITCH), word(args, 0, FIRST + HEIGHT), word(args, 0, FIRST + IMAGES)
    band, bands, step = word(args, 0, FIRST + BAND), word(args, 0, FIRST + BANDS), word(args, 0, FIRST + ROW)
    shifts, T, size = word(args, 0, FIRST + SHIFTS), word(args, 0, FIRST + TAPS), word(args, 0, FIRST + SIZE)
    groups = (T + 2) // 3
    strips = (O + CHANNELS - 1) // CHANNELS
    units = (batch + images - 1) // images * bands
    for part in range(start, stop):
        source = scratch + part * bytes_each
        other = source + 4 * size
        fill(source, size + strips * CHANNELS * step, ZERO)
        mine = sums + 4 * part * strips * groups * 3 * CHANNELS
        fill(mine, strips * groups * 3 * CHANNELS, ZERO)
        total = floats_at(totals + 4 * part * O, O)
        for o in range(O):
            total[o] = ZERO
        for unit in range(units * part // parts, units * (part + 1) // parts):
            image, first = unit // bands * images, unit % bands * band
            count, rows = min(images, batch - image), min(band, H - first)
            _read_source(args, x, image, count, first, source)
            for o in range(O):
                all_of_it, piece = ZERO, floats_at(other + 4 * o * step, step)
                for n in range(images):
                    for h in range(band):
                        at = other + 4 * (o * step + (n * height + h) * pitch)
                        if n < count and h < rows:
                            row = dy + 4 * (((image + n) * O + o) * H + first + h) * W
                            copy(row, at, W, ZERO)
                        else:
                            fill(at, W, ZERO)
                for k in range(step):  # what is no place of the output is zero
                    all_of_it += piece[k]
                total[o] += all_of_it
            vectors = ((count - 1) * height * pitch + (rows - 1) * pitch + W + LANES - 1) // LANES
            for strip in range(strips):
                at = other + 4 * strip * CHANNELS * step
                for g in range(groups):
                    to = mine + 4 * 3 * CHANNELS * (strip * groups + g)
                    _dots(at, step, source, shifts + 24 * g, vectors, to)


@kernel
def _gather(args, start, stop):
    """dW: the parts added up, in the order of its axes; and db."""
    sums, totals, dW, db = vector(args, 0), matrix(args, 1), matrix(args, 2), vector(args, 3)
    parts, O, T = totals.shape[0], dW.shape[0], dW.shape[1]
    strips, step = (O + CHANNELS - 1) // CHANNELS, (T + 2) // 3 * 3 * CHANNELS
    for o in range(start, stop):
        total = ZERO
        for part in range(parts):
            total += totals[part, o]
        db[o] = total
        for t in range(T):
            total = ZERO
            for part in range(parts):
                total += sums[(part * strips + o // CHANNELS) * step + t * CHANNELS + o % CHANNELS]
            dW[o, t] = total


# --- from Python -----------------------------------------------------------------------------------------------------


def _scratch(parts: int, size: int) -> tuple[np.ndarray, int, int]:
    """Memory for each part: the array that holds it, its address, the bytes of one."""
    each = -(-4 * size // ALIGN) * ALIGN
    memory = np.empty(parts * each + ALIGN, np.uint8)
    return memory, -(-address(memory) // ALIGN) * ALIGN, each


def _correlation(plan: Plan, x: np.ndarray, W: np.ndarray, bias: np.ndarray | None, size: tuple) -> np.ndarray:
    x, W = np.ascontiguousarray(x), np.ascontiguousarray(W)
    if bias is not None:
        bias = np.ascontiguousarray(bias)
    strips = -(-plan.O // CHANNELS)
    packed = np.empty((strips, plan.count * CHANNELS), FLOAT32)
    over_rows(_turn, strips, packed.size, W.reshape(-1), plan.places, packed, plan.step, plan.O)
    y = np.empty((x.shape[0], plan.O, *size), FLOAT32)
    units = x.shape[0] * plan.bands
    parts = min(units, 4 * settings.THREADS)
    memory, start, each = _scratch(parts, plan.size + CHANNELS * plan.row)
    words = [address(x), address(packed), 0 if bias is None else address(bias), address(y), start, units, parts, each]
    work = y.size * plan.count // 16
    run(_correlate, parts, work, words + plan.words, each=4)
    return y


def forward(x, W, bias, *, out, stride, padding, dilation):
    plan = _plan(W.shape[1::-1], x.shape[2:], W.shape[2:], stride, padding, dilation, out)
    return _correlation(plan, x, W, bias, out)


def spread(dy, W, bias, *, size, stride, padding, dilation):
    """dx, or the transposed convolution."""
    plan = _plan(W.shape[1::-1], size, W.shape[2:], stride, padding, dilation, dy.shape[2:], True)
    return _correlation(plan, dy, W, bias, size)


def weight(x, dy, *, kernel, stride, padding, dilation):
    """dW and db."""
    B, C, O = x.shape[0], x.shape[1], dy.shape[1]
    plan = _plan((C, O), x.shape[2:], kernel, stride, padding, dilation, dy.shape[2:], batch=B)
    x, dy = np.ascontiguousarray(x), np.ascontiguousarray(dy)
    parts = min(PARTS, -(-B // plan.images) * plan.bands, max(2, LARGE // (O * plan.count)))
    strips = -(-O // CHANNELS)
    sums, totals = np.empty(parts * strips * -(-plan.count // 3) * 3 * CHANNELS, FLOAT32), np.empty((parts, O), FLOAT32)
    memory, start, each = _scratch(parts, plan.size + strips * CHANNELS * plan.row)
    words = [address(x), address(sums), address(totals), address(dy), start, B, parts, each]
    run(_weight, parts, dy.size * plan.count // 16, words + plan.words, each=PARTS)
    dW, db = np.empty((O, C * math.prod(kernel)), FLOAT32), np.empty(O, FLOAT32)
    over_rows(_gather, O, sums.size, sums, totals, dW, db)
    return dW.reshape(O, C, *kernel), db


def _images(a, b, bias=None, *, groups, kernel=None, **_):
    weights = b.size if kernel is None else a.shape[1] * b.shape[1] * math.prod(kernel)
    return (
        groups == 1 and a.ndim == 4 and a.dtype is b.dtype is FLOAT32 and a.size > 0 and b.size > 0
        and (bias is None or bias.dtype is FLOAT32) and weights <= LARGE  # more belong to small images: one product
    )  # fmt: skip


def _without(options: dict) -> dict:
    return {name: value for name, value in options.items() if name != "groups"}


def _finite(a: np.ndarray) -> bool:
    """0 times infinity is NaN: where the tiles multiply zeros that the formula does not, infinities need the formula."""
    return bool(np.isfinite(np.dot(a.reshape(-1), a.reshape(-1))))


class _Fast:
    accepts = staticmethod(_images)

    def reference_saved(self):
        return self.saved

    def _spread(self, x, W, bias, **options):
        if _finite(W):
            return spread(x, W, bias, **_without(options))
        y = self.run(ConvolutionTranspose, x, W, bias, **options)
        return y

    def _weight(self, x, dy, **options):
        dW, db = weight(x, dy, **_without(options))
        return (dW if _finite(dW) else self.run(ConvolutionWeight, x, dy, **options)), db


@fast_path(Convolution, "numpy")
class ConvolutionCPU(_Fast, Convolution):
    def forward(self, x, W, b, *, out, **options):
        self.save(x if self.needs[1] else None, W if self.needs[0] else None, x.shape[2:], W.shape[2:], options)
        return forward(x, W, b, out=out, **_without(options))

    def backward(self, dy):
        x, W, size, kernel, options = self.saved
        dx = dW = db = None
        if self.needs[0]:
            dx = self._spread(dy, W, None, size=size, **options)
        if self.needs[1]:
            dW, db = self._weight(x, dy, kernel=kernel, **options)
        elif self.needs[2]:
            db = dy.sum((0, 2, 3))
        return dx, dW, db if self.needs[2] else None


@fast_path(ConvolutionTranspose, "numpy")
class ConvolutionTransposeCPU(_Fast, ConvolutionTranspose):
    def forward(self, x, W, b, *, size, **options):
        self.save(x if self.needs[1] else None, W if self.needs[0] else None, x.shape[2:], W.shape[2:], options)
        return self._spread(x, W, b, size=size, **options)

    def backward(self, dy):
        x, W, out, kernel, options = self.saved
        dx = forward(dy, W, None, out=out, **_without(options)) if self.needs[0] else None
        dW = self._weight(dy, x, kernel=kernel, **options)[0] if self.needs[1] else None
        return dx, dW, dy.sum((0, 2, 3)) if self.needs[2] else None


@fast_path(ConvolutionWeight, "numpy")
class ConvolutionWeightCPU(_Fast, ConvolutionWeight):
    def forward(self, x, y, *, kernel, **options):
        self.save(x if self.needs[1] else None, y if self.needs[0] else None, x.shape[2:], y.shape[2:], options)
        return self._weight(x, y, kernel=kernel, **options)[0]

    def backward(self, dW):
        x, y, size, out, options = self.saved
        dx = self._spread(y, dW, None, size=size, **options) if self.needs[0] else None
        dy = forward(x, dW, None, out=out, **_without(options)) if self.needs[1] else None
        return dx, dy
