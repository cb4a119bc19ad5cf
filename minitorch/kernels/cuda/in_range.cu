// Indices checked and put in range. macros: INDEX=int,i64
#include "common.cuh"

#ifndef INDEX
#define INDEX i64
#endif

// y_i = x_i, or the nearest end of low, ..., stop - 1 where it is out of range; then `flag` gets `code`, unless it has one
// (backend/checks.py).
extern "C" __global__ void in_range(const INDEX* x, INDEX* y, i64 n, i64 low, i64 stop, int* flag, i64 code) {
    i64 step = (i64)gridDim.x * blockDim.x;
    for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        i64 k = x[i];
        if (k < low || k >= stop) {
            if (*flag == 0) *flag = (int)code;
            k = k < low || stop <= low ? low : stop - 1;
        }
        y[i] = (INDEX)k;
    }
}
