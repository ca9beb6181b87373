// Batches of windows, gathered from resident rows and scaled on the way, in one launch.
//
// Rows [R, columns] of VALUE (float or double, -DVALUE=...) hold `segments` symbols below each other, each with
// `tail` = window + horizon - 1 rows more than it has windows. Window n of segment s begins at row n + s * tail, and
// its target is column columns-1 of the row window+horizon-1 further on. edges [segments+1] number the windows.
//
//   gather    windows of any numbers, or of positions of a random order that is computed on the way: scaled inputs
//             [B, window, features] (or [window, B, features]) and scaled targets [B], float32
//   permute   the random order alone
//
// How. B * (window + 1) rows are read and B * window * features numbers are written; nothing else moves. A block takes
// WINDOWS windows. One warp finds out which: a lane a window runs the keyed bijection. Then a warp a window looks for
// its segment, 32 edges a probe, so that 10^5 symbols take four dependent loads rather than 17, and copies: the rows
// of a window are one run of numbers, read and written side by side. Values are scaled in double, as on the host:
// what is read is the bound, not the arithmetic.
//
// The order is that of hpc_lstm/preprocess/sampler.py, number for number: a Feistel network (Philox-like rounds on a
// counter; Salmon et al. 2011) on just enough bits, with cycle walking. It takes no memory, and so no shuffled index.
//
// Versions: (1) a thread a number, which finds window, row and column by division and its segment by bisection; it is
// kept in benchmarks/simple_kernels.cu to be timed beside this. (2) a warp a window, loads and stores in turn, a barrier
// before each: 19.1 us for a batch of 8192 x 60 x 5 on an H100. (3) this, loads ahead of stores, all windows of such a
// batch under way at once: 10.3 us. Times: docs/kernels.md.
//
// Check: python -m pytest tests/gpu/test_kernels.py -k "gather or permute"     (make gpu-test runs all)

typedef long long int64;
typedef unsigned long long uint64;
typedef unsigned uint32;
#define THREADS 256
#define WINDOWS 8  // a warp a window
#define ROUNDS 16
#define TOGETHER 5  // numbers that a lane loads before it uses the first
// Blocks on a multiprocessor: with 8, where it holds 2,048 threads, all windows of a batch of 8,192 are under way.
#if __CUDA_ARCH__ == 750
#define BLOCKS 4
#elif __CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000
#define BLOCKS (sizeof(VALUE) == 4 ? 8 : 6)
#else
#define BLOCKS 6
#endif

__device__ __forceinline__ uint32 mix(uint32 value, uint32 key) {
    value ^= key;
    value ^= value >> 16;
    value *= 0x7FEB352Du;
    value ^= value >> 15;
    value *= 0x846CA68Bu;
    value ^= value >> 16;
    return value;
}

// Number at `position` of the order of [0, length) that 16 round keys name.
__device__ int64 permuted(int64 position, int64 length, const uint32* __restrict__ keys) {
    const int bits = length > 1 ? 64 - __clzll(length - 1) : 0;
    const int low_bits = (bits + 1) / 2;
    const uint32 low_mask = uint32((1ULL << low_bits) - 1), high_mask = uint32((1ULL << (bits - low_bits)) - 1);
    uint64 value = uint64(position);
    do {
        uint32 low = uint32(value) & low_mask, high = uint32(value >> low_bits);
#pragma unroll
        for (int round = 0; round < ROUNDS; round += 2) {
            high ^= mix(low, keys[round]) & high_mask;
            low ^= mix(high, keys[round + 1]) & low_mask;
        }
        value = (uint64(high) << low_bits) | low;
    } while (value >= uint64(length));
    return int64(value);
}

// Position p of an endless order: pass p / length, whose keys are keys[pass].
__device__ __forceinline__ int64 ordered(int64 position, int64 length, const uint32* __restrict__ keys) {
    return permuted(position % length, length, keys + position / length * ROUNDS);
}

// The segment s with edges[s] <= number < edges[s + 1], by all lanes of a warp together.
__device__ int64 find_segment(const int64* __restrict__ edges, int64 segments, int64 number) {
    const int lane = threadIdx.x % 32;
    int64 low = 0, high = segments;  // edges[low] <= number < edges[high]
    while (high - low > 1) {
        const int64 step = (high - low + 31) / 32;
        const int64 probe = low + (lane + 1) * step;
        const bool below = probe < high && edges[probe] <= number;
        const int passed = __popc(__ballot_sync(0xffffffffu, below));
        low += passed * step;
        high = min(high, low + step);
    }
    return low;
}

