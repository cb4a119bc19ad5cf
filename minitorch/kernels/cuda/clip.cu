// Gradient clipping and GradScaler over all gradients: nn/utils/clip_grad.py, amp/grad_scaler.py.
// macros: CHUNK=8192 NUMBERS=8
#include "many.cuh"

enum Row { ELEMENTS, GRADIENTS_DTYPE, X, WIDTH };
enum Number { GROWTH, BACKOFF, INTERVAL };

// The sum of a block's doubles, in an order that is always the same; 256 threads.
__device__ double block_sum_double(double x) {
    __shared__ double parts[256];
    parts[threadIdx.x] = x;
    for (int half = 128; half; half >>= 1) {
        __syncthreads();
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    __syncthreads();
    return parts[0];
}

// norm: the 2-norm of all. Each block leaves the sum of its squares in `parts`; the last one adds these up.
extern "C" __global__ void total_norm(i64* table, double* parts, float* norm) {
    Place at = place(table, WIDTH);
    float sum = 0.f;
    by_dtype(at, X, [&](auto* x) {
        for (i64 i = threadIdx.x; i < at.n; i += blockDim.x) sum += load(x[i]) * load(x[i]);
    });
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
    if (!last_block(table)) return;
    double total = 0.;
    for (i64 i = threadIdx.x; i < gridDim.x; i += blockDim.x) total += ((volatile double*)parts)[i];
    total = block_sum_double(total);
    if (threadIdx.x == 0) *norm = (float)sqrt(total);
}

// x <- x min(1, limit / (norm + 1e-6)), in float as the reference; a NaN of the norm goes to all.
extern "C" __global__ void shrink(i64* table, const float* norm, double limit) {
    float factor = (float)limit / (*norm + 1e-6f);
    if (factor >= 1.f) return;
    Place at = place(table, WIDTH);
    by_dtype(at, X, [=](auto* x) { change(x, at.n, [=](float v) { return v * factor; }); });
}

// x <- min(max(x, -limit), limit); NaN stays.
extern "C" __global__ void clamp(i64* table, double limit) {
    Place at = place(table, WIDTH);
    float top = (float)limit;
    by_dtype(at, X, [=](auto* x) {
        change(x, at.n, [=](float v) { return v > top ? top : v < -top ? -top : v; });
    });
}

// x <- 0.
extern "C" __global__ void zero(i64* table) {
    Place at = place(table, WIDTH);
    by_dtype(at, X, [=](auto* x) { change(x, at.n, [](float) { return 0.f; }); });
}

// x <- x / scale; found becomes 1 if an x is not finite.
extern "C" __global__ void unscale(i64* table, const float* scale, float* found) {
    Place at = place(table, WIDTH);
    float inverse = (float)(1. / (double)*scale);
    by_dtype(at, X, [=](auto* x) {
        change(x, at.n, [=](float v) {
            if (!(fabsf(v) <= 3.402823466e38f)) *found = 1.f;  // whoever writes it writes the same
            return v * inverse;
        });
    });
}

// The next scale: lower after a gradient that was not finite, higher after `interval` good steps in a row. One thread.
extern "C" __global__ void update_scale(float* scale, int* good, const float* found, const double* given, Numbers now) {
    if (*found != 0.f) {
        *scale = (float)(*scale * now.get(given, BACKOFF));
        *good = 0;
    } else if (*good + 1 == (int)now.get(given, INTERVAL)) {
        float grown = (float)(*scale * now.get(given, GROWTH));
        if (fabsf(grown) <= 3.402823466e38f) *scale = grown;
        *good = 0;
    } else {
        *good += 1;
    }
}
