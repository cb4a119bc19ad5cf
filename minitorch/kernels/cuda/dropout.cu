// Dropout with the elements to keep given: y = x keep scale. A product, so that NaN stays; its own gradient.
// macros: DTYPE
#include "common.cuh"
#include "packs.cuh"

extern "C" __global__ void masked(const T* x, const bool* keep, T* y, i64 n, double scale64) {
    float scale = (float)scale64;
    map<PACKED>(n, x, keep, y, [=](float x, float keep) { return x * (keep * scale); });
}