// One number scaled as the host does it: two roundings in double, one to float32; no fused multiply-add.
__device__ __forceinline__ float scaled(VALUE value, double scale, double shift) {
    return __double2float_rn(__dadd_rn(__dmul_rn(double(value), scale), shift));
}

template <bool time_major>
__device__ __forceinline__ void
cut(const VALUE* __restrict__ rows, const int columns, const int features, const int window, const int tail,
    const int64* __restrict__ edges, const int64 segments,
    const double* __restrict__ scale, const double* __restrict__ shift,
    const int64* __restrict__ numbers, const int64 first, const int64 length, const uint32* __restrict__ keys,
    const int64 count, const int64 batch, float* __restrict__ inputs, float* __restrict__ targets) {
    __shared__ int64 chosen[WINDOWS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int64 at = int64(blockIdx.x) * WINDOWS + warp;
    int64 number;
    if (numbers) {
        if (at >= count) return;
        number = numbers[at];
    } else {
        const int64 own = int64(blockIdx.x) * WINDOWS + threadIdx.x;
        if (threadIdx.x < WINDOWS && own < count) chosen[threadIdx.x] = ordered(first + own, length, keys);
        __syncthreads();
        if (at >= count) return;
        number = chosen[warp];
    }
    const int64 segment = segments > 1 ? find_segment(edges, segments, number) : 0;
    const VALUE* const from = rows + (number + segment * tail) * columns;
    const double* const scales = scale + segment * columns;
    const double* const shifts = shift + segment * columns;
    if (lane == 0) {
        const int c = columns - 1;
        targets[at] = scaled(from[int64(tail) * columns + c], scales[c], shifts[c]);
    }
    const int total = window * features;
    // Time-major, a row of this window is followed by the same row of the others of its batch.
    const int64 group = time_major ? at / batch : 0;
    const int64 row_on = time_major ? min(batch, count - group * batch) * features : features;
    float* const out = inputs + (time_major ? (group * batch * window + at % batch) * features : at * total);
    // A lane's numbers lie 32 apart: place and column move on without a division.
    const int columns_on = 32 % features, on = 32 / features * columns + columns_on;
    int place = lane / features * columns + lane % features, column = lane % features;
    for (int base = lane; base < total; base += 32 * TOGETHER) {
        VALUE value[TOGETHER];
        int ahead = column;
#pragma unroll
        for (int k = 0; k < TOGETHER; ++k) {  // all loads before the first use
            if (base + 32 * k < total) value[k] = from[place];
            place += on;
            ahead += columns_on;
            if (ahead >= features) { ahead -= features; place += columns - features; }
        }
#pragma unroll
        for (int k = 0; k < TOGETHER; ++k) {
            const int i = base + 32 * k;
            if (i < total) {
                const float result = scaled(value[k], scales[column], shifts[column]);
                if (time_major) out[i / features * row_on + column] = result;
                else __stcs(out + i, result);
            }
            column += columns_on;
            if (column >= features) column -= features;
        }
    }
}

#define ARGUMENTS                                                                                                  \
    const VALUE *__restrict__ rows, const int columns, const int features, const int window, const int tail,       \
        const int64 *__restrict__ edges, const int64 segments,                                                     \
        const double *__restrict__ scale, const double *__restrict__ shift, /* [segments, columns] */              \
        const int64 *__restrict__ numbers,                                  /* [count], or null: an order */       \
        const int64 first, const int64 length, const uint32 *__restrict__ keys,                                    \
        const int64 count, const int64 batch,                               /* time-major within each batch */     \
        float *__restrict__ inputs, float *__restrict__ targets

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) gather(ARGUMENTS) {
    cut<false>(rows, columns, features, window, tail, edges, segments, scale, shift, numbers, first, length, keys,
               count, batch, inputs, targets);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS < 6 ? BLOCKS : 6) gather_time_major(ARGUMENTS) {
    cut<true>(rows, columns, features, window, tail, edges, segments, scale, shift, numbers, first, length, keys,
              count, batch, inputs, targets);
}
