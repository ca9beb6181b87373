// From the parts of the gradients to new weights, and the weights into the order in which the products read them.
//
//   collect    adds up the parts of each gradient, in order, into the flat gradient; sums of its squares for clipping
//   adam, rmsprop, sgd    scale the gradient to the largest norm, take the step, and pack the new weights
//   adam_at_once ...      both in one, where the norm has no limit and parts are few
//   pack       packs weights that came from elsewhere
//   scale      a vector times a number: a rank's share of an average
//   mean_loss  the losses of each step's blocks, averaged over the call
//
// Flat vectors are in the order of hpc_lstm/model/parameters.py. One launch handles all arrays: a table says for each
// where it lies, where the parts of its gradient do, and where its packed copies go. A block has 8 inputs of 32 units
// of a matrix, 1,024 numbers, which pass through shared memory, so that they are read and written in whole sectors in
// each of the three orders.

#include "lstm_common.cuh"

#define THREADS 256
#define TILE_INPUTS 8
#define TILE_UNITS 32
#define TILE_ROWS (4 * TILE_UNITS)
#define EACH 4  // numbers of a thread
#define SUMS (OUTPUTS * (UNITS + 1) + 1)  // of a block of lstm_head.cu

// What an array of the network is.
#define MATRIX 0  // W or U: [inputs, 4 gates * units]
#define BIAS 1    // [4 gates * units]
#define DENSE 2   // the outputs' weights [units, OUTPUTS], then their biases

struct Array {
    int64 begin;             // the first of its blocks; those of the next array follow
    int64 flat;              // where it begins in the flat vectors
    int kind, inputs;        // inputs: rows of a matrix
    int parts, width;        // parts of the gradient; numbers from one of its rows to the next
    int64 part_size;         // numbers from one part to the next
    const float* gradients;  // MATRIX: [parts][4 UNITS][width], row 4 * unit + gate; else [parts][...]
    bf16* by_gate;           // MATRIX: [PARTS][4 UNITS][width]: operand of x W or h U
    bf16* by_input;          // MATRIX: [PARTS][width][4 UNITS], or null: operand of dz W^T or dz U^T
    float* copy;             // BIAS: [4 UNITS]; DENSE: [UNITS + 1][OUTPUTS]
    int order, unused;       // of by_gate; see ``place_by_gate``
};

// Where by_gate has eight inputs, from a multiple of 8 on, of a unit's gate.
#define BY_UNIT 0   // rows 4 * unit + gate
#define BY_GATE 1   // rows 32 * (unit / 8) + 8 * gate + unit % 8
#define IN_TILES 2  // rows as before, in tiles [UNITS / 64][width / 64][256 rows][64], swizzled as in lstm_tiles.cuh
INLINE int64 place_by_gate(const Array& array, int unit, int gate, int input) {
    if (array.order == BY_UNIT) return int64(4 * unit + gate) * array.width + input;
    const int row = 32 * (unit / 8) + 8 * gate + unit % 8, piece = input / 8;
    if (array.order == BY_GATE) return int64(row) * array.width + input;
    if (array.width == 16) return row * 16 + (piece ^ row / 4 % 2) * 8;
    return (int64(row / 256 * (array.width / 64) + piece / 8) * 256 + row % 256) * 64 + (piece % 8 ^ row % 8) * 8;
}

struct Tile {
    float at[TILE_INPUTS][TILE_ROWS + 1];  // [input][4 * unit + gate]
};

// The array that this block belongs to, and the block's number in it.
INLINE const Array& own_array(const Array* arrays, int count, int& block) {
    int found = 0;
    for (int i = 1; i < count; ++i)
        if (arrays[i].begin <= blockIdx.x) found = i;
    block = blockIdx.x - int(arrays[found].begin);
    return arrays[found];
}

// Where this thread's numbers lie.
struct Place {
    const Array* array;
    int units, block;
    int input0, unit0;  // of a matrix's tile

    INLINE Place(const Array* arrays, int count, int units) : units(units) {
        array = &own_array(arrays, count, block);
        const int across = (units + TILE_UNITS - 1) / TILE_UNITS;
        input0 = block / across * TILE_INPUTS;
        unit0 = block % across * TILE_UNITS;
    }
    INLINE int kind() const { return array->kind; }
    INLINE int input() const { return threadIdx.x % THREADS / TILE_UNITS; }  // in the tile
    INLINE int unit() const { return threadIdx.x % TILE_UNITS; }
    // Whether number i of this thread is one, and its place in the flat vectors.
    INLINE bool inside(int i) const {
        if (kind() == MATRIX) return input0 + input() < array->inputs && unit0 + unit() < units;
        return i == 0 && block * THREADS + int(threadIdx.x) < (kind() == BIAS ? 4 * units : (units + 1) * OUTPUTS);
    }
    INLINE int64 flat(int i) const {
        if (kind() == MATRIX) return array->flat + int64(input0 + input()) * 4 * units + i * units + unit0 + unit();
        return array->flat + block * THREADS + threadIdx.x;
    }
    // The number's place in a bias or the dense weights, as kernels order them.
    INLINE int padded() const {
        const int own = block * THREADS + threadIdx.x;
        if (kind() == BIAS) return own % units * 4 + own / units;
        return own < units * OUTPUTS ? own : own + (UNITS - units) * OUTPUTS;
    }
};

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

