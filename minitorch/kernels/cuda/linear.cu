// What a linear layer needs beside its product: the bias in every row, sums of columns, and GELU of a sum with the bias.
// macros: DTYPE
#include "common.cuh"
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
