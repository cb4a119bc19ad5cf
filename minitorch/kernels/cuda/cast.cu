// Between float32, float16 and bfloat16, rounded to the nearest, ties to even; and to these from bool, int32 and int64, by way of
// float32 (C++ converts them when it calls `load`). DTYPE is what becomes of FROM.
// macros: DTYPE FROM=float,half_t,bfloat_t,bool,int,i64
#include "common.cuh"
#include "packs.cuh"

#ifndef FROM
#define FROM float
#endif

extern "C" __global__ void cast(const FROM* x, T* y, i64 n) {
    map<4>(n, x, y, [](float x) { return x; });
}
