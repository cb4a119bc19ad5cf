// Functions of one number: y_i = f(x_i), dx_i = f'(dy_i, what was saved), each in one launch. The formulas are those of
// ops/activation.py and ops/elementwise.py, written so that NaN and infinities come out as there. p, q, r: the options.
// macros: DTYPE
#include "common.cuh"
#include "gelu.cuh"
#include "packs.cuh"

#define UNARY(name, forward, backward)                                                                          \
    extern "C" __global__ void name##_forward(const T* x, T* y, i64 n, double p64, double q64, double r64) {    \
        float p = (float)p64, q = (float)q64, r = (float)r64;                                                   \
        map<PACKED>(n, x, y, [=](float x) { return forward; });                                                 \
    }                                                                                                           \
    extern "C" __global__ void name##_backward(const T* dy, const T* s, T* dx, i64 n, double p64, double q64,   \
                                               double r64) {                                                    \
        float p = (float)p64, q = (float)q64, r = (float)r64;                                                   \
        map<PACKED>(n, dy, s, dx, [=](float dy, float s) { return backward; });                                 \
    }

__device__ __forceinline__ float sigmoid(float x) {
    float e = expf(-fabsf(x));
    return (x >= 0.f ? 1.f : e) / (1.f + e);
}

#define ROOT_2_OVER_PI 0.79788456f   // sqrt(2 / pi)

__device__ __forceinline__ float gelu_tanh(float x) {
    return 0.5f * x * (1.f + tanhf(ROOT_2_OVER_PI * (x + 0.044715f * (x * x * x))));
}
__device__ __forceinline__ float gelu_tanh_slope(float x) {
    float t = tanhf(ROOT_2_OVER_PI * (x + 0.044715f * (x * x * x)));
    return 0.5f * (1.f + t) + 0.5f * x * (1.f - t * t) * (ROOT_2_OVER_PI * (1.f + 3.f * 0.044715f * (x * x)));
}

__device__ __forceinline__ float silu_slope(float x) {
    float s = sigmoid(x);
    return s + x * s * (1.f - s);
}

__device__ __forceinline__ float softplus(float x, float beta, float threshold) {
    float z = x * beta;
    return z > threshold ? x : (larger(z, 0.f) + log1pf(expf(-fabsf(z)))) / beta;
}

__device__ __forceinline__ float sign(float x) { return x > 0.f ? 1.f : x < 0.f ? -1.f : x; }
__device__ __forceinline__ float within(float x, float low, float high) {  // NaN stays
    return x < low ? low : x > high ? high : x;
}

//     name         y                                         dx; s is x or y
UNARY(relu,         larger(x, 0.f),                           dy * (s > 0.f ? 1.f : 0.f))
UNARY(leaky_relu,   x > 0.f ? x : x * p,                      s > 0.f ? dy : dy * p)
UNARY(tanh,         tanhf(x),                                 dy * (1.f - s * s))
UNARY(sigmoid,      sigmoid(x),                               dy * (s * (1.f - s)))
UNARY(log_sigmoid,  (x > 0.f ? 0.f : x) - log1pf(expf(-fabsf(x))),   dy * -expm1f(s))
UNARY(gelu,         x * normal_share(x),                      dy * gelu_slope(s))
UNARY(gelu_tanh,    gelu_tanh(x),                             dy * gelu_tanh_slope(s))
UNARY(silu,         x / (1.f + expf(-x)),                     dy * silu_slope(s))
UNARY(elu,          (x > 0.f ? x : p * expm1f(x * r)) * q,    dy * q * (s > 0.f ? 1.f : p * r * expf(s * r)))
UNARY(softplus,     softplus(x, p, q),                        dy * (s * p > q ? 1.f : sigmoid(s * p)))
UNARY(hard_sigmoid, within(x + 3.f, 0.f, 6.f) / 6.f,          s > -3.f && s < 3.f ? dy * (1.f / 6.f) : 0.f)
UNARY(hard_swish,   x * within(x + 3.f, 0.f, 6.f) / 6.f,      s <= -3.f ? 0.f : s < 3.f ? dy * (s * (1.f / 3.f) + 0.5f) : dy)
UNARY(exponential,  expf(x),                                  dy * s)
UNARY(logarithm,    logf(x),                                  dy / s)
UNARY(root,         sqrtf(x),                                 dy / (s + s))
UNARY(inverse_root, 1.f / sqrtf(x),                           dy * (-0.5f * s * s * s))
UNARY(reciprocal,   1.f / x,                                  -dy * (s * s))
UNARY(absolute,     fabsf(x),                                 dy * sign(s))
UNARY(negative,     -x,                                       -dy)
UNARY(square,       x * x,                                    dy * (s + s))
