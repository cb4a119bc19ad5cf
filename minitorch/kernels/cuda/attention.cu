// Attention that keeps no scores: y = dropout(softmax(scale q k^T + mask)) v, and its gradients.        arXiv:2205.14135
//
// A block owns some rows (ROWS; 16 a warp) of one head and goes over the other side in pieces (TILE rows), which lie in shared
// memory: `forward` and `backward_queries` own queries and go over the keys, `backward_keys` the other way round. A piece of
// scores exists in registers only. Of each row of P the maximum and 1 / sum are kept, from which backward makes P again.
// Scores are in units of log 2: exp(x) = 2^(x log2 e). Every sum has one fixed order.
//
// macros: DTYPE D=32,64,128
#include "mma.cuh"

#ifndef D  // numbers in a row of q, k, v and y, filled up with zeros
#define D 64
#endif

constexpr bool HALF = sizeof(T) == 2;
constexpr int WARPS = !HALF && D > 64 ? 2 : 4;
constexpr int ROWS = 16 * WARPS;
constexpr int TILE = (HALF ? 64 : 32) / (D > 64 ? 2 : 1);
constexpr int STEP = D + 16 / sizeof(T);            // from row to row in shared memory: no two of 8 rows share a bank
constexpr int ROOM = HALF ? 0 : 16 * (TILE + 4);    // a warp's room for `rounded`
constexpr float LOG2E = 1.4426950408889634f;

struct Strides { i64 batch, head, row; };           // of an array (B, h, rows, D), in numbers
struct Task {
    Strides q, k, v;
    i64 mask_batch, mask_head, mask_row, mask_key;
    i64 h, L, S, d, e, causal;
    double scale, factor;                           // factor: 1 / (1 - p) of dropout
    u64 start;                                      // dropout: words as in DeviceGenerator.reserve;
    i64 offset, threshold;                          // kept if 16 of a word's bits are below `threshold`, up to 65536
};

// --- what hides scores -----------------------------------------------------------------------------------------------

// One head's mask: booleans or numbers or neither.
struct Mask {
    const bool* shown;
    const T* added;
    i64 row, key;
    int L, S, causal;

    __device__ Mask(const bool* shown, const T* added, const Task& task, i64 b, i64 head)
        : shown(shown), added(added), row(task.mask_row), key(task.mask_key), L(task.L), S(task.S), causal(task.causal) {
        i64 at = b * task.mask_batch + head * task.mask_head;
        if (shown) this->shown += at;
        if (added) this->added += at;
    }
    // Whether queries i .. last_i - 1 all see keys j .. last_j - 1, and no numbers are added: the same for a whole warp. Where
    // some queries see more than others by `shown`, it is not looked for.
    __device__ __forceinline__ bool hides_nothing(int i, int last_i, int j, int last_j) const {
        if (added || last_i > L || last_j > S || (causal && last_j > i + 1)) return false;
        if (!shown || row) return !shown;
        bool all = true;
        for (j += lane_of(); j < last_j; j += 32) all = all && shown[j * key];
        return __all_sync(FULL, all);
    }
    __device__ __forceinline__ bool shows(int i, int j) const {
        return j < S && i < L && (!causal || j <= i) && (!shown || shown[i * row + j * key]);
    }
    // A score (in units of log 2) with its mask's number; finite stays finite, as it does in other units.
    __device__ __forceinline__ float plus(float s, int i, int j) const {
        if (!added) return s;
        float x = load(added[i * row + j * key]), y = x * LOG2E;
        return s + (y == -INFINITY && x != -INFINITY ? -3.4028234e38f : y);
    }
};

// Dropout: a word serves queries i, i + 1 and keys j, j + 1 (i, j even); 16 bits each, number 2 (i % 2) + j % 2.
struct Dropout {
    u64 start, first;
    int width, threshold;

