// One launch over many arrays. A table in the GPU's memory (many.py makes it) says what there is, in words of 64 bits:
//
//     0            how many blocks have finished; 0 between launches
//     1            n, the number of rows
//     2 .. n + 2   the first block of each row, and the number of blocks
//     then         the rows: elements, dtype of the gradient (0 float, 1 half_t, 2 bfloat_t), addresses
//
// A block has CHUNK elements of one row.
#pragma once
#include "common.cuh"

struct Place {
    i64* row;
    i64 start, n;  // this block's elements
};

__device__ __forceinline__ i64* row_of(i64* table, i64 i, int width) { return table + table[1] + 3 + i * width; }

// Where this block works; all threads have to ask.
__device__ __forceinline__ Place place(i64* table, int width) {
    __shared__ i64 found;
    const i64* first = table + 2;
    for (i64 i = threadIdx.x; i < table[1]; i += blockDim.x)
        if (first[i] <= blockIdx.x && blockIdx.x < first[i + 1]) found = i;
    __syncthreads();
    i64* row = row_of(table, found, width);
    i64 start = (blockIdx.x - first[found]) * CHUNK;
    return {row, start, row[0] - start < CHUNK ? row[0] - start : CHUNK};
}

// Whether this is the last block to come here: what all blocks wrote before can be read now. All threads have to ask.
__device__ __forceinline__ bool last_block(i64* table) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd((u32*)table, 1u) == gridDim.x - 1;
        if (last) *(u32*)table = 0;
    }
    __syncthreads();
    __threadfence();
    return last;
}

template <typename V> __device__ __forceinline__ bool aligned(const V* x) { return (u64)x % (4 * sizeof(V)) == 0; }

// f(place's address `k` of the row, as its type) for the gradient's dtype.
template <typename F> __device__ __forceinline__ void by_dtype(Place at, int k, F f) {
    if (at.row[1] == 0) f((float*)at.row[k] + at.start);
    else if (at.row[1] == 1) f((half_t*)at.row[k] + at.start);
    else f((bfloat_t*)at.row[k] + at.start);
}

// x <- f(x), for n numbers.
template <typename V, typename F> __device__ __forceinline__ void change(V* x, i64 n, F f) {
    i64 packs = aligned(x) ? n / 4 : 0;
    for (i64 i = threadIdx.x; i < packs; i += blockDim.x) {
        Pack<V, 4> pack = ((Pack<V, 4>*)x)[i];
        for (int k = 0; k < 4; k++) pack.at[k] = store<V>(f(load(pack.at[k])));
        ((Pack<V, 4>*)x)[i] = pack;
    }
    for (i64 i = 4 * packs + threadIdx.x; i < n; i += blockDim.x) x[i] = store<V>(f(load(x[i])));
}

// Numbers such as the learning rate: by value; or from the GPU's memory, so that a captured graph finds them renewed.
struct Numbers {
    double at[NUMBERS];
    __device__ __forceinline__ double get(const double* given, int i) const { return given ? given[i] : at[i]; }
};
