// Batches of windows, gathered from rows on the device and scaled in the same launch.
//
// Rows [R, columns] of VALUE (float or double, -DVALUE=...) hold `segments` symbols one after another, each with `tail`
// = window + longest horizon - 1 more rows than windows. Window n, of segment s, starts at row n + s * tail. The
// columns are `features` and then targets, of which target k of a window lies places[k] values behind the window's
// first. Segment s has the windows edges[s]..edges[s+1].
//
//   gather              the windows of given numbers, or at given positions of a random order that the kernel computes:
//                       scaled inputs [B, window, features] and scaled targets [B, columns - features], float32
//   gather_time_major   the same with inputs [window, B, features]
//
// How. B * (window + 1) rows are read and B * window * features values are written; nothing else is transferred. A
// block takes WINDOWS windows. One warp computes their numbers: each lane runs the keyed bijection for one window. Then
// one warp per window searches its segment, 32 edges per probe, so that 10^5 symbols take four dependent loads rather
// than 17, and copies: the rows of a window are one contiguous run of values, so reads and writes are coalesced. Values
// are scaled in double, as on the host: the memory is the bound, not the arithmetic.
//
// Versions: (1) one thread per value, which finds window, row and column by division and its segment by binary search;
// it is kept in benchmarks/simple_kernels.cu for comparison. (2) one warp per window, loads and stores in turn, a
// barrier before each: 19.1 us for a batch of 8192 x 60 x 5 on an H100. (3) this, loads ahead of stores, all windows of
// such a batch resident at the same time: 10.3 us. Times: docs/kernels.md.
//
// Check: python -m pytest tests/gpu/test_kernels.py -k "gather or order"     (make gpu-test runs all)

#include "windows.cuh"

#define THREADS 256
#define WINDOWS 8  // per block, one warp each
#define TOGETHER 5  // values that a lane loads before it uses the first
// Blocks per multiprocessor: with 8, where it holds 2,048 threads, all windows of a batch of 8,192 are resident.
#if __CUDA_ARCH__ == 750
#define BLOCKS 4
#elif __CUDA_ARCH__ == 800 || __CUDA_ARCH__ == 900 || __CUDA_ARCH__ == 1000
#define BLOCKS (sizeof(VALUE) == 4 ? 8 : 6)
#else
#define BLOCKS 6
#endif

// The segment s with edges[s] <= number < edges[s + 1], searched by all lanes of a warp together.
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

template <bool time_major>
__device__ __forceinline__ void
cut(const VALUE* __restrict__ rows, const int columns, const int features, const int* __restrict__ places,
    const int window, const int tail, const int64* __restrict__ edges, const int64 segments,
    const double* __restrict__ scale, const double* __restrict__ shift,
    const int64* __restrict__ numbers, const int64 first, const int64 length, const uint32* __restrict__ keys,
    const int64 count, const int64 batch, float* __restrict__ inputs, float* __restrict__ targets) {
    // The number of this warp's window.
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
    // Where the window starts, and how its segment is scaled.
    const int64 segment = segments > 1 ? find_segment(edges, segments, number) : 0;
    const VALUE* const from = rows + (number + segment * tail) * columns;
    const double* const scales = scale + segment * columns;
    const double* const shifts = shift + segment * columns;
    // Most often there is one target: a loop that is unrolled would cost registers, and so resident windows.
#pragma unroll 1
    for (int c = features + lane; c < columns; c += 32)
        targets[at * (columns - features) + c - features] = scaled(from[places[c - features]], scales[c], shifts[c]);
    const int total = window * features;
    // In time-major order a row of this window is followed by the same row of the other windows of its batch.
    const int64 group = time_major ? at / batch : 0;
    const int64 row_on = time_major ? min(batch, count - group * batch) * features : features;
    float* const out = inputs + (time_major ? (group * batch * window + at % batch) * features : at * total);
    // A lane's values lie 32 apart: place and column advance without a division.
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
    const VALUE *__restrict__ rows, const int columns, const int features, const int *__restrict__ places,       \
        const int window, const int tail, const int64 *__restrict__ edges, const int64 segments,                   \
        const double *__restrict__ scale, const double *__restrict__ shift, /* [segments, columns] */              \
        const int64 *__restrict__ numbers,                                  /* [count], or null: an order */       \
        const int64 first, const int64 length, const uint32 *__restrict__ keys,                                    \
        const int64 count, const int64 batch,                               /* time-major within each batch */     \
        float *__restrict__ inputs, float *__restrict__ targets

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS) gather(ARGUMENTS) {
    cut<false>(rows, columns, features, places, window, tail, edges, segments, scale, shift, numbers, first, length, keys,
               count, batch, inputs, targets);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS < 6 ? BLOCKS : 6) gather_time_major(ARGUMENTS) {
    cut<true>(rows, columns, features, places, window, tail, edges, segments, scale, shift, numbers, first, length, keys,
              count, batch, inputs, targets);
}