    __device__ Dropout(const Task& task, const u64* base, i64 pair)
        : start(task.start), width((task.S + 1) / 2), threshold(task.threshold) {
        first = (base ? *base : 0) + task.offset + 1 + (u64)pair * ((task.L + 1) / 2) * width;
    }
    // What of a lane's part of a piece is kept: bit 4n + c for at[n][c]. `row`: what the lane's first row is (of keys if
    // KEYS_DOWN, else of queries), `column`: the first column. Two lanes with neighbouring rows need the same two words:
    // each makes one and hands over the half that the other needs.
    template <bool KEYS_DOWN, int N> __device__ __forceinline__ u32 kept(int row, int column) const {
        bool odd = row & 1;
        int own = odd ? row + 8 : row;
        u32 bits = 0;
#pragma unroll
        for (int n = 0; n < N / 8; n++) {
            int other = column + 8 * n + 2 * (lane_of() & 3);
            int i = KEYS_DOWN ? other : own, j = KEYS_DOWN ? own : other;
            u64 word = random_word(start, first + (u64)(i >> 1) * width + (j >> 1));
            u32 even_part = word, odd_part = word >> 32;
            if (KEYS_DOWN) {
                even_part = (u32)(word & 0xffff) | (u32)(word >> 32) << 16;
                odd_part = (u32)(word >> 16 & 0xffff) | (u32)(word >> 48) << 16;
            }
            u32 mine = odd ? odd_part : even_part, theirs = __shfl_xor_sync(FULL, odd ? even_part : odd_part, 4);
            u32 upper = odd ? theirs : mine, lower = odd ? mine : theirs;
            bits |= (u32)((int)(upper & 0xffff) < threshold) << 4 * n | (u32)((int)(upper >> 16) < threshold) << (4 * n + 1) |
                    (u32)((int)(lower & 0xffff) < threshold) << (4 * n + 2) | (u32)((int)(lower >> 16) < threshold) << (4 * n + 3);
        }
        return bits;
    }
    __device__ __forceinline__ bool any() const { return threshold < 65536; }
};

__device__ __forceinline__ float power_of_2(float x) {
#ifdef EMULATED
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// --- memory ----------------------------------------------------------------------------------------------------------

// Begins to bring N rows of x to shared memory; 0 stands beyond `rows` rows and `width` numbers. `arrive` ends it.
template <int N> __device__ __forceinline__ void fetch(T* to, const T* x, i64 step, i64 rows, int width) {
    constexpr int PACK = 16 / sizeof(T);
    if (((u64)x | step * sizeof(T) | width * sizeof(T)) % 16 == 0) {
        for (int i = threadIdx.x; i < N * (D / PACK); i += 32 * WARPS) {
            int row = i / (D / PACK), column = i % (D / PACK) * PACK;
            bool there = row < rows && column < width;
            T* target = to + row * STEP + column;
            const T* source = there ? x + row * step + column : x;
#if defined(EMULATED)
            emulated::copy_later(target, source, there);
#elif __CUDA_ARCH__ < 800
            *(float4*)target = there ? *(const float4*)source : make_float4(0.f, 0.f, 0.f, 0.f);
#else
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                         :: "r"((u32)__cvta_generic_to_shared(target)), "l"(source), "r"(there ? 16 : 0) : "memory");
#endif
        }
    } else {
        for (int i = threadIdx.x; i < N * D; i += 32 * WARPS) {
            int row = i / D, column = i % D;
            to[row * STEP + column] = row < rows && column < width ? x[row * step + column] : store<T>(0.f);
        }
    }
}
__device__ __forceinline__ void arrive() {
#if defined(EMULATED)
    emulated::wait_for_copies();
#elif __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
    __syncthreads();
}

// The sums times each row's factor, to 16 rows of x (B, n, h, width), of which there are `rows`.
__device__ __forceinline__ void put(const Sums<D>& sums, const float (&factor)[2], T* x, i64 step, i64 rows, int width) {
    int g = lane_of() >> 2, t = lane_of() & 3;
#pragma unroll
    for (int n = 0; n < D / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i += 2) {
            int row = g + 4 * i, column = 8 * n + 2 * t;
            T* to = x + row * step + column;
            float a = sums.at[n][i] * factor[i / 2], b = sums.at[n][i + 1] * factor[i / 2];
            if (row >= rows || column >= width) continue;
            if (width % 2 == 0) *(Pack<T, 2>*)to = {store<T>(a), store<T>(b)};
            else {
                to[0] = store<T>(a);
                if (column + 1 < width) to[1] = store<T>(b);
            }
        }
}

// --- forward ---------------------------------------------------------------------------------------------------------

// Over the 4 lanes that share rows.
__device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(FULL, x, 1));
    return fmaxf(x, __shfl_xor_sync(FULL, x, 2));
}
__device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(FULL, x, 1);
    return x + __shfl_xor_sync(FULL, x, 2);
}

