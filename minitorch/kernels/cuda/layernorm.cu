// LayerNorm and RMSNorm over rows of at most 6144 numbers, of x alone or of a sum with dropout (ops/normalize.py).
// macros: DTYPE ROW_BY_WARP=0,1
//
//   h = x m / (1 - p) + residual                   residual null: h = x
//   z = (h - mean) r,  r = 1 / sqrt(variance + eps)        RMSNorm (rms = 1): mean = 0
//   y = w z + b                                    w, b: (n,) or null
//
// A thread has 8 numbers of a row in registers, and the same columns of every row that it comes to: its w, b, and its part of dw
// and db stay in registers too. Which numbers dropout keeps is never stored: both passes make the random words anew.
#include "rows.cuh"

constexpr int HELD = 8;

// This thread's places in a row: 8 in succession, if all rows begin at multiples of 16 bytes; else every so-many-th.
struct Places {
    int n, first, step;
    bool packed;

    __device__ __forceinline__ int at(int i) const { return packed ? first * HELD + i : first + i * step; }
    __device__ __forceinline__ bool has(int i) const { return at(i) < n; }
    __device__ __forceinline__ void get(const T* x, float* v) const {
        if (packed && has(0)) {
#pragma unroll
            for (int k = 0; k < HELD; k += WIDEST) {
                auto part = read(x + at(k), Width<WIDEST>());
                for (int i = 0; i < WIDEST; i++) v[k + i] = part.at[i];
            }
        } else {
#pragma unroll
            for (int i = 0; i < HELD; i++) v[i] = has(i) ? load(x[at(i)]) : 0.f;
        }
    }
    __device__ __forceinline__ void put(T* x, const float* v) const {
        if (packed && has(0)) {
#pragma unroll
            for (int k = 0; k < HELD; k += WIDEST) {
                Pack<float, WIDEST> part;
                for (int i = 0; i < WIDEST; i++) part.at[i] = v[k + i];
                write(x + at(k), part);
            }
        } else {
#pragma unroll
            for (int i = 0; i < HELD; i++)
                if (has(i)) x[at(i)] = store<T>(v[i]);
        }
    }
};
template <typename... Arrays> __device__ __forceinline__ Places places(i64 n, Arrays... arrays) {
    bool packed = n % HELD == 0 && (((u64)arrays % 16 == 0) && ...);
    return {(int)n, my_place(), row_threads(), packed};
}
__device__ __forceinline__ i64 teams() { return (i64)gridDim.x * (ROW_BY_WARP ? blockDim.x >> 5 : 1); }

// m / (1 - p) of element number `index` of x: `limit` is (1 - p) 2^53, rounded up. See DeviceGenerator.reserve.
struct Kept {
    u64 start, k, limit;
    float scale;

    __device__ __forceinline__ bool all() const { return limit >> 53; }
    __device__ __forceinline__ bool keeps(i64 index) const {
        return (random_word(start, k + (u64)index) & ((1ull << 53) - 1)) < limit;
    }
    __device__ __forceinline__ float factor(u32 m, int i) const { return m >> i & 1 ? scale : 0.f; }
};
__device__ __forceinline__ Kept kept_by(u64 start, const u64* base, i64 offset, i64 limit, double scale) {
    return {start, (base ? *base : 0) + (u64)offset + 1, (u64)limit, (float)scale};
}

// Where a row of x and dx lies: x may be (B, T, n) whose memory is (T, B, n), as attention gives it; then turn = T, else 0.
__device__ __forceinline__ i64 in_memory(i64 row, i64 rows, i64 turn) {
    return turn ? row % turn * (rows / turn) + row / turn : row;
}

// This thread's numbers of h, in row `row` of the residual and row `at` of x. Returns its m, one bit each.
__device__ __forceinline__ u32 sum_with_residual(const T* x, const T* residual, Places mine, Kept kept, i64 row, i64 at, float* h) {
    mine.get(x + at * mine.n, h);
    u32 m = 0;
    if (!kept.all()) {
#pragma unroll 2
        for (int i = 0; i < HELD; i++) m |= (u32)kept.keeps(at * mine.n + mine.at(i)) << i;
#pragma unroll
        for (int i = 0; i < HELD; i++) h[i] *= kept.factor(m, i);
    }
    if (residual) {
        float r[HELD];
        mine.get(residual + row * mine.n, r);
#pragma unroll
        for (int i = 0; i < HELD; i++) h[i] += r[i];
    }
    return m;
}

