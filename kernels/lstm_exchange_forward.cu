// One LSTM layer over all rows, as in lstm_forward.cu, which has the equations, by blocks that are no cluster: they
// exchange h through global memory, as lstm_exchange.cuh says.
//
// The whole chain of rows is one launch. A block has WINDOWS windows and keeps them for all rows; SPLIT blocks share
// the layer's units. At each row, gates^T [4 units, windows] = U^T h_before^T, by mma.m16n8k16 with U as the A operand.
// A warp owns 8 units, that is two A tiles whose rows are
//
//           rows 0-7   rows 8-15
//   tile 0  i          f            of its 8 units
//   tile 1  g          o
//
// so that a thread ends up with all four gates of one unit and two windows, and computes c and h in registers.
//
// With STREAMED = 0 the tiles stay in registers. K_SPLIT warps share a group of units, each with a part of the inner
// dimension, and add up their sums in shared memory. The products of 8 windows begin as soon as their h is there, while
// that of the next 8 comes. With STREAMED = 1 K_SPLIT is 1: the sums of all windows stay in registers, and U and h come
// in chunks of the inner dimension, which are multiplied one after the other.
//
// h goes through shared memory and from there to global memory in 16-byte pieces; h after dropout likewise, while the
// other blocks are waited for.
//
// x W + b comes from a product over all rows at once (lstm_products*.cu), and is overwritten in place by the activated
// gates. With INPUT_TILES = 1, up to 16 features, it is computed here.
//
// Shapes, all padded: units to UNITS, windows to whole blocks. Weights of padded units are 0, so they stay 0.

#include "lstm_exchange.cuh"

#define WARPS (GROUPS * K_SPLIT)
#define THREADS (32 * WARPS)
#define INNER (UNITS / 16 / K_SPLIT)    // steps of 16 of a warp's inner dimension
#define CHUNK (STREAMED ? 32 / PARTS : UNITS)  // of the inner dimension, in a buffer
#define PITCH (CHUNK + 8)               // numbers from one window's h to the next: no bank conflicts in ldmatrix
#define ITEMS (TILES * 2 / K_SPLIT)     // (unit, window) pairs whose cells a thread computes
#define PAIR (ITEMS < 2 ? 1 : 2)        // of them, neighbouring windows of one unit
#define PAIRS (ITEMS / PAIR)
#define NARROW 16                       // columns of x
#define OWN_PITCH (OWN + 8)
// Of a row's input, x or x W + b: numbers of a block's windows, from one window to the next in a stage, and in memory.
#define INPUT (INPUT_TILES ? NARROW : 4 * OWN)
#define INPUT_PITCH (INPUT_TILES ? NARROW + 8 : 4 * OWN + 16)
#define ALL_INPUT (INPUT_TILES ? NARROW : 4 * UNITS)

#if K_SPLIT > 1
#define REDUCED (WARPS * TILES * 8 * 32)
#else
#define REDUCED 1
#endif

struct Layer {
    const bf16* u;      // U^T [PARTS][4 UNITS][UNITS], row 32 * (unit / 8) + 8 * gate + unit % 8, as the A tiles have them
    const bf16* w;      // W^T likewise [PARTS][4 UNITS][16]; unless x W is given
    const float* bias;  // [4 UNITS], row 4 * unit + gate; unless x W is given
    const bf16* x;      // [PARTS][rows][windows][16]; unless x W is given
    bf16* gates;        // [PARTS][rows][windows][4 UNITS], column 4 * unit + gate: x W + b, if given; then the activated gates
    bf16* h;            // [PARTS][rows + 1][windows][UNITS], begins with zeros
    CELL* cells;        // [rows + 1][windows / 8][UNITS / 8][32 lanes][2 windows], begins with zeros
    bf16* dropped;      // [PARTS][rows][windows][UNITS], h after dropout; where the layer drops outputs
};

// What a row needs from memory, x or x W + b. It is a union for the sake of the compiler alone: with an array in its
// place it orders reads and writes otherwise, which was not measured.
union Input {
    bf16 numbers[PARTS][WINDOWS][INPUT_PITCH];
};