// y (B, L, h, e); rows (B, h, 2, L): the maximum of each row of scores and 1 / the sum of 2^(score - maximum).
// Grid: blocks of queries, head after head; parts of so many `keys` each, with a y and rows of its own, which `join` puts
// together. Two pieces of keys and values have room: one is used, one is on its way.
extern "C" __global__ void __launch_bounds__(128) forward(
    const T* q, const T* k, const T* v, const bool* shown, const T* added, const u64* base, T* y, float* rows, i64 keys,
    Task task) {
    DYNAMIC_SHARED(T, shared_q);
    T* pieces = shared_q + ROWS * STEP;
    int warp = threadIdx.x >> 5, g = lane_of() >> 2, t = lane_of() & 3, L = task.L, S = task.S;
    T* room = pieces + 4 * TILE * STEP + warp * ROOM;
    int blocks = (L + ROWS - 1) / ROWS;
    i64 pair = blockIdx.x / blocks, b = pair / task.h, head = pair % task.h;
    int first_query = (blocks - 1 - (int)(blockIdx.x % blocks)) * ROWS;  // the longest rows of a causal mask first
    int row = first_query + 16 * warp + g, begin = blockIdx.y * keys;
    int end = min(task.causal ? min(S, first_query + ROWS) : S, (int)(begin + keys));
    Mask mask(shown, added, task, b, head);
    Dropout dropout(task, base, pair);
    q += b * task.q.batch + head * task.q.head + first_query * task.q.row;
    k += b * task.k.batch + head * task.k.head;
    v += b * task.v.batch + head * task.v.head;
    i64 pairs = gridDim.x / blocks;
    y += blockIdx.y * pairs * L * task.e;
    rows += blockIdx.y * pairs * 2 * L;
    float scale = (float)task.scale * LOG2E, top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    int seen = 0;  // bit 0: the lane's first row sees a key; bit 1: its second
    Sums<D> out = {};
    Held<T, D> left;

    auto bring = [&](int first, T* to) {
        fetch<TILE>(to, k + first * task.k.row, task.k.row, S - first, task.d);
        fetch<TILE>(to + TILE * STEP, v + first * task.v.row, task.v.row, S - first, task.e);
    };
    if (begin < end) {
        fetch<ROWS>(shared_q, q, task.q.row, L - first_query, task.d);
        bring(begin, pieces);
    }
    for (int first = begin, turn = 0; first < end; first += TILE, turn ^= 1) {
        arrive();
        if (first == begin) left = held<T, D>(Stored<T>{shared_q + 16 * warp * STEP, STEP});
        if (first + TILE < end) bring(first + TILE, pieces + 2 * TILE * STEP * (turn ^ 1));
        const T *shared_k = pieces + 2 * TILE * STEP * turn, *shared_v = shared_k + TILE * STEP;
        Sums<TILE> s = {};
        multiply_rows<TILE, D>(s, left, shared_k, STEP);
        bool plain = mask.hides_nothing(first_query, first_query + ROWS, first, first + TILE);
        if (plain) seen = 3;
#pragma unroll
        for (int n = 0; n < TILE / 8; n++)
#pragma unroll
            for (int c = 0; c < 4; c++) {
                float& x = s.at[n][c];
                x *= scale;
                if (!plain) {
                    int i = row + c / 2 * 8, j = first + 8 * n + 2 * t + c % 2;
                    bool here = mask.shows(i, j);
                    seen |= here << c / 2;
                    x = here ? mask.plus(x, i, j) : -INFINITY;
                }
            }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float high = top[r];  // fmaxf passes a NaN by; as 2^NaN it gets into the sum
#pragma unroll
            for (int n = 0; n < TILE / 8; n++) high = fmaxf(high, fmaxf(s.at[n][2 * r], s.at[n][2 * r + 1]));
            high = row_max(high);
            float shift = high == -INFINITY ? 0.f : high, shrink = power_of_2(top[r] - shift);
            top[r] = high;
            sum[r] *= shrink;
#pragma unroll
            for (int n = 0; n < TILE / 8; n++)
#pragma unroll
                for (int c = 2 * r; c < 2 * r + 2; c++) sum[r] += s.at[n][c] = power_of_2(s.at[n][c] - shift);
#pragma unroll
            for (int n = 0; n < D / 8; n++) out.at[n][2 * r] *= shrink, out.at[n][2 * r + 1] *= shrink;
        }
        if (dropout.any()) {
            u32 bits = dropout.kept<false, TILE>(row, first);
#pragma unroll
            for (int n = 0; n < TILE / 8; n++)
#pragma unroll
                for (int c = 0; c < 4; c++) s.at[n][c] = bits >> (4 * n + c) & 1 ? s.at[n][c] : 0.f;
        }
        multiply<D, TILE>(out, rounded<T>(s, room), shared_v, STEP);
    }

    float factor[2];
    seen |= __shfl_xor_sync(FULL, seen, 1);
    seen |= __shfl_xor_sync(FULL, seen, 2);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float part = 1.f / row_sum(sum[r]);
        if (shown && !(seen >> r & 1)) top[r] = part = 0.f;  // all keys are hidden: P = 0
        factor[r] = part * (float)task.factor;
        int i = row + 8 * r;
        if (t == 0 && i < L) rows[pair * 2 * L + i] = top[r], rows[(pair * 2 + 1) * L + i] = part;
    }
    int i = first_query + 16 * warp;
    put(out, factor, y + ((b * L + i) * task.h + head) * task.e, task.h * task.e, L - i, task.e);
}

