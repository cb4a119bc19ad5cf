// CUDA's language on a CPU, to check kernels without a GPU: the threads of a block are fibers that take turns.
//
// A thread runs until it ends or waits: at __syncthreads for all threads of the block, in a warp's function for its 32
// lanes. Blocks run one after the other. `descending` turns the order of the threads round: a result that changes with it
// shows a missing barrier. What is undefined on a GPU is an error here: a barrier that some threads never reach, a lane
// that is missing in a warp's function.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <vector>

#define EMULATED 1
#define __global__
#define __device__  // kernels and what they call are inline or templates of one translation unit
#define __host__
#define __constant__ static const
#define __forceinline__ inline
#define __noinline__
#define __shared__ static
#define __align__(n) alignas(n)
#define __launch_bounds__(...)
#define __restrict__
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulated::dynamic)

struct dim3 { unsigned x, y, z; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) int4 { int x, y, z, w; };
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static inline float2 make_float2(float x, float y) { return {x, y}; }
static dim3 threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;

namespace emulated {
enum State { READY, AT_BLOCK, AT_WARP, DONE };
const int MOST = 1024;
const size_t STACK = 1 << 16;
static ucontext_t scheduler, contexts[MOST];
static char* stacks[MOST];
static State state[MOST];
static int current, count;
static const char* error;
static unsigned char* dynamic;
struct alignas(16) Slot { unsigned char bytes[64]; };
static Slot slots[MOST];
struct Copy { void* to; const void* from; int bytes; };
static std::vector<Copy> copies[MOST];  // asynchronous ones that a thread has not waited for yet
static void (*body)(void**);
static void** arguments;

static void place(int thread) {
    current = thread;
    threadIdx.x = thread % blockDim.x;
    threadIdx.y = thread / blockDim.x % blockDim.y;
    threadIdx.z = thread / (blockDim.x * blockDim.y);
}
static void wait(State where) {
    int me = current;
    state[me] = where;
    swapcontext(&contexts[me], &scheduler);
}
static void start() {
    body(arguments);
    state[current] = DONE;
}
static bool run_block(bool descending) {
    for (int i = 0; i < count; i++) {
        if (!stacks[i]) stacks[i] = (char*)malloc(STACK);
        getcontext(&contexts[i]);
        contexts[i].uc_stack.ss_sp = stacks[i];
        contexts[i].uc_stack.ss_size = STACK;
        contexts[i].uc_link = &scheduler;
        makecontext(&contexts[i], start, 0);
        state[i] = READY;
    }
    for (;;) {
        int done = 0;
        for (int k = 0; k < count; k++) {
            int i = descending ? count - 1 - k : k;
            if (state[i] == READY) {
                place(i);
                swapcontext(&scheduler, &contexts[i]);
                if (error) return false;
            }
        }
        int waiting = 0;
        bool released = false;
        for (int i = 0; i < count; i++) done += state[i] == DONE, waiting += state[i] == AT_BLOCK;
        if (done == count) return true;
        for (int first = 0; first < count; first += 32) {
            int last = first + 32 < count ? first + 32 : count, here = 0, alive = 0;
            for (int i = first; i < last; i++) here += state[i] == AT_WARP, alive += state[i] != DONE;
            if (here == 0) continue;
            if (here == last - first && here == 32) {
                for (int i = first; i < last; i++) state[i] = READY;
                released = true;
            } else if (here == alive || alive < last - first) {
                error = "a warp's function (shuffle, vote, __syncwarp, mma) was not reached by all 32 lanes";
                return false;
            }
        }
        if (released) continue;
        if (waiting == count) {
            for (int i = 0; i < count; i++) state[i] = READY;
            continue;
        }
        error = done ? "__syncthreads() was not reached by threads that have ended"
                     : "threads wait at different barriers: __syncthreads() or a warp's function in divergent code";
        return false;
    }
}
// Runs a grid; returns 0, or what went wrong.
static const char* run(void (*function)(void**), void** given, const unsigned* grid, const unsigned* block,
                       size_t shared, int descending) {
    body = function;
    arguments = given;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    count = block[0] * block[1] * block[2];
    error = nullptr;
    if (count < 1 || count > MOST) return "a block has to have 1 to 1024 threads";
    if (shared > 227 * 1024) return "a block cannot have more than 227 KiB of shared memory";
    dynamic = (unsigned char*)aligned_alloc(16, (shared + 16 + 15) / 16 * 16);
    bool good = true;
    for (unsigned z = 0; z < grid[2] && good; z++)
        for (unsigned y = 0; y < grid[1] && good; y++)
            for (unsigned x = 0; x < grid[0] && good; x++) {
                blockIdx = {x, y, z};
                memset(dynamic, 0xff, shared);  // NaN: what was never written shows
                good = run_block(descending);
            }
    free(dynamic);
    return good ? nullptr : error;
}
// Every lane's value of a warp, for functions in which lanes exchange values.
template <typename V, typename F> static auto exchange(V value, F read) {
    static_assert(sizeof(V) <= sizeof(Slot), "at most 64 bytes");
    int warp = current & ~31;
    memcpy(&slots[current], &value, sizeof(V));
    wait(AT_WARP);
    auto lane = [warp](int i) -> const V& { return *(const V*)&slots[warp + i]; };
    auto result = read(lane, current & 31);
    wait(AT_WARP);  // nobody writes the next value before all have read this one
    return result;
}
// A copy of 16 bytes to shared memory that happens when its thread waits for it, and not before; none of `from`: zeros.
static void copy_later(void* to, const void* from, bool there) {
    if ((uintptr_t)to % 16 || (there && (uintptr_t)from % 16)) { fprintf(stderr, "emulator: cp.async of 16 bytes needs aligned addresses\n"); abort(); }
    copies[current].push_back({to, from, there ? 16 : 0});
}
static void wait_for_copies() {
    for (const Copy& c : copies[current]) memset(c.to, 0, 16), memcpy(c.to, c.from, c.bytes);
    copies[current].clear();
}
static void check(unsigned mask) {
    if (mask != 0xffffffffu) { fprintf(stderr, "emulator: only the full mask is offered\n"); abort(); }
}
}  // namespace emulated

