// Batches that are cut within the graph of a call: from unscaled rows to what the layers read, with no batch in between.
//
//   draw_windows     which windows the call's steps take, by the random order; where they lie, and their scaled targets
//   gather_inputs    the windows of one step, scaled -> [PARTS][rows][windows][width], zeros where padded
//
// Rows [R, columns] of double hold `segments` symbols one after another, as windows.cu has them, and may lie in host
// memory that the GPU reads. Values are those of windows.cu and stage_inputs, to the bit.
//
//      rows                                 x of a step, for each part
//      | symbol 0 | ... window ... |        row 0:  | window 0: width | window 1 | ...
//                   ^ start                 row 1:  | ...
//
// A thread of gather_inputs keeps one pair of features of one window, and so its scale, in registers, and goes down the
// window's rows: neighbouring threads write neighbouring pairs, and what a row's cache lines hold of the next row is
// read from the cache. Bytes: rows * (features + 1) * 8 of a window are read once, PARTS * rows * width * 2 written; at
// 8,192 windows of 60 x 5, 23.6 MB (of which rows that windows share may lie in the cache) and 15.7 MB.

#include "lstm_common.cuh"
#include "lstm_inputs.cuh"
#include "windows.cuh"

#define THREADS 256
#define AHEAD 4  // rows that a thread reads before it uses the first

// The segment s with edges[s] <= number < edges[s + 1].
INLINE int64 segment_of(const int64* __restrict__ edges, int64 segments, int64 number) {
    int64 low = 0, high = segments;
    while (high - low > 1) {
        const int64 middle = (low + high) / 2;
        (edges[middle] <= number ? low : high) = middle;
    }
    return low;
}

// starts: [count], number of values before each window; segment: [count], its symbol
// targets: [count][columns - features]
extern "C" __global__ void __launch_bounds__(THREADS)
draw_windows(const Call* __restrict__ call, const int64 count, const double* __restrict__ rows, const int columns,
             const int features, const int* __restrict__ places, const int tail, const int64* __restrict__ edges,
             const int64 segments, const double* __restrict__ scale, const double* __restrict__ shift,
             int64* __restrict__ starts, int* __restrict__ segment, float* __restrict__ targets) {
    const int64 at = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (at >= count) return;
    const int64 number = ordered(call->position + at, call->length, call->order_keys);
    const int64 own = segment_of(edges, segments, number);
    const int64 start = (number + own * tail) * columns;
    starts[at] = start;
    segment[at] = int(own);
    for (int c = features; c < columns; ++c)
        targets[at * (columns - features) + c - features] =
            scaled(rows[start + places[c - features]], scale[own * columns + c], shift[own * columns + c]);
}

// starts, segment: of the step's `batch` windows; block y takes rows y * share to (y + 1) * share
extern "C" __global__ void __launch_bounds__(THREADS)
gather_inputs(const double* __restrict__ rows, const int columns, const double* __restrict__ scale,
              const double* __restrict__ shift, const int64* __restrict__ starts, const int* __restrict__ segment,
              bf16* __restrict__ x, const int batch, const int windows, const int window_rows, const int features,
              const int width, const int share) {
    begin_next_kernel();
    const int64 own = int64(blockIdx.x) * THREADS + threadIdx.x;
    const int window = own / (width / 2), f = own % (width / 2) * 2;
    // The kernel before, the update of the weights, neither reads nor writes x. The next one reads both.
    if (window >= windows) return wait_for_kernel_before();
    const bool first = window < batch && f < features, second = window < batch && f + 1 < features;
    const int64 plane = int64(window_rows) * windows * width;
    const int begin = blockIdx.y * share, end = min(begin + share, window_rows);
    const double* from = rows;
    double scales[2] = {}, shifts[2] = {};
    if (first) {
        const int64 column = int64(segment[window]) * columns + f;
        from += starts[window] + int64(begin) * columns + f;
        scales[0] = scale[column], shifts[0] = shift[column];
        if (second) scales[1] = scale[column + 1], shifts[1] = shift[column + 1];
    }
    bf16* to = x + int64(begin) * windows * width + input_place(window, f, width);
    for (int t = begin; t < end; t += AHEAD) {
        double a[AHEAD], b[AHEAD];
        UNROLL for (int k = 0; k < AHEAD; ++k) {  // all loads before the first use
            a[k] = first && t + k < end ? from[k * columns] : 0.0;
            b[k] = second && t + k < end ? from[k * columns + 1] : 0.0;
        }
        UNROLL for (int k = 0; k < AHEAD; ++k) {
            if (t + k < end)
                store_inputs(to, plane, first ? scaled(a[k], scales[0], shifts[0]) : 0.0f,
                             second ? scaled(b[k], scales[1], shifts[1]) : 0.0f);
            to += int64(windows) * width;
        }
        from += AHEAD * columns;
    }
    wait_for_kernel_before();
}
