// The ends of the network: windows into the order and precision of the layers; the dense output, its loss and gradient.
//
//   stage_inputs   windows [batch, rows, features] of float32 -> [PARTS][rows][windows][width], zeros where padded
//   head           forecast = h w + b of the last row's h after dropout, mean squared error, and its gradient
//   forecast       the same forecast without dropout, loss or gradient

#include "lstm_common.cuh"

#define THREADS 256
#define WARPS 8

// Where in a row's arrays a number lies: in tiles of 64 windows (lstm_tiles.cuh), or window by window.
#if TILED
INLINE int64 input_place(int window, int f, int) { return int64(window) * 16 + (f / 8 ^ window / 4 % 2) * 8 + f % 8; }
INLINE int64 unit_place(int window, int unit) {
    return int64(window / 64) * 64 * UNITS + unit / 64 * 4096 + window % 64 * 64 + (unit / 8 % 8 ^ window % 8) * 8 + unit % 8;
}
#else
INLINE int64 input_place(int window, int f, int width) { return int64(window) * width + f; }
INLINE int64 unit_place(int window, int unit) { return int64(window) * UNITS + unit; }
#endif

// Infinity becomes NaN, which ends in the loss; saturated gates would hide it there, but not in the gradient.
INLINE float checked(float value) { return fmaf(value, 0.0f, value); }

// given: windows [batch][rows][features], or null: those of a step of the call.
extern "C" __global__ void __launch_bounds__(THREADS)
stage_inputs(const float* __restrict__ given, const Call* __restrict__ call, const int step, bf16* __restrict__ x,
             const int batch, const int windows, const int rows, const int features, const int width) {
    const float* const from = given ? given : call->inputs + int64(step) * batch * rows * features;
    const int64 pairs = int64(rows) * windows * (width / 2), plane = 2 * pairs;
    for (int64 v = int64(blockIdx.x) * THREADS + threadIdx.x; v < pairs; v += int64(gridDim.x) * THREADS) {
        const int f = v % (width / 2) * 2;
        const int window = v / (width / 2) % windows;
        const int64 t = v / (width / 2) / windows, row = t * windows * width;
        const int64 at = (int64(window) * rows + t) * features + f;
        const bool inside = window < batch;
        uint32 parts[PARTS];
        split(inside && f < features ? checked(from[at]) : 0.0f,
              inside && f + 1 < features ? checked(from[at + 1]) : 0.0f, parts);
        UNROLL for (int part = 0; part < PARTS; ++part)
            *reinterpret_cast<uint32*>(x + part * plane + row + input_place(window, f, width)) = parts[part];
    }
}

INLINE float warp_sum(float value) {
    UNROLL for (int distance = 16; distance; distance /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

// h of one unit of one window at the last row.
INLINE float last_h(const bf16* h, int64 plane, int64 at) {
    float value = 0.0f;
    UNROLL for (int part = 0; part < PARTS; ++part) value += widen(h[part * plane + at]);
    return value;
}

// h: [PARTS][windows][UNITS] of the last row, `plane` numbers apart
// dense: float [UNITS] weights, then the bias
// dh: [windows][UNITS], gradient of h before dropout
// sums: [blocks][UNITS + 2]: each block's part of the gradient of the weights, of the bias, and of the squared errors
extern "C" __global__ void __launch_bounds__(THREADS)
head(const bf16* __restrict__ h, const int64 plane, const float* __restrict__ dense, const Call* __restrict__ call,
     const int step, float* __restrict__ dh, float* __restrict__ sums, const int batch, const int windows,
     const int rows, const int layer, const int units, const uint32 threshold, const float keep) {
    constexpr int OWN = (UNITS + 31) / 32;  // units of a lane
    __shared__ float parts[WARPS][UNITS + 2];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float w[OWN], gradient[OWN], bias_gradient = 0.0f, squares = 0.0f;
    UNROLL for (int i = 0; i < OWN; ++i) {
        w[i] = lane + 32 * i < UNITS ? dense[lane + 32 * i] : 0.0f;
        gradient[i] = 0.0f;
    }
    const float* const targets = call->targets + int64(step) * batch;
    for (int window = blockIdx.x * WARPS + warp; window < windows; window += gridDim.x * WARPS) {
        float value[OWN], mask[OWN], sum = 0.0f;
        UNROLL for (int i = 0; i < OWN; ++i) {
            const int unit = lane + 32 * i;
            value[i] = unit < UNITS ? last_h(h, plane, unit_place(window, unit)) : 0.0f;
            mask[i] = 1.0f;
            if (threshold) {
                const uint2 drawn = draw(call, step, layer, window, (rows - 1) / 2, units, unit);
                mask[i] = ((rows % 2 ? drawn.x : drawn.y) >> 8) >= threshold ? keep : 0.0f;
            }
            value[i] *= mask[i];
            sum = fmaf(value[i], w[i], sum);
        }
        const float error = window < batch ? warp_sum(sum) + dense[UNITS] - targets[window] : 0.0f;
        const float change = 2.0f / batch * error;
        UNROLL for (int i = 0; i < OWN; ++i) {
            const int unit = lane + 32 * i;
            if (unit < UNITS) dh[int64(window) * UNITS + unit] = window < batch ? change * w[i] * mask[i] : 0.0f;
            if (window < batch) gradient[i] = fmaf(change, value[i], gradient[i]);
        }
        bias_gradient += change;
        squares = fmaf(error, error, squares);
    }
    UNROLL for (int i = 0; i < OWN; ++i)
        if (lane + 32 * i < UNITS) parts[warp][lane + 32 * i] = gradient[i];
    if (lane == 0) {
        parts[warp][UNITS] = bias_gradient;
        parts[warp][UNITS + 1] = squares;
    }
    __syncthreads();
    for (int v = threadIdx.x; v < UNITS + 2; v += THREADS) {
        float sum = 0.0f;
        UNROLL for (int other = 0; other < WARPS; ++other) sum += parts[other][v];
        sums[blockIdx.x * (UNITS + 2) + v] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
forecast(const bf16* __restrict__ h, const int64 plane, const float* __restrict__ dense, float* __restrict__ out,
         const int batch) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, window = blockIdx.x * WARPS + warp;
    if (window >= batch) return;
    float sum = 0.0f;
    for (int unit = lane; unit < UNITS; unit += 32)
        sum = fmaf(last_h(h, plane, unit_place(window, unit)), dense[unit], sum);
    sum = warp_sum(sum);
    if (lane == 0) out[window] = sum + dense[UNITS];
}
