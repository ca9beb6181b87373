// Min-max scaling of the rows of many symbols: extremes, transform.
//
// Rows [R, stride] of VALUE (float or double, -DVALUE=...) are stored row by row; the first `columns` values of each
// are used. Segment s (a symbol) is rows begin[s]..end[s]; segments are ascending, disjoint, and may be empty.
//
//   fit        minimum and maximum of every column of every segment, ignoring NaN
//   transform  value * scale + shift of its segment and column in double, rounded once to float32
//
// How. Both are bound by memory: each value is read once (and written once), so the lower bound is bytes / bandwidth.
// - Every block takes an equal range of *rows*, whatever the segments are, finds its first segment by binary search,
//   and loops over those that overlap its range. One launch suits one symbol of 10^8 rows as well as 10^5 symbols of
//   1,000: one block per symbol would leave the GPU idle in the first case, one thread per column in both.
// - The rows of a segment are one contiguous run of values. A thread loads four neighbouring values at once (16 bytes
//   of float), and advances by a multiple of the number of columns: it stays in the same four columns, so that
//   extremes, scale and shift stay in registers. Four such loads are in flight before the first is used.
// - Fit: a block reduces the extremes of a column in shared memory once per segment, and merges them into global memory
//   by an atomic minimum on the bits of the value. The result does not depend on the order.
//
// Versions: (1) one block per segment (fit), and one thread per value that finds its segment by binary search
// (transform): idle multiprocessors where segments are few, one load in flight per thread; kept in
// benchmarks/simple_kernels.cu for comparison. (2) this, with as many blocks as are resident: transform moved 2.67 TB/s
// on an H100. (3) this, with 16 times (fit) and 64 times (transform) as many: 2.89 TB/s, since blocks that run at the
// same time then access neighbouring memory.
// Times: docs/kernels.md.
//
// Check: python -m pytest tests/gpu/test_kernels.py -k "fit or transform"     (make gpu-test runs all)

#include "four.cuh"

#define THREADS 256
#define INFINITE __longlong_as_double(0x7ff0000000000000LL)

__device__ __forceinline__ float least(float a, float b) { return fminf(a, b); }  // ignores NaN
__device__ __forceinline__ double least(double a, double b) { return fmin(a, b); }
__device__ __forceinline__ float greatest(float a, float b) { return fmaxf(a, b); }
__device__ __forceinline__ double greatest(double a, double b) { return fmax(a, b); }

// Atomic minimum and maximum: the bits of non-negative floats, as integers, have their order; those of negative ones
// the reverse.
__device__ __forceinline__ void put_least(float* at, float v) {
    if (__float_as_int(v) >= 0) atomicMin(reinterpret_cast<int*>(at), __float_as_int(v));
    else atomicMax(reinterpret_cast<unsigned*>(at), __float_as_uint(v));
}
__device__ __forceinline__ void put_greatest(float* at, float v) {
    if (__float_as_int(v) >= 0) atomicMax(reinterpret_cast<int*>(at), __float_as_int(v));
    else atomicMin(reinterpret_cast<unsigned*>(at), __float_as_uint(v));
}
__device__ __forceinline__ void put_least(double* at, double v) {
    const int64 bits = __double_as_longlong(v);
    if (bits >= 0) atomicMin(reinterpret_cast<int64*>(at), bits);
    else atomicMax(reinterpret_cast<unsigned long long*>(at), (unsigned long long)bits);
}
__device__ __forceinline__ void put_greatest(double* at, double v) {
    const int64 bits = __double_as_longlong(v);
    if (bits >= 0) atomicMax(reinterpret_cast<int64*>(at), bits);
    else atomicMin(reinterpret_cast<unsigned long long*>(at), (unsigned long long)bits);
}

// The first segment that ends after `row`, by binary search.
__device__ __forceinline__ int64 segment_after(const int64* end, int64 segments, int64 row) {
    int64 low = 0, high = segments;
    while (low < high) {
        const int64 middle = (low + high) / 2;
        if (end[middle] > row) high = middle; else low = middle + 1;
    }
    return low;
}

// First row of block `number`: all blocks have equally many rows, to within one.
__device__ __forceinline__ int64 share(int64 rows, int64 number) {
    return rows / gridDim.x * number + min(rows % gridDim.x, number);
}

