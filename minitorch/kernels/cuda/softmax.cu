// Softmax and its logarithm over rows of n numbers: a block a row, and for short rows a warp a row.
// macros: DTYPE LOGARITHM=0,1
#include "common.cuh"

#ifndef LOGARITHM
#define LOGARITHM 0
#endif

// A row's share of one thread: every `step`-th number from `first` on.
template <bool whole_block> __device__ float total(float x) { return whole_block ? block_sum(x) : warp_sum(x); }
template <bool whole_block> __device__ float top_of(float x) { return whole_block ? block_max(x) : warp_max(x); }

template <bool whole_block> __device__ void forward(const T* x, T* y, i64 n, int first, int step) {
    float top = -INFINITY;
    for (i64 j = first; j < n; j += step) top = larger(top, load(x[j]));
    top = top_of<whole_block>(top);
    float sum = 0.f;
    for (i64 j = first; j < n; j += step) sum += expf(load(x[j]) - top);
    sum = total<whole_block>(sum);
    float shift = logf(sum), part = 1.f / sum;
    for (i64 j = first; j < n; j += step) {
        float z = load(x[j]) - top;
        y[j] = store<T>(LOGARITHM ? z - shift : expf(z) * part);
    }
}

template <bool whole_block> __device__ void backward(const T* dy, const T* y, T* dx, i64 n, int first, int step) {
    float sum = 0.f;
    for (i64 j = first; j < n; j += step) sum += LOGARITHM ? load(dy[j]) : load(dy[j]) * load(y[j]);
    sum = total<whole_block>(sum);
    for (i64 j = first; j < n; j += step) {
        float d = load(dy[j]), v = load(y[j]);
        dx[j] = store<T>(LOGARITHM ? d - expf(v) * sum : v * (d - sum));
    }
}

// Grid: the rows.
extern "C" __global__ void forward_block(const T* x, T* y, i64 n) {
    forward<true>(x + blockIdx.x * n, y + blockIdx.x * n, n, threadIdx.x, blockDim.x);
}
extern "C" __global__ void backward_block(const T* dy, const T* y, T* dx, i64 n) {
    i64 at = blockIdx.x * n;
    backward<true>(dy + at, y + at, dx + at, n, threadIdx.x, blockDim.x);
}

// Grid: the rows over the warps of a block.
extern "C" __global__ void forward_warp(const T* x, T* y, i64 n, i64 rows) {
    i64 row = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
    if (row < rows) forward<false>(x + row * n, y + row * n, n, threadIdx.x & 31, 32);
}
extern "C" __global__ void backward_warp(const T* dy, const T* y, T* dx, i64 n, i64 rows) {
    i64 at = ((i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5)) * n;
    if (at < rows * n) backward<false>(dy + at, y + at, dx + at, n, threadIdx.x & 31, 32);
}
