// SGD over all parameters of a group: optim/sgd.py.
// macros: CHUNK=8192 NUMBERS=8
#include "many.cuh"

enum Row { ELEMENTS, GRADIENTS_DTYPE, P, G, B, WIDTH };  // B: 0 without momentum
enum Number { LR, MOMENTUM, DAMPENING, DECAY, NESTEROV, SIGN };

// tensor_lr, found_inf: null, or numbers on the GPU: the learning rate; whether to do nothing.
extern "C" __global__ void sgd(i64* table, const double* given, const float* tensor_lr, const float* found_inf, Numbers now) {
    if (found_inf && *found_inf != 0.f) return;
    Place at = place(table, WIDTH);
    float lr = tensor_lr ? *tensor_lr : (float)now.get(given, LR), momentum = (float)now.get(given, MOMENTUM);
    float rest = (float)(1. - now.get(given, DAMPENING)), decay = (float)now.get(given, DECAY);
    float sign = (float)now.get(given, SIGN);
    bool nesterov = now.get(given, NESTEROV) != 0.;
    float *p = (float*)at.row[P] + at.start, *b = at.row[B] ? (float*)at.row[B] + at.start : nullptr;
    by_dtype(at, G, [=](auto* g) {
        for (i64 i = threadIdx.x; i < at.n; i += blockDim.x) {
            float d = sign * load(g[i]);
            if (decay != 0.f) d += decay * p[i];  // 0 p would make a NaN of an infinite parameter
            if (b) {
                float mean = momentum * b[i] + rest * d;
                b[i] = mean;
                d = nesterov ? d + momentum * mean : mean;
            }
            p[i] -= lr * d;
        }
    });
}
