// a + b, a - b, a b, a / b and their gradients. One operand may be small: shape (k,) beside (m, k, inner), the whole written
// as three axes; element i of the whole then meets element (i / inner) mod k of the small one. A bias has inner = 1, a number
// k = 1. `small` says which it is: 0 none, 1 a, 2 b.
//
// The gradient of a small operand is a sum over m and inner, always in the same order: chunks of it are summed by a block each,
// and if there are several, then their sums (`finish`).
// macros: DTYPE
#include "common.cuh"
#include "packs.cuh"

// What was not saved is a null pointer.
__device__ __forceinline__ float at(const T* x, i64 i) { return x ? load(x[i]) : 0.f; }

// Calls f(i, j) for each i < n of this thread's share, j being the place in the small operand.
template <typename F> __device__ __forceinline__ void places(i64 n, i64 k, i64 inner, F f) {
    i64 step = (i64)gridDim.x * blockDim.x;
    bool narrow = n < 0x80000000ll;  // a 32-bit division is several times cheaper
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        f(i, k == 1 ? 0 : narrow ? (i64)((u32)i / (u32)inner % (u32)k) : i / inner % k);
}

struct Add {
    static __device__ float y(float a, float b) { return a + b; }
    static __device__ float da(float dy, float, float, float) { return dy; }
    static __device__ float db(float dy, float, float, float) { return dy; }
};
struct Sub {
    static __device__ float y(float a, float b) { return a - b; }
    static __device__ float da(float dy, float, float, float) { return dy; }
    static __device__ float db(float dy, float, float, float) { return -dy; }
};
struct Mul {
    static __device__ float y(float a, float b) { return a * b; }
    static __device__ float da(float dy, float, float b, float) { return dy * b; }
    static __device__ float db(float dy, float a, float, float) { return dy * a; }
};
struct Div {
    static __device__ float y(float a, float b) { return a / b; }
    static __device__ float da(float dy, float, float b, float) { return dy / b; }
    static __device__ float db(float dy, float, float b, float y) { return -(dy / b) * y; }
};

template <typename O> __device__ void forward(const T* a, const T* b, T* y, i64 n, i64 k, i64 inner, i64 small) {
    if (small == 0) {
        map<PACKED>(n, a, b, y, [](float a, float b) { return O::y(a, b); });
    } else if (k == 1) {
        float number = load(small == 1 ? *a : *b);
        if (small == 1) map<PACKED>(n, b, y, [=](float b) { return O::y(number, b); });
        else map<PACKED>(n, a, y, [=](float a) { return O::y(a, number); });
    } else {
        places(n, k, inner, [=](i64 i, i64 j) { y[i] = store<T>(O::y(load(a[small == 1 ? j : i]), load(b[small == 2 ? j : i]))); });
    }
}

// The gradients of operands that are not small; da or db may be null.
template <typename O>
__device__ void backward(const T* dy, const T* a, const T* b, const T* y, T* da, T* db, i64 n, i64 k, i64 inner, i64 small) {
    places(n, small ? k : 1, inner, [=](i64 i, i64 j) {
        float d = load(dy[i]), v = at(a, small == 1 ? j : i), w = at(b, small == 2 ? j : i), z = at(y, i);
        if (da) da[i] = store<T>(O::da(d, v, w, z));
        if (db) db[i] = store<T>(O::db(d, v, w, z));
    });
}

// A term of the small operand's gradient.
template <typename O>
__device__ float term(const T* dy, const T* a, const T* b, const T* y, i64 i, i64 j, i64 small) {
    float d = load(dy[i]), v = at(a, small == 1 ? j : i), w = at(b, small == 2 ? j : i), z = at(y, i);
    return small == 1 ? O::da(d, v, w, z) : O::db(d, v, w, z);
}

// Grid (k / 32, chunks), block (32, up to 8): neighbouring threads have neighbouring elements of the small operand; `count` = m inner
// terms each, `length` of them in a chunk. The sums go to `parts` (chunks, k), or if that is null to `out`.
template <typename O>
__device__ void columns(const T* dy, const T* a, const T* b, const T* y, float* parts, T* out, i64 k, i64 inner, i64 count,
                        i64 length, i64 small) {
    __shared__ float sums[8][32];
    i64 j = (i64)blockIdx.x * 32 + threadIdx.x, start = blockIdx.y * length, stop = start + length;
    float sum = 0.f;
    if (j < k)
        for (i64 t = start + threadIdx.y; t < stop && t < count; t += blockDim.y)
            sum += term<O>(dy, a, b, y, (t / inner * k + j) * inner + t % inner, j, small);
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || j >= k) return;
    for (int i = 1; i < blockDim.y; i++) sum += sums[i][threadIdx.x];
    if (parts) parts[blockIdx.y * k + j] = sum;
    else out[j] = store<T>(sum);
}

// Grid (k, chunks): a block sums for one element of the small operand; for long `inner`, or k = 1.
template <typename O>
__device__ void rows(const T* dy, const T* a, const T* b, const T* y, float* parts, T* out, i64 k, i64 inner, i64 count,
                     i64 length, i64 small) {
    i64 j = blockIdx.x, start = blockIdx.y * length, stop = start + length;
    float sum = 0.f;
    for (i64 t = start + threadIdx.x; t < stop && t < count; t += blockDim.x)
        sum += term<O>(dy, a, b, y, (t / inner * k + j) * inner + t % inner, j, small);
    sum = block_sum(sum);
    if (threadIdx.x) return;
    if (parts) parts[blockIdx.y * k + j] = sum;
    else out[j] = store<T>(sum);
}

extern "C" __global__ void finish(const float* parts, T* out, i64 k, i64 chunks) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 j = (i64)blockIdx.x * blockDim.x + threadIdx.x; j < k; j += step) {
        float sum = 0.f;
        for (i64 c = 0; c < chunks; c++) sum += parts[c * k + j];
        out[j] = store<T>(sum);
    }
}

#define BINARY(name, O)                                                                                               \
    extern "C" __global__ void name##_forward(const T* a, const T* b, T* y, i64 n, i64 k, i64 inner, i64 small) {     \
        forward<O>(a, b, y, n, k, inner, small);                                                                      \
    }                                                                                                                 \
    extern "C" __global__ void name##_backward(const T* dy, const T* a, const T* b, const T* y, T* da, T* db, i64 n,  \
                                               i64 k, i64 inner, i64 small) {                                         \
        backward<O>(dy, a, b, y, da, db, n, k, inner, small);                                                         \
    }                                                                                                                 \
    extern "C" __global__ void name##_columns(const T* dy, const T* a, const T* b, const T* y, float* parts, T* out,  \
                                              i64 k, i64 inner, i64 count, i64 length, i64 small) {                   \
        columns<O>(dy, a, b, y, parts, out, k, inner, count, length, small);                                          \
    }                                                                                                                 \
    extern "C" __global__ void name##_rows(const T* dy, const T* a, const T* b, const T* y, float* parts, T* out,     \
                                           i64 k, i64 inner, i64 count, i64 length, i64 small) {                      \
        rows<O>(dy, a, b, y, parts, out, k, inner, count, length, small);                                             \
    }

BINARY(add, Add)
BINARY(sub, Sub)
BINARY(mul, Mul)
BINARY(div, Div)
