// From the parts of the gradients to new weights, and the weights into the order in which the products read them.
//
//   collect    adds up the parts of each gradient, in order, into the flat gradient; sums of its squares for clipping
//   adam, rmsprop, sgd    scale the gradient to the largest norm, take the step, and pack the new weights
//   pack       packs weights that came from elsewhere
//   scale      a vector times a number: a rank's share of an average
//   mean_loss  the mean squared error of each step's blocks, averaged over the call
//
// Flat vectors are in the order of hpc_lstm/model/parameters.py. One launch handles all arrays: a table says for each
// where it lies, where the parts of its gradient do, and where its packed copies go.

#include "lstm_common.cuh"

#define THREADS 256

// What an array of the network is.
#define MATRIX 0  // W or U: [inputs, 4 gates * units]
#define BIAS 1    // [4 gates * units]
#define DENSE 2   // the output's weights [units], then its bias

struct Array {
    int64 begin;                // of its threads: one a number; those of the next array follow
    int64 flat;                 // where it begins in the flat vectors
    int kind, inputs;           // inputs: rows of a matrix
    int parts, width;           // parts of the gradient; numbers from one of its rows to the next
    int64 part_size;            // numbers from one part to the next
    const float* gradients;     // MATRIX: [parts][4 units padded][width], row 4 * unit + gate; else [parts][width]
    bf16* by_gate;              // MATRIX: [PARTS][4 UNITS][width]: operand of x W or h U
    bf16* by_input;             // MATRIX: [PARTS][width][4 UNITS], or null: operand of dz W^T or dz U^T
    float* copy;                // BIAS: [4 UNITS]; DENSE: [UNITS + 1]
    int tiled, unused;          // rows of by_gate: 32 * (unit / 8) + 8 * gate + unit % 8; else 4 * unit + gate
};

// The array that a thread's number belongs to.
INLINE const Array& array_of(const Array* arrays, int count, int64 number) {
    int found = 0;
    for (int i = 1; i < count; ++i)
        if (arrays[i].begin <= number) found = i;
    return arrays[found];
}

// Where number `own` of an array is: its place in the flat vector, its row and input in matrices.
struct Place {
    int64 flat;
    int unit, gate, input;
};
INLINE Place place_of(const Array& array, int64 own, int units) {
    Place place;
    if (array.kind == DENSE) {
        place.flat = array.flat + own;
        place.unit = own;
        place.gate = place.input = 0;
        return place;
    }
    // Neighbouring threads read neighbouring numbers of the gradient's parts.
    const int inputs = array.kind == MATRIX ? array.inputs : 1;
    place.input = own % inputs;
    place.unit = own / inputs / 4;
    place.gate = own / inputs % 4;
    place.flat = array.flat + int64(place.input) * 4 * units + place.gate * units + place.unit;
    return place;
}

INLINE void pack_weight(const Array& array, const Place& place, int units, float value) {
    const int unit = place.unit, gate = place.gate, input = place.input;
    if (array.kind == MATRIX) {
        const int row = array.tiled ? 32 * (unit / 8) + 8 * gate + unit % 8 : 4 * unit + gate;
        const int64 plane = int64(4) * UNITS * array.width;
        uint32 parts[PARTS];
        split(value, 0.0f, parts);
        UNROLL for (int part = 0; part < PARTS; ++part) {
            array.by_gate[part * plane + int64(row) * array.width + input] = bf16(parts[part]);
            if (array.by_input)
                array.by_input[part * plane + int64(input) * 4 * UNITS + 4 * unit + gate] = bf16(parts[part]);
        }
    } else if (array.kind == BIAS) {
        array.copy[4 * unit + gate] = value;
    } else {
        array.copy[unit < units ? unit : UNITS] = value;
    }
}

