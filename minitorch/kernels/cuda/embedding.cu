// Rows of a table that numbers name, and its gradient: rows added at numbers that may repeat.
//
// The sum is the same in every run: the n places are put in order by number, and of equal numbers the earlier place first
// (`order`). Then each run of equal numbers is summed from its front: chunks of places by a block each (`segments`), and runs
// that go from one chunk into the next by their parts (`joins`).
// macros: DTYPE INDEX=int,i64
#include "common.cuh"

#ifndef INDEX
#define INDEX i64
#endif
#define CHUNK 32  // places; embedding.py knows the number

// y_t = W[index_t], a warp a row. An index that is out of range is put down in `flag` (backend/checks.py).
template <int N>
__device__ void copy_row(const T* x, T* y, i64 columns, int lane) {
    for (i64 c = lane; c < columns / N; c += 32) ((Pack<T, N>*)y)[c] = ((const Pack<T, N>*)x)[c];
}
extern "C" __global__ void gather(const T* W, const INDEX* index, T* y, i64 n, i64 rows, i64 columns, int* flag, i64 code) {
    const int N = 16 / sizeof(T);
    bool packs = columns % N == 0 && (((u64)W | (u64)y) & 15) == 0;
    i64 step = (i64)gridDim.x * (blockDim.x >> 5);
    int lane = threadIdx.x & 31;
    for (i64 t = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5); t < n; t += step) {
        i64 k = index[t];
        if (k < 0 || k >= rows) {
            if (*flag == 0) *flag = (int)code;
            k = 0;
        }
        if (packs) copy_row<N>(W + k * columns, y + t * columns, columns, lane);
        else copy_row<1>(W + k * columns, y + t * columns, columns, lane);
    }
}

// A negative number counts from the end; one that is out of range becomes `rows`, which is nobody's.
__device__ __forceinline__ int row_of(const INDEX* index, i64 i, i64 rows) {
    i64 k = index[i];
    if (k < 0) k += rows;
    return (int)(k < 0 || k > rows ? rows : k);
}

// Place i goes to position r of the order, r being the count of places that stand before it: n^2 comparisons, by n threads, for
// n of some ten thousand. place[r] = i, key[r] = its row.
extern "C" __global__ void order(const INDEX* index, int* place, int* key, i64 n, i64 rows) {
    __shared__ int others[256];
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    int mine = i < n ? row_of(index, i, rows) : 0, before = 0;
    for (i64 start = 0; start < n; start += blockDim.x) {
        __syncthreads();  // the tile before has been read
        if (start + threadIdx.x < n) others[threadIdx.x] = row_of(index, start + threadIdx.x, rows);
        __syncthreads();
        int count = (int)(n - start < blockDim.x ? n - start : blockDim.x), earlier = (int)(i - start);
        for (int j = 0; j < count; j++) before += others[j] < mine || (others[j] == mine && j < earlier);
    }
    if (i >= n) return;
    place[before] = (int)i;
    key[before] = mine;
}

// A row's sum into y, an array of T; or, where y is made in several pieces, added to y, an array of floats.
__device__ __forceinline__ void put(void* y, i64 row, i64 c, float sum, i64 rows, i64 columns, i64 skip, i64 pieces) {
    if (row >= rows || row == skip) return;
    if (pieces) ((float*)y)[row * columns + c] += sum;
    else ((T*)y)[row * columns + c] = store<T>(sum);
}

// Grid (chunks, columns / block): a thread sums one column of a chunk. `first` and `last` (chunks, columns) get the part of a run
// that began before the chunk, and the part of one that begins in it and goes on after it.
extern "C" __global__ void segments(const T* x, const int* place, const int* key, void* y, float* first, float* last, i64 n,
                                    i64 rows, i64 columns, i64 skip, i64 pieces) {
    i64 c = (i64)blockIdx.y * blockDim.x + threadIdx.x, chunk = blockIdx.x;
    i64 start = chunk * CHUNK, stop = start + CHUNK < n ? start + CHUNK : n, begin = start;
    if (c >= columns) return;
    float sum = 0.f;
    for (i64 i = start; i < stop; i++) {
        sum += load(x[place[i] * columns + c]);
        int row = key[i];
        if (i + 1 < stop && key[i + 1] == row) continue;
        bool began_before = begin == start && start > 0 && key[start - 1] == row;
        bool goes_on = i + 1 == stop && stop < n && key[stop] == row;
        if (began_before) first[chunk * columns + c] = sum;
        else if (goes_on) last[chunk * columns + c] = sum;
        else put(y, row, c, sum, rows, columns, skip, pieces);
        sum = 0.f;
        begin = i + 1;
    }
}

// The same grid: the chunk in which a run begins that goes on adds up its parts.
extern "C" __global__ void joins(const int* key, void* y, const float* first, const float* last, i64 n, i64 rows, i64 columns,
                                 i64 skip, i64 pieces) {
    i64 c = (i64)blockIdx.y * blockDim.x + threadIdx.x, chunk = blockIdx.x, start = chunk * CHUNK, stop = start + CHUNK;
    if (c >= columns || stop >= n) return;
    int row = key[stop - 1];
    if (key[stop] != row || (start > 0 && key[start - 1] == row)) return;
    float sum = last[chunk * columns + c];
    for (i64 next = chunk + 1; next * CHUNK < n && key[next * CHUNK] == row; next++) sum += first[next * columns + c];
    put(y, row, c, sum, rows, columns, skip, pieces);
}
