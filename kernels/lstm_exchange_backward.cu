// One LSTM layer backwards over all rows, as in lstm_backward.cu, which has the equations, by blocks that are no
// cluster: they exchange dz, the gradients of the gates, through global memory, as lstm_exchange.cuh says.
//
// The whole chain of rows is one launch, the last row first. A block has WINDOWS windows and keeps them for all rows;
// SPLIT blocks share the layer's units. A row has two phases:
//
// - cells: each thread computes dz of its (unit, window) pairs, and writes it to global memory in place of the gates.
//   What it needs of the row comes in the background, some rows ahead.
// - product: dh^T [units, windows] = U dz^T, with dz of all blocks, by mma.m16n8k16 with U as the A operand. An A tile
//   is 16 units; K_SPLIT warps share it, each with a part of the 4 UNITS inner numbers, and add up their sums in shared
//   memory. With STREAMED = 0 the tiles stay in registers, and dz comes 8 windows after 8. With STREAMED = 1 the sums
//   of all windows stay in registers, and U and dz come in chunks of the inner dimension.
//
// The sums of dz over the windows and rows are the gradient of the bias: kept in registers, written once per block.

#include "lstm_exchange.cuh"

#define MATRICES (OWN / 16)                   // of 16 units
#define WARPS (MATRICES * K_SPLIT)
#define THREADS (32 * WARPS)
#define INNER (4 * UNITS / 16 / K_SPLIT)      // steps of 16 of a warp's inner dimension
#define CHUNK (STREAMED ? 64 / PARTS : 4 * UNITS)  // of the inner dimension, in a buffer
#define PITCH (CHUNK + 8)
#define ITEMS (TILES * 4 / K_SPLIT)           // (unit, window) pairs of a thread
#define HALVES (ITEMS % 4 == 0 ? 2 : 1)       // units of a thread

struct Layer {
    const bf16* u;          // U [PARTS][UNITS][4 UNITS], column 4 * unit + gate
    const bf16* w;          // not read here
    bf16* gates;            // [PARTS][rows][windows][4 UNITS]: activated gates, then dz
    const CELL* cells;      // as lstm_exchange_forward.cu writes them
    float* bias_gradients;  // [blocks of windows][4 UNITS]
};

// What a row needs from memory.
struct Row {
    bf16 gates[PARTS][WINDOWS][4 * OWN + 16];
    CELL cells[TILES][GROUPS][64];  // of the row before
#if !TOP
    bf16 above[PARTS][WINDOWS][OWN + 8];
#endif
#if DROPS
    Masks kept;
#endif
};

// A union for the sake of the compiler alone: without it, it orders reads and writes otherwise, which was not measured.
union Stage {
    Row row;
};

struct Shared {
    bf16 dz[BUFFERS][PARTS][HELD][PITCH];
#if STREAMED
    bf16 u[BUFFERS][PARTS][OWN][CHUNK];
#endif
    float dh[WARPS][TILES * 4][32];
    Stage stages[STAGES];
    uint64 loaded[STAGES];  // barriers, from compute capability 9.0 on: a row is there
    uint32 ticket;
};

INLINE float widen_cell(bf16 c) { return widen(c); }
INLINE float widen_cell(float c) { return c; }

// An A tile of 16 units, from 16 columns of a matrix [PARTS][UNITS][4 UNITS] of weights.
INLINE Tile load_tile(const bf16* from, const int all_matrix, const int column) {
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    Tile tile;
    UNROLL for (int part = 0; part < PARTS; ++part)
        load_registers(tile.at[part], from + (part * int64(UNITS) + 16 * all_matrix + g) * 4 * UNITS + column + 2 * q,
                       4 * UNITS);
    return tile;
}

// Steps k and k + 1 of the product of tiles of 16 units and dz^T of 8 windows, whose values are at `at` of this lane;
// the last step alone, if their number is odd. Four chains of products.
INLINE void add_two_steps(float (&sums)[4][4], const uint32 at, const int k, const Tile& even, const Tile& odd) {
    uint32 values[2][PARTS][2];
    load_two_steps<INNER, PITCH>(values, at, k);
    multiply_parts(sums[k % 4], even.at, values[0]);
    if (k + 1 < INNER) multiply_parts(sums[(k + 1) % 4], odd.at, values[1]);
}

