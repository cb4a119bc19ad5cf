// Words from the CPU, as arguments: they need no copy, and nobody has to keep them for it.
// macros: WORDS=480

typedef long long i64;

struct Words {
    i64 at[WORDS];
};

extern "C" __global__ void put(i64* to, i64 n, Words words) {
    for (i64 i = threadIdx.x; i < n; i += blockDim.x) to[i] = words.at[i];
}