// y and rows from those of `parts` parts.        Grid: the n rows of y (B, L, h, e), a warp each.
extern "C" __global__ void join(const T* of_parts, const float* rows_of_parts, T* y, float* rows, i64 parts, i64 n, Task task) {
    i64 at = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), head = at % task.h, i = at / task.h % task.L;
    if (at >= n) return;
    i64 place = (at / task.h / task.L * task.h + head) * 2 * task.L + i;
    // Part p's maximum, and 1 / sum: 0 where all its keys are hidden, infinite where it has none.
    auto top_of = [&](i64 p) { return rows_of_parts[p * 2 * n + place]; };
    auto part_of = [&](i64 p) { return rows_of_parts[p * 2 * n + place + task.L]; };
    float top = -INFINITY, total = 0.f;
    bool seen = false;
    for (i64 p = 0; p < parts; p++) {
        seen |= part_of(p) != 0.f;
        if (part_of(p) != 0.f) top = fmaxf(top, top_of(p));
    }
    auto weight_of = [&](i64 p) {
        float part = part_of(p);
        return part == 0.f || part == INFINITY ? 0.f : power_of_2(top_of(p) - top) / part;
    };
    for (i64 p = 0; p < parts; p++) total += weight_of(p);
    float part = seen ? 1.f / total : 0.f;
    for (i64 c = lane_of(); c < task.e; c += 32) {
        float sum = 0.f;
        for (i64 p = 0; p < parts; p++)
            if (part_of(p) != INFINITY) sum += weight_of(p) * load(of_parts[(p * n + at) * task.e + c]);
        y[at * task.e + c] = store<T>(sum * part);
    }
    if (lane_of() == 0) rows[place] = seen ? top : 0.f, rows[place + task.L] = part;
}

// --- backward --------------------------------------------------------------------------------------------------------

// dots (B, h, L): the sum of dy y over a row, which is that of dP P.      Grid: the rows of dy and y, (B, L, h, e), a warp each.
extern "C" __global__ void row_dots(const T* dy, const T* y, float* dots, i64 rows, Task task) {
    i64 at = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), n = task.e;
    if (at >= rows) return;
    float sum = 0.f;
    for (i64 c = lane_of(); c < n; c += 32) sum += load(dy[at * n + c]) * load(y[at * n + c]);
    sum = warp_sum(sum);
    i64 head = at % task.h, i = at / task.h % task.L, b = at / task.h / task.L;
    if (lane_of() == 0) dots[(b * task.h + head) * task.L + i] = sum;
}

