// One LSTM layer over all rows of a batch's windows: gates, cells and outputs.
//
// At each row t of the windows, for all units and windows (Hochreiter and Schmidhuber 1997; Gers et al. 2000):
//
//     i, f, o = sigmoid(x W + h_before U + b)    g = tanh(x W + h_before U + b), each with columns of its own
//     c = f * c_before + i * g                   h = o * tanh(c)
//
// Every row needs the h of the row before, so time is spent in the chain of rows, not in arithmetic. Hence:
//
// - The whole chain is one launch. A block has 8 * TILES windows and keeps them for all rows; SPLIT blocks share the
//   layer's units, where U is too large for one: each owns UNITS / SPLIT units.
// - LAYERS layers run in one launch, each a row or so behind the layer below it, which sends it every row:
//
//           row  0   1   2   3   4 ...
//     layer 1    h   h   h   h   h          the blocks of all layers for the same windows are a cluster
//     layer 2        h   h   h   h ...
//
// - U never moves: it stays in registers as the A operand of mma.m16n8k16, gates^T [4 UNITS, windows] = U^T h^T.
//   A warp owns 8 units, that is two A tiles whose rows are
//
//           rows 0-7   rows 8-15
//   tile 0  i          f            of its 8 units
//   tile 1  g          o
//
//   so that a thread ends up with all four gates of one unit and two windows, and computes c and h in registers. Where
//   the registers do not hold U, K_SPLIT warps share a group of units, each with a part of the inner dimension.
// - h goes through shared memory, twice buffered, so one barrier a row suffices; it is written to global memory from
//   there in 16-byte pieces while the next row is computed.
// - x W of the lowest layer comes from a product over all rows at once (lstm_products*.cu) and is overwritten in place
//   by the activated gates, which the backward pass overwrites by their gradients. With INPUT_TILES = 1, up to 16
//   features, it is computed here. So is that of the layers above it. Their W is in registers as U is; or where both
//   do not fit, in those of a block between the two layers, with PROJECTED = 1, which sends x W + b; or with
//   W_SHARED = 1 in shared memory.
//
// Floor on an H100, per layer, row and window of 128 units in bfloat16: 1,024 bytes read, 1,536 written; 131,072
// multiply-adds; 640 special functions. At 8,192 windows of 60 rows the bytes decide: 420 us at 3 TB/s.
//
// Shapes, all padded: units to UNITS, windows to whole blocks. Weights of padded units are 0, so they stay 0.

#include "lstm_chains.cuh"

#define WARPS (GROUPS * K_SPLIT)
#define THREADS (32 * WARPS)
#define INNER (UNITS / 16 / K_SPLIT)    // steps of 16 of a warp's inner dimension
#define PITCH (UNITS + 8)               // numbers from one window's h to the next: no bank conflicts in ldmatrix
#define ITEMS (TILES * 2 / K_SPLIT)     // (unit, window) pairs whose cells a thread computes
#define PAIR (ITEMS < 2 ? 1 : 2)        // of them, neighbouring windows of one unit
#define PAIRS (ITEMS / PAIR)
#define STAGES 4                        // rows whose input is on its way or in use
#define NARROW 16                       // columns of x
#define NARROW_PITCH (NARROW + 8)
#define GATE_PITCH (4 * OWN + 16)
#define OWN_PITCH (OWN + 8)
#define HAS_NARROW (INPUT_TILES)        // which inputs there are in the launch
#define HAS_GATES (!INPUT_TILES)

#if K_SPLIT > 1
#define REDUCED (WARPS * TILES * 8 * 32)
#else
#define REDUCED 1
#endif

