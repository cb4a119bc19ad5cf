// Pooling of images (planes, H, W): the maximum or the sum of each window, and the gradients, gathered without atomics.
// macros: DTYPE ADAPTIVE=0,1
#include "common.cuh"

#ifndef ADAPTIVE
#define ADAPTIVE 0
#endif

// One axis. A window's position o reads the elements o S + k D - P for k below K, those that are there; an adaptive one
// all from o size/out up to (o + 1) size/out, rounded outwards.
struct Axis {
    int size, out, K, S, P, D;

    __device__ int first(int o) const {  // the first element of window o
        if (ADAPTIVE) return (i64)o * size / out;
        int at = o * S - P;
        return at < 0 ? at + (-at + D - 1) / D * D : at;
    }
    __device__ int end(int o) const {  // behind its last one
        if (ADAPTIVE) return ((i64)(o + 1) * size + out - 1) / out;
        return min(size, o * S - P + (K - 1) * D + 1);
    }
    // The windows that may hold element i: from .. up to.
    __device__ int from(int i) const {
        if (ADAPTIVE) return (i64)i * out / size;
        int behind = i + P - (K - 1) * D;
        return behind <= 0 ? 0 : (behind + S - 1) / S;
    }
    __device__ int upto(int i) const {
        if (ADAPTIVE) return ((i64)(i + 1) * out + size - 1) / size;
        return min(out, (i + P) / S + 1);
    }
};

// y = the maximum of each window, the first of equals; a NaN wins, as in the reference the last one. places: where it was
// found in its plane; indices: the same as int64. Either may be null. Grid: blocks of outputs.
extern "C" __global__ void max_forward(const T* x, T* y, int* places, i64* indices, i64 count, i64 H, i64 OH, i64 KH, i64 SY,
                                       i64 PY, i64 DY, i64 W, i64 OW, i64 KW, i64 SX, i64 PX, i64 DX) {
    Axis down = {(int)H, (int)OH, (int)KH, (int)SY, (int)PY, (int)DY};
    Axis across = {(int)W, (int)OW, (int)KW, (int)SX, (int)PX, (int)DX};
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    int inside = (unsigned)at % (unsigned)(OH * OW), oy = inside / (int)OW, ox = inside % (int)OW;
    const T* plane = x + at / (OH * OW) * H * W;
    int top = down.first(oy), left = across.first(ox);
    float best = -INFINITY;
    int place = top * (int)W + left;
    for (int i = top; i < down.end(oy); i += ADAPTIVE ? 1 : down.D)
        for (int j = left; j < across.end(ox); j += ADAPTIVE ? 1 : across.D) {
            float value = load(plane[i * W + j]);
            if (value > best || value != value) best = value, place = i * (int)W + j;
        }
    y[at] = store<T>(best);
    if (places) places[at] = place;
    if (indices) indices[at] = place;
}

// dx = the sum of dy over the windows that it won. Grid: blocks of elements of dx.
extern "C" __global__ void max_backward(const T* dy, const int* places, T* dx, i64 count, i64 H, i64 OH, i64 KH, i64 SY,
                                        i64 PY, i64 DY, i64 W, i64 OW, i64 KW, i64 SX, i64 PX, i64 DX) {
    Axis down = {(int)H, (int)OH, (int)KH, (int)SY, (int)PY, (int)DY};
    Axis across = {(int)W, (int)OW, (int)KW, (int)SX, (int)PX, (int)DX};
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    int inside = (unsigned)at % (unsigned)(H * W), i = inside / (int)W, j = inside % (int)W;
    i64 plane = at / (H * W) * OH * OW;
    float sum = 0.f;
    for (int oy = down.from(i); oy < down.upto(i); oy++)
        for (int ox = across.from(j); ox < across.upto(j); ox++) {
            i64 window = plane + oy * OW + ox;
            if (places[window] == inside) sum += load(dy[window]);
        }
    dx[at] = store<T>(sum);
}

// y = the sum of each window. Grid: blocks of outputs.
extern "C" __global__ void window_sum(const T* x, T* y, i64 count, i64 H, i64 OH, i64 KH, i64 SY, i64 PY, i64 DY, i64 W,
                                      i64 OW, i64 KW, i64 SX, i64 PX, i64 DX) {
    Axis down = {(int)H, (int)OH, (int)KH, (int)SY, (int)PY, (int)DY};
    Axis across = {(int)W, (int)OW, (int)KW, (int)SX, (int)PX, (int)DX};
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    int inside = (unsigned)at % (unsigned)(OH * OW), oy = inside / (int)OW, ox = inside % (int)OW;
    const T* plane = x + at / (OH * OW) * H * W;
    float sum = 0.f;
    for (int i = down.first(oy); i < down.end(oy); i++)
        for (int j = across.first(ox); j < across.end(ox); j++) sum += load(plane[i * W + j]);
    y[at] = store<T>(sum);
}

// Its gradient: dx = the sum of dy over the windows that hold it. Grid: blocks of elements of dx.
extern "C" __global__ void window_spread(const T* dy, T* dx, i64 count, i64 H, i64 OH, i64 KH, i64 SY, i64 PY, i64 DY, i64 W,
                                         i64 OW, i64 KW, i64 SX, i64 PX, i64 DX) {
    Axis down = {(int)H, (int)OH, (int)KH, (int)SY, (int)PY, (int)DY};
    Axis across = {(int)W, (int)OW, (int)KW, (int)SX, (int)PX, (int)DX};
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    int inside = (unsigned)at % (unsigned)(H * W), i = inside / (int)W, j = inside % (int)W;
    const T* plane = dy + at / (H * W) * OH * OW;
    float sum = 0.f;
    for (int oy = down.from(i); oy < down.upto(i); oy++)
        for (int ox = across.from(j); ox < across.upto(j); ox++) sum += load(plane[oy * OW + ox]);
    dx[at] = store<T>(sum);
}
