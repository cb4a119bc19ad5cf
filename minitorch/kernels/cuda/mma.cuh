// Products of small matrices that a warp makes together: sums (16 x N, float) += a (16 x K) b.
//
// Half precision runs on tensor cores, PTX's mma.m16n8k16; float on ordinary units. The sums lie in the lanes' registers in
// one way for both, PTX's: with lane = 4 g + t, g = 0..7, t = 0..3,
//
//     sums.at[n][0], [1]    row g,     columns 8n + 2t and 8n + 2t + 1
//     sums.at[n][2], [3]    row g + 8, the same columns
//
// What mma takes (each register is a pair of neighbours along k, the lower k in the lower half):
//
//     a (16 x 16), 4 registers    row g, k = 2t | row g + 8, k = 2t | row g, k = 2t + 8 | row g + 8, k = 2t + 8
//     b (16 x 8),  2 registers    k = 2t, column g | k = 2t + 8, column g
//
// So two pieces of 8 columns of sums, rounded, are one a: the result of a product is the left factor of the next, in
// registers. For float it goes through shared memory.
//
// ldmatrix brings 8 x 8 numbers of 2 bytes from shared memory: lane i says where row i is (8 lanes a matrix), and lane 4 g + t
// gets row g, columns 2t and 2t + 1; transposed, rows 2t and 2t + 1 of column g.
#pragma once
#include "common.cuh"

__device__ __forceinline__ int lane_of() { return threadIdx.x & 31; }

template <int N> struct Sums {
    float at[N / 8][4];
};

// A left factor in shared memory: 16 rows, `step` numbers apart.
template <typename V> struct Stored {
    const V* at;
    int step;
    __device__ __forceinline__ void part(int k, u32 (&a)[4]) const;  // half precision only
};

// --- half precision --------------------------------------------------------------------------------------------------

// Four 8 x 8 matrices; lanes 8 m .. 8 m + 7 say where the rows of matrix m are, at multiples of 16 bytes.
template <bool TRANSPOSED> __device__ __forceinline__ void load_matrices(u32 (&r)[4], const void* row) {
#ifdef EMULATED
    struct Loaded { u32 r[4]; } loaded = emulated::exchange(row, [](auto lane, int me) {
        Loaded y;
        for (int m = 0; m < 4; m++) {
            auto number = [&](int i, int j) { return (u32)((const unsigned short*)lane(8 * m + i))[j]; };
            int g = me / 4, t = me % 4;
            y.r[m] = TRANSPOSED ? number(2 * t, g) | number(2 * t + 1, g) << 16 : number(g, 2 * t) | number(g, 2 * t + 1) << 16;
        }
        return y;
    });
    if ((u64)row % 16) { fprintf(stderr, "emulator: ldmatrix needs rows at multiples of 16 bytes\n"); abort(); }
    memcpy(r, loaded.r, 16);
#else
    u32 at = (u32)__cvta_generic_to_shared(row);
    if (TRANSPOSED)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at));
#endif
}