// Sums over a block, of all threads, in an order that does not change.
INLINE double block_sum(double value) {
    __shared__ double parts[THREADS / 32];
    UNROLL for (int distance = 16; distance; distance /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    __syncthreads();
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
    __syncthreads();
    double sum = 0.0;
    UNROLL for (int i = 0; i < THREADS / 32; ++i) sum += parts[i];
    return sum;
}

// gradient: [total]; squares: [blocks]
extern "C" __global__ void __launch_bounds__(THREADS)
collect(const Array* __restrict__ arrays, const int count, const int64 total, const int units,
        float* __restrict__ gradient, double* __restrict__ squares) {
    const int64 number = int64(blockIdx.x) * THREADS + threadIdx.x;
    float sum = 0.0f;
    if (number < total) {
        const Array& array = array_of(arrays, count, number);
        const Place place = place_of(array, number - array.begin, units);
        const int64 at = array.kind == MATRIX ? int64(4 * place.unit + place.gate) * array.width + place.input
                         : array.kind == BIAS ? 4 * place.unit + place.gate
                         : place.unit < units ? place.unit : UNITS;
        const float* from = array.gradients + at;
        for (int part = 0; part < array.parts; ++part) sum += from[part * array.part_size];
        gradient[place.flat] = sum;
    }
    const double all = block_sum(double(sum) * sum);
    if (threadIdx.x == 0) squares[blockIdx.x] = all;
}

// What the gradient is multiplied by, so that its norm is at most `largest`; 0: no limit.
INLINE float clip_factor(const double* squares, int blocks, float largest) {
    if (!(largest > 0.0f)) return 1.0f;
    double sum = 0.0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) sum += squares[i];
    const float norm = float(sqrt(block_sum(sum)));
    return largest / fmaxf(norm, largest);
}

#define UPDATE                                                                                                      \
    const Array *__restrict__ arrays, const int count, const int64 total, const int units,                          \
        const float *__restrict__ gradient, const double *__restrict__ squares, const float largest,                \
        const Call *__restrict__ call, const int step, float *__restrict__ weights, float *__restrict__ moments

// The step of an optimizer on one number: its constants are those of hpc_lstm/model/optimizers.
template <class Rule> INLINE void update(UPDATE, Rule rule) {
    const float factor = clip_factor(squares, gridDim.x, largest);
    const int64 number = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (number >= total) return;
    const Array& array = array_of(arrays, count, number);
    const Place place = place_of(array, number - array.begin, units);
    const float value =
        rule(weights[place.flat], gradient[place.flat] * factor, moments + place.flat, call->step[step].constants);
    weights[place.flat] = value;
    pack_weight(array, place, units, value);
}
#define GIVEN arrays, count, total, units, gradient, squares, largest, call, step, weights, moments

extern "C" __global__ void __launch_bounds__(THREADS) adam(UPDATE) {
    update(GIVEN, [=](float w, float g, float* slots, const float* constants) {
        const float rate = constants[0], decay = constants[4], epsilon = constants[3];
        const float mean = slots[0] + (g - slots[0]) * constants[1];
        const float square = slots[total] + (g * g - slots[total]) * constants[2];
        slots[0] = mean;
        slots[total] = square;
        return w - decay * w - rate * mean / (sqrtf(square) + epsilon);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS) rmsprop(UPDATE) {
    update(GIVEN, [=](float w, float g, float* slots, const float* constants) {
        const float square = constants[1] * slots[0] + (1.0f - constants[1]) * g * g;
        slots[0] = square;
        return w - constants[0] * g / sqrtf(square + constants[2]);
    });
}

extern "C" __global__ void __launch_bounds__(THREADS) sgd(UPDATE) {
    update(GIVEN, [=](float w, float g, float*, const float* constants) { return w - constants[0] * g; });
}

extern "C" __global__ void __launch_bounds__(THREADS)
pack(const Array* __restrict__ arrays, const int count, const int64 total, const int units,
     const float* __restrict__ weights) {
    const int64 number = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (number >= total) return;
    const Array& array = array_of(arrays, count, number);
    const Place place = place_of(array, number - array.begin, units);
    pack_weight(array, place, units, weights[place.flat]);
}

// out = factor * from
extern "C" __global__ void __launch_bounds__(THREADS)
scale(const float* __restrict__ from, const float factor, float* __restrict__ out, const int64 length) {
    const int64 i = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (i < length) out[i] = factor * from[i];
}

// sums: [steps][blocks][UNITS + 2], the last of each being a block's squared errors
extern "C" __global__ void __launch_bounds__(THREADS)
mean_loss(const float* __restrict__ sums, const int steps, const int blocks, const int batch, float* __restrict__ loss) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < steps * blocks; i += THREADS) sum += sums[int64(i) * (UNITS + 2) + UNITS + 1];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *loss = float(sum / batch / steps);
}