struct Layer {
    const bf16* u;      // U^T [PARTS][4 UNITS][UNITS], row 32 * (unit / 8) + 8 * gate + unit % 8, as the A tiles have them
    const bf16* w;      // W^T likewise [PARTS][4 UNITS][16, or UNITS above the lowest layer]; unless x W is given
    const float* bias;  // [4 UNITS], row 4 * unit + gate; unless x W is given
    const bf16* x;      // [PARTS][rows][windows][16], of the lowest layer; unless x W is given
    bf16* gates;        // [PARTS][rows][windows][4 UNITS], column 4 * unit + gate: x W + b, if given; then the activated gates
    bf16* h;            // [PARTS][rows + 1][windows][UNITS], begins with zeros
    CELL* cells;        // [rows + 1][windows / 8][UNITS / 8][32 lanes][2 windows], begins with zeros
    bf16* dropped;      // [PARTS][rows][windows][UNITS], h after dropout; where the layer drops outputs
};

union Input {
#if HAS_NARROW
    bf16 x[PARTS][WINDOWS][NARROW_PITCH];
#endif
#if HAS_GATES
    bf16 gates[PARTS][WINDOWS][GATE_PITCH];
#endif
#if HAS_BELOW
    bf16 below[PARTS][WINDOWS][PITCH];
#endif
#if PROJECTED
    float4 sums[WARPS][TILES][2][32];  // x W + b, as the threads of the block that computes it hold it
#endif
};

struct Shared {
    bf16 h[2][PARTS][WINDOWS][PITCH];
#if DROPS
    bf16 dropped[2][PARTS][WINDOWS][OWN_PITCH];
#endif
    Input input[STAGES];
#if DROPS
    Masks kept[STAGES];
#endif
    float reduced[REDUCED];
#if W_SHARED
    StoredTile w[WARPS][INNER][2];
#endif
    // Barriers: h of the cluster's other blocks, twice buffered; a row's input; room for a row in the layer above.
    uint64 arrived[2], loaded[STAGES], room[STAGES];
};

// Copies this thread's part of a block's h, or of h after dropout, of one row to global memory.
// from: numbers of its window and 8 units; to: where they go; a window lies `pitch` or UNITS numbers from the next.
INLINE void store_rows(const bf16* from, const int pitch, bf16* to, const int64 plane, const int own_window) {
    UNROLL for (int part = 0; part < PARTS; ++part)
        UNROLL for (int i = 0; i < WINDOWS; i += THREADS / GROUPS)
            if (own_window + i < WINDOWS)
                *reinterpret_cast<uint4*>(to + part * plane + i * UNITS) =
                    *reinterpret_cast<const uint4*>(from + (part * WINDOWS + i) * pitch);
}

// The cells of a pair of neighbouring windows.
INLINE void store_cells(bf16* to, const float (&c)[PAIR]) {
    if (PAIR == 2) *reinterpret_cast<uint32*>(to) = pack(c[0], c[PAIR - 1]);
    else *to = bf16(pack(c[0], 0.0f));
}
INLINE void store_cells(float* to, const float (&c)[PAIR]) {
    UNROLL for (int e = 0; e < PAIR; ++e) to[e] = c[e];
}

// x W + b of i, f, g, o, from a window's input in shared memory.
INLINE float4 x_w(const bf16* at) {
    uint32 first_two[PARTS], last_two[PARTS];
    UNROLL for (int part = 0; part < PARTS; ++part) {
        const uint2 four = *reinterpret_cast<const uint2*>(at + part * WINDOWS * GATE_PITCH);
        first_two[part] = four.x;
        last_two[part] = four.y;
    }
    return make_float4(join_lower(first_two), join_upper(first_two), join_lower(last_two), join_upper(last_two));
}

// A tiles of a group's gates, from a matrix [PARTS][4 UNITS][columns] of weights, for steps of 16 columns from `column` on.
template <int STEPS>
INLINE void load_tiles(Tile (&tiles)[STEPS][2], const bf16* from, const int all_group, const int columns,
                       const int column) {
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    UNROLL for (int tile = 0; tile < 2; ++tile)
        UNROLL for (int k = 0; k < STEPS; ++k)
            UNROLL for (int part = 0; part < PARTS; ++part) {
                const int64 row = part * int64(4) * UNITS + 32 * all_group + 16 * tile + g;
                load_registers(tiles[k][tile].at[part], from + row * columns + column + 16 * k + 2 * q, columns);
            }
}

