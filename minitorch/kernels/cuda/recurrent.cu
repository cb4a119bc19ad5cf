// One step of an LSTM and of a GRU, all that is not a matrix product: a thread a sequence and a feature.
// macros: DTYPE
#include "common.cuh"

// Rows are packed as in ops/recurrent.py: step t has the rows from `start` on, `live` of them, one for each sequence that
// lives. `awake` says how many of these had a step before: their state is at hand, that of the others is the first one.
// Matrices of N rows come whole; `n` is the size of the state. dz, dy, ... may be null where that is said.

__device__ __forceinline__ float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

// z: W h of the live rows (live, 4n).  x, gates: (N, 4n).  c: (B, n), the cells in float.  h: (B, n).
//     i, f, o = s(z + x)    g = tanh(z + x)    c = f c + i g    y = h = o tanh(c)
extern "C" __global__ void lstm_forward(const float* z, const T* x, const T* c0, float* c, T* gates, T* cells, T* y, T* h, i64 n,
                                        i64 start, i64 live, i64 awake) {
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= live * n) return;
    i64 b = at / n, k = at % n, row = start + b;
    z += b * 4 * n + k, x += row * 4 * n + k, gates += row * 4 * n + k;
    float i = sigmoid(z[0] + load(x[0])), f = sigmoid(z[n] + load(x[n]));
    float g = tanhf(z[2 * n] + load(x[2 * n])), o = sigmoid(z[3 * n] + load(x[3 * n]));
    float cell = f * (b < awake ? c[at] : load(c0[at])) + i * g;
    T out = store<T>(o * tanhf(cell));
    c[at] = cell;
    cells[row * n + k] = store<T>(cell);
    y[row * n + k] = out, h[at] = out;
    gates[0] = store<T>(i), gates[n] = store<T>(f), gates[2 * n] = store<T>(g), gates[3 * n] = store<T>(o);
}

// dh, dc: (B, n), what the next step sends back; for sequences from `known` on there was none yet: zero.
// before: the row of sequence 0 one step earlier.  h_before: (N, n) gets the state that each step started from.
// dy, dcells (N, n) and dgates (N, 4n) may be null.
extern "C" __global__ void lstm_backward(const T* gates, const T* cells, const T* c0, const T* h0, const T* y, const T* dy,
                                         const T* dcells, const T* dgates, const float* dh, float* dc, T* dz,
                                         T* h_before, i64 n, i64 start, i64 live, i64 before, i64 awake, i64 known) {
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= live * n) return;
    i64 b = at / n, k = at % n, row = start + b, one = row * n + k, four = row * 4 * n + k, old = (before + b) * n + k;
    float i = load(gates[four]), f = load(gates[four + n]), g = load(gates[four + 2 * n]), o = load(gates[four + 3 * n]);
    float cell = load(cells[one]), c_before = load(b < awake ? cells[old] : c0[at]), t = tanhf(cell);
    float dm = (dy ? load(dy[one]) : 0.f) + (b < known ? dh[at] : 0.f);
    float d = dm * o * (1.f - t * t) + (b < known ? dc[at] : 0.f) + (dcells ? load(dcells[one]) : 0.f);
    float di = d * g, df = d * c_before, dg = d * i, dO = dm * t;
    if (dgates) {
        di += load(dgates[four]), df += load(dgates[four + n]);
        dg += load(dgates[four + 2 * n]), dO += load(dgates[four + 3 * n]);
    }
    dz[four] = store<T>(di * i * (1.f - i)), dz[four + n] = store<T>(df * f * (1.f - f));
    dz[four + 2 * n] = store<T>(dg * (1.f - g * g)), dz[four + 3 * n] = store<T>(dO * o * (1.f - o));
    dc[at] = d * f;
    h_before[one] = b < awake ? y[old] : h0[at];
}

// a: W h of the live rows (live, 3n).  x: (N, 3n).  gates: (N, 4n), r, z, n and q.  h: (B, n), changed in place.
//     r, z = s(x + a + b)    q = a_n + b_n    new = tanh(x_n + r q)    y = h = new + z (h - new)
extern "C" __global__ void gru_forward(const float* a, const T* bias, const T* x, T* gates, T* y, T* h, i64 n, i64 start,
                                       i64 live) {
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= live * n) return;
    i64 b = at / n, k = at % n, row = start + b;
    a += b * 3 * n + k, x += row * 3 * n + k, gates += row * 4 * n + k;
    float r = sigmoid(load(x[0]) + a[0] + (bias ? load(bias[k]) : 0.f));
    float z = sigmoid(load(x[n]) + a[n] + (bias ? load(bias[k + n]) : 0.f));
    float q = a[2 * n] + (bias ? load(bias[k + 2 * n]) : 0.f);
    float fresh = tanhf(load(x[2 * n]) + r * q);
    T out = store<T>(fresh + z * (load(h[at]) - fresh));
    y[row * n + k] = out, h[at] = out;
    gates[0] = store<T>(r), gates[n] = store<T>(z), gates[2 * n] = store<T>(fresh), gates[3 * n] = store<T>(q);
}

// dh: (B, n), as above; what z keeps of it is left there, and the product adds what goes through the gates.  dx, da: (N, 3n).
extern "C" __global__ void gru_backward(const T* gates, const T* h0, const T* y, const T* dy, const T* dgates, float* dh,
                                        T* dx, T* da, T* h_before, i64 n, i64 start, i64 live, i64 before, i64 awake,
                                        i64 known) {
    i64 at = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= live * n) return;
    i64 b = at / n, k = at % n, row = start + b, one = row * n + k, three = row * 3 * n + k, four = row * 4 * n + k;
    float r = load(gates[four]), z = load(gates[four + n]), fresh = load(gates[four + 2 * n]), q = load(gates[four + 3 * n]);
    T state = b < awake ? y[(before + b) * n + k] : h0[at];
    float d = (dy ? load(dy[one]) : 0.f) + (b < known ? dh[at] : 0.f);
    float dn = d * (1.f - z), dz = d * (load(state) - fresh), dq = 0.f, dr = 0.f;
    if (dgates) {
        dr = load(dgates[four]), dz += load(dgates[four + n]);
        dn += load(dgates[four + 2 * n]), dq = load(dgates[four + 3 * n]);
    }
    dn *= 1.f - fresh * fresh;
    dr = (dr + dn * q) * r * (1.f - r), dz *= z * (1.f - z), dq += dn * r;
    dx[three] = da[three] = store<T>(dr), dx[three + n] = da[three + n] = store<T>(dz);
    dx[three + 2 * n] = store<T>(dn), da[three + 2 * n] = store<T>(dq);
    dh[at] = d * z;
    h_before[one] = state;
}
