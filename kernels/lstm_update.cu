// From the parts of the gradients to new weights, and the weights into the order in which the products read them.
//
//   collect, sum_squares    add up the parts of each gradient, in order, into the flat gradient, and the squares of its
//              numbers for clipping
//   adam, rmsprop, sgd    scale the gradient to the largest norm, take the step, and pack the new weights
//   adam_at_once ...      both in one, where the norm has no limit
//   pack       packs weights that came from elsewhere
//   scale      a vector times a number: a rank's share of an average
//   take_mean  makes the sum of all ranks' shares the weights, and packs them
//   mean_loss  the losses of each step's blocks, averaged over the call, and what its averages took
//
// Flat vectors are in the order of hpc_lstm/model/parameters.py. One launch handles all arrays: a table says for each
// where it lies, where the parts of its gradient do, and where its packed copies go. A block has 8 inputs of TILE_UNITS
// units of a matrix, NUMBERS numbers, which pass through shared memory, so that they are read and written in whole
// sectors in each of the three orders.
//
// A thread sums the parts of one number of a matrix, in order, with AT_ONCE reads in flight. Biases and dense weights
// are few, and their parts can be many: several threads share the parts of one number. The weight and what the optimizer
// remembers are read before, so that these reads are in flight, too.
//
// Floor: 4 bytes a part, 28 for the gradient (written), the weight and adam's two slots (read and written), and 4 for
// the packed copies. With 2 x 64 units and 15 parts that is 5 MB, which lie in the L2 cache: 1 us at 5 TB/s. Four reads
// depend on each other (table, parts, shared memory twice): 2 us.

#include "lstm_common.cuh"

