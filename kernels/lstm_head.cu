// The ends of the network: windows into the order and precision of the layers; the dense outputs, their loss and
// gradient. OUTPUTS numbers are given for TARGETS targets, as many for each, and LOSS_NAME is their loss in
// lstm_losses.h.
//
//   stage_inputs   windows [batch, rows, features] of float32 -> [PARTS][rows][windows][width], zeros where padded
//   head           outputs = h w + b of the last row's h after dropout, their loss, and its gradient
//   forecast       the same outputs without dropout, loss or gradient

#include "lstm_common.cuh"
#include "lstm_inputs.cuh"

#define LOSS INLINE
#include "lstm_losses.h"

#define THREADS 256
#define WARPS 8
#define EACH (OUTPUTS / TARGETS)  // outputs for a target
// Where a dense layer's numbers lie: weights [UNITS][OUTPUTS], biases [OUTPUTS]; in sums of gradients, then the loss.
#define BIASES (OUTPUTS * UNITS)
#define SUMS (BIASES + OUTPUTS + 1)

// Where in a row's array of outputs a number lies: in tiles of 64 windows (lstm_tiles.cuh), or window by window.
INLINE int64 unit_place(int window, int unit) {
#if TILED
    return int64(window / 64) * 64 * UNITS + unit / 64 * 4096 + window % 64 * 64 + (unit / 8 % 8 ^ window % 8) * 8 + unit % 8;
#else
    return int64(window) * UNITS + unit;
#endif
}