// From the products s = q k^T and dA = dy v^T of a piece: s = P m (its factor comes later) and dA = dS / scale. top, part and
// dot are those of the piece's queries: the lane's two rows, or with KEYS_DOWN, the columns.
template <bool KEYS_DOWN> __device__ __forceinline__ void weigh(
    Sums<TILE>& s, Sums<TILE>& dA, const Mask& mask, const Dropout& dropout, const Task& task, int row, int column,
    bool plain, const float* top, const float* part, const float* dot) {
    float scale = (float)task.scale * LOG2E, factor = task.factor;
    int t = lane_of() & 3;
    u32 bits = dropout.any() ? dropout.kept<KEYS_DOWN, TILE>(row, column) : ~0u;
#pragma unroll
    for (int n = 0; n < TILE / 8; n++)
#pragma unroll
        for (int c = 0; c < 4; c++) {
            int local = 8 * n + 2 * t + c % 2, at = KEYS_DOWN ? local : c / 2;
            float x = s.at[n][c] * scale;
            if (!plain) {
                int down = row + c / 2 * 8, across = column + local;
                int i = KEYS_DOWN ? across : down, j = KEYS_DOWN ? down : across;
                x = mask.shows(i, j) ? mask.plus(x, i, j) : -INFINITY;
            }
            float P = power_of_2(x - top[at]) * part[at], m = bits >> (4 * n + c) & 1 ? 1.f : 0.f;
            s.at[n][c] = P * m;
            dA.at[n][c] = P * (dA.at[n][c] * (m * factor) - dot[at]);
        }
}

// dk (B, S, h, d) and dv (B, S, h, e).        Grid: blocks of keys, head after head.
extern "C" __global__ void __launch_bounds__(128) backward_keys(
    const T* q, const T* k, const T* v, const bool* shown, const T* added, const u64* base, const T* dy, const float* rows,
    const float* dots, T* dk, T* dv, Task task) {
    DYNAMIC_SHARED(T, shared_k);
    T *shared_v = shared_k + ROWS * STEP, *pieces = shared_v + ROWS * STEP;
    int warp = threadIdx.x >> 5, g = lane_of() >> 2, L = task.L, S = task.S;
    T* room = pieces + 4 * TILE * STEP + warp * ROOM;
    float* of_rows = (float*)(pieces + 4 * TILE * STEP + WARPS * ROOM);
    int blocks = (S + ROWS - 1) / ROWS;
    i64 pair = blockIdx.x / blocks, b = pair / task.h, head = pair % task.h;
    int first_key = (int)(blockIdx.x % blocks) * ROWS, row = first_key + 16 * warp + g;
    Mask mask(shown, added, task, b, head);
    Dropout dropout(task, base, pair);
    q += b * task.q.batch + head * task.q.head;
    k += b * task.k.batch + head * task.k.head + first_key * task.k.row;
    v += b * task.v.batch + head * task.v.head + first_key * task.v.row;
    i64 dy_row = task.h * task.e;
    dy += (b * L * task.h + head) * task.e;
    Sums<D> sum_k = {}, sum_v = {};

    auto bring = [&](int first, int turn) {
        fetch<TILE>(pieces + 2 * TILE * STEP * turn, q + first * task.q.row, task.q.row, L - first, task.d);
        fetch<TILE>(pieces + 2 * TILE * STEP * turn + TILE * STEP, dy + first * dy_row, dy_row, L - first, task.e);
        for (int n = threadIdx.x; n < TILE; n += 32 * WARPS) {
            float* to = of_rows + 3 * TILE * turn + n;
            int i = first + n;
            to[0] = i < L ? rows[pair * 2 * L + i] : 0.f;
            to[TILE] = i < L ? rows[(pair * 2 + 1) * L + i] : 0.f;
            to[2 * TILE] = i < L ? dots[pair * L + i] : 0.f;
        }
    };
    int begin = task.causal ? first_key / TILE * TILE : 0;
    fetch<ROWS>(shared_k, k, task.k.row, S - first_key, task.d);
    fetch<ROWS>(shared_v, v, task.v.row, S - first_key, task.e);
    if (begin < L) bring(begin, 0);
    Stored<T> own_k = {shared_k + 16 * warp * STEP, STEP}, own_v = {shared_v + 16 * warp * STEP, STEP};
    for (int first = begin, turn = 0; first < L; first += TILE, turn ^= 1) {
        arrive();
        if (first + TILE < L) bring(first + TILE, turn ^ 1);
        const T *shared_q = pieces + 2 * TILE * STEP * turn, *shared_dy = shared_q + TILE * STEP;
        const float* top = of_rows + 3 * TILE * turn;
        Sums<TILE> s = {}, dA = {};
        multiply_rows<TILE, D>(s, own_k, shared_q, STEP);
        multiply_rows<TILE, D>(dA, own_v, shared_dy, STEP);
        bool plain = mask.hides_nothing(first, first + TILE, first_key, first_key + ROWS);
        weigh<true>(s, dA, mask, dropout, task, row, first, plain, top, top + TILE, top + 2 * TILE);
        multiply<D, TILE>(sum_v, rounded<T>(s, room), shared_dy, STEP);
        multiply<D, TILE>(sum_k, rounded<T>(dA, room), shared_q, STEP);
    }
    arrive();  // nothing is on its way when the block ends

    float scale = task.scale, factor = task.factor, scales[2] = {scale, scale}, factors[2] = {factor, factor};
    int j = first_key + 16 * warp;
    put(sum_k, scales, dk + ((b * S + j) * task.h + head) * task.d, task.h * task.d, S - j, task.d);
    put(sum_v, factors, dv + ((b * S + j) * task.h + head) * task.e, task.h * task.e, S - j, task.e);
}