// sums (16 x 8) += a (16 x 16) b (16 x 8), of numbers of type V.
template <typename V> __device__ __forceinline__ void mma(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1);
#ifdef EMULATED
template <typename V> void mma(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    struct Given { float a[8], b[4]; } given;
    auto number = [](u32 pair, int i) { return load(V{(unsigned short)(pair >> i % 2 * 16)}); };
    for (int i = 0; i < 8; i++) given.a[i] = number(a[i / 2], i);
    for (int i = 0; i < 4; i++) given.b[i] = number(i < 2 ? b0 : b1, i);
    struct Result { float y[4]; } result = emulated::exchange(given, [](auto lane, int me) {
        Result result = {};
        for (int i = 0; i < 4; i++) {
            int row = me / 4 + i / 2 * 8, column = me % 4 * 2 + i % 2;
            for (int k = 0; k < 16; k++) {
                float x = lane(row % 8 * 4 + k % 8 / 2).a[row / 8 * 2 + k / 8 * 4 + k % 2];
                result.y[i] += x * lane(column * 4 + k % 8 / 2).b[k / 8 * 2 + k % 2];
            }
        }
        return result;
    });
    for (int i = 0; i < 4; i++) sums[i] += result.y[i];
}
#else
#define MMA(V, type)                                                                                          \
    template <> __device__ __forceinline__ void mma<V>(float (&sums)[4], const u32 (&a)[4], u32 b0, u32 b1) { \
        asm("mma.sync.aligned.m16n8k16.row.col.f32." type "." type ".f32 "                                    \
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                 \
            : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                                      \
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                                  \
    }
MMA(half_t, "f16")
MMA(bfloat_t, "bf16")
#endif

// Two numbers in one register.
template <typename V> __device__ __forceinline__ u32 pair_of(float low, float high) {
    return (u32)store<V>(low).bits | (u32)store<V>(high).bits << 16;
}
#ifndef EMULATED
template <> __device__ __forceinline__ u32 pair_of<half_t>(float low, float high) {
    u32 y;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
template <> __device__ __forceinline__ u32 pair_of<bfloat_t>(float low, float high) {
    u32 y;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
    return y;
}
#endif

// Columns 16 k to 16 k + 15 of a left factor in shared memory, as mma's a.
template <typename V> __device__ __forceinline__ void Stored<V>::part(int k, u32 (&a)[4]) const {
    load_matrices<false>(a, at + (lane_of() & 15) * step + 16 * k + (lane_of() >> 4) * 8);
}

// A left factor that is read often: in registers; float stays in shared memory.
template <typename V, int K> struct Held {
    u32 at[K / 16][4];
    __device__ __forceinline__ void part(int k, u32 (&a)[4]) const {
        for (int i = 0; i < 4; i++) a[i] = at[k][i];
    }
};
template <int K> struct Held<float, K> : Stored<float> {};

template <typename V, int K> __device__ __forceinline__ Held<V, K> held(const Stored<V>& x) {
    Held<V, K> y;
    if constexpr (sizeof(V) == 4) {
        y.at = x.at, y.step = x.step;
    } else {
#pragma unroll
        for (int k = 0; k < K / 16; k++) x.part(k, y.at[k]);
    }
    return y;
}

// Sums as the left factor of the next product. float: by way of `room`, the warp's 16 x (K + 4) numbers in shared memory.
template <typename V, int K> __device__ __forceinline__ Held<V, K> rounded(const Sums<K>& x, V* room) {
    Held<V, K> y;
    if constexpr (sizeof(V) == 4) {
        int g = lane_of() >> 2, t = lane_of() & 3;
        __syncwarp();  // what was there has been read
#pragma unroll
        for (int n = 0; n < K / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) room[(g + i / 2 * 8) * (K + 4) + 8 * n + 2 * t + i % 2] = x.at[n][i];
        __syncwarp();
        y.at = room, y.step = K + 4;
    } else {
#pragma unroll
        for (int n = 0; n < K / 8; n++) {
            y.at[n / 2][n % 2 * 2] = pair_of<V>(x.at[n][0], x.at[n][1]);
            y.at[n / 2][n % 2 * 2 + 1] = pair_of<V>(x.at[n][2], x.at[n][3]);
        }
    }
    return y;
}

// sums += a b^T: b holds N rows of K numbers, `step` apart, in shared memory.
template <int N, int K, typename Left, typename V>
__device__ __forceinline__ void multiply_rows(Sums<N>& sums, const Left& a, const V* b, int step) {
    const V* mine = b + ((lane_of() & 7) + (lane_of() >> 4) * 8) * step + (lane_of() >> 3 & 1) * 8;
#pragma unroll
    for (int k = 0; k < K / 16; k++) {
        u32 left[4], right[4];
        a.part(k, left);
#pragma unroll
        for (int n = 0; n < N / 16; n++) {
            load_matrices<false>(right, mine + 16 * n * step + 16 * k);
            mma<V>(sums.at[2 * n], left, right[0], right[1]);
            mma<V>(sums.at[2 * n + 1], left, right[2], right[3]);
        }
    }
}

// sums += a b: b holds K rows of N numbers, `step` apart, in shared memory.
template <int N, int K, typename Left, typename V>
__device__ __forceinline__ void multiply(Sums<N>& sums, const Left& a, const V* b, int step) {
    const V* mine = b + (lane_of() & 15) * step + (lane_of() >> 4) * 8;
#pragma unroll
    for (int k = 0; k < K / 16; k++) {
        u32 left[4], right[4];
        a.part(k, left);
#pragma unroll
        for (int n = 0; n < N / 16; n++) {
            load_matrices<true>(right, mine + 16 * k * step + 16 * n);
            mma<V>(sums.at[2 * n], left, right[0], right[1]);
            mma<V>(sums.at[2 * n + 1], left, right[2], right[3]);
        }
    }
}

// --- float: the same on ordinary units ---------------------------------------------------------------------------------------

template <int N, int K, typename Left>
__device__ __forceinline__ void multiply_rows(Sums<N>& sums, const Left& a, const float* b, int step) {
    const float* upper = a.at + (lane_of() >> 2) * a.step;
    const float* mine = b + (lane_of() & 3) * 2 * step;
    for (int k = 0; k < K; k += 4) {
        float4 x[2] = {*(const float4*)(upper + k), *(const float4*)(upper + 8 * a.step + k)};
#pragma unroll
        for (int n = 0; n < N / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float4 y = *(const float4*)(mine + (8 * n + i % 2) * step + k), z = x[i / 2];
                sums.at[n][i] += z.x * y.x + z.y * y.y + z.z * y.z + z.w * y.w;
            }
    }
}

template <int N, int K, typename Left>
__device__ __forceinline__ void multiply(Sums<N>& sums, const Left& a, const float* b, int step) {
    const float* upper = a.at + (lane_of() >> 2) * a.step;
    const float* mine = b + (lane_of() & 3) * 2;
    for (int k = 0; k < K; k += 4) {
        float4 x[2] = {*(const float4*)(upper + k), *(const float4*)(upper + 8 * a.step + k)};
        const float* row = mine + k * step;
#pragma unroll
        for (int n = 0; n < N / 8; n++, row += 8)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float4 z = x[i / 2];
                const float* y = row + i % 2;
                sums.at[n][i] += z.x * y[0] + z.y * y[step] + z.z * y[2 * step] + z.w * y[3 * step];
            }
    }
}