struct Shared {
    bf16 h[BUFFERS][PARTS][HELD][PITCH];     // of the row before, of all blocks
    bf16 own[PARTS][WINDOWS][OWN_PITCH];     // h of this block, on its way
#if STREAMED
    bf16 u[BUFFERS][PARTS][4 * OWN][CHUNK];
#endif
#if DROPS
    bf16 dropped[PARTS][WINDOWS][OWN_PITCH];
#endif
    Input input[STAGES];
#if DROPS
    Masks kept[STAGES];
#endif
    float reduced[REDUCED];   // sums of the warps that share units
    uint64 loaded[STAGES];    // barriers, from compute capability 9.0 on: a row's input is there
    uint32 ticket;
};

// Copies this thread's part of a block's h, or of h after dropout, of one row to global memory.
// from: numbers of its window and 8 units; to: where they go.
INLINE void store_rows(const bf16* from, bf16* to, const int64 plane, const int own_window) {
    UNROLL for (int part = 0; part < PARTS; ++part)
        UNROLL for (int i = 0; i < WINDOWS; i += THREADS / GROUPS)
            if (own_window + i < WINDOWS)
                *reinterpret_cast<uint4*>(to + part * plane + i * UNITS) =
                    *reinterpret_cast<const uint4*>(from + (part * WINDOWS + i) * OWN_PITCH);
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
        const uint2 four = *reinterpret_cast<const uint2*>(at + part * WINDOWS * INPUT_PITCH);
        first_two[part] = four.x;
        last_two[part] = four.y;
    }
    return make_float4(join_lower(first_two), join_upper(first_two), join_lower(last_two), join_upper(last_two));
}

// A tiles of a group's gates, from a matrix [PARTS][4 UNITS][columns] of weights, for steps of 16 columns from
// `column` on.
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