#define THREADS 256
#define TILE_INPUTS 8
#define TILE_ROWS (4 * TILE_UNITS)
#define NUMBERS (TILE_INPUTS * TILE_ROWS)
#define FEW_NUMBERS 64  // of a block of a bias or the dense weights
#define SUM_THREADS NUMBERS  // of kernels that sum parts
#define EACH (NUMBERS / THREADS)  // numbers per thread in kernels that do not sum parts
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
    // Number `own` of the block: its gate, input and unit in a matrix's tile.
    INLINE static int gate(int own) { return own / (TILE_INPUTS * TILE_UNITS); }
    INLINE static int input(int own) { return own / TILE_UNITS % TILE_INPUTS; }
    INLINE static int unit(int own) { return own % TILE_UNITS; }
    INLINE static float& at(Tile& tile, int own) { return tile.at[input(own)][4 * unit(own) + gate(own)]; }
    // Whether it is one, and its place in the flat vectors.
    INLINE bool inside(int own) const {
        if (kind() == MATRIX)
            return input0 + input(own) < array->inputs && unit0 + unit(own) < units;
        return own < FEW_NUMBERS && block * FEW_NUMBERS + own < (kind() == BIAS ? 4 * units : (units + 1) * OUTPUTS);
    }
    INLINE int64 flat(int own) const {
        if (kind() != MATRIX) return array->flat + block * FEW_NUMBERS + own;
        return array->flat + (int64(input0 + input(own)) * 4 + gate(own)) * units + unit0 + unit(own);
    }
    // The number's place in a bias or the dense weights, as kernels order them.
    INLINE int padded(int own) const {
        own += block * FEW_NUMBERS;
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

// The sum of numbers first, first + step ... below `count`, `pitch` apart, in order.
INLINE float sum_in_order(const float* from, const int first, const int step, const int count, const int64 pitch) {
    constexpr int AT_ONCE = 16;  // reads in flight
    float sum = 0.0f;
    const int end = after_wait(count);  // and no __ldg, which is for what nobody writes while the kernel runs
    for (int begin = first; begin < end; begin += AT_ONCE * step) {
        float values[AT_ONCE];
        UNROLL for (int i = 0; i < AT_ONCE; ++i) {
            const int part = begin + i * step;
            values[i] = part < end ? from[part * pitch] : 0.0f;
        }
        UNROLL for (int i = 0; i < AT_ONCE; ++i) sum += values[i];
    }
    return sum;
}

struct Partial { float at[SUM_THREADS]; };  // the sums of one group after those of another

// The sums that groups of GROUP_THREADS threads have found, by the first of them.
template <int GROUP_THREADS> INLINE float sum_of_groups(const float value, Partial& partial) {
    partial.at[threadIdx.x] = value;
    __syncthreads();
    float sum = 0.0f;
    if (threadIdx.x < GROUP_THREADS)
        UNROLL for (int group = 0; group < SUM_THREADS / GROUP_THREADS; ++group)
            sum += partial.at[group * GROUP_THREADS + threadIdx.x];
    return sum;
}

// The sum of the parts of a number of the gradient. All SUM_THREADS threads of the block call it.
// Returns: of number threadIdx.x of place; 0 where that is outside.
INLINE float sum_of_parts(const Place& place, Tile& tile, Partial& partial) {
    const Array& array = *place.array;
    float value = 0.0f;
    if (array.kind == MATRIX) {
        // Eight neighbouring inputs of a row of the gradient are one sector.
        const int input = threadIdx.x % TILE_INPUTS, row = threadIdx.x / TILE_INPUTS;
        const float* from = array.gradients + int64(4 * place.unit0 + row) * array.width + place.input0 + input;
        if (place.unit0 + row / 4 < place.units)
            value = sum_in_order(from, 0, 1, array.parts, array.part_size);
        tile.at[input][row] = value;
        __syncthreads();
        return place.inside(threadIdx.x) ? place.at(tile, threadIdx.x) : 0.0f;
    }
    const int own = threadIdx.x % FEW_NUMBERS;
    if (place.inside(own)) {
        const float* from = array.gradients + place.padded(own);
        value = sum_in_order(from, threadIdx.x / FEW_NUMBERS, SUM_THREADS / FEW_NUMBERS, array.parts, array.part_size);
    }
    return sum_of_groups<FEW_NUMBERS>(value, partial);
}

// gradient: [numbers]; squares: [blocks]
extern "C" __global__ void __launch_bounds__(SUM_THREADS)
collect(const Array* __restrict__ arrays, const int count, const int units, float* __restrict__ gradient,
        double* __restrict__ squares) {
    __shared__ Tile tile;
    __shared__ Partial partial;
    __shared__ double parts[SUM_THREADS / 32];
    const Place place(arrays, count, units);
    const float value = sum_of_parts(place, tile, partial);
    if (place.inside(threadIdx.x)) gradient[place.flat(threadIdx.x)] = value;
    double square = double(value) * value;
    UNROLL for (int distance = 16; distance; distance /= 2)
        square += __shfl_xor_sync(0xffffffffu, square, distance);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = square;
    __syncthreads();
    if (threadIdx.x == 0) {
        double sum = 0.0;
        UNROLL for (int i = 0; i < SUM_THREADS / 32; ++i) sum += parts[i];
        squares[blockIdx.x] = sum;
    }
}

// Packs a number of a bias or of the dense weights.
INLINE void pack_number(const Place& place, const int own, const float value) {
    const bool halved = place.kind() == BIAS && HALVED_GATE(place.padded(own) % 4);
    place.array->copy[place.padded(own)] = halved ? 0.5f * value : value;
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
        if (place.inside(threadIdx.x)) pack_number(place, threadIdx.x, values[0]);
        return;
    }
    UNROLL for (int i = 0; i < EACH; ++i) {
        const int own = i * THREADS + threadIdx.x;
        place.at(tile, own) = place.inside(own) ? values[i] : 0.0f;
    }
    __syncthreads();
    pack_tile(place, tile);
}