// How a run of values [begin, end) is split among threads. Positions are relative to the aligned address `shift` values
// before `rows`; the aligned groups of four are [body, tail), processed by `active` threads. That number is such that
// advancing by `active` groups advances by whole rows.
struct Run {
    int64 first, last, body, tail;
    int active;
    __device__ Run(int64 begin, int64 end, int shift, int columns) {
        first = begin + shift;
        last = end + shift;
        body = min(last, (first + WIDE - 1) / WIDE * WIDE);
        tail = max(body, last / WIDE * WIDE);
        const int period = columns % 4 == 0 ? columns / 4 : columns % 2 == 0 ? columns / 2 : columns;
        active = THREADS / period * period;
    }
};

__device__ __forceinline__ int misaligned(const VALUE* rows) {
    return int(reinterpret_cast<unsigned long long>(rows) / sizeof(VALUE) % WIDE);
}

extern "C" __global__ void __launch_bounds__(THREADS)
fit(const VALUE* __restrict__ rows, const int64* __restrict__ begin, const int64* __restrict__ end,
    const int64 segments, const int64 row_count, const int stride, const int columns,
    VALUE* __restrict__ low, VALUE* __restrict__ high) {  // [segments, columns], initialised to inf and -inf
    __shared__ VALUE lows[THREADS * WIDE + 2 * WIDE], highs[THREADS * WIDE + 2 * WIDE];
    const VALUE infinite = VALUE(INFINITE);
    const int64 from = share(row_count, blockIdx.x), to = share(row_count, blockIdx.x + 1);
    const int thread = threadIdx.x, lane = thread % 32;
    for (int64 s = segment_after(end, segments, from); s < segments && begin[s] < to; ++s) {
        const int64 row = max(from, begin[s]), stop = min(to, end[s]);
        if (row >= stop) continue;
        if (stride > THREADS) {  // one thread per column: a warp reads neighbouring columns
            for (int c = thread; c < columns; c += THREADS) {
                VALUE l = infinite, h = -infinite;
                for (int64 r = row; r < stop; ++r) {
                    const VALUE v = rows[r * stride + c];
                    l = least(l, v);
                    h = greatest(h, v);
                }
                put_least(low + s * columns + c, l);
                put_greatest(high + s * columns + c, h);
            }
            continue;
        }
        const int shift = misaligned(rows);
        const VALUE* const aligned = rows - shift;
        const Run run(row * stride, stop * stride, shift, stride);
        // Each thread's extremes of its four columns.
        VALUE l[WIDE], h[WIDE];
#pragma unroll
        for (int k = 0; k < WIDE; ++k) { l[k] = infinite; h[k] = -infinite; }
        if (thread < run.active) {
            const int64 step = int64(run.active) * WIDE;
            int64 p = run.body + thread * WIDE;
            for (; p + 3 * step < run.tail; p += 4 * step) {
                Four v[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) v[i] = load(aligned + p + i * step);
#pragma unroll
                for (int i = 0; i < 4; ++i) {
#pragma unroll
                    for (int k = 0; k < WIDE; ++k) {
                        l[k] = least(l[k], v[i].at[k]);
                        h[k] = greatest(h[k], v[i].at[k]);
                    }
                }
            }
            for (; p < run.tail; p += step) {
                const Four v = load(aligned + p);
#pragma unroll
                for (int k = 0; k < WIDE; ++k) {
                    l[k] = least(l[k], v.at[k]);
                    h[k] = greatest(h[k], v.at[k]);
                }
            }
        }
        // All threads' extremes to shared memory, followed by the values before the first and after the last group.
        const int slots = run.active * WIDE;
        if (thread < run.active) {
#pragma unroll
            for (int k = 0; k < WIDE; ++k) { lows[thread * WIDE + k] = l[k]; highs[thread * WIDE + k] = h[k]; }
        }
        if (thread < 2 * WIDE) {
            const int64 p = thread < WIDE ? run.first + thread : run.tail + thread - WIDE;
            const bool mine = thread < WIDE ? p < run.body : p < run.last;
            lows[slots + thread] = mine ? aligned[p] : infinite;
            highs[slots + thread] = mine ? aligned[p] : -infinite;
        }
        __syncthreads();
        // Reduce each column. The run starts and ends with a row, so the distance to either end gives the column.
        const int of_body = int(run.body - run.first) % stride;
        const int of_tail = (stride - int(run.last - run.tail) % stride) % stride;
        for (int c = thread / 32; c < columns; c += THREADS / 32) {  // one warp per column
            VALUE least_here = infinite, greatest_here = -infinite;
            for (int i = (c - of_body + stride) % stride + lane * stride; i < slots; i += 32 * stride) {
                least_here = least(least_here, lows[i]);
                greatest_here = greatest(greatest_here, highs[i]);
            }
            if (lane < 2 * WIDE) {
                const int column = ((lane < WIDE ? 0 : of_tail) + lane % WIDE) % stride;
                if (column == c) {
                    least_here = least(least_here, lows[slots + lane]);
                    greatest_here = greatest(greatest_here, highs[slots + lane]);
                }
            }
#pragma unroll
            for (int across = 16; across; across /= 2) {
                least_here = least(least_here, __shfl_xor_sync(0xffffffffu, least_here, across));
                greatest_here = greatest(greatest_here, __shfl_xor_sync(0xffffffffu, greatest_here, across));
            }
            if (lane == 0 && least_here <= greatest_here) {
                put_least(low + s * columns + c, least_here);
                put_greatest(high + s * columns + c, greatest_here);
            }
        }
        __syncthreads();
    }
}