// given: windows [batch][rows][features], or null: those of a step of the call.
extern "C" __global__ void __launch_bounds__(THREADS)
stage_inputs(const float* __restrict__ given, const Call* __restrict__ call, const int step, bf16* __restrict__ x,
             const int batch, const int windows, const int rows, const int features, const int width) {
    const float* const from = given ? given : call->inputs + int64(step) * batch * rows * features;
    const int64 pairs = int64(rows) * windows * (width / 2), plane = 2 * pairs;
    begin_next_kernel();
    for (int64 v = int64(blockIdx.x) * THREADS + threadIdx.x; v < pairs; v += int64(gridDim.x) * THREADS) {
        const int f = v % (width / 2) * 2;
        const int window = v / (width / 2) % windows;
        const int64 t = v / (width / 2) / windows, row = t * windows * width;
        const int64 at = (int64(window) * rows + t) * features + f;
        const bool inside = window < batch;
        store_inputs(x + row + input_place(window, f, width), plane, inside && f < features ? from[at] : 0.0f,
                     inside && f + 1 < features ? from[at + 1] : 0.0f);
    }
    wait_for_kernel_before();  // as gather_inputs does
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

// A weight of the dense layer; 0 of units beyond the last.
INLINE float weight(const float* dense, int output, int unit) {
    return unit < UNITS ? dense[unit * OUTPUTS + output] : 0.0f;
}

// h: [PARTS][windows][UNITS] of the last row, `plane` numbers apart
// dense: float [SUMS - 1], weights and biases
// constants: of the loss
// dh: [windows][UNITS], gradient of h before dropout
// sums: [blocks][SUMS]: each block's part of the gradient of the weights and of the biases, and of the losses
extern "C" __global__ void __launch_bounds__(THREADS)
head(const bf16* __restrict__ h, const int64 plane, const float* __restrict__ dense,
     const float* __restrict__ constants, const Call* __restrict__ call, const int step, float* __restrict__ dh,
     float* __restrict__ sums, const int batch, const int windows, const int rows, const int layer, const int units,
     const uint32 threshold, const float keep) {
    constexpr int OWN = (UNITS + 31) / 32;  // units of a lane
    __shared__ float parts[WARPS][UNITS + 2];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float gradient[OUTPUTS][OWN] = {}, bias_gradient[OUTPUTS] = {}, losses = 0.0f;
    const float* const targets = call->targets + int64(step) * batch * TARGETS;
    wait_for_kernel_before();
    begin_next_kernel();
    const bf16* const outputs_of_rows = after_wait(h);
    for (int window = blockIdx.x * WARPS + warp; window < windows; window += gridDim.x * WARPS) {
        float value[OWN], mask[OWN], back[OWN], outputs[OUTPUTS], change[OUTPUTS];
        UNROLL for (int i = 0; i < OWN; ++i) {
            const int unit = lane + 32 * i;
            value[i] = unit < UNITS ? last_h(outputs_of_rows, plane, unit_place(window, unit)) : 0.0f;
            mask[i] = 1.0f;
            if (threshold) {
                const uint2 drawn = draw(call, step, layer, window, (rows - 1) / 2, units, unit);
                mask[i] = ((rows % 2 ? drawn.x : drawn.y) >> 8) >= threshold ? keep : 0.0f;
            }
            value[i] *= mask[i];
            back[i] = 0.0f;
        }
        UNROLL for (int o = 0; o < OUTPUTS; ++o) {
            float sum = 0.0f;
            UNROLL for (int i = 0; i < OWN; ++i) sum = fmaf(value[i], weight(dense, o, lane + 32 * i), sum);
            outputs[o] = warp_sum(sum) + dense[BIASES + o];
        }
        // Every lane has all outputs; windows that only fill up have no target.
        UNROLL for (int k = 0; k < TARGETS; ++k) {
            const float target = window < batch ? targets[int64(window) * TARGETS + k] : 0.0f;
            const float loss = LOSS_NAME(outputs + k * EACH, target, constants, EACH, change + k * EACH);
            losses += window < batch ? loss / TARGETS : 0.0f;
        }
        UNROLL for (int o = 0; o < OUTPUTS; ++o) {
            const float own = window < batch ? change[o] / (float(batch) * TARGETS) : 0.0f;
            bias_gradient[o] += own;
            UNROLL for (int i = 0; i < OWN; ++i) {
                back[i] = fmaf(own, weight(dense, o, lane + 32 * i), back[i]);
                if (window < batch) gradient[o][i] = fmaf(own, value[i], gradient[o][i]);
            }
        }
        UNROLL for (int i = 0; i < OWN; ++i) {
            const int unit = lane + 32 * i;
            if (unit < UNITS) dh[int64(window) * UNITS + unit] = window < batch ? back[i] * mask[i] : 0.0f;
        }
    }
    float* const own = sums + int64(blockIdx.x) * SUMS;
    UNROLL for (int o = 0; o < OUTPUTS; ++o) {
        __syncthreads();
        UNROLL for (int i = 0; i < OWN; ++i)
            if (lane + 32 * i < UNITS) parts[warp][lane + 32 * i] = gradient[o][i];
        if (lane == 0) {
            parts[warp][UNITS] = bias_gradient[o];
            parts[warp][UNITS + 1] = losses;
        }
        __syncthreads();
        for (int v = threadIdx.x; v < UNITS + 2; v += THREADS) {
            float sum = 0.0f;
            UNROLL for (int other = 0; other < WARPS; ++other) sum += parts[other][v];
            own[v <= UNITS ? v * OUTPUTS + o : SUMS - 1] = sum;
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
forecast(const bf16* __restrict__ h, const int64 plane, const float* __restrict__ dense, float* __restrict__ out,
         const int batch) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, window = blockIdx.x * WARPS + warp;
    if (window >= batch) return;
    for (int o = 0; o < OUTPUTS; ++o) {
        float sum = 0.0f;
        for (int unit = lane; unit < UNITS; unit += 32)
            sum = fmaf(last_h(h, plane, unit_place(window, unit)), dense[unit * OUTPUTS + o], sum);
        sum = warp_sum(sum);
        if (lane == 0) out[int64(window) * OUTPUTS + o] = sum + dense[BIASES + o];
    }
}