// squares: [blocks] of ``collect``, then the sum of all, which this adds
extern "C" __global__ void __launch_bounds__(THREADS) sum_squares(double* __restrict__ squares, const int blocks) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < blocks; i += THREADS) sum += squares[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) squares[blocks] = sum;
}

// What a gradient with this sum of squares is multiplied by, so that its norm is at most `largest`.
INLINE float clip_factor(const double square, const float largest) {
    return largest / fmaxf(float(sqrt(square)), largest);
}

#define UPDATE                                                                                                      \
    const Array *__restrict__ arrays, const int count, const int64 total, const int units,                          \
        const float *gradient, const double *square, const float largest,                                           \
        const Call *__restrict__ call, const int step, float *__restrict__ weights, float *__restrict__ moments

// A number's weight and what the optimizer remembers of it, `slots` numbers.
struct State {
    float weight, slots[2];
};
template <int SLOTS>
INLINE State read_state(const float* weights, const float* moments, const int64 total, const int64 at) {
    State state = {weights[at]};
    UNROLL for (int i = 0; i < SLOTS; ++i) state.slots[i] = moments[i * total + at];
    return state;
}
template <int SLOTS>
INLINE void write_state(float* weights, float* moments, const int64 total, const int64 at, const State& state) {
    weights[at] = state.weight;
    UNROLL for (int i = 0; i < SLOTS; ++i) moments[i * total + at] = state.slots[i];
}

// The step of an optimizer: a rule for one number. Its constants are those of hpc_lstm/model/optimizers.
template <int SLOTS, class Rule> INLINE void update(UPDATE, Rule rule) {
    __shared__ Tile tile;
    wait_for_kernel_before();
    begin_next_kernel();
    const Place place(arrays, count, units);
    const float factor = clip_factor(*square, largest);
    float values[EACH];
    UNROLL for (int i = 0; i < EACH; ++i) {
        const int own = i * THREADS + threadIdx.x;
        if (!place.inside(own)) continue;
        const int64 at = place.flat(own);
        State state = read_state<SLOTS>(weights, moments, total, at);
        rule(state, gradient[at] * factor, call->step[step].constants);
        write_state<SLOTS>(weights, moments, total, at, state);
        values[i] = state.weight;
    }
    pack_numbers(place, values, tile);
}

#define UPDATE_AT_ONCE                                                                                              \
    const Array *__restrict__ arrays, const int count, const int64 total, const int units,                          \
        float *__restrict__ gradient, const Call *__restrict__ call, const int step, float *__restrict__ weights,   \
        float *__restrict__ moments

// The same from the parts of the gradient.
template <int SLOTS, class Rule> INLINE void update_at_once(UPDATE_AT_ONCE, Rule rule) {
    __shared__ Tile tile;
    __shared__ Partial partial;
    __shared__ float constants[MAX_CONSTANTS];
    const Place place(arrays, count, units);
    const int own = threadIdx.x;
    const bool inside = place.inside(own);
    const int64 at = inside ? place.flat(own) : 0;
    State state = {};
    if (inside) state = read_state<SLOTS>(weights, moments, total, at);
    if (threadIdx.x < MAX_CONSTANTS) constants[threadIdx.x] = call->step[step].constants[threadIdx.x];
    wait_for_kernel_before();
    begin_next_kernel();
    const float sum = sum_of_parts(place, tile, partial);  // behind a barrier of the block
    if (inside) {
        gradient[at] = sum;
        rule(state, sum, constants);
        write_state<SLOTS>(weights, moments, total, at, state);
    }
    if (place.kind() != MATRIX) {
        if (inside) pack_number(place, own, state.weight);
        return;
    }
    // Where this thread alone has read.
    place.at(tile, own) = state.weight;
    __syncthreads();
    pack_tile(place, tile);
}
#define GIVEN arrays, count, total, units, gradient, square, largest, call, step, weights, moments

#define GIVEN_AT_ONCE arrays, count, total, units, gradient, call, step, weights, moments

