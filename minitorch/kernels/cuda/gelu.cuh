// GELU(x) = x P(x), P the normal distribution function, and its slope P(x) + x p(x): ops/activation.py.
#pragma once

#define ROOT_HALF 0.70710678f        // 1 / sqrt(2)
#define DENSITY_AT_0 0.39894228f     // 1 / sqrt(2 pi)

__device__ __forceinline__ float normal_share(float x) { return 0.5f + 0.5f * erff(x * ROOT_HALF); }
__device__ __forceinline__ float gelu_slope(float x) {
    return normal_share(x) + x * (expf(-0.5f * x * x) * DENSITY_AT_0);
}
