// Fills arrays with random numbers: the draws of backend/random.py, DeviceGenerator, each in one launch instead of ten. Word k is
// random_word(start, k), and the draw's first has k = base + offset + 1. A 32-bit word is a half of a 64-bit one, the
// lower half first.
// macros: DTYPE
#include "common.cuh"

struct Words {
    u64 start, first;
    __device__ Words(u64 start, const u64* base, u64 offset) : start(start), first((base ? *base : 0) + offset + 1) {}
    __device__ u64 word64(i64 i) const { return random_word(start, first + (u64)i); }
    __device__ u32 word32(i64 i) const { return (u32)(word64(i >> 1) >> (i & 1 ? 32 : 0)); }
    __device__ float unit(i64 i) const { return (float)(word32(i) & 0xffffffu) * 5.9604644775390625e-8f; }  // 2^-24
};

#define EACH(i, n) \
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (i64)gridDim.x * blockDim.x)

// True where 53 random bits are below the threshold.
extern "C" __global__ void bernoulli(bool* y, i64 n, i64 threshold, u64 start, const u64* base, u64 offset) {
    Words words(start, base, offset);
    EACH(i, n) y[i] = (i64)(words.word64(i) & ((1ull << 53) - 1)) < threshold;
}

// u (high - low) + low, rounded once; a number that is rounded up to `high` becomes `low`.
extern "C" __global__ void uniform(T* y, i64 n, double low, double high, double span, i64 scaled, u64 start,
                                   const u64* base, u64 offset) {
    Words words(start, base, offset);
    float last = load(store<T>((float)high));
    EACH(i, n) {
        float u = words.unit(i);
        T v = store<T>(scaled ? (float)((double)u * span + low) : u);
        y[i] = load(v) == last ? store<T>((float)low) : v;
    }
}

// Box-Muller: the first half of the uniform numbers gives radii, the second angles; cosines, then sines.
extern "C" __global__ void normal(T* y, i64 n, double mean64, double std64, u64 start, const u64* base, u64 offset) {
    Words words(start, base, offset);
    float mean = (float)mean64, std = (float)std64;
    i64 pairs = (n + 1) / 2;
    EACH(i, pairs) {
        float radius = sqrtf(logf(1.f - words.unit(i)) * -2.f), angle = words.unit(pairs + i) * 6.2831853071795864f;
        y[i] = store<T>(radius * cosf(angle) * std + mean);
        if (pairs + i < n) y[pairs + i] = store<T>(radius * sinf(angle) * std + mean);
    }
}
