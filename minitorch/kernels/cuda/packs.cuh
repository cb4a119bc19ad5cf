// Loops over n numbers, shared among the threads of a grid of any size: y_i = f(x_i), or f(x_i, z_i).
//
// A thread takes N numbers at a time where all addresses are multiples of a pack's size (a slice of a larger array may
// begin anywhere); the rest of the numbers, or all of them, one by one.
#pragma once

#define PACKED (16 / (int)sizeof(T))  // numbers in 16 bytes, the most that a thread reads at once

template <int N, typename V> __device__ __forceinline__ bool packs_begin_at(const V* x) {
    return ((u64)x & (sizeof(V) * N - 1)) == 0;
}

template <int N, typename X, typename Y, typename F> __device__ __forceinline__ void map(i64 n, const X* x, Y* y, F f) {
    i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, step = (i64)gridDim.x * blockDim.x;
    i64 packs = packs_begin_at<N>(x) && packs_begin_at<N>(y) ? n / N : 0;
    for (i64 p = first; p < packs; p += step) {
        Pack<X, N> in = ((const Pack<X, N>*)x)[p];
        Pack<Y, N> out;
        for (int j = 0; j < N; j++) out.at[j] = store<Y>(f(load(in.at[j])));
        ((Pack<Y, N>*)y)[p] = out;
    }
    for (i64 i = packs * N + first; i < n; i += step) y[i] = store<Y>(f(load(x[i])));
}

template <int N, typename X, typename Z, typename F>
__device__ __forceinline__ void map(i64 n, const X* x, const Z* z, T* y, F f) {
    i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, step = (i64)gridDim.x * blockDim.x;
    i64 packs = packs_begin_at<N>(x) && packs_begin_at<N>(z) && packs_begin_at<N>(y) ? n / N : 0;
    for (i64 p = first; p < packs; p += step) {
        Pack<X, N> a = ((const Pack<X, N>*)x)[p];
        Pack<Z, N> b = ((const Pack<Z, N>*)z)[p];
        Pack<T, N> out;
        for (int j = 0; j < N; j++) out.at[j] = store<T>(f(load(a.at[j]), load(b.at[j])));
        ((Pack<T, N>*)y)[p] = out;
    }
    for (i64 i = packs * N + first; i < n; i += step) y[i] = store<T>(f(load(x[i]), load(z[i])));
}
