// Softmax and its logarithm over rows of n numbers: a block a row, and for short rows a warp a row.
// macros: DTYPE LOGARITHM=0,1 ROW_BY_WARP=0,1
#include "rows.cuh"

#ifndef LOGARITHM
#define LOGARITHM 0
#endif

extern "C" __global__ void forward(const T* x, T* y, i64 rows, i64 n) {
    i64 row = my_row();
    if (row >= rows) return;  // a whole warp
    x += row * n, y += row * n;
    int head = before_packs(n, x, y);
    Exponentials all;
    share(n, head, [&](int j, auto width) {
        auto v = read(x + j, width);
        for (float a : v.at) all.add(a);
    });
    all.over_row();
    float shift = logf(all.sum), part = 1.f / all.sum;
    share(n, head, [&](int j, auto width) {
        auto v = read(x + j, width);
        for (float& a : v.at) a = LOGARITHM ? a - all.top - shift : expf(a - all.top) * part;
        write(y + j, v);
    });
}

extern "C" __global__ void backward(const T* dy, const T* y, T* dx, i64 rows, i64 n) {
    i64 row = my_row();
    if (row >= rows) return;
    dy += row * n, y += row * n, dx += row * n;
    int head = before_packs(n, dy, y, dx);
    float sum = 0.f;
    share(n, head, [&](int j, auto width) {
        auto d = read(dy + j, width), v = read(y + j, width);
        for (int i = 0; i < width.count; i++) sum += LOGARITHM ? d.at[i] : d.at[i] * v.at[i];
    });
    sum = row_sum(sum);
    share(n, head, [&](int j, auto width) {
        auto d = read(dy + j, width), v = read(y + j, width);
        for (int i = 0; i < width.count; i++)
            d.at[i] = LOGARITHM ? d.at[i] - expf(v.at[i]) * sum : v.at[i] * (d.at[i] - sum);
        write(dx + j, d);
    });
}