// The sum of `count` numbers, `pitch` apart, in order.
INLINE float sum_in_order(const float* from, const int count, const int64 pitch) {
    float sum = 0.0f;
#pragma unroll 8
    for (int part = 0; part < count; ++part) sum += from[part * pitch];
    return sum;
}
// The same of few numbers, as many as possible on their way at a time.
INLINE float sum_few_in_order(const float* from, const int count, const int64 pitch) {
    constexpr int AT_ONCE = 16;
    float sum = 0.0f;
    for (int first = 0; first < count; first += AT_ONCE) {
        float values[AT_ONCE];
        UNROLL for (int i = 0; i < AT_ONCE; ++i) values[i] = first + i < count ? __ldg(from + (first + i) * pitch) : 0.0f;
        UNROLL for (int i = 0; i < AT_ONCE; ++i) sum += values[i];
    }
    return sum;
}

// The sum of the parts of a number of the gradient: a thread for each number, EACH * THREADS, as every one is the sum of
// many. All threads of the block call it.
// Returns: number threadIdx.x / THREADS of place; 0 where that is outside.
template <float (*SUM)(const float*, int, int64)> INLINE float sum_of_parts(const Place& place, Tile& tile) {
    const Array& array = *place.array;
    const int gate = threadIdx.x / THREADS;
    float value = 0.0f;
    if (array.kind == MATRIX) {
        // Eight neighbouring inputs of a row of the gradient are one sector.
        const int input = threadIdx.x % TILE_INPUTS, row = threadIdx.x / TILE_INPUTS;
        const float* from = array.gradients + int64(4 * place.unit0 + row) * array.width + place.input0 + input;
        if (place.unit0 + row / 4 < place.units) value = SUM(from, array.parts, array.part_size);
        tile.at[input][row] = value;
        __syncthreads();
        return place.inside(gate) ? tile.at[place.input()][4 * place.unit() + gate] : 0.0f;
    }
    if (gate == 0 && place.inside(0)) {
        value = SUM(array.gradients + place.padded(), array.parts, array.part_size);
    }
    return value;
}

// gradient: [numbers]; squares: [blocks]
extern "C" __global__ void __launch_bounds__(EACH* THREADS)
collect(const Array* __restrict__ arrays, const int count, const int units, float* __restrict__ gradient,
        double* __restrict__ squares) {
    __shared__ Tile tile;
    __shared__ double parts[EACH * THREADS / 32];
    const Place place(arrays, count, units);
    const int gate = threadIdx.x / THREADS;
    const float value = sum_of_parts<sum_in_order>(place, tile);
    if (place.inside(gate)) gradient[place.flat(gate)] = value;
    double square = double(value) * value;
    UNROLL for (int distance = 16; distance; distance /= 2)
        square += __shfl_xor_sync(0xffffffffu, square, distance);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = square;
    __syncthreads();
    if (threadIdx.x == 0) {
        double sum = 0.0;
        UNROLL for (int i = 0; i < EACH * THREADS / 32; ++i) sum += parts[i];
        squares[blockIdx.x] = sum;
    }
}

// Packs a number of a bias or of the dense weights.
INLINE void pack_number(const Place& place, const float value) {
    const bool halved = place.kind() == BIAS && HALVED_GATE(place.padded() % 4);
    place.array->copy[place.padded()] = halved ? 0.5f * value : value;
}

// Packs a tile of a matrix; all threads of the block call it.
INLINE void pack_tile(const Place& place, const Tile& tile) {
    const Array& array = *place.array;
    const int64 plane = int64(4) * UNITS * array.width;
    if (threadIdx.x < TILE_ROWS && place.unit0 + threadIdx.x / 4 < UNITS) {
        const int unit = place.unit0 + threadIdx.x / 4, gate = threadIdx.x % 4;
        const int64 at = place_by_gate(array, unit, gate, place.input0);
        const float factor = HALVED_GATE(gate) ? 0.5f : 1.0f;
        uint32 words[TILE_INPUTS / 2][PARTS];
        UNROLL for (int k = 0; k < TILE_INPUTS; k += 2)
            split(factor * tile.at[k][threadIdx.x], factor * tile.at[k + 1][threadIdx.x], words[k / 2]);
        UNROLL for (int part = 0; part < PARTS; ++part)
            *reinterpret_cast<uint4*>(array.by_gate + part * plane + at) =
                make_uint4(words[0][part], words[1][part], words[2][part], words[3][part]);
    }
    if (array.by_input)
        for (int v = threadIdx.x; v < TILE_INPUTS * TILE_ROWS / 2; v += blockDim.x) {
            const int input = v / (TILE_ROWS / 2), row = v % (TILE_ROWS / 2) * 2;
            if (place.unit0 + row / 4 >= UNITS) continue;
            uint32 parts[PARTS];
            split(tile.at[input][row], tile.at[input][row + 1], parts);
            UNROLL for (int part = 0; part < PARTS; ++part)
                *reinterpret_cast<uint32*>(array.by_input + part * plane + int64(place.input0 + input) * 4 * UNITS +
                                           4 * place.unit0 + row) = parts[part];
        }
}