static inline void __syncthreads() { emulated::wait(emulated::AT_BLOCK); }
static inline void __syncwarp(unsigned mask = 0xffffffffu) { emulated::check(mask); emulated::wait(emulated::AT_WARP); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
template <typename V> V __shfl_sync(unsigned mask, V v, int from, int width = 32) {
    emulated::check(mask);
    return emulated::exchange(v, [=](auto lane, int me) { return lane(me / width * width + from % width); });
}
template <typename V> V __shfl_xor_sync(unsigned mask, V v, int other, int width = 32) {
    emulated::check(mask);
    return emulated::exchange(v, [=](auto lane, int me) { int at = me ^ other; return lane(at / width > me / width ? me : at); });
}
template <typename V> V __shfl_down_sync(unsigned mask, V v, int by, int width = 32) {
    emulated::check(mask);
    return emulated::exchange(v, [=](auto lane, int me) { return lane(me % width + by < width ? me + by : me); });
}
template <typename V> V __shfl_up_sync(unsigned mask, V v, int by, int width = 32) {
    emulated::check(mask);
    return emulated::exchange(v, [=](auto lane, int me) { return lane(me % width >= by ? me - by : me); });
}
static inline unsigned __ballot_sync(unsigned mask, int test) {
    emulated::check(mask);
    return emulated::exchange(test, [](auto lane, int) { unsigned y = 0; for (int i = 0; i < 32; i++) y |= (lane(i) != 0 ? 1u : 0u) << i; return y; });
}
static inline int __any_sync(unsigned mask, int test) { return __ballot_sync(mask, test) != 0; }
static inline int __all_sync(unsigned mask, int test) { return __ballot_sync(mask, test) == 0xffffffffu; }

template <typename V> V atomicAdd(V* at, V x) { V old = *at; *at += x; return old; }
template <typename V> V atomicMax(V* at, V x) { V old = *at; if (x > old) *at = x; return old; }
template <typename V> V atomicMin(V* at, V x) { V old = *at; if (x < old) *at = x; return old; }
template <typename V> V atomicOr(V* at, V x) { V old = *at; *at |= x; return old; }
template <typename V> V atomicExch(V* at, V x) { V old = *at; *at = x; return old; }
template <typename V> V atomicCAS(V* at, V expected, V x) { V old = *at; if (old == expected) *at = x; return old; }

template <typename To, typename From> static inline To emulated_bits(From x) { To y; static_assert(sizeof x == sizeof y); memcpy(&y, &x, sizeof y); return y; }
static inline float __uint_as_float(unsigned x) { return emulated_bits<float>(x); }
static inline float __int_as_float(int x) { return emulated_bits<float>(x); }
static inline unsigned __float_as_uint(float x) { return emulated_bits<unsigned>(x); }
static inline int __float_as_int(float x) { return emulated_bits<int>(x); }
static inline float emulated_half_to_float(unsigned short x) { return (float)emulated_bits<_Float16>(x); }
static inline unsigned short emulated_float_to_half(float x) { return emulated_bits<unsigned short>((_Float16)x); }
static inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
static inline double rsqrt(double x) { return 1. / std::sqrt(x); }
#define __expf expf
#define __logf logf
#define __sinf sinf
#define __cosf cosf
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1.f / x; }
static inline float __fsqrt_rn(float x) { return std::sqrt(x); }
template <typename V> static inline V __ldg(const V* x) { return *x; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
template <typename V> static inline V min(V a, V b) { return b < a ? b : a; }
template <typename V> static inline V max(V a, V b) { return a < b ? b : a; }