// stats: (2, rows), the means and the r.   Grid: any; every block, or warp, goes on with the row that is `teams()` further.
extern "C" __global__ void __launch_bounds__(768) forward(
    const T* x, const T* residual, const T* w, const T* b, T* y, float* stats, double eps, i64 rms, i64 turn, u64 start,
    const u64* base, i64 offset, i64 limit, double scale, i64 rows, i64 n) {
    Places mine = places(n, x, residual, w, b, y);
    Kept kept = kept_by(start, base, offset, limit, scale);
    float weights[HELD], biases[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++) weights[i] = 1.f, biases[i] = 0.f;
    if (w) mine.get(w, weights);
    if (b) mine.get(b, biases);
    for (i64 row = my_row(); row < rows; row += teams()) {
        float h[HELD], mean = 0.f, squares = 0.f;
        sum_with_residual(x, residual, mine, kept, row, in_memory(row, rows, turn), h);
        if (!rms) {
#pragma unroll
            for (int i = 0; i < HELD; i++) mean += mine.has(i) ? h[i] : 0.f;
            mean = row_sum(mean) / n;
        }
#pragma unroll
        for (int i = 0; i < HELD; i++) squares += mine.has(i) ? (h[i] - mean) * (h[i] - mean) : 0.f;
        float r = 1.f / sqrtf(row_sum(squares) / n + (float)eps);
        if (my_place() == 0) stats[row] = mean, stats[rows + row] = r;
#pragma unroll
        for (int i = 0; i < HELD; i++) h[i] = (h[i] - mean) * r * weights[i] + biases[i];
        mine.put(y + row * n, h);
    }
}

// dz = dy w,  dh = r (dz - mean(dz) - z mean(dz z)),  dresidual = dh,  dx = dh m / (1 - p);    dx, dresidual may be null
// parts: (teams, 2, n), this block's or warp's sums of dy z and of dy over its rows; null if nobody wants them
extern "C" __global__ void __launch_bounds__(768) backward(
    const T* dy, const T* x, const T* residual, const T* w, const float* stats, T* dx, T* dresidual, float* parts, i64 rms,
    i64 turn, u64 start, const u64* base, i64 offset, i64 limit, double scale, i64 rows, i64 n) {
    Places mine = places(n, dy, x, residual, w, dx, dresidual);
    Kept kept = kept_by(start, base, offset, limit, scale);
    float weights[HELD], dw[HELD], db[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++) weights[i] = 1.f, dw[i] = 0.f, db[i] = 0.f;
    if (w) mine.get(w, weights);
    for (i64 row = my_row(); row < rows; row += teams()) {
        float d[HELD], z[HELD], mean = stats[row], r = stats[rows + row], of_dz = 0.f, of_dz_z = 0.f;
        i64 at = in_memory(row, rows, turn);
        u32 m = sum_with_residual(x, residual, mine, kept, row, at, z);
        mine.get(dy + row * n, d);
#pragma unroll
        for (int i = 0; i < HELD; i++) {
            z[i] = (z[i] - mean) * r;
            if (!mine.has(i)) continue;
            dw[i] += d[i] * z[i];
            db[i] += d[i];
            d[i] *= weights[i];
            of_dz += d[i];
            of_dz_z += d[i] * z[i];
        }
        of_dz = rms ? 0.f : row_sum(of_dz) / n;
        of_dz_z = row_sum(of_dz_z) / n;
#pragma unroll
        for (int i = 0; i < HELD; i++) d[i] = r * (d[i] - of_dz - z[i] * of_dz_z);
        if (dresidual) mine.put(dresidual + row * n, d);
        if (!kept.all()) {
#pragma unroll
            for (int i = 0; i < HELD; i++) d[i] *= kept.factor(m, i);
        }
        if (dx) mine.put(dx + at * n, d);
    }
    if (parts) {
        parts += 2 * my_row() * n;
        for (int i = 0; i < HELD; i++)
            if (mine.has(i)) parts[mine.at(i)] = dw[i], parts[n + mine.at(i)] = db[i];
    }
}

// dw_j = sum_k parts[k, 0, j], db_j = sum_k parts[k, 1, j], in a fixed order.   Grid: columns / 32, 2.   Block: 32, 8.
extern "C" __global__ void column_sums(const float* parts, T* dw, T* db, i64 teams, i64 n) {
    __shared__ float sums[8][32];
    i64 j = (i64)blockIdx.x * 32 + threadIdx.x;
    T* y = blockIdx.y ? db : dw;
    float sum = 0.f;
    if (j < n)
        for (i64 k = threadIdx.y; k < teams; k += 8) sum += parts[(2 * k + blockIdx.y) * n + j];
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y || j >= n || !y) return;
    for (int k = 1; k < 8; k++) sum += sums[k][threadIdx.x];
    y[j] = store<T>(sum);
}

// What dropout keeps, as bytes: for gradients of gradients.   Grid: elements / threads.
// (Not called "mask": at a kernel of that name NVRTC 13.5 crashes.)
extern "C" __global__ void kept_bytes(bool* keep, u64 start, const u64* base, i64 offset, i64 limit, i64 size) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    Kept kept = kept_by(start, base, offset, limit, 1.);
    if (i < size) keep[i] = kept.keeps(i);
}
