// BatchNorm: the moments of each channel of (B, C, L), and the gradients, over chunks of a channel.
// macros: DTYPE
#include "common.cuh"

// A channel's B L elements are cut into `parts` chunks, one for a block. A chunk's numbers are put down, and every block of
// the second kernel adds up those of its channel in the same order: the same result every time, without atomics. A channel
// of one chunk needs no second kernel: `parts` of the first one is then its own.

__device__ __forceinline__ i64 place(int channel, int at, i64 C, i64 L) {
    return (at / (int)L * C + channel) * L + at % (int)L;
}

struct Chunk {
    int channel, part, first, last;

    __device__ Chunk(i64 count, i64 parts, i64 chunk) {
        channel = blockIdx.x / (int)parts, part = blockIdx.x % (int)parts;
        first = part * (int)chunk, last = (int)min(count, (part + 1) * chunk);
    }
};

struct Pair {
    float a, b;
};

// Mean, and sum of squared distances from it: in two passes, the second of which finds the chunk in the cache.
__device__ Pair moments(const T* x, Chunk chunk, i64 C, i64 L) {
    float sum = 0.f, squares = 0.f;
    for (int at = chunk.first + threadIdx.x; at < chunk.last; at += blockDim.x) sum += load(x[place(chunk.channel, at, C, L)]);
    float mean = block_sum(sum) / (chunk.last - chunk.first);
    for (int at = chunk.first + threadIdx.x; at < chunk.last; at += blockDim.x) {
        float z = load(x[place(chunk.channel, at, C, L)]) - mean;
        squares += z * z;
    }
    return {mean, block_sum(squares)};
}

// found: (C, parts, 2). Grid: channels times parts; here and below.
extern "C" __global__ void chunk_moments(const T* x, float* found, i64 count, i64 C, i64 L, i64 parts, i64 size) {
    Chunk chunk(count, parts, size);
    Pair mine = moments(x, chunk, C, L);
    if (threadIdx.x == 0) found[2 * (i64)blockIdx.x] = mine.a, found[2 * (i64)blockIdx.x + 1] = mine.b;
}

// y = (x - mean) r w + b, r = 1 / sqrt(variance + eps). mean and variance are written as float and, where given, as T.
// With m_i, s_i and n_i of the chunks:  mean = sum of n_i m_i / n,  n variance = sum of s_i + n_i (m_i - mean)^2.
extern "C" __global__ void forward(const T* x, const T* w, const T* b, T* y, const float* found, float* mean, float* variance,
                                   T* mean_rounded, T* variance_rounded, double eps, i64 count, i64 C, i64 L, i64 parts,
                                   i64 size) {
    Chunk chunk(count, parts, size);
    Pair all;
    if (parts == 1) {
        all = moments(x, chunk, C, L);
    } else {
        const float* of = found + 2 * chunk.channel * parts;
        float sum = 0.f, squares = 0.f;
        for (int i = threadIdx.x; i < parts; i += blockDim.x) sum += of[2 * i] * (float)(min(count, (i + 1) * size) - i * size);
        all.a = block_sum(sum) / (float)count;
        for (int i = threadIdx.x; i < parts; i += blockDim.x) {
            float z = of[2 * i] - all.a;
            squares += of[2 * i + 1] + z * z * (float)(min(count, (i + 1) * size) - i * size);
        }
        all.b = block_sum(squares);
    }
    float m = all.a, v = all.b / (float)count;
    if (chunk.part == 0 && threadIdx.x == 0) {
        mean[chunk.channel] = m, variance[chunk.channel] = v;
        if (mean_rounded) mean_rounded[chunk.channel] = store<T>(m), variance_rounded[chunk.channel] = store<T>(v);
    }
    float scale = 1.f / sqrtf(v + (float)eps) * (w ? load(w[chunk.channel]) : 1.f), shift = b ? load(b[chunk.channel]) : 0.f;
    for (int at = chunk.first + threadIdx.x; at < chunk.last; at += blockDim.x) {
        i64 i = place(chunk.channel, at, C, L);
        y[i] = store<T>((load(x[i]) - m) * scale + shift);
    }
}

// Sums of dy and of dy (x - mean).
__device__ Pair sums(const T* dy, const T* x, float mean, Chunk chunk, i64 C, i64 L) {
    float a = 0.f, b = 0.f;
    for (int at = chunk.first + threadIdx.x; at < chunk.last; at += blockDim.x) {
        i64 i = place(chunk.channel, at, C, L);
        float d = load(dy[i]);
        a += d, b += d * (load(x[i]) - mean);
    }
    return {block_sum(a), block_sum(b)};
}

extern "C" __global__ void chunk_sums(const T* dy, const T* x, const float* mean, float* found, i64 count, i64 C, i64 L,
                                      i64 parts, i64 size) {
    Chunk chunk(count, parts, size);
    Pair mine = sums(dy, x, mean[chunk.channel], chunk, C, L);
    if (threadIdx.x == 0) found[2 * (i64)blockIdx.x] = mine.a, found[2 * (i64)blockIdx.x + 1] = mine.b;
}