// Steps k and k + 1 of a product of two tiles and 8 windows, whose values are at `at` of this lane; the last step alone, if
// their number is odd. Two chains of products, since one waits for the result of the one before.
INLINE void add_two_steps(float (&sums)[2][4], float (&other)[2][4], const uint32 at, const int k, const Tile (&even)[2],
                          const Tile (&odd)[2]) {
    uint32 values[2][PARTS][2];
    load_two_steps<INNER, PITCH>(values, at, k);
    UNROLL for (int half = 0; half < 2; ++half) {
        multiply_parts(sums[half], even[half].at, values[0]);
        if (k + 1 < INNER) multiply_parts(other[half], odd[half].at, values[1]);
    }
}

// Where a layer's x W comes from: x, of 16 columns; a product over all rows; the layer below; the block that computes it.
enum Source { FROM_X, FROM_PRODUCT, FROM_BELOW, FROM_SUMS };

// DROP: the layer drops outputs. SENDS: there is a layer above it in the launch.
template <Source SOURCE, bool DROP, bool SENDS>
INLINE void run_layer(const Layer& layer, Shared& shared, const uint32* __restrict__ kept, const float keep,
                      const int rows, const int windows, const int place_in_cluster, const int rank) {
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const int group = warp / K_SPLIT, part_of_k = warp % K_SPLIT;
    const int first = blockIdx.x / CLUSTER * WINDOWS;    // window
    const int all_group = rank * GROUPS + group;         // of 8 units, among all
    const int unit = 8 * all_group + g;
    const int64 gate_plane = int64(rows) * windows * 4 * UNITS, h_plane = int64(rows + 1) * windows * UNITS;
    const uint32 arrived = shared_address(shared.arrived), loaded = shared_address(shared.loaded),
                 room = shared_address(shared.room);

#if W_SHARED
    if (SOURCE == FROM_BELOW)
#pragma unroll 1
        for (int k = 0; k < INNER; ++k) {
            Tile tiles[1][2];
            load_tiles(tiles, layer.w, all_group, UNITS, (part_of_k * INNER + k) * 16);
            UNROLL for (int half = 0; half < 2; ++half) store_tile(shared.w[warp][k][half], lane, tiles[0][half]);
        }
    constexpr int W_STEPS = 1;
#else
    constexpr int W_STEPS = SOURCE == FROM_BELOW ? INNER : 1;
#endif
    Tile u[INNER][2], w[W_STEPS][2];
    load_tiles(u, layer.u, all_group, UNITS, part_of_k * INNER * 16);
    if (SOURCE == FROM_X) load_tiles(w, layer.w, all_group, NARROW, 0);
    else if (!W_SHARED && SOURCE == FROM_BELOW) load_tiles(w, layer.w, all_group, UNITS, part_of_k * INNER * 16);
    float4 b;  // of i, f, g, o
    if (SOURCE == FROM_X || SOURCE == FROM_BELOW) b = *reinterpret_cast<const float4*>(layer.bias + 4 * unit);

    float c[PAIRS][PAIR];
    UNROLL for (int j = 0; j < PAIRS; ++j)
        UNROLL for (int e = 0; e < PAIR; ++e) c[j][e] = 0.0f;
    // Of a lane's row for load_matrices, in an array of windows with PITCH.
    const uint32 in_window = ((lane % 8) * PITCH + lane / 8 * 8 + part_of_k * INNER * 16) * 2;
    const uint32 h_at = shared_address(shared.h) + in_window;

    // This thread's places in arrays, at the row: of its first pair of windows. Pair j lies j tiles on.
    const int tile0 = part_of_k * ITEMS / 2, e0 = PAIR == 1 ? part_of_k % 2 : 0, window0 = 8 * tile0 + 2 * q + e0;
    const int64 block0 = int64(first / 8 + tile0) * (UNITS / 8) + all_group, unit_row = int64(windows) * UNITS;
    bf16* own_gates = layer.gates + int64(first + window0) * 4 * UNITS + 4 * unit;
    CELL* own_cells = layer.cells + unit_row + block0 * 64 + 2 * lane + e0;
    // And for copies of whole rows from shared memory.
    const int own_window = threadIdx.x / GROUPS, own_units = threadIdx.x % GROUPS * 8;
    bf16* h_out = layer.h + unit_row + int64(first + own_window) * UNITS + rank * OWN + own_units;
#if DROPS
    bf16* dropped_out = DROP ? layer.dropped + int64(first + own_window) * UNITS + rank * OWN + own_units : nullptr;
#endif

    // The input of the next row and its masks, in the background: from where the row begins.
    constexpr int width = SOURCE == FROM_X ? NARROW : 4 * OWN, from_window = SOURCE == FROM_X ? NARROW : 4 * UNITS;
    const int64 from_row = int64(windows) * from_window, from_plane = rows * from_row;
    const bf16* from = SOURCE == FROM_X ? layer.x + int64(first) * NARROW
                                        : layer.gates + int64(first) * 4 * UNITS + 4 * rank * OWN;
    const uint32* kept_from = DROP ? kept + (first / 8 * (UNITS / 8) + rank * GROUPS) * 2 : nullptr;
    // Where a window's numbers begin in a stage.
    const auto place = [&](int stage, int part, int window) -> bf16* {
#if HAS_NARROW
        if (SOURCE == FROM_X) return shared.input[stage].x[part][window];
#endif
#if HAS_GATES
        if (SOURCE == FROM_PRODUCT) return shared.input[stage].gates[part][window];
#endif
#if HAS_BELOW
        if (SOURCE == FROM_BELOW) return shared.input[stage].below[part][window];
#endif
        return nullptr;
    };
    int to_load = rows, stage = 0;
    const auto load_row = [&] {
        if (to_load > 0) {
#if BULK
            // Every warp copies some windows.
            const uint32 own = loaded + 8 * stage;
            constexpr bool copies = SOURCE == FROM_X || SOURCE == FROM_PRODUCT;
            constexpr int bytes = SOURCE == FROM_SUMS    ? WARPS * TILES * 2 * 32 * 16
                                  : SOURCE == FROM_BELOW ? PARTS * WINDOWS * UNITS * 2
                                                         : PARTS * WINDOWS * width * 2;
            constexpr int all_bytes = bytes + (DROP ? TILES * GROUPS * 8 : 0);
            if (warp == 0 && elected()) {
#if LAYERS > 1
                const int below = (place_in_cluster - 1) * SPLIT;
                uint64 &row_loaded = shared.loaded[stage], &row_room = shared.room[stage];
                if (SOURCE == FROM_BELOW) receive_row(row_loaded, row_room, all_bytes, below, SPLIT);
                if (SOURCE == FROM_SUMS) receive_row(row_loaded, row_room, all_bytes, below + rank, 1);
#endif
                if (copies) expect_arrivals(own, all_bytes);
            }
            if (copies)
                UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 1
                    for (int v = warp; v < WINDOWS; v += WARPS)
                        if (elected())
                            copy_bulk(shared_address(place(stage, part, v)), from + part * from_plane + v * from_window,
                                      width * 2, own);
#if DROPS
            if (DROP)
#pragma unroll 1
                for (int v = WARPS - 1 - warp; v < TILES; v += WARPS)
                    if (elected())
                        copy_bulk(shared_address(shared.kept[stage][v]), kept_from + v * (UNITS / 4), GROUPS * 8, own);
#endif
#else
            UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 1
                for (int v = threadIdx.x; v < WINDOWS * width / 8; v += THREADS) {
                    const int window = v / (width / 8), column = v % (width / 8) * 8;
                    copy_async(shared_address(place(stage, part, window) + column),
                               from + part * from_plane + window * from_window + column, true);
                }
#if DROPS
            if (DROP)
                for (int v = threadIdx.x; v < TILES * GROUPS; v += THREADS)
                    copy_async_8(shared_address(&shared.kept[stage][v / GROUPS][v % GROUPS]),
                                 kept_from + v / GROUPS * (UNITS / 4) + v % GROUPS * 2);
#endif
#endif
            from += from_row;
            if (DROP) kept_from += unit_row / 32;
            stage = (stage + 1) % STAGES;
            --to_load;
        }
#if !BULK
        commit_copies();
#endif
    };
    UNROLL for (int t = 0; t < STAGES - 1; ++t) load_row();
#if !BULK
    wait_copies<STAGES - 2>();
    __syncthreads();
#endif

    for (int t = 0; t < rows; ++t) {
        const int now = t % 2, next = 1 - now;
        load_row();
#if BULK
        wait_copy(loaded + 8 * (t % STAGES), t / STAGES % 2);
#endif
        const bf16* const own_input =
            SOURCE == FROM_X ? place(t % STAGES, 0, g) + 2 * q : place(t % STAGES, 0, window0) + 4 * (8 * group + g);
#if SPLIT > 1
        // The other blocks' h of the row before.
        if (t > 0) wait_arrivals(arrived + 8 * now, (t - 1) / 2 % 2);
        if (threadIdx.x == 0 && t + 1 < rows)
            expect_arrivals(arrived + 8 * next, (SPLIT - 1) * PARTS * WINDOWS * OWN * 2);
#endif

        // What the sums begin with, unless they are added up in shared memory: b, or x W + b.
        const auto begin_sums = [&](int tile, float (&sums)[2][4]) {
            UNROLL for (int r = 0; r < 4; ++r) {
#if K_SPLIT > 1
                sums[0][r] = sums[1][r] = 0.0f;
#else
                const float4 before = SOURCE == FROM_PRODUCT ? x_w(own_input + (8 * tile + r % 2) * GATE_PITCH) : b;
                sums[0][r] = r < 2 ? before.x : before.y;
                sums[1][r] = r < 2 ? before.z : before.w;
#endif
            }
#if PROJECTED
            if (SOURCE == FROM_SUMS)
                UNROLL for (int half = 0; half < 2; ++half) {
                    const float4 before = shared.input[t % STAGES].sums[warp][tile][half][lane];
                    float(&to)[4] = sums[half];
                    to[0] = before.x, to[1] = before.y, to[2] = before.z, to[3] = before.w;
                }
#endif
        };

        // gates^T of 8 windows: a tile of the product.
        const auto multiply_tile = [&](int tile, float (&sums)[2][4]) {
            float other[2][4] = {};
            begin_sums(tile, sums);
            if (SOURCE == FROM_X && part_of_k == 0) {
                uint32 values[PARTS][2];
                UNROLL for (int part = 0; part < PARTS; ++part)
                    UNROLL for (int r = 0; r < 2; ++r)
                        values[part][r] = *reinterpret_cast<const uint32*>(
                            own_input + (part * WINDOWS + 8 * tile) * NARROW_PITCH + 8 * r);
                UNROLL for (int half = 0; half < 2; ++half) multiply_parts(sums[half], w[0][half].at, values);
            }
            if (SOURCE == FROM_BELOW) {
                const uint32 at = shared_address(place(t % STAGES, 0, 8 * tile)) + in_window;
                UNROLL for (int k = 0; k < INNER; k += 2) {
                    const int next_k = k + 1 < INNER ? k + 1 : k;
#if W_SHARED
                    const StoredTile(&even)[2] = shared.w[warp][k], (&odd)[2] = shared.w[warp][next_k];
                    add_two_steps(sums, other, at, k, {stored_tile(even[0], lane), stored_tile(even[1], lane)},
                                  {stored_tile(odd[0], lane), stored_tile(odd[1], lane)});
#else
                    add_two_steps(sums, other, at, k, w[k % W_STEPS], w[next_k % W_STEPS]);
#endif
                }
            }
            UNROLL for (int k = 0; k < INNER; k += 2)
                add_two_steps(sums, other, h_at + (now * PARTS * WINDOWS + 8 * tile) * PITCH * 2, k, u[k],
                              u[k + 1 < INNER ? k + 1 : k]);
            UNROLL for (int half = 0; half < 2; ++half)
                UNROLL for (int r = 0; r < 4; ++r) sums[half][r] += other[half][r];
        };

        // Gates, cells and outputs of this thread's pair j, from the sums z of i, f, g, o.
        const auto compute_cells = [&](int j, const float4 (&sums)[PAIR]) {
            UNROLL for (int e = 0; e < PAIR; ++e) {
                const int window = window0 + 8 * j + e;
                const float4 z = sums[e];
                const float input = sigmoid_of_half(z.x), forget = sigmoid_of_half(z.y), candidate = tangent(z.z),
                            output = sigmoid_of_half(z.w);
                c[j][e] = fmaf(forget, c[j][e], input * candidate);
                const float value = output * tangent(c[j][e]);
                uint32 first_two[PARTS], last_two[PARTS], one[PARTS];
                split(value, 0.0f, one);
                UNROLL for (int part = 0; part < PARTS; ++part)
                    shared.h[next][part][window][unit] = bf16(one[part]);
                split(input, forget, first_two);
                split(candidate, output, last_two);
                UNROLL for (int part = 0; part < PARTS; ++part)
                    *reinterpret_cast<uint2*>(own_gates + part * gate_plane + (8 * j + e) * 4 * UNITS) =
                        make_uint2(first_two[part], last_two[part]);
#if DROPS
                if (DROP) {
                    const uint2 masks = shared.kept[t % STAGES][tile0 + j][group];
                    split((e0 + e ? masks.y : masks.x) >> lane & 1 ? value * keep : 0.0f, 0.0f, one);
                    UNROLL for (int part = 0; part < PARTS; ++part)
                        shared.dropped[next][part][window][8 * group + g] = bf16(one[part]);
                }
#endif
            }
            store_cells(own_cells + j * (UNITS / 8) * 64, c[j]);
        };

#if K_SPLIT == 1
        UNROLL for (int tile = 0; tile < TILES; ++tile) {
            float sums[2][4];
            multiply_tile(tile, sums);
            const float4 z[2] = {make_float4(sums[0][0], sums[0][2], sums[1][0], sums[1][2]),
                                 make_float4(sums[0][1], sums[0][3], sums[1][1], sums[1][3])};
            compute_cells(tile, z);
        }
#else
        UNROLL for (int tile = 0; tile < TILES; ++tile) {
            float sums[2][4];
            multiply_tile(tile, sums);
            UNROLL for (int half = 0; half < 2; ++half)
                UNROLL for (int r = 0; r < 4; ++r)
                    shared.reduced[((warp * TILES + tile) * 8 + half * 4 + r) * 32 + lane] = sums[half][r];
        }
        barrier(1 + group, 32 * K_SPLIT);
        UNROLL for (int j = 0; j < PAIRS; ++j) {
            float4 z[PAIR];
            UNROLL for (int e = 0; e < PAIR; ++e) {
                const int item = part_of_k * ITEMS + j * PAIR + e;
                z[e] = SOURCE == FROM_PRODUCT ? x_w(own_input + (8 * j + e) * GATE_PITCH) : b;
                UNROLL for (int other = 0; other < K_SPLIT; ++other) {
                    const float* at = shared.reduced + ((group * K_SPLIT + other) * TILES + item / 2) * 8 * 32 +
                                      item % 2 * 32 + lane;
                    z[e].x += at[0];
                    z[e].y += at[2 * 32];
                    z[e].z += at[4 * 32];
                    z[e].w += at[6 * 32];
                }
            }
            compute_cells(j, z);
        }
#endif
#if !BULK
        wait_copies<STAGES - 2>();  // the next row's input is there
#endif
        __syncthreads();
#if SPLIT > 1
        // Own h to the other blocks of the layer.
        if (t + 1 < rows)
            for (int v = threadIdx.x; v < (SPLIT - 1) * PARTS * WINDOWS * GROUPS; v += THREADS) {
                const int other = v / (PARTS * WINDOWS * GROUPS), rest = v % (PARTS * WINDOWS * GROUPS);
                const bf16* from = &shared.h[next][rest / (WINDOWS * GROUPS)][rest / GROUPS % WINDOWS]
                                          [rank * OWN + rest % GROUPS * 8];
                send_to(place_in_cluster * SPLIT + other + (other >= rank), *reinterpret_cast<const uint4*>(from), from,
                        arrived + 8 * next);
            }
#endif
#if HAS_BELOW
        // And to those above.
        if (SENDS)
            for (int v = threadIdx.x; v < SPLIT * PARTS * WINDOWS * GROUPS; v += THREADS) {
                const int other = v / (PARTS * WINDOWS * GROUPS), rest = v % (PARTS * WINDOWS * GROUPS);
                const int part = rest / (WINDOWS * GROUPS), window = rest / GROUPS % WINDOWS;
                const int column = rest % GROUPS * 8;
                const bf16* from = &shared.h[next][part][window][rank * OWN + column];
#if DROPS
                if (DROP) from = &shared.dropped[next][part][window][column];
#endif
                wait_copy(room + 8 * (t % STAGES), t / STAGES % 2);
                send_to((place_in_cluster + 1) * SPLIT + other, *reinterpret_cast<const uint4*>(from),
                        &shared.input[t % STAGES].below[part][window][rank * OWN + column], loaded + 8 * (t % STAGES));
            }
#endif
        // While others compute the next row.
        store_rows(&shared.h[next][0][own_window][rank * OWN + own_units], PITCH, h_out, h_plane, own_window);
        h_out += unit_row;
#if DROPS
        if (DROP) {
            store_rows(&shared.dropped[next][0][own_window][own_units], OWN_PITCH, dropped_out, unit_row * rows,
                       own_window);
            dropped_out += unit_row;
        }
#endif
        own_gates += 4 * unit_row;
        own_cells += unit_row;
    }
}

