// What a linear layer needs beside its product: the bias in every row, sums of columns, and GELU of a sum with the bias.
// macros: DTYPE
#include "common.cuh"
#include "gelu.cuh"
#include "packs.cuh"

// y_ij = b_j for `size` numbers in rows of n.   Grid: any; a thread takes packs while all rows begin at multiples of one.
extern "C" __global__ void rows_of(const T* b, T* y, i64 size, i64 n) {
    i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, step = (i64)gridDim.x * blockDim.x;
    if (n % PACKED == 0 && packs_begin_at<PACKED>(b) && packs_begin_at<PACKED>(y)) {
        const Pack<T, PACKED>* from = (const Pack<T, PACKED>*)b;
        Pack<T, PACKED>* to = (Pack<T, PACKED>*)y;
        for (i64 i = first; i < size / PACKED; i += step) to[i] = from[i % (n / PACKED)];
    } else {
        for (i64 i = first; i < size; i += step) y[i] = b[i % n];
    }
}

// y_j = sum over i of x_ij, always in the same order.   x: (rows, n), or one of several parts of `each` rows
// Grid: columns / 32, parts.   Block: 32 columns, 16 rows that are read at once.
template <typename From, typename To>
__device__ __forceinline__ void sum_rows(const From* x, To* y, i64 rows, i64 n, i64 each) {
    __shared__ float sums[16][32];
    i64 j = (i64)blockIdx.x * 32 + threadIdx.x, stop = (blockIdx.y + 1) * each;
    if (stop > rows) stop = rows;
    float sum = 0.f;
    if (j < n)
        for (i64 i = blockIdx.y * each + threadIdx.y; i < stop; i += 16) sum += load(x[i * n + j]);
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || j >= n) return;
    for (int i = 1; i < 16; i++) sum += sums[i][threadIdx.x];
    y[blockIdx.y * n + j] = store<To>(sum);
}
extern "C" __global__ void sum_all(const T* x, T* y, i64 rows, i64 n, i64 each) { sum_rows(x, y, rows, n, each); }
extern "C" __global__ void sum_parts(const T* x, float* y, i64 rows, i64 n, i64 each) { sum_rows(x, y, rows, n, each); }
extern "C" __global__ void sum_sums(const float* x, T* y, i64 rows, i64 n, i64 each) { sum_rows(x, y, rows, n, each); }

// h = x + b, (rows, n) and (n,):  y = GELU(h), and dx = dy GELU'(h).   PACKED numbers of a thread stand in one row if n is a multiple.
template <int N, typename F> __device__ __forceinline__ void with_bias(const T* x, const T* b, const T* dy, T* y, i64 size, i64 n, F f) {
    i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, step = (i64)gridDim.x * blockDim.x;
    for (i64 i = first * N; i < size; i += step * N) {
        Pack<T, N> in = *(const Pack<T, N>*)(x + i), add = *(const Pack<T, N>*)(b + i % n), out;
        Pack<T, N> slope = dy ? *(const Pack<T, N>*)(dy + i) : in;
        for (int j = 0; j < N; j++) out.at[j] = store<T>(f(load(in.at[j]) + load(add.at[j]), load(slope.at[j])));
        *(Pack<T, N>*)(y + i) = out;
    }
}
template <typename F> __device__ __forceinline__ void with_bias(const T* x, const T* b, const T* dy, T* y, i64 size, i64 n, F f) {
    bool packs = packs_begin_at<PACKED>(x) && packs_begin_at<PACKED>(b) && packs_begin_at<PACKED>(dy) && packs_begin_at<PACKED>(y);
    if (n % PACKED == 0 && packs)
        with_bias<PACKED>(x, b, dy, y, size, n, f);
    else
        with_bias<1>(x, b, dy, y, size, n, f);
}
extern "C" __global__ void bias_gelu_forward(const T* x, const T* b, T* y, i64 size, i64 n) {
    with_bias(x, b, (const T*)nullptr, y, size, n, [](float h, float) { return h * normal_share(h); });
}
extern "C" __global__ void bias_gelu_backward(const T* dy, const T* x, const T* b, T* dx, i64 size, i64 n) {
    with_bias(x, b, dy, dx, size, n, [](float h, float dy) { return dy * gelu_slope(h); });
}