// dx = r (dz - mean(dz) - z mean(dz z)) + dmean / n + dvariance 2 (x - mean) / n,   dz = dy w;   dw = sum of dy z,
// db = sum of dy. dx, dw, db, w, dmean and dvariance may be null.
extern "C" __global__ void backward(const T* dy, const T* x, const T* w, const float* mean, const float* variance,
                                    const T* dmean, const T* dvariance, const float* found, T* dx, T* dw, T* db, double eps,
                                    i64 count, i64 C, i64 L, i64 parts, i64 size) {
    Chunk chunk(count, parts, size);
    int c = chunk.channel;
    float m = mean[c], r = 1.f / sqrtf(variance[c] + (float)eps), n = count;
    Pair all = {0.f, 0.f};
    if (parts == 1) {
        all = sums(dy, x, m, chunk, C, L);
    } else {
        for (int i = threadIdx.x; i < parts; i += blockDim.x)
            all.a += found[2 * (c * parts + i)], all.b += found[2 * (c * parts + i) + 1];
        all = {block_sum(all.a), block_sum(all.b)};
    }
    if (chunk.part == 0 && threadIdx.x == 0) {
        if (dw) dw[c] = store<T>(all.b * r);
        if (db) db[c] = store<T>(all.a);
    }
    if (!dx) return;
    float scale = r * (w ? load(w[c]) : 1.f);
    float shift = (scale * all.a - (dmean ? load(dmean[c]) : 0.f)) / n;
    float slope = (scale * r * r * all.b - 2.f * (dvariance ? load(dvariance[c]) : 0.f)) / n;
    for (int at = chunk.first + threadIdx.x; at < chunk.last; at += blockDim.x) {
        i64 i = place(c, at, C, L);
        dx[i] = store<T>(load(dy[i]) * scale - shift - (load(x[i]) - m) * slope);
    }
}

// --- in evaluation ---------------------------------------------------------------------------------------------------

// y = x scale + shift,   scale = w / sqrt(variance + eps),   shift = b - mean scale.
extern "C" __global__ void rescale(const T* x, const T* w, const T* b, const T* mean, const T* variance, T* y, double eps,
                                   i64 count, i64 C, i64 L, i64 parts, i64 size) {
    Chunk chunk(count, parts, size);
    int c = chunk.channel;
    float scale = 1.f / sqrtf(load(variance[c]) + (float)eps) * (w ? load(w[c]) : 1.f);
    float shift = (b ? load(b[c]) : 0.f) - load(mean[c]) * scale;
    for (int at = chunk.first + threadIdx.x; at < chunk.last; at += blockDim.x) {
        i64 i = place(c, at, C, L);
        y[i] = store<T>(load(x[i]) * scale + shift);
    }
}

// Its gradients: dx = dy scale, and found (C, parts, 2) the sums of dy and of dy (x - mean). dx may be null, and found
// with x and mean.
extern "C" __global__ void rescale_backward(const T* dy, const T* x, const T* w, const T* mean, const T* variance, T* dx,
                                            float* found, double eps, i64 count, i64 C, i64 L, i64 parts, i64 size) {
    Chunk chunk(count, parts, size);
    int c = chunk.channel;
    if (found) {
        Pair mine = sums(dy, x, load(mean[c]), chunk, C, L);
        if (threadIdx.x == 0) found[2 * (i64)blockIdx.x] = mine.a, found[2 * (i64)blockIdx.x + 1] = mine.b;
    }
    if (!dx) return;
    float scale = 1.f / sqrtf(load(variance[c]) + (float)eps) * (w ? load(w[c]) : 1.f);
    for (int at = chunk.first + threadIdx.x; at < chunk.last; at += blockDim.x) {
        i64 i = place(c, at, C, L);
        dx[i] = store<T>(load(dy[i]) * scale);
    }
}

// dw = r times the sum of dy (x - mean), db = the sum of dy. dw and db may be null. Grid: channels; a warp each.
extern "C" __global__ void rescale_weights(const float* found, const T* variance, T* dw, T* db, double eps, i64 parts) {
    i64 c = blockIdx.x;
    float a = 0.f, b = 0.f;
    for (i64 i = threadIdx.x; i < parts; i += 32) a += found[2 * (c * parts + i)], b += found[2 * (c * parts + i) + 1];
    a = warp_sum(a), b = warp_sum(b);
    if (threadIdx.x == 0) {
        if (dw) dw[c] = store<T>(b / sqrtf(load(variance[c]) + (float)eps));
        if (db) db[c] = store<T>(a);
    }
}

// running = (1 - momentum) running + momentum factor value. Grid: blocks of channels.
extern "C" __global__ void follow(T* running, const T* value, double momentum, double factor, i64 C) {
    i64 c = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= C) return;
    running[c] = store<T>(load(running[c]) * (float)(1 - momentum) + load(value[c]) * (float)factor * (float)momentum);
}