#if PROJECTED
static_assert(K_SPLIT == 1, "whole sums are sent");
// x W + b of a layer, from what the layer below sends.
INLINE void project(const Layer& layer, Shared& shared, const int rows, const int place, const int rank) {
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32;
    const int all_group = rank * GROUPS + warp;
    Tile w[INNER][2];
    load_tiles(w, layer.w, all_group, UNITS, 0);
    const float4 b = *reinterpret_cast<const float4*>(layer.bias + 4 * (8 * all_group + lane / 4));  // of i, f, g, o
    const uint32 in_window = ((lane % 8) * PITCH + lane / 8 * 8) * 2;
    const auto load_row = [&](int t) {
        if (t < rows && warp == 0 && elected())
            receive_row(shared.loaded[t % STAGES], shared.room[t % STAGES],
                        PARTS * WINDOWS * UNITS * 2, (place - 1) * SPLIT, SPLIT);
    };
    for (int t = 0; t < STAGES - 1; ++t) load_row(t);
    for (int t = 0; t < rows; ++t) {
        const int stage = t % STAGES, turn = t / STAGES % 2;
        load_row(t + STAGES - 1);
        wait_copy(shared_address(&shared.loaded[stage]), turn);
        float sums[TILES][2][4];
        UNROLL for (int tile = 0; tile < TILES; ++tile) {
            float other[2][4] = {};
            UNROLL for (int r = 0; r < 4; ++r) {
                sums[tile][0][r] = r < 2 ? b.x : b.y;
                sums[tile][1][r] = r < 2 ? b.z : b.w;
            }
            UNROLL for (int k = 0; k < INNER; k += 2)
                add_two_steps(sums[tile], other, shared_address(shared.input[stage].below[0][8 * tile]) + in_window, k,
                              w[k], w[k + 1 < INNER ? k + 1 : k]);
            UNROLL for (int half = 0; half < 2; ++half)
                UNROLL for (int r = 0; r < 4; ++r) sums[tile][half][r] += other[half][r];
        }
        wait_copy(shared_address(&shared.room[stage]), turn);
        UNROLL for (int tile = 0; tile < TILES; ++tile)
            UNROLL for (int half = 0; half < 2; ++half) {
                const float(&z)[4] = sums[tile][half];
                send_to((place + 1) * SPLIT + rank, bits_of(z[0], z[1], z[2], z[3]),
                        &shared.input[stage].sums[warp][tile][half][lane], shared_address(&shared.loaded[stage]));
            }
        __syncthreads();  // all have read the row
    }
}
#endif

