// Sums of squared errors and of absolute errors, and counts, of each segment (a batch, a symbol), in one pass.
//
// Forecasts and actual values [N] of VALUE (float or double, -DVALUE=...); segment s is offsets[s]..offsets[s+1], and
// may be empty. Differences are taken in VALUE, squares and sums in double. A pair with a NaN is ignored and not
// counted; pairs with infinities are counted.
//
// How. Each pair is read once: the lower bound is 2 * sizeof(VALUE) bytes per pair over the bandwidth.
// - Every block takes CHUNK pairs, whatever the segments are, and loops over the segments that overlap them; 16-byte
//   loads where both arrays have the same alignment, four of each in flight.
// - Deterministic: the part of a segment in a block is summed in a fixed tree and written to slot block + segment. No
//   two parts share a slot, since from one part to the next either the block or the segment increases. The last block
//   of a segment to finish, found by a counter, sums the slots in a fixed order. The same input gives the same bits on
//   every run and every GPU, in one launch, without atomic sums.
//
// Versions: (1) one thread per pair, atomic sums: bound by them, and different last digits each time; it is kept in
// benchmarks/simple_kernels.cu for comparison. (2) this. Times: docs/kernels.md.
//
// Check: python -m pytest tests/gpu/test_kernels.py -k errors     (make gpu-test runs all)

#include "four.cuh"

#define THREADS 256
#define CHUNK 32768  // pairs per block; the bits of the result depend on it and on THREADS

struct Sums {
    double squares, absolutes;
    int64 count;
};

__device__ __forceinline__ void add(Sums& sums, VALUE forecast, VALUE actual) {
    const VALUE error = forecast - actual;
    if (error == error || (forecast == forecast && actual == actual)) {  // inf - inf is counted, NaN is not
        const double e = double(error);
        sums.squares += e * e;
        sums.absolutes += fabs(e);
        sums.count += 1;
    }
}

// The sums over all threads of the block, valid in thread 0, by a fixed tree.
__device__ Sums over_block(Sums sums) {
    __shared__ Sums of_warp[THREADS / 32];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int down = 16; down; down /= 2) {
        sums.squares += __shfl_down_sync(0xffffffffu, sums.squares, down);
        sums.absolutes += __shfl_down_sync(0xffffffffu, sums.absolutes, down);
        sums.count += __shfl_down_sync(0xffffffffu, sums.count, down);
    }
    __syncthreads();
    if (lane == 0) of_warp[warp] = sums;
    __syncthreads();
    if (threadIdx.x == 0) {
#pragma unroll
        for (int w = 1; w < THREADS / 32; ++w) {
            sums.squares += of_warp[w].squares;
            sums.absolutes += of_warp[w].absolutes;
            sums.count += of_warp[w].count;
        }
    }
    return sums;
}

extern "C" __global__ void __launch_bounds__(THREADS)
errors(const VALUE* __restrict__ forecast, const VALUE* __restrict__ actual, const int64* __restrict__ offsets,
       const int64 segments, const int64 total,
       Sums* slots,                 // [blocks + segments]
       unsigned* arrived,           // [segments], zero before and after
       double* __restrict__ squares, double* __restrict__ absolutes, int64* __restrict__ counts) {  // [segments]
    __shared__ bool last;
    const int64 block = blockIdx.x, from = block * CHUNK, to = min(total, from + CHUNK);
    int64 low = 0, high = segments;  // the first segment that ends after `from`, by binary search
    while (low < high) {
        const int64 middle = (low + high) / 2;
        if (offsets[middle + 1] > from) high = middle; else low = middle + 1;
    }
    const int shift = int(reinterpret_cast<unsigned long long>(forecast) / sizeof(VALUE) % WIDE);
    const bool alike = shift == int(reinterpret_cast<unsigned long long>(actual) / sizeof(VALUE) % WIDE);
    for (int64 s = low; s < segments && offsets[s] < to; ++s) {
        const int64 begin = offsets[s], end = offsets[s + 1];
        const int64 first = max(begin, from), stop = min(end, to);
        if (first >= stop) continue;
        Sums sums = {0.0, 0.0, 0};
        // Aligned groups of four are [body, tail); threads take the pairs before and after them one by one.
        const int64 body = alike ? min(stop, (first + shift + WIDE - 1) / WIDE * WIDE - shift) : stop;
        const int64 tail = max(body, (stop + shift) / WIDE * WIDE - shift);
        for (int64 i = first + threadIdx.x; i < body; i += THREADS) add(sums, forecast[i], actual[i]);
        int64 i = body + int64(threadIdx.x) * WIDE;
        for (; i + 3 * THREADS * WIDE < tail; i += 4 * THREADS * WIDE) {
            Four f[4], a[4];
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                f[k] = load(forecast + i + k * THREADS * WIDE);
                a[k] = load(actual + i + k * THREADS * WIDE);
            }
#pragma unroll
            for (int k = 0; k < 4; ++k) {
#pragma unroll
                for (int j = 0; j < WIDE; ++j) add(sums, f[k].at[j], a[k].at[j]);
            }
        }
        for (; i < tail; i += THREADS * WIDE) {
            const Four f = load(forecast + i), a = load(actual + i);
#pragma unroll
            for (int j = 0; j < WIDE; ++j) add(sums, f.at[j], a.at[j]);
        }
        for (int64 k = tail + threadIdx.x; k < stop; k += THREADS) add(sums, forecast[k], actual[k]);
        sums = over_block(sums);
        // A segment within one block is done; otherwise the last of its blocks to get here sums up all slots.
        const int64 first_block = begin / CHUNK, last_block = (end - 1) / CHUNK;
        if (first_block == last_block) {
            if (threadIdx.x == 0) {
                squares[s] = sums.squares;
                absolutes[s] = sums.absolutes;
                counts[s] = sums.count;
            }
            continue;
        }
        if (threadIdx.x == 0) {
            slots[block + s] = sums;
            __threadfence();
            last = atomicAdd(arrived + s, 1u) == unsigned(last_block - first_block);
        }
        __syncthreads();
        if (!last) continue;
        __threadfence();
        Sums whole = {0.0, 0.0, 0};
        for (int64 b = first_block + threadIdx.x; b <= last_block; b += THREADS) {
            const volatile Sums* const slot = slots + b + s;
            whole.squares += slot->squares;
            whole.absolutes += slot->absolutes;
            whole.count += slot->count;
        }
        whole = over_block(whole);
        if (threadIdx.x == 0) {
            squares[s] = whole.squares;
            absolutes[s] = whole.absolutes;
            counts[s] = whole.count;
            arrived[s] = 0;
        }
    }
}

// No block processes an empty segment: the caller sets squares, absolutes and counts to zero.