// All rows of this block's share of the layer.
INLINE void run_layer(const Layer& layer, Shared& shared, const bf16* __restrict__ above,
                      const float* __restrict__ last, const uint32* __restrict__ kept, const float keep, const int rows,
                      const int windows, const Share& share) {
    const int rank = share.rank;
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const int matrix = warp / K_SPLIT, part_of_k = warp % K_SPLIT;
    const int first = share.number * WINDOWS;
    const int all_matrix = rank * MATRICES + matrix;
    const int64 gate_plane = int64(rows) * windows * 4 * UNITS;
    [[maybe_unused]] const uint32 loaded = shared_address(shared.loaded);

#if !STREAMED
    Tile u[INNER];
    UNROLL for (int k = 0; k < INNER; ++k) u[k] = load_tile(layer.u, all_matrix, (part_of_k * INNER + k) * 16);
#endif

    // Item j of a thread is number part_of_k * ITEMS + j of its matrix: tile * 4 + (second half of the units) * 2 + e.
    // The first is at tile0, half0 and e0; the others lie constants away.
    const int item0 = part_of_k * ITEMS, tile0 = item0 / 4, half0 = item0 / 2 % 2, e0 = item0 % 2;
    const auto tile_of = [](int j) { return j / 4; };
    const auto half_of = [](int j) { return j / 2 % 2; };
    const auto e_of = [](int j) { return j % 2; };
    const int window0 = 8 * tile0 + 2 * q + e0, unit0 = 16 * all_matrix + 8 * half0 + g;
    const int block0 = (first / 8 + tile0) * (UNITS / 8) + 2 * all_matrix + half0;
    const auto item_at = [&](int j) { return (8 * tile_of(j) + e_of(j)) * UNITS + 8 * half_of(j); };
    const int64 unit_row = int64(windows) * UNITS, at0 = int64(first + window0) * UNITS + unit0;
    bf16* own_gates = layer.gates + 4 * ((rows - 1) * unit_row + at0);

    // The values of the next row, in the background: from where the row begins.
    const int64 last_row = (rows - 1) * unit_row;
    const bf16* gates_from = layer.gates + 4 * (last_row + int64(first) * UNITS + rank * OWN);
    const CELL* cells_from = layer.cells + last_row + int64(first) * UNITS + rank * OWN * 8;
#if !TOP
    const bf16* above_from = above + last_row + int64(first) * UNITS + rank * OWN;
#endif
#if DROPS
    const uint32* kept_from = kept + last_row / 32 + (first / 8 * (UNITS / 8) + rank * GROUPS) * 2;
#endif
    int to_load = rows, stage = 0;
    const auto load_row = [&] {
        if (to_load > 0) {
            Row& row = shared.stages[stage].row;
#if BULK
            // Every warp copies some windows.
            constexpr int bytes = PARTS * WINDOWS * OWN * (TOP ? 8 : 10) + WINDOWS * OWN * sizeof(CELL) +
                                  (DROPS ? TILES * GROUPS * 8 : 0);
            const uint32 own = loaded + 8 * stage;
            if (warp == 0 && elected()) expect_arrivals(own, bytes);
            UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 1
                for (int v = warp; v < WINDOWS; v += WARPS)
                    if (elected()) {
                        copy_bulk(shared_address(row.gates[part][v]), gates_from + part * gate_plane + v * 4 * UNITS,
                                  8 * OWN, own);
#if !TOP
                        copy_bulk(shared_address(row.above[part][v]), above_from + part * (gate_plane / 4) + v * UNITS,
                                  2 * OWN, own);
#endif
                    }
#pragma unroll 1
            for (int v = WARPS - 1 - warp; v < TILES; v += WARPS)
                if (elected()) {
                    copy_bulk(shared_address(row.cells[v]), cells_from + v * 8 * UNITS, 8 * OWN * sizeof(CELL), own);
#if DROPS
                    copy_bulk(shared_address(row.kept[v]), kept_from + v * (UNITS / 4), GROUPS * 8, own);
#endif
                }
#else
            UNROLL for (int part = 0; part < PARTS; ++part) {
#pragma unroll 1
                for (int v = threadIdx.x; v < WINDOWS * OWN / 2; v += THREADS) {
                    const int window = v / (OWN / 2), column = v % (OWN / 2) * 8;
                    copy_async(shared_address(&row.gates[part][window][column]),
                               gates_from + part * gate_plane + window * 4 * UNITS + column, true);
                }
#if !TOP
#pragma unroll 1
                for (int v = threadIdx.x; v < WINDOWS * GROUPS; v += THREADS) {
                    const int window = v / GROUPS, column = v % GROUPS * 8;
                    copy_async(shared_address(&row.above[part][window][column]),
                               above_from + part * (gate_plane / 4) + window * UNITS + column, true);
                }
#endif
            }
            constexpr int each = 16 / sizeof(CELL);
#pragma unroll 1
            for (int v = threadIdx.x; v < WINDOWS * OWN / each; v += THREADS) {
                const int tile = v / (8 * OWN / each), own = v % (8 * OWN / each) * each;
                copy_async(shared_address(&row.cells[tile][0][own]), cells_from + tile * 8 * UNITS + own, true);
            }
#if DROPS
            for (int v = threadIdx.x; v < TILES * GROUPS; v += THREADS)
                copy_async_8(shared_address(&row.kept[v / GROUPS][v % GROUPS]),
                             kept_from + v / GROUPS * (UNITS / 4) + v % GROUPS * 2);
#endif
#endif
            gates_from -= 4 * unit_row;
            cells_from -= unit_row;
#if !TOP
            above_from -= unit_row;
#endif
#if DROPS
            kept_from -= unit_row / 32;
#endif
            stage = (stage + 1) % STAGES;
            --to_load;
        }
#if !BULK
        commit_copies();
#endif
    };
    UNROLL for (int s = 0; s < STAGES - 1; ++s) load_row();

    float dc[ITEMS], bias[HALVES][4] = {};
    UNROLL for (int j = 0; j < ITEMS; ++j) dc[j] = 0.0f;
    // The cells of the row at hand: of the last row, from memory; then what was the row before.
    CELL cell[ITEMS];
    UNROLL for (int j = 0; j < ITEMS; ++j)
        cell[j] = layer.cells[rows * unit_row + int64(block0) * 64 + 2 * lane + e0 +
                        (tile_of(j) * (UNITS / 8) + half_of(j)) * 64 + e_of(j)];
#if !BULK
    wait_copies<STAGES - 2>();
    __syncthreads();
#endif
    // Of a lane's row for load_matrices, in the first buffer.
    const uint32 dz_at = shared_address(shared.dz) +
                         ((lane % 8) * PITCH + lane / 8 * 8 + part_of_k * (CHUNK / K_SPLIT)) * 2;
    // The compiler reads none of it before: the values of the first rows are on their way now.
    const float* const gradient = after_wait(last);

    for (int s = 0; s < rows; ++s) {
        const int t = rows - 1 - s;
        const Row& row = shared.stages[s % STAGES].row;
        load_row();
#if BULK
        wait_copy(loaded + 8 * (s % STAGES), s / STAGES % 2);
#endif
        UNROLL for (int j = 0; j < ITEMS; ++j) {
            const int window = window0 + 8 * tile_of(j) + e_of(j), unit = unit0 + 8 * half_of(j) - rank * OWN;
            const int group = 2 * matrix + half0 + half_of(j);
            const float tanh_c = tangent(widen_cell(cell[j]));
            cell[j] = row.cells[tile0 + tile_of(j)][group][2 * lane + e0 + e_of(j)];
            float dh = TOP && s == 0 ? gradient[at0 + item_at(j)] : 0.0f;
#if !TOP
            dh = widen(row.above[0][window][unit]);
            if (PARTS == 2) dh += widen(row.above[PARTS - 1][window][unit]);
#endif
#if DROPS
            const uint2 masks = row.kept[tile0 + tile_of(j)][group];
            dh = (e0 + e_of(j) ? masks.y : masks.x) >> lane & 1 ? dh * keep : 0.0f;
#endif
            UNROLL for (int other = 0; other < K_SPLIT; ++other)
                dh += shared.dh[matrix * K_SPLIT + other][item0 + j][lane];
            uint32 first_two[PARTS], last_two[PARTS];
            UNROLL for (int part = 0; part < PARTS; ++part) {
                const uint2 four = *reinterpret_cast<const uint2*>(&row.gates[part][window][4 * unit]);
                first_two[part] = four.x;
                last_two[part] = four.y;
            }
            const float i = join_lower(first_two), f = join_upper(first_two), o = join_upper(last_two);
            const float n = join_lower(last_two);  // the candidate, g in the equations
            const float dh_o = dh * o;
            const float change = dc[j] + fmaf(-dh_o * tanh_c, tanh_c, dh_o);
            const float dz[4] = {change * n * fmaf(-i, i, i), change * widen_cell(cell[j]) * fmaf(-f, f, f),
                                 change * i * fmaf(-n, n, 1.0f), dh * tanh_c * fmaf(-o, o, o)};
            dc[j] = change * f;
            UNROLL for (int gate = 0; gate < 4; ++gate) bias[HALVES == 2 ? half_of(j) : 0][gate] += dz[gate];
            split(dz[0], dz[1], first_two);
            split(dz[2], dz[3], last_two);
            UNROLL for (int part = 0; part < PARTS; ++part)
                *reinterpret_cast<uint2*>(own_gates + part * gate_plane + 4 * item_at(j)) =
                    make_uint2(first_two[part], last_two[part]);
        }
        own_gates -= 4 * unit_row;
#if !BULK
        wait_copies<STAGES - 2>();  // the values of the row before are there
#endif
        __syncthreads();
        if (t == 0) break;
#if STREAMED
        constexpr int CHUNKS = 4 * UNITS / CHUNK, STEPS = CHUNK / 16 / K_SPLIT;
        const auto bring_u = [&](int chunk) {
            if (chunk < CHUNKS)
                bring_weights<OWN, CHUNK>(&shared.u[chunk % BUFFERS][0][0][0],
                                          layer.u + int64(OWN * rank) * 4 * UNITS + chunk * CHUNK, 4 * UNITS,
                                          int64(4) * UNITS * UNITS, THREADS);
        };
        // Those of the first chunks come while the other blocks are waited for, in the same group of copies as dz.
        UNROLL for (int chunk = 0; chunk < BUFFERS - 1; ++chunk) bring_u(chunk);
#endif
        // dz of the row, of all blocks.
        say_written(share.counter);
        wait_written(share.counter, s + 1);
        const bf16* const dz_from = layer.gates + 4 * (t * unit_row + int64(first) * UNITS);
#if STREAMED
        const auto bring_dz = [&](int chunk) {
            if (chunk < CHUNKS)
                bring_windows<CHUNK, 4 * UNITS, PITCH>(&shared.dz[chunk % BUFFERS][0][0][0], dz_from + chunk * CHUNK,
                                                       gate_plane, THREADS);
            commit_copies();
        };
        UNROLL for (int chunk = 0; chunk < BUFFERS - 1; ++chunk) bring_dz(chunk);
        float all_sums[TILES][4] = {};
        const int chunks = turns(CHUNKS);
        for (int chunk = 0; chunk < chunks; ++chunk) {
            wait_copies<BUFFERS - 2>();
            __syncthreads();  // also, the chunk before was read by all
            bring_u(chunk + BUFFERS - 1);
            bring_dz(chunk + BUFFERS - 1);
            const bf16* const weights = &shared.u[chunk % BUFFERS][0][0][0];
            UNROLL for (int k = 0; k < STEPS; k += 2) {  // the last step alone, if their number is odd
                Tile u[2];
                UNROLL for (int odd = 0; odd < STEPS - k && odd < 2; ++odd)
                    u[odd] = brought_tile<OWN, CHUNK>(weights, 16 * matrix, part_of_k * STEPS + k + odd);
                UNROLL for (int tile = 0; tile < TILES; ++tile) {
                    uint32 values[2][PARTS][2];
                    load_two_steps<STEPS, PITCH>(values,
                                                 dz_at + (chunk % BUFFERS * PARTS * HELD + 8 * tile) * PITCH * 2, k);
                    UNROLL for (int odd = 0; odd < STEPS - k && odd < 2; ++odd)
                        multiply_parts(all_sums[tile], u[odd].at, values[odd]);
                }
            }
        }
        UNROLL for (int tile = 0; tile < TILES; ++tile)
            UNROLL for (int r = 0; r < 4; ++r) shared.dh[warp][tile * 4 + r][lane] = all_sums[tile][r];
#else
        const auto bring_dz = [&](int tile) {
            if (tile < TILES)
                bring_windows<4 * UNITS, 4 * UNITS, PITCH>(&shared.dz[tile % BUFFERS][0][0][0],
                                                           dz_from + 32 * tile * UNITS, gate_plane, THREADS);
            commit_copies();
        };
        UNROLL for (int tile = 0; tile < BUFFERS; ++tile) bring_dz(tile);
#pragma unroll 1
        for (int tile = 0; tile < TILES; ++tile) {
            float sums[4][4] = {};  // chains of products
            wait_copies<BUFFERS - 1>();
            __syncthreads();
            const uint32 at = dz_at + tile % BUFFERS * PARTS * HELD * PITCH * 2;
            UNROLL for (int k = 0; k < INNER; k += 2) add_two_steps(sums, at, k, u[k], u[k + 1 < INNER ? k + 1 : k]);
            if (BUFFERS < TILES) __syncthreads();  // all have read the buffer
            bring_dz(tile + BUFFERS);
            UNROLL for (int r = 0; r < 4; ++r)
                shared.dh[warp][tile * 4 + r][lane] = (sums[0][r] + sums[1][r]) + (sums[2][r] + sums[3][r]);
        }
#endif
#if K_SPLIT > 1
        barrier(1 + matrix, 32 * K_SPLIT);
#else
        __syncwarp();
#endif
    }

    // Over the windows of a thread's quad, then over the warps that share units.
    float* const sums = &shared.dh[0][0][0];  // [K_SPLIT][OWN][4]
    __syncthreads();
    for (int v = threadIdx.x; v < K_SPLIT * OWN * 4; v += THREADS) sums[v] = 0.0f;
    __syncthreads();
    UNROLL for (int half = 0; half < HALVES; ++half)
        UNROLL for (int gate = 0; gate < 4; ++gate) {
            float sum = bias[half][gate];
            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
            const int own_half = HALVES == 2 ? half : half0;
            if (q == 0) sums[(part_of_k * OWN + 16 * matrix + 8 * own_half + g) * 4 + gate] = sum;
        }
    __syncthreads();
    for (int v = threadIdx.x; v < OWN * 4; v += THREADS) {
        float sum = 0.0f;
        UNROLL for (int part = 0; part < K_SPLIT; ++part) sum += sums[part * OWN * 4 + v];
        layer.bias_gradients[int64(share.number) * 4 * UNITS + 4 * rank * OWN + v] = sum;
    }
}

// TOP: the layer is the network's highest one
// above: [PARTS][rows][windows][UNITS], gradient of its outputs after dropout, unless TOP
// last: [windows][UNITS], gradient of its h at the last row, if TOP
// kept: its dropout masks (lstm_masks.cu), if DROPS
// counters: zeros, (1 + groups of windows) * COUNTERS_APART
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    lstm_exchange_backward(const Layer* __restrict__ layer, const bf16* __restrict__ above,
                           const float* __restrict__ last, const uint32* __restrict__ kept, uint32* counters,
                           const float keep, const int rows, const int windows) {
    extern __shared__ __align__(16) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    for (int v = threadIdx.x; v < WARPS * TILES * 4 * 32; v += THREADS) (&shared.dh[0][0][0])[v] = 0.0f;
#if BULK
    if (threadIdx.x < STAGES) init_arrivals(shared_address(&shared.loaded[threadIdx.x]));
    publish_arrivals();
#endif
    __syncthreads();
    const Share share = take_share(counters, shared.ticket);
    run_layer(*layer, shared, above, last, kept, keep, rows, windows, share);
}
