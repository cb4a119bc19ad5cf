// What all kernels share: number types, packs of numbers, reductions, random words.
//
// T is the arrays' type, the macro DTYPE: float, half_t or bfloat_t. Numbers are kept in T and computed in float. No header of
// CUDA's is included, so that a machine with a driver and NVRTC alone can compile this. On the CPU (tests/emulator) the
// same source is compiled as C++: EMULATED is defined there, and what is written in PTX has a second form.
#pragma once

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;

struct half_t { unsigned short bits; };
struct bfloat_t { unsigned short bits; };
#ifdef DTYPE
typedef DTYPE T;
#endif

#define FULL 0xffffffffu
#ifndef EMULATED
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
// Shared memory whose size the launch says; 16-byte aligned.
#define DYNAMIC_SHARED(type, name)                              \
    extern __shared__ __align__(16) unsigned char _dynamic[];   \
    type* name = reinterpret_cast<type*>(_dynamic)
#endif

// --- numbers ---------------------------------------------------------------------------------------------------------

__device__ __forceinline__ float load(float x) { return x; }
__device__ __forceinline__ float load(bfloat_t x) { return __uint_as_float((u32)x.bits << 16); }
__device__ __forceinline__ float load(half_t x) {
#ifdef EMULATED
    return emulated_half_to_float(x.bits);
#else
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
#endif
}

// store<T>(x): x rounded to T, to the nearest, ties to even.
template <typename N> __device__ __forceinline__ N store(float x);
template <> __device__ __forceinline__ float store<float>(float x) { return x; }
template <> __device__ __forceinline__ bfloat_t store<bfloat_t>(float x) {
    u32 bits = __float_as_uint(x);
    bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    bits += 0x7fffu + ((bits >> 16) & 1u);
    return {(unsigned short)(nan ? 0x7fc0u : bits >> 16)};
}
template <> __device__ __forceinline__ half_t store<half_t>(float x) {
#ifdef EMULATED
    return {emulated_float_to_half(x)};
#else
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return {bits};
#endif
}

// N numbers that are read and written at once; the address must be a multiple of their size.
template <typename V, int N> struct __align__(sizeof(V) * N) Pack {
    V at[N];
};

// --- reductions ------------------------------------------------------------------------------------------------------

// The larger; NaN if one of them is, as NumPy's maximum.
__device__ __forceinline__ float larger(float a, float b) { return a > b || a != a ? a : b; }

__device__ __forceinline__ float warp_sum(float x) {
    for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(FULL, x, step);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
    for (int step = 16; step; step >>= 1) x = larger(x, __shfl_xor_sync(FULL, x, step));
    return x;
}

// Over a block of whole warps, up to 1024 threads (along x); every thread gets the result.
__device__ __forceinline__ float block_sum(float x) {
    __shared__ float parts[32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    x = warp_sum(x);
    __syncthreads();  // what an earlier reduction left has been read
    if (lane == 0) parts[warp] = x;
    __syncthreads();
    return warp_sum(lane < warps ? parts[lane] : 0.f);
}

__device__ __forceinline__ float block_max(float x) {
    __shared__ float parts[32];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    x = warp_max(x);
    __syncthreads();
    if (lane == 0) parts[warp] = x;
    __syncthreads();
    return warp_max(lane < warps ? parts[lane] : -INFINITY);
}

// --- random words: backend/random.py, DeviceGenerator ----------------------------------------------------------------

__device__ __forceinline__ u64 mix(u64 z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

// Word k = 1, 2, ... of the stream whose mixed seed is `start`.
__device__ __forceinline__ u64 random_word(u64 start, u64 k) { return mix(start + k * 0x9E3779B97F4A7C15ull); }
