// A row of numbers, and the threads that share it: a block of threads or, with ROW_BY_WARP, a warp.
#include "common.cuh"

#ifndef ROW_BY_WARP
#define ROW_BY_WARP 0
#endif

// This thread's row, its place among the threads of the row, and how many they are.
__device__ __forceinline__ i64 my_row() {
    return ROW_BY_WARP ? (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5) : (i64)blockIdx.x;
}
__device__ __forceinline__ int my_place() { return ROW_BY_WARP ? threadIdx.x & 31 : threadIdx.x; }
__device__ __forceinline__ int row_threads() { return ROW_BY_WARP ? 32 : blockDim.x; }

__device__ __forceinline__ float row_sum(float x) { return ROW_BY_WARP ? warp_sum(x) : block_sum(x); }
__device__ __forceinline__ float row_max(float x) { return ROW_BY_WARP ? warp_max(x) : block_max(x); }

// --- a row of any length: every thread takes every so-many-th pack of 16 bytes ---------------------------------------

template <int W> struct Width {
    static constexpr int count = W;
};
constexpr int WIDEST = 16 / sizeof(T);

template <int W> __device__ __forceinline__ Pack<float, W> read(const T* x, Width<W>) {
    Pack<T, W> raw = *reinterpret_cast<const Pack<T, W>*>(x);
    Pack<float, W> v;
#pragma unroll
    for (int i = 0; i < W; i++) v.at[i] = load(raw.at[i]);
    return v;
}
template <int W> __device__ __forceinline__ void write(T* x, Pack<float, W> v) {
    Pack<T, W> raw;
#pragma unroll
    for (int i = 0; i < W; i++) raw.at[i] = store<T>(v.at[i]);
    *reinterpret_cast<Pack<T, W>*>(x) = raw;
}

// How many numbers of the rows x, y ... stand before the first address that is a multiple of 16; all n of them, if the
// rows are not alike in that.
template <typename... Rows> __device__ __forceinline__ int before_packs(int n, const T* x, Rows... others) {
    u64 odd = (u64)x % 16;
    bool alike = (((u64)others % 16 == odd) && ...);
    int head = (16 - (int)odd) % 16 / (int)sizeof(T);
    return alike && head < n ? head : n;
}

// This thread's share of 0 ... n-1: f(j, width) stands for the numbers j ... j + width.count - 1.
template <typename F> __device__ __forceinline__ void share(int n, int head, F f) {
    int first = my_place(), step = row_threads(), packs = (n - head) / WIDEST;
    for (int j = first; j < head; j += step) f(j, Width<1>());
    for (int k = first; k < packs; k += step) f(head + k * WIDEST, Width<WIDEST>());
    for (int j = head + packs * WIDEST + first; j < n; j += step) f(j, Width<1>());
}

// --- max_j x_j and sum_j e^(x_j - max), in one pass ------------------------------------------------------------------

struct Exponentials {
    float top = -INFINITY, sum = 0.f;  // a larger number than all before shrinks the sum

    __device__ __forceinline__ void add(float x) {
        if (x == -INFINITY) return;  // e^-inf = 0, also where nothing else has come yet
        float e = expf(-fabsf(x - top));
        if (x > top) {
            sum = sum * e + (1.f + (x - x));  // e^(x - x): 1, and NaN for an infinite x, as in the formula
            top = x;
        } else {
            sum += e;
        }
    }
    __device__ __forceinline__ void over_row() {
        float all = row_max(top);
        sum = row_sum(top == all ? sum : sum * expf(top - all));
        top = all;
    }
};