// All rows of this block's share of the layer.
INLINE void run_layer(const Layer& layer, Shared& shared, const uint32* __restrict__ kept, const float keep,
                      const int rows, const int windows, const Share& share) {
    const int rank = share.rank;
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const int group = warp / K_SPLIT, part_of_k = warp % K_SPLIT;
    const int first = share.number * WINDOWS;     // window
    const int all_group = rank * GROUPS + group;  // of 8 units, among all
    const int unit = 8 * all_group + g;
    const int64 gate_plane = int64(rows) * windows * 4 * UNITS, h_plane = int64(rows + 1) * windows * UNITS;
    [[maybe_unused]] const uint32 loaded = shared_address(shared.loaded);

#if !STREAMED
    Tile u[INNER][2];
    load_tiles(u, layer.u, all_group, UNITS, part_of_k * INNER * 16);
#endif
#if INPUT_TILES
    Tile w[1][2];
    load_tiles(w, layer.w, all_group, NARROW, 0);
    const float4 b = *reinterpret_cast<const float4*>(layer.bias + 4 * unit);  // of i, f, g, o
#endif

    float c[PAIRS][PAIR];
    UNROLL for (int j = 0; j < PAIRS; ++j)
        UNROLL for (int e = 0; e < PAIR; ++e) c[j][e] = 0.0f;
    // Of a lane's row for load_matrices, in the first buffer.
    const uint32 h_at = shared_address(shared.h) + ((lane % 8) * PITCH + lane / 8 * 8 + part_of_k * INNER * 16) * 2;

    // This thread's places in arrays, at the row: of its first pair of windows. Pair j lies j tiles on.
    const int tile0 = part_of_k * ITEMS / 2, e0 = PAIR == 1 ? part_of_k % 2 : 0, window0 = 8 * tile0 + 2 * q + e0;
    const int64 block0 = int64(first / 8 + tile0) * (UNITS / 8) + all_group, unit_row = int64(windows) * UNITS;
    bf16* own_gates = layer.gates + int64(first + window0) * 4 * UNITS + 4 * unit;
    CELL* own_cells = layer.cells + unit_row + block0 * 64 + 2 * lane + e0;
    // And for copies of whole rows from shared memory.
    const int own_window = threadIdx.x / GROUPS, own_units = threadIdx.x % GROUPS * 8;
    bf16* h_out = layer.h + unit_row + int64(first + own_window) * UNITS + rank * OWN + own_units;
#if DROPS
    bf16* dropped_out = layer.dropped + int64(first + own_window) * UNITS + rank * OWN + own_units;
#endif

    // The input of the next row and its masks, in the background: from where the row begins.
    const int64 from_row = int64(windows) * ALL_INPUT, from_plane = rows * from_row;
#if INPUT_TILES
    const bf16* from = layer.x + int64(first) * NARROW;
#else
    const bf16* from = layer.gates + int64(first) * 4 * UNITS + 4 * rank * OWN;
#endif
#if DROPS
    const uint32* kept_from = kept + (first / 8 * (UNITS / 8) + rank * GROUPS) * 2;
#endif
    int to_load = rows, stage = 0;
    const auto load_row = [&] {
        if (to_load > 0) {
#if BULK
            // Every warp copies some windows.
            const uint32 own = loaded + 8 * stage;
            constexpr int bytes = PARTS * WINDOWS * INPUT * 2 + (DROPS ? TILES * GROUPS * 8 : 0);
            if (warp == 0 && elected()) expect_arrivals(own, bytes);
            UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 1
                for (int v = warp; v < WINDOWS; v += WARPS)
                    if (elected())
                        copy_bulk(shared_address(shared.input[stage].numbers[part][v]),
                                  from + part * from_plane + v * ALL_INPUT, INPUT * 2, own);
#if DROPS
#pragma unroll 1
            for (int v = WARPS - 1 - warp; v < TILES; v += WARPS)
                if (elected())
                    copy_bulk(shared_address(shared.kept[stage][v]), kept_from + v * (UNITS / 4), GROUPS * 8, own);
#endif
#else
            UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 1
                for (int v = threadIdx.x; v < WINDOWS * INPUT / 8; v += THREADS) {
                    const int window = v / (INPUT / 8), column = v % (INPUT / 8) * 8;
                    copy_async(shared_address(&shared.input[stage].numbers[part][window][column]),
                               from + part * from_plane + window * ALL_INPUT + column, true);
                }
#if DROPS
            for (int v = threadIdx.x; v < TILES * GROUPS; v += THREADS)
                copy_async_8(shared_address(&shared.kept[stage][v / GROUPS][v % GROUPS]),
                             kept_from + v / GROUPS * (UNITS / 4) + v % GROUPS * 2);
#endif
#endif
            from += from_row;
#if DROPS
            kept_from += unit_row / 32;
#endif
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
        load_row();
#if BULK
        wait_copy(loaded + 8 * (t % STAGES), t / STAGES % 2);
#endif
        // Of this thread: numbers of x for the product with W, in the first 8 windows; or x W + b of its unit.
#if INPUT_TILES
        const bf16* const own_input = shared.input[t % STAGES].numbers[0][g] + 2 * q;
#else
        const bf16* const own_input = shared.input[t % STAGES].numbers[0][window0] + 4 * (8 * group + g);
#endif
#if STREAMED
        constexpr int CHUNKS = UNITS / CHUNK, STEPS = CHUNK / 16;
        const auto bring_u = [&](int chunk) {
            if (chunk < CHUNKS)
                bring_weights<4 * OWN, CHUNK>(&shared.u[chunk % BUFFERS][0][0][0],
                                              layer.u + int64(4 * OWN * rank) * UNITS + chunk * CHUNK, UNITS,
                                              int64(4) * UNITS * UNITS, THREADS);
        };
        // Those of the first chunks come while the other blocks are waited for, in the same group of copies as h.
        if (t > 0)
            UNROLL for (int chunk = 0; chunk < BUFFERS - 1; ++chunk) bring_u(chunk);
#endif
        // h of the row before, of all blocks; of the first row, zeros.
        if (t > 0) wait_written(share.counter, t);
        const bf16* const h_from = layer.h + t * unit_row + int64(first) * UNITS;
#if STREAMED
        const auto bring_h = [&](int chunk) {
            if (t > 0 && chunk < CHUNKS)
                bring_windows<CHUNK, UNITS, PITCH>(&shared.h[chunk % BUFFERS][0][0][0], h_from + chunk * CHUNK, h_plane,
                                                   THREADS);
            commit_copies();
        };
        UNROLL for (int chunk = 0; chunk < BUFFERS - 1; ++chunk) bring_h(chunk);
#else
        const auto bring_h = [&](int tile) {
            if (t > 0 && tile < TILES)
                bring_windows<UNITS, UNITS, PITCH>(&shared.h[tile % BUFFERS][0][0][0], h_from + 8 * tile * UNITS,
                                                   h_plane, THREADS);
            commit_copies();
        };
        UNROLL for (int tile = 0; tile < BUFFERS; ++tile) bring_h(tile);
#endif

        // gates^T of 8 windows, a tile of the product, without h U: x W + b, unless that is added in shared memory.
        const auto begin_sums = [&](int tile, float (&sums)[2][4]) {
            UNROLL for (int r = 0; r < 4; ++r) {
#if K_SPLIT > 1
                sums[0][r] = sums[1][r] = 0.0f;
#else
#if INPUT_TILES
                const float4 before = b;
#else
                const float4 before = x_w(own_input + (8 * tile + r % 2) * INPUT_PITCH);
#endif
                sums[0][r] = r < 2 ? before.x : before.y;
                sums[1][r] = r < 2 ? before.z : before.w;
#endif
            }
#if INPUT_TILES
            if (part_of_k == 0) {
                uint32 values[PARTS][2];
                UNROLL for (int part = 0; part < PARTS; ++part)
                    UNROLL for (int r = 0; r < 2; ++r)
                        values[part][r] = *reinterpret_cast<const uint32*>(
                            own_input + (part * WINDOWS + 8 * tile) * INPUT_PITCH + 8 * r);
                UNROLL for (int half = 0; half < 2; ++half) multiply_parts(sums[half], w[0][half].at, values);
            }
#endif
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
                    shared.own[part][window][8 * group + g] = bf16(one[part]);
                split(input, forget, first_two);
                split(candidate, output, last_two);
                UNROLL for (int part = 0; part < PARTS; ++part)
                    *reinterpret_cast<uint2*>(own_gates + part * gate_plane + (8 * j + e) * 4 * UNITS) =
                        make_uint2(first_two[part], last_two[part]);
#if DROPS
                const uint2 masks = shared.kept[t % STAGES][tile0 + j][group];
                split((e0 + e ? masks.y : masks.x) >> lane & 1 ? value * keep : 0.0f, 0.0f, one);
                UNROLL for (int part = 0; part < PARTS; ++part)
                    shared.dropped[part][window][8 * group + g] = bf16(one[part]);
#endif
            }
            store_cells(own_cells + j * (UNITS / 8) * 64, c[j]);
        };

#if STREAMED
        float all_sums[TILES][2][4];
        UNROLL for (int tile = 0; tile < TILES; ++tile) begin_sums(tile, all_sums[tile]);
        const int chunks = turns(t > 0 ? CHUNKS : 0);
        for (int chunk = 0; chunk < chunks; ++chunk) {
            wait_copies<BUFFERS - 2>();
            __syncthreads();  // also, the chunk before was read by all
            bring_u(chunk + BUFFERS - 1);
            bring_h(chunk + BUFFERS - 1);
            const bf16* const weights = &shared.u[chunk % BUFFERS][0][0][0];
            UNROLL for (int k = 0; k < STEPS; k += 2) {
                Tile u[2][2];
                UNROLL for (int odd = 0; odd < STEPS - k && odd < 2; ++odd)
                    UNROLL for (int half = 0; half < 2; ++half)
                        u[odd][half] = brought_tile<4 * OWN, CHUNK>(weights, 32 * group + 16 * half, k + odd);
                UNROLL for (int tile = 0; tile < TILES; ++tile) {
                    uint32 values[2][PARTS][2];
                    load_two_steps<STEPS, PITCH>(values,
                                                 h_at + (chunk % BUFFERS * PARTS * HELD + 8 * tile) * PITCH * 2, k);
                    UNROLL for (int odd = 0; odd < STEPS - k && odd < 2; ++odd)
                        UNROLL for (int half = 0; half < 2; ++half)
                            multiply_parts(all_sums[tile][half], u[odd][half].at, values[odd]);
                }
            }
        }
#else
        // Two chains of products, since one waits for the result of the one before.
        const auto multiply_tile = [&](int tile, float (&sums)[2][4]) {
            float other[2][4] = {};
            begin_sums(tile, sums);
            wait_copies<BUFFERS - 1>();
            __syncthreads();
            UNROLL for (int k = 0; k < INNER; k += 2) {  // the last step alone, if their number is odd
                uint32 values[2][PARTS][2];
                load_two_steps<INNER, PITCH>(values, h_at + tile % BUFFERS * PARTS * HELD * PITCH * 2, k);
                UNROLL for (int half = 0; half < 2; ++half) {
                    multiply_parts(sums[half], u[k][half].at, values[0]);
                    if (k + 1 < INNER) multiply_parts(other[half], u[k + 1 < INNER ? k + 1 : k][half].at, values[1]);
                }
            }
            if (BUFFERS < TILES) __syncthreads();  // all have read the buffer
            bring_h(tile + BUFFERS);
            UNROLL for (int half = 0; half < 2; ++half)
                UNROLL for (int r = 0; r < 4; ++r) sums[half][r] += other[half][r];
        };
#endif
#if K_SPLIT == 1
        UNROLL for (int tile = 0; tile < TILES; ++tile) {
#if STREAMED
            const float(&sums)[2][4] = all_sums[tile];
#else
            float sums[2][4];
            multiply_tile(tile, sums);
#endif
            const float4 z[2] = {make_float4(sums[0][0], sums[0][2], sums[1][0], sums[1][2]),
                                 make_float4(sums[0][1], sums[0][3], sums[1][1], sums[1][3])};
            compute_cells(tile, z);
        }
#else
#pragma unroll 1
        for (int tile = 0; tile < TILES; ++tile) {
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
#if INPUT_TILES
                z[e] = b;
#else
                z[e] = x_w(own_input + (8 * j + e) * INPUT_PITCH);
#endif
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
        store_rows(&shared.own[0][own_window][own_units], h_out, h_plane, own_window);
        if (t + 1 < rows) say_written(share.counter);
        h_out += unit_row;
#if DROPS
        // While others compute the next row.
        store_rows(&shared.dropped[0][own_window][own_units], dropped_out, unit_row * rows, own_window);
        dropped_out += unit_row;
#endif
        own_gates += 4 * unit_row;
        own_cells += unit_row;
    }
}

// kept: its dropout masks (lstm_masks.cu), if DROPS
// counters: zeros, (1 + groups of windows) * COUNTERS_APART
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    lstm_exchange_forward(const Layer* __restrict__ layer, const uint32* __restrict__ kept, uint32* counters,
                          const float keep, const int rows, const int windows) {
    extern __shared__ __align__(16) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    // The h before the first row.
    for (int v = threadIdx.x; v < BUFFERS * PARTS * HELD * PITCH / 8; v += THREADS)
        reinterpret_cast<uint4*>(shared.h[0])[v] = make_uint4(0, 0, 0, 0);
#if BULK
    if (threadIdx.x < STAGES) init_arrivals(shared_address(&shared.loaded[threadIdx.x]));
    publish_arrivals();
#endif
    __syncthreads();
    const Share share = take_share(counters, shared.ticket);
    run_layer(*layer, shared, kept, keep, rows, windows, share);
}