// Packs this thread's EACH numbers; all threads of the block call it.
INLINE void pack_numbers(const Place& place, const float (&values)[EACH], Tile& tile) {
    if (place.kind() != MATRIX) {
        if (place.inside(0)) pack_number(place, values[0]);
        return;
    }
    UNROLL for (int i = 0; i < EACH; ++i)
        tile.at[place.input()][4 * place.unit() + i] = place.inside(i) ? values[i] : 0.0f;
    __syncthreads();
    pack_tile(place, tile);
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

// The step of an optimizer: a rule for one number. Its constants are those of hpc_lstm/model/optimizers.
template <class Rule> INLINE void update(UPDATE, Rule rule) {
    __shared__ Tile tile;
    const Place place(arrays, count, units);
    const float factor = clip_factor(squares, gridDim.x, largest);
    float values[EACH];
    UNROLL for (int i = 0; i < EACH; ++i)
        if (place.inside(i)) {
            const int64 at = place.flat(i);
            values[i] = rule(weights[at], gradient[at] * factor, moments + at, call->step[step].constants);
            weights[at] = values[i];
        }
    pack_numbers(place, values, tile);
}

#define UPDATE_AT_ONCE                                                                                              \
    const Array *__restrict__ arrays, const int count, const int64 total, const int units,                          \
        float *__restrict__ gradient, const Call *__restrict__ call, const int step, float *__restrict__ weights,   \
        float *__restrict__ moments

// The same from the parts of the gradient, a thread for each number.
template <class Rule> INLINE void update_at_once(UPDATE_AT_ONCE, Rule rule) {
    __shared__ Tile tile;
    const Place place(arrays, count, units);
    const int i = threadIdx.x / THREADS;
    const float sum = sum_of_parts<sum_few_in_order>(place, tile);
    const bool inside = place.inside(i);
    float value = 0.0f;
    if (inside) {
        const int64 at = place.flat(i);
        gradient[at] = sum;
        value = rule(weights[at], sum, moments + at, call->step[step].constants);
        weights[at] = value;
    }
    if (place.kind() != MATRIX) {
        if (inside) pack_number(place, value);
        return;
    }
    tile.at[place.input()][4 * place.unit() + i] = value;  // where this thread alone has read
    __syncthreads();
    pack_tile(place, tile);
}
#define GIVEN arrays, count, total, units, gradient, squares, largest, call, step, weights, moments

#define GIVEN_AT_ONCE arrays, count, total, units, gradient, call, step, weights, moments

// A rule: the new weight; slots: the optimizer's of this number, the second `total` numbers behind the first.
#define OPTIMIZER(name, ...)                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) name(UPDATE) {                                             \
        update(GIVEN, [=](float w, float g, float* slots, const float* constants) -> float __VA_ARGS__);             \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(EACH* THREADS) name##_at_once(UPDATE_AT_ONCE) {                     \
        update_at_once(GIVEN_AT_ONCE, [=](float w, float g, float* slots, const float* constants) -> float __VA_ARGS__); \
    }

OPTIMIZER(adam, {
    const float rate = constants[0], decay = constants[4], epsilon = constants[3];
    const float mean = slots[0] + (g - slots[0]) * constants[1];
    const float square = slots[total] + (g * g - slots[total]) * constants[2];
    slots[0] = mean;
    slots[total] = square;
    return w - decay * w - rate * mean / (sqrtf(square) + epsilon);
})

OPTIMIZER(rmsprop, {
    const float square = constants[1] * slots[0] + (1.0f - constants[1]) * g * g;
    slots[0] = square;
    return w - constants[0] * g / sqrtf(square + constants[2]);
})

OPTIMIZER(sgd, { return w - constants[0] * g; })

extern "C" __global__ void __launch_bounds__(THREADS)
pack(const Array* __restrict__ arrays, const int count, const int units, const float* __restrict__ weights) {
    __shared__ Tile tile;
    const Place place(arrays, count, units);
    float values[EACH];
    UNROLL for (int i = 0; i < EACH; ++i)
        if (place.inside(i)) values[i] = weights[place.flat(i)];
    pack_numbers(place, values, tile);
}

// out = factor * from
extern "C" __global__ void __launch_bounds__(THREADS)
scale(const float* __restrict__ from, const float factor, float* __restrict__ out, const int64 length) {
    const int64 i = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (i < length) out[i] = factor * from[i];
}

// sums: [steps][blocks][SUMS], the last of each being a block's losses
extern "C" __global__ void __launch_bounds__(THREADS)
mean_loss(const float* __restrict__ sums, const int steps, const int blocks, const int batch, float* __restrict__ loss) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < steps * blocks; i += THREADS) sum += sums[int64(i) * SUMS + SUMS - 1];
    sum = block_sum(sum);
    if (threadIdx.x == 0) *loss = float(sum / batch / steps);
}