// dq (B, L, h, d).        Grid: blocks of queries, head after head.
extern "C" __global__ void __launch_bounds__(128) backward_queries(
    const T* q, const T* k, const T* v, const bool* shown, const T* added, const u64* base, const T* dy, const float* rows,
    const float* dots, T* dq, Task task) {
    DYNAMIC_SHARED(T, shared_q);
    T *shared_dy = shared_q + ROWS * STEP, *pieces = shared_dy + ROWS * STEP;
    int warp = threadIdx.x >> 5, g = lane_of() >> 2, L = task.L, S = task.S;
    T* room = pieces + 4 * TILE * STEP + warp * ROOM;
    int blocks = (L + ROWS - 1) / ROWS;
    i64 pair = blockIdx.x / blocks, b = pair / task.h, head = pair % task.h;
    int first_query = (blocks - 1 - (int)(blockIdx.x % blocks)) * ROWS;
    int row = first_query + 16 * warp + g, end = task.causal ? min(S, first_query + ROWS) : S;
    Mask mask(shown, added, task, b, head);
    Dropout dropout(task, base, pair);
    q += b * task.q.batch + head * task.q.head + first_query * task.q.row;
    k += b * task.k.batch + head * task.k.head;
    v += b * task.v.batch + head * task.v.head;
    i64 dy_row = task.h * task.e;
    dy += ((b * L + first_query) * task.h + head) * task.e;
    float top[2] = {}, part[2] = {}, dot[2] = {};
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int i = row + 8 * r;
        if (i < L) top[r] = rows[pair * 2 * L + i], part[r] = rows[(pair * 2 + 1) * L + i], dot[r] = dots[pair * L + i];
    }
    Sums<D> sum = {};

    auto bring = [&](int first, T* to) {
        fetch<TILE>(to, k + first * task.k.row, task.k.row, S - first, task.d);
        fetch<TILE>(to + TILE * STEP, v + first * task.v.row, task.v.row, S - first, task.e);
    };
    fetch<ROWS>(shared_q, q, task.q.row, L - first_query, task.d);
    fetch<ROWS>(shared_dy, dy, dy_row, L - first_query, task.e);
    bring(0, pieces);
    Stored<T> own_q = {shared_q + 16 * warp * STEP, STEP}, own_dy = {shared_dy + 16 * warp * STEP, STEP};
    for (int first = 0, turn = 0; first < end; first += TILE, turn ^= 1) {
        arrive();
        if (first + TILE < end) bring(first + TILE, pieces + 2 * TILE * STEP * (turn ^ 1));
        const T *shared_k = pieces + 2 * TILE * STEP * turn, *shared_v = shared_k + TILE * STEP;
        Sums<TILE> s = {}, dA = {};
        multiply_rows<TILE, D>(s, own_q, shared_k, STEP);
        multiply_rows<TILE, D>(dA, own_dy, shared_v, STEP);
        bool plain = mask.hides_nothing(first_query, first_query + ROWS, first, first + TILE);
        weigh<false>(s, dA, mask, dropout, task, row, first, plain, top, part, dot);
        multiply<D, TILE>(sum, rounded<T>(dA, room), shared_k, STEP);
    }
    float scale = task.scale, scales[2] = {scale, scale};
    int i = first_query + 16 * warp;
    put(sum, scales, dq + ((b * L + i) * task.h + head) * task.d, task.h * task.d, L - i, task.d);
}