// layers: those of the launch, from the lowest one up
// kept: dropout masks (lstm_masks.cu) of the lowest layer, `kept_layer` words before those of the next
// DROPS: all of them drop outputs; of several layers, all but the last one
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
#if CLUSTER > 1
    __cluster_dims__(CLUSTER, 1, 1)
#endif
        lstm_forward(const Layer* __restrict__ layers, const uint32* __restrict__ kept, const int64 kept_layer,
                     const float keep, const int rows, const int windows) {
    extern __shared__ __align__(16) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
#if CLUSTER > 1
    const int place = cluster_rank() / SPLIT, rank = cluster_rank() % SPLIT;
#else
    const int place = 0, rank = 0;
#endif
    for (int v = threadIdx.x; v < PARTS * WINDOWS * PITCH / 8; v += THREADS)
        reinterpret_cast<uint4*>(shared.h[0])[v] = make_uint4(0, 0, 0, 0);
#if BULK
    if (threadIdx.x < 2 + STAGES) init_arrivals(shared_address(&shared.arrived[threadIdx.x]));
    else if (threadIdx.x < 2 + 2 * STAGES)  // a block that projects sends to one block, others to all above them
        init_arrivals_of(shared_address(&shared.arrived[threadIdx.x]), place % STEP ? 1 : SPLIT);
    publish_arrivals();
#endif
#if CLUSTER > 1
    cluster_barrier();
#endif
    __syncthreads();
    wait_for_kernel_before();
    begin_next_kernel();
    constexpr Source source = INPUT_TILES ? FROM_X : FROM_PRODUCT;
#if LAYERS == 1
    run_layer<source, DROPS, false>(layers[0], shared, kept, keep, rows, windows, place, rank);
#else
    constexpr Source source_above = PROJECTED ? FROM_SUMS : FROM_BELOW;
    const int level = (place + STEP - 1) / STEP;
    kept += level * kept_layer;
#if PROJECTED
    if (place % STEP) project(layers[level], shared, rows, place, rank);
    else
#endif
    if (level == 0) run_layer<source, DROPS, true>(layers[0], shared, kept, keep, rows, windows, place, rank);
    else if (level + 1 == LAYERS)
        run_layer<source_above, false, false>(layers[level], shared, kept, keep, rows, windows, place, rank);
    else run_layer<source_above, DROPS, true>(layers[level], shared, kept, keep, rows, windows, place, rank);
#endif
#if CLUSTER > 1
    cluster_barrier();  // no block ends while another may still write to it
#endif
}
