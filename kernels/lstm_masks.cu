// The dropout masks of all layers but the last one, which the head draws for itself.
//
// A mask depends on the run's key, the step, layer, unit, row and the window's index in the batch alone, and is the one
// that the C engine (kernels/lstm.c) draws. It depends on nothing that the step computes, so it is drawn beside the
// step before. A bit for each number: 1, kept.
//
// Bound by arithmetic: 80 operations for two rows of a unit and window, 0.16 ms at 8,192 windows of 60 rows and 128
// units on an H100. With few registers and no shared memory its blocks fit beside those of other kernels; a step's
// masks can be drawn in several slices, beside kernels that wait for memory.

#include "lstm_common.cuh"

#define THREADS 128

// A warp draws two rows of 8 units and 8 windows. Lane 4g + q has unit g and windows 2q, 2q + 1.
// slice, slices: which part of all of them.
// kept: [layers][rows][windows / 8][UNITS / 8][2]
extern "C" __global__ void __launch_bounds__(THREADS, 16)
draw_masks(const Call* __restrict__ call, const int step, const int layers, const int rows, const int windows,
           const int units, const uint32 threshold, const int slice, const int slices, uint32* __restrict__ kept) {
    const int lane = threadIdx.x % 32, pairs = (rows + 1) / 2;
    const uint32 blocks = windows / 8 * (UNITS / 8);  // of 8 units and 8 windows
    const int64 warps = int64(blocks) * pairs * layers, end = warps * (slice + 1) / slices;
    const int64 first = warps * slice / slices + int64(blockIdx.x) * (THREADS / 32) + threadIdx.x / 32;
    const int64 stride = int64(gridDim.x) * (THREADS / 32);
    // Counted on instead of divided for: a division costs as much as the drawing.
    const uint32 next_place = stride % blocks;
    const int next_pair = stride / blocks;
    uint32 place = first % blocks;
    int pair = first / blocks % pairs, layer = first / blocks / pairs;
    for (int64 v = first; v < end; v += stride) {
        const int unit = place % (UNITS / 8) * 8 + lane / 4, window = place / (UNITS / 8) * 8 + lane % 4 * 2;
        uint2 drawn[2];
        UNROLL for (int e = 0; e < 2; ++e) drawn[e] = draw(call, step, layer, window + e, pair, units, unit);
        uint2 even, odd;
        even.x = __ballot_sync(0xffffffffu, (drawn[0].x >> 8) >= threshold);
        even.y = __ballot_sync(0xffffffffu, (drawn[1].x >> 8) >= threshold);
        odd.x = __ballot_sync(0xffffffffu, (drawn[0].y >> 8) >= threshold);
        odd.y = __ballot_sync(0xffffffffu, (drawn[1].y >> 8) >= threshold);
        if (lane < 2 && 2 * pair + lane < rows)
            *reinterpret_cast<uint2*>(kept + ((int64(layer) * rows + 2 * pair + lane) * blocks + place) * 2) = lane ? odd : even;
        place += next_place;
        pair += next_pair;
        if (place >= blocks) {
            place -= blocks;
            ++pair;
        }
        for (; pair >= pairs; pair -= pairs) ++layer;
    }
}
