// Adam and AdamW over all parameters of a group: optim/adam.py.
// macros: CHUNK=8192 NUMBERS=8
#include "many.cuh"

enum Row { ELEMENTS, GRADIENTS_DTYPE, P, G, M, V, STEP, WIDTH };
enum Number { LR, BETA1, BETA2, DECAY, DECOUPLED, SIGN, EPS };

struct Rates {  // what one element's update needs
    float beta1, rest1, beta2, rest2, decay, shrink, sign, eps, step, root;

    __device__ __forceinline__ void update(float& p, float g, float& m, float& v) const {
        float d = sign * g;
        if (decay != 0.f) d += decay * p;  // 0 p would make a NaN of an infinite parameter
        m = beta1 * m + rest1 * d;
        v = beta2 * v + rest2 * d * d;
        p = shrink * p - step * m / (sqrtf(v) * root + eps);
    }
};

template <typename V> __device__ __forceinline__ void run(const Rates& rates, float* p, const V* g, float* m, float* v, i64 n) {
    i64 packs = aligned(p) && aligned(g) && aligned(m) && aligned(v) ? n / 4 : 0;
    for (i64 i = threadIdx.x; i < packs; i += blockDim.x) {
        Pack<float, 4> ps = ((Pack<float, 4>*)p)[i], ms = ((Pack<float, 4>*)m)[i], vs = ((Pack<float, 4>*)v)[i];
        Pack<V, 4> gs = ((const Pack<V, 4>*)g)[i];
        for (int k = 0; k < 4; k++) rates.update(ps.at[k], load(gs.at[k]), ms.at[k], vs.at[k]);
        ((Pack<float, 4>*)p)[i] = ps;
        ((Pack<float, 4>*)m)[i] = ms;
        ((Pack<float, 4>*)v)[i] = vs;
    }
    for (i64 i = 4 * packs + threadIdx.x; i < n; i += blockDim.x) rates.update(p[i], load(g[i]), m[i], v[i]);
}

// tensor_lr, found_inf: null, or numbers on the GPU: the learning rate; whether to do nothing.
extern "C" __global__ void __launch_bounds__(256) adam(i64* table, const double* given, const float* tensor_lr, const float* found_inf, Numbers now) {
    if (found_inf && *found_inf != 0.f) return;
    __shared__ Rates shared;
    Place at = place(table, WIDTH);
    if (threadIdx.x == 0) {
        double lr = tensor_lr ? (double)*tensor_lr : now.get(given, LR), t = (double)*(const float*)at.row[STEP] + 1.;
        double beta1 = now.get(given, BETA1), beta2 = now.get(given, BETA2), decay = now.get(given, DECAY);
        bool decoupled = now.get(given, DECOUPLED) != 0.;
        shared.beta1 = (float)beta1;
        shared.rest1 = (float)(1. - beta1);
        shared.beta2 = (float)beta2;
        shared.rest2 = (float)(1. - beta2);
        shared.decay = decoupled ? 0.f : (float)decay;
        shared.shrink = decoupled ? (float)(1. - lr * decay) : 1.f;
        shared.sign = (float)now.get(given, SIGN);
        shared.eps = (float)now.get(given, EPS);
        shared.step = (float)(lr / (1. - pow(beta1, t)));
        shared.root = (float)(1. / sqrt(1. - pow(beta2, t)));
    }
    __syncthreads();
    Rates rates = shared;
    float *p = (float*)at.row[P] + at.start, *m = (float*)at.row[M] + at.start, *v = (float*)at.row[V] + at.start;
    by_dtype(at, G, [=](auto* g) { run(rates, p, g, m, v, at.n); });
    if (last_block(table))  // all have read the steps
        for (i64 i = threadIdx.x; i < table[1]; i += blockDim.x) *(float*)row_of(table, i, WIDTH)[STEP] += 1.f;
}
