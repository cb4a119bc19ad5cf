// Cross-entropy from logits z over rows of n classes (ops/loss.py: CrossEntropy), and the mean over the labels that count.
// macros: DTYPE ROW_BY_WARP=0,1
//
// No probability is stored: backward makes them anew from the logits, p = e^(z - top - log_sum), where top is the row's
// largest number and log_sum the logarithm of sum_j e^(z_j - top).   w: the classes' weights; null: 1 for each.
// With label smoothing e: own = 1 - e weighs the target's logarithm, rest = e / n every class's.
#include "rows.cuh"

__device__ __forceinline__ float weight_of(const float* w, i64 j) { return w ? w[j] : 1.f; }

// y: a loss for each row   kept: (2, rows), tops and log_sums   flag, code: see backend/checks.py
extern "C" __global__ void forward(const T* z, const i64* target, const float* w, T* y, float* kept, double own, double rest,
                                   i64 ignored, int* flag, i64 code, i64 rows, i64 n) {
    i64 row = my_row();
    if (row >= rows) return;  // a whole warp
    z += row * n;
    int head = before_packs(n, z);
    Exponentials all;
    share(n, head, [&](int j, auto width) {
        auto v = read(z + j, width);
        for (float a : v.at) all.add(a);
    });
    all.over_row();
    float top = all.top, log_sum = logf(all.sum), smooth = 0.f;
    if (rest != 0) {
        share(n, head, [&](int j, auto width) {
            auto v = read(z + j, width);
            for (int i = 0; i < width.count; i++) smooth += weight_of(w, j + i) * (log_sum + (top - v.at[i]));
        });
        smooth = row_sum(smooth);
    }
    if (my_place() != 0) return;
    i64 t = target[row];
    bool counts = t != ignored;
    if (counts && (t < 0 || t >= n)) {
        if (*flag == 0) *flag = (int)code;
        counts = false;
    }
    float loss = 0.f;
    if (counts) loss = (float)own * weight_of(w, t) * (log_sum + (top - load(z[t]))) + (float)rest * smooth;
    y[row] = store<T>(loss);
    kept[row] = top;
    kept[rows + row] = log_sum;
}

// dz = dy (p sum_c q_c - q), q_c = own w_t [c = t] + rest w_c.   dy: its elements are `stride` apart, 0 if it is one
// number for all rows   total: sum_c w_c; null: n
extern "C" __global__ void backward(const T* dy, i64 stride, const T* z, const i64* target, const float* w, const float* total,
                                    const float* kept, T* dz, double own, double rest, i64 ignored, i64 rows, i64 n) {
    i64 row = my_row();
    if (row >= rows) return;
    z += row * n, dz += row * n;
    i64 t = target[row];
    bool counts = t != ignored && t >= 0 && t < n;
    float g = counts ? load(dy[row * stride]) : 0.f, top = kept[row], log_sum = kept[rows + row], each = (float)rest;
    float at_target = counts ? (float)own * weight_of(w, t) : 0.f;
    float sum = at_target + each * (total ? *total : (float)n);
    share(n, before_packs(n, z, dz), [&](int j, auto width) {
        auto v = read(z + j, width);
        for (int i = 0; i < width.count; i++) {
            float q = each * weight_of(w, j + i) + (j + i == t ? at_target : 0.f);
            v.at[i] = g * (expf(v.at[i] - top - log_sum) * sum - q);
        }
        write(dz + j, v);
    });
}

// mean = sum of y / total, total = sum of w_t over the labels that count.   One block.
extern "C" __global__ void mean(const T* y, const i64* target, const float* w, T* mean, float* total, i64 ignored, i64 rows,
                                i64 n) {
    float sum = 0.f, weights = 0.f;
    for (i64 row = threadIdx.x; row < rows; row += blockDim.x) {
        i64 t = target[row];
        sum += load(y[row]);
        if (t != ignored && (!w || (t >= 0 && t < n))) weights += weight_of(w, t);
    }
    sum = block_sum(sum);
    weights = block_sum(weights);
    if (threadIdx.x == 0) {
        *mean = store<T>(sum / weights);
        *total = weights;
    }
}