// A rule turns a number's state into the next by its gradient g; it remembers `slots` numbers.
#define OPTIMIZER(name, slots, ...)                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) name(UPDATE) {                                             \
        update<slots>(GIVEN, [=](State& state, const float g, const float* constants) -> void __VA_ARGS__);          \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(SUM_THREADS) name##_at_once(UPDATE_AT_ONCE) {                       \
        update_at_once<slots>(GIVEN_AT_ONCE,                                                                         \
                              [=](State& state, const float g, const float* constants) -> void __VA_ARGS__);         \
    }

OPTIMIZER(adam, 2, {
    const float rate = constants[0], decay = constants[4], epsilon = constants[3], w = state.weight;
    const float mean = state.slots[0] + (g - state.slots[0]) * constants[1];
    const float square = state.slots[1] + (g * g - state.slots[1]) * constants[2];
    state = {w - decay * w - rate * mean / (sqrtf(square) + epsilon), {mean, square}};
})

OPTIMIZER(rmsprop, 1, {
    const float square = constants[1] * state.slots[0] + (1.0f - constants[1]) * g * g;
    state = {state.weight - constants[0] * g / sqrtf(square + constants[2]), {square}};
})

OPTIMIZER(sgd, 0, { state.weight -= constants[0] * g; })

extern "C" __global__ void __launch_bounds__(THREADS)
pack(const Array* __restrict__ arrays, const int count, const int units, const float* __restrict__ weights) {
    __shared__ Tile tile;
    const Place place(arrays, count, units);
    float values[EACH];
    UNROLL for (int i = 0; i < EACH; ++i) {
        const int own = i * THREADS + threadIdx.x;
        if (place.inside(own)) values[i] = weights[place.flat(own)];
    }
    pack_numbers(place, values, tile);
}

// Averages within a call.
struct Averages {
    uint64 begun, taken;  // when the last one began; what all took since ``mean_loss`` (ns)
};
// The clock of the GPU, in nanoseconds.
INLINE uint64 clock_ns() {
    uint64 now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
    return now;
}

// out = factor * from; averages: of which this is the beginning, or null
extern "C" __global__ void __launch_bounds__(THREADS)
scale(const float* __restrict__ from, const float factor, float* __restrict__ out, const int64 length,
      Averages* __restrict__ averages) {
    const int64 i = int64(blockIdx.x) * THREADS + threadIdx.x;
    if (averages && i == 0) averages->begun = clock_ns();
    if (i < length) out[i] = factor * from[i];
}

extern "C" __global__ void __launch_bounds__(THREADS)
take_mean(const Array* __restrict__ arrays, const int count, const int units, const float* __restrict__ mean,
          float* __restrict__ weights, Averages* __restrict__ averages) {
    __shared__ Tile tile;
    const Place place(arrays, count, units);
    float values[EACH];
    UNROLL for (int i = 0; i < EACH; ++i) {
        const int own = i * THREADS + threadIdx.x;
        if (!place.inside(own)) continue;
        const int64 at = place.flat(own);
        weights[at] = values[i] = mean[at];
    }
    pack_numbers(place, values, tile);
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        const uint64 now = clock_ns();
        averages->taken += now > averages->begun ? now - averages->begun : 0;
    }
}

// sums: [steps][blocks][SUMS], the last of each being a block's losses; out: the loss, and what averages took (ns)
extern "C" __global__ void __launch_bounds__(THREADS)
mean_loss(const float* __restrict__ sums, const int steps, const int blocks, const int batch,
          Averages* __restrict__ averages, float* __restrict__ out) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < steps * blocks; i += THREADS) sum += sums[int64(i) * SUMS + SUMS - 1];
    sum = block_sum(sum);
    if (threadIdx.x != 0) return;
    out[0] = float(sum / batch / steps);
    out[1] = float(averages->taken);
    averages->taken = 0;
}
