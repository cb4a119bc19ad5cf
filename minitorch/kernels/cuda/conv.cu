// What a convolution of images needs beside the matrix product: its columns, their way back, and sums over channels.
// macros: DTYPE
#include "common.cuh"

// Images are (b, C, H, W), columns (C, KH, KW, b, OH, OW): what each offset of the kernel reads, for all positions of all
// images. An output's row `o` reads the image's row o SY + k DY - PY. Neighbouring threads have neighbouring positions.

// columns[c, k, n, o] = x[n, c, o S + k D - P], 0 outside of the image. Grid: positions of the batch, channels.
extern "C" __global__ void read_columns(const T* x, T* columns, i64 b, i64 C, i64 H, i64 W, i64 KH, i64 KW, i64 OH, i64 OW,
                                        i64 SY, i64 SX, i64 PY, i64 PX, i64 DY, i64 DX) {
    int area = OH * OW, positions = b * area, at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= positions) return;
    int n = at / area, oy = at % area / (int)OW, ox = at % (int)OW;
    int top = oy * (int)SY - (int)PY, left = ox * (int)SX - (int)PX;
    for (i64 c = blockIdx.y; c < C; c += gridDim.y) {
        const T* plane = x + (n * C + c) * H * W;
        T* to = columns + c * KH * KW * positions + at;
        for (int ky = 0; ky < KH; ky++)
            for (int kx = 0; kx < KW; kx++, to += positions) {
                int y = top + ky * (int)DY, z = left + kx * (int)DX;
                *to = y >= 0 && y < H && z >= 0 && z < W ? plane[y * W + z] : store<T>(0.f);
            }
    }
}

// The way back: x[n, c, i] = bias[c] + sum of the columns that read it. An element gathers its own, in the kernel's order:
// no two threads add to one place. Grid: elements of the planes of the batch, channels.
extern "C" __global__ void add_columns(const T* columns, const T* bias, T* x, i64 b, i64 C, i64 H, i64 W, i64 KH, i64 KW,
                                       i64 OH, i64 OW, i64 SY, i64 SX, i64 PY, i64 PX, i64 DY, i64 DX) {
    int area = H * W, at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= (int)b * area) return;
    int n = at / area, y = at % area / (int)W, z = at % (int)W;
    i64 positions = b * OH * OW;
    for (i64 c = blockIdx.y; c < C; c += gridDim.y) {
        const T* from = columns + c * KH * KW * positions + n * OH * OW;
        float sum = bias ? load(bias[c]) : 0.f;
        for (int ky = 0; ky < KH; ky++) {
            int down = y + (int)PY - ky * (int)DY, oy = down / (int)SY;
            if (down < 0 || oy * (int)SY != down || oy >= OH) continue;
            for (int kx = 0; kx < KW; kx++) {
                int across = z + (int)PX - kx * (int)DX, ox = across / (int)SX;
                if (across < 0 || ox * (int)SX != across || ox >= OW) continue;
                sum += load(from[(ky * KW + kx) * positions + oy * OW + ox]);
            }
        }
        x[(n * C + c) * area + y * W + z] = store<T>(sum);
    }
}

// --- the order of the axes: images (b, C, L), and the products' (C, b, L) --------------------------------------------

// Grid: elements of a channel in the whole batch, channels.
extern "C" __global__ void channels_first(const T* x, T* y, i64 b, i64 C, i64 L) {
    int each = b * L, at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= each) return;
    for (i64 c = blockIdx.y; c < C; c += gridDim.y) y[c * each + at] = x[(at / (int)L * C + c) * L + at % (int)L];
}
extern "C" __global__ void batch_first(const T* x, const T* bias, T* y, i64 b, i64 C, i64 L) {
    int each = b * L, at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= each) return;
    for (i64 c = blockIdx.y; c < C; c += gridDim.y)
        y[(at / (int)L * C + c) * L + at % (int)L] = store<T>(load(x[c * each + at]) + (bias ? load(bias[c]) : 0.f));
}

// y[n, c, l] = bias[c]. Grid: blocks of elements.
extern "C" __global__ void biases(const T* bias, T* y, i64 C, i64 L, i64 size) {
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < size) y[at] = bias[(unsigned)at / (unsigned)L % (unsigned)C];
}

// --- sums ------------------------------------------------------------------------------------------------------------

// The sum of a channel of (b, C, L), in `parts` parts of `chunk` elements: sums (C, parts), or with one part y (C,).
// Grid: channels times parts.
extern "C" __global__ void sum_channels(const T* x, float* sums, T* y, i64 b, i64 C, i64 L, i64 parts, i64 chunk) {
    int c = blockIdx.x / (int)parts, part = blockIdx.x % (int)parts;
    i64 last = min((part + 1) * chunk, b * L);
    float sum = 0.f;
    for (i64 at = part * chunk + threadIdx.x; at < last; at += blockDim.x)
        sum += load(x[((int)at / (int)L * C + c) * L + (int)at % (int)L]);
    sum = block_sum(sum);
    if (threadIdx.x == 0) {
        if (parts == 1) y[c] = store<T>(sum);
        else sums[c * parts + part] = sum;
    }
}
// Grid: channels; a warp each.
extern "C" __global__ void sum_parts(const float* sums, T* y, i64 parts) {
    float sum = 0.f;
    for (int part = threadIdx.x; part < parts; part += 32) sum += sums[blockIdx.x * parts + part];
    sum = warp_sum(sum);
    if (threadIdx.x == 0) y[blockIdx.x] = store<T>(sum);
}