// Scales as the host does: two roundings in double, one to float32; no fused multiply-add.
__device__ __forceinline__ float scaled(VALUE v, double scale, double shift) {
    return __double2float_rn(__dadd_rn(__dmul_rn(double(v), scale), shift));
}

extern "C" __global__ void __launch_bounds__(THREADS)
transform(const VALUE* __restrict__ rows, const int64* __restrict__ begin, const int64* __restrict__ end,
          const int64 segments, const int64 row_count, const int stride, const int columns,
          const double* __restrict__ scale, const double* __restrict__ shift_by,
          float* __restrict__ out) {  // [row_count, columns]
    const int64 from = share(row_count, blockIdx.x), to = share(row_count, blockIdx.x + 1);
    const int thread = threadIdx.x;
    const int shift = misaligned(rows);
    const VALUE* const aligned = rows - shift;
    float* const aligned_out = out - shift;
    // Four values can be stored at once if input and output are packed alike.
    const bool dense = stride == columns && stride <= THREADS
        && reinterpret_cast<unsigned long long>(aligned_out) % (WIDE * sizeof(float)) == 0;
    for (int64 s = segment_after(end, segments, from); s < segments && begin[s] < to; ++s) {
        const int64 row = max(from, begin[s]), stop = min(to, end[s]);
        if (row >= stop) continue;
        const double* const scales = scale + s * columns;
        const double* const shifts = shift_by + s * columns;
        if (!dense) {
            for (int64 r = row + thread / 32; r < stop; r += THREADS / 32) {  // one warp per row
                for (int c = thread % 32; c < columns; c += 32) {
                    out[r * columns + c] = scaled(rows[r * stride + c], scales[c], shifts[c]);
                }
            }
            continue;
        }
        const Run run(row * columns, stop * columns, shift, columns);
        if (thread < run.active) {
            // Scale and shift of this thread's four columns.
            double by[WIDE], plus[WIDE];
            const int column = (int(run.body - run.first) + thread * WIDE) % columns;
#pragma unroll
            for (int k = 0; k < WIDE; ++k) {
                by[k] = scales[(column + k) % columns];
                plus[k] = shifts[(column + k) % columns];
            }
            const int64 step = int64(run.active) * WIDE;
            int64 p = run.body + thread * WIDE;
            for (; p + 3 * step < run.tail; p += 4 * step) {
                Four v[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) v[i] = load(aligned + p + i * step);
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    __stcs(reinterpret_cast<float4*>(aligned_out + p + i * step),
                           make_float4(scaled(v[i].at[0], by[0], plus[0]), scaled(v[i].at[1], by[1], plus[1]),
                                       scaled(v[i].at[2], by[2], plus[2]), scaled(v[i].at[3], by[3], plus[3])));
                }
            }
            for (; p < run.tail; p += step) {
                const Four v = load(aligned + p);
                __stcs(reinterpret_cast<float4*>(aligned_out + p),
                       make_float4(scaled(v.at[0], by[0], plus[0]), scaled(v.at[1], by[1], plus[1]),
                                   scaled(v.at[2], by[2], plus[2]), scaled(v.at[3], by[3], plus[3])));
            }
        }
        // The values before the first and after the last group of four.
        if (thread < 2 * WIDE) {
            const int64 p = thread < WIDE ? run.first + thread : run.tail + thread - WIDE;
            if (thread < WIDE ? p < run.body : p < run.last) {
                const int c = thread < WIDE ? thread % columns
                                            : (columns - int(run.last - p) % columns) % columns;
                aligned_out[p] = scaled(aligned[p], scales[c], shifts[c]);
            }
        }
    }
}
