// One LSTM layer backwards over all rows: from gates to their gradients.
//
// dv being the gradient of the loss with respect to v, and dz that with respect to x W + h_before U + b, at each row,
// the last one first:
//
//     dh = dh_above + dh_after              dc = dc_after + dh * o * (1 - tanh(c)^2)
//     dz = dc g i (1 - i), dc c_before f (1 - f), dc i (1 - g^2), dh tanh(c) o (1 - o)
//     dc_after = dc f                       dh_after = dz U^T, for the row before
//
// dz replaces the gates in memory. What the weights' gradients need of it are products over all rows at once
// (lstm_products*.cu). So is what the layer below needs, dz W^T, unless it runs in the same launch.
//
// As in lstm_forward.cu the whole chain is one launch, a block keeps its windows, SPLIT blocks share the units, and
// LAYERS layers run behind each other, here the highest one first: each sends dz W^T of a row to the one below. A row
// has two phases with a barrier between them:
//
// - cells: each thread computes dz of its (unit, window) pairs, and writes it to shared memory for all;
// - product: dh^T [units, windows] = U dz^T, U in registers. An A tile is 16 units; K_SPLIT warps share it, each with a
//   part of the 4 UNITS inner numbers, and add up their sums in shared memory. W dz^T likewise; its
//   sums go to the layer below as they are, to be added up there. W is in registers, or with W_SHARED = 1 in shared
//   memory, or with PROJECTED = 1 in the registers of a block between the two layers, which gets dz.
//
// The sums of dz over the windows and rows are the gradient of the bias: kept in registers, written once per block.
//
// Floor on an H100, per layer, row and window of 128 units in bfloat16: 1,536 bytes read, 1,024 written; 65,536
// multiply-adds.

#include "lstm_chains.cuh"

#define MATRICES (OWN / 16)                   // of 16 units
#define WARPS (MATRICES * K_SPLIT)
#define THREADS (32 * WARPS)
#define INNER (4 * UNITS / 16 / K_SPLIT)      // steps of 16 of a warp's inner dimension
#define PITCH (4 * UNITS + 8)
#define ITEMS (TILES * 4 / K_SPLIT)           // (unit, window) pairs of a thread
#define HALVES (ITEMS % 4 == 0 ? 2 : 1)       // units of a thread

struct Layer {
    const bf16* u;          // U [PARTS][UNITS][4 UNITS], column 4 * unit + gate
    const bf16* w;          // W likewise, of layers that send to the one below
    bf16* gates;            // [PARTS][rows][windows][4 UNITS]: activated gates, then dz
    const CELL* cells;      // as lstm_forward.cu writes them
    float* bias_gradients;  // [blocks of windows][4 UNITS]
};

// What a row needs from memory, and of the layer above.
struct Row {
    bf16 gates[PARTS][WINDOWS][4 * OWN + 16];
    CELL cells[TILES][GROUPS][64];  // of the row before
#if !TOP
    bf16 above[PARTS][WINDOWS][OWN + 8];
#endif
#if HAS_BELOW
    float4 sums[WARPS][TILES][32];  // of W dz^T of the layer above, as its warps hold them
#endif
#if DROPS
    Masks kept;
#endif
};

union Stage {
    Row row;
#if PROJECTED
    bf16 dz[PARTS][WINDOWS][PITCH];  // of the block that multiplies W
#endif
};

struct Shared {
    bf16 dz[2][PARTS][WINDOWS][PITCH];
    float dh[WARPS][TILES * 4][32];
    Stage stages[STAGES];
#if W_SHARED
    StoredTile w[WARPS][INNER];
#endif
    // Barriers: dz of the cluster's other blocks, twice buffered; a row's values; room for a row in the layer below.
    uint64 arrived[2], loaded[STAGES], room[STAGES];
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

// Steps k and k + 1 of the product of tiles of 16 units and dz^T of 8 windows, whose values are at `at` of this lane; the
// last step alone, if their number is odd. Four chains of products.
INLINE void add_two_steps(float (&sums)[4][4], const uint32 at, const int k, const Tile& even, const Tile& odd) {
    uint32 values[2][PARTS][2];
    load_two_steps<INNER, PITCH>(values, at, k);
    multiply_parts(sums[k % 4], even.at, values[0]);
    if (k + 1 < INNER) multiply_parts(sums[(k + 1) % 4], odd.at, values[1]);
}
INLINE float sum_of(const float (&sums)[4][4], int r) { return (sums[0][r] + sums[1][r]) + (sums[2][r] + sums[3][r]); }

#if LAYERS > 1
// This warp's part of W dz^T of 8 windows, to the block of the layer below.
INLINE void send_sums(Shared& shared, const float (&sums)[4][4], const int stage, const int warp, const int tile,
                      const int below) {
    send_to(below, bits_of(sum_of(sums, 0), sum_of(sums, 1), sum_of(sums, 2), sum_of(sums, 3)),
            &shared.stages[stage].row.sums[warp][tile][threadIdx.x % 32], shared_address(&shared.loaded[stage]));
}
#endif

// Where the gradient of a layer's outputs comes from: `last`, of the last row alone; a product over all rows; the layer
// above in the same launch.
enum Source { FROM_LAST, FROM_PRODUCT, FROM_ABOVE };

// DROP: the layer drops outputs. SENDS: the layer below runs in the same launch.
template <Source SOURCE, bool DROP, bool SENDS>
INLINE void run_layer(const Layer& layer, Shared& shared, const bf16* __restrict__ above,
                      const float* __restrict__ last, const uint32* __restrict__ kept, const float keep, const int rows,
                      const int windows, const int place, const int rank) {
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const int matrix = warp / K_SPLIT, part_of_k = warp % K_SPLIT;
    const int first = blockIdx.x / CLUSTER * WINDOWS;
    const int all_matrix = rank * MATRICES + matrix;
    const int64 gate_plane = int64(rows) * windows * 4 * UNITS;
    const uint32 arrived = shared_address(shared.arrived), loaded = shared_address(shared.loaded),
                 room = shared_address(shared.room);

#if W_SHARED
    if (SENDS)
#pragma unroll 1
        for (int k = 0; k < INNER; ++k) {
            const Tile tile = load_tile(layer.w, all_matrix, (part_of_k * INNER + k) * 16);
            store_tile(shared.w[warp][k], lane, tile);
        }
    constexpr int W_STEPS = 1;
#else
    constexpr int W_STEPS = SENDS && !PROJECTED ? INNER : 1;
#endif
    Tile u[INNER], w[W_STEPS];
    UNROLL for (int k = 0; k < INNER; ++k) {
        const int column = (part_of_k * INNER + k) * 16;
        u[k] = load_tile(layer.u, all_matrix, column);
        if (SENDS && !W_SHARED && !PROJECTED) w[k % W_STEPS] = load_tile(layer.w, all_matrix, column);
    }

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
    const bf16* above_from = above + last_row + int64(first) * UNITS + rank * OWN;
    const uint32* kept_from = kept + last_row / 32 + (first / 8 * (UNITS / 8) + rank * GROUPS) * 2;
    int to_load = rows, stage = 0;
    const auto load_row = [&] {
        if (to_load > 0) {
            Row& row = shared.stages[stage].row;
#if BULK
            // Every warp copies some windows.
            constexpr int bytes = PARTS * WINDOWS * OWN * (SOURCE == FROM_PRODUCT ? 10 : 8) + WINDOWS * OWN * sizeof(CELL) +
                                  (DROP ? TILES * GROUPS * 8 : 0) + (SOURCE == FROM_ABOVE ? WARPS * TILES * 32 * 16 : 0);
            const uint32 own = loaded + 8 * stage;
            if (warp == 0 && elected()) {
#if LAYERS > 1
                if (SOURCE == FROM_ABOVE)
                    receive_row(shared.loaded[stage], shared.room[stage], bytes, (place + 1) * SPLIT + rank, 1);
                else
#endif
                    expect_arrivals(own, bytes);
            }
            UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 1
                for (int v = warp; v < WINDOWS; v += WARPS)
                    if (elected()) {
                        copy_bulk(shared_address(row.gates[part][v]), gates_from + part * gate_plane + v * 4 * UNITS,
                                  8 * OWN, own);
#if !TOP
                        if (SOURCE == FROM_PRODUCT)
                            copy_bulk(shared_address(row.above[part][v]), above_from + part * (gate_plane / 4) + v * UNITS,
                                      2 * OWN, own);
#endif
                    }
#pragma unroll 1
            for (int v = WARPS - 1 - warp; v < TILES; v += WARPS)
                if (elected()) {
                    copy_bulk(shared_address(row.cells[v]), cells_from + v * 8 * UNITS, 8 * OWN * sizeof(CELL), own);
#if DROPS
                    if (DROP) copy_bulk(shared_address(row.kept[v]), kept_from + v * (UNITS / 4), GROUPS * 8, own);
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
            if (DROP)
                for (int v = threadIdx.x; v < TILES * GROUPS; v += THREADS)
                    copy_async_8(shared_address(&row.kept[v / GROUPS][v % GROUPS]),
                                 kept_from + v / GROUPS * (UNITS / 4) + v % GROUPS * 2);
#endif
#endif
            gates_from -= 4 * unit_row;
            cells_from -= unit_row;
            above_from -= unit_row;
            kept_from -= unit_row / 32;
            stage = (stage + 1) % STAGES;
            --to_load;
        }
#if !BULK
        commit_copies();
#endif
    };
    if (SOURCE == FROM_PRODUCT) wait_for_kernel_before();
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
    const uint32 dz_at = shared_address(shared.dz) +
                         ((lane % 8) * PITCH + lane / 8 * 8 + part_of_k * INNER * 16) * 2;
    // All that the kernel before has written of what is read here is `last`, or else the product that rows are loaded from.
    if (SOURCE != FROM_PRODUCT) wait_for_kernel_before();
    begin_next_kernel();
    const float* const gradient = after_wait(last);

    for (int s = 0; s < rows; ++s) {
        const int t = rows - 1 - s, now = s % 2;
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
            float dh = SOURCE == FROM_LAST && s == 0 ? gradient[at0 + item_at(j)] : 0.0f;
#if !TOP
            if (SOURCE == FROM_PRODUCT) {
                dh = widen(row.above[0][window][unit]);
                if (PARTS == 2) dh += widen(row.above[PARTS - 1][window][unit]);
            }
#endif
#if HAS_BELOW
            if (SOURCE == FROM_ABOVE)
                UNROLL for (int other = 0; other < K_SPLIT; ++other) {
                    const int number = item0 % 4 + j;  // of the tile's four sums in this lane
                    dh += reinterpret_cast<const float*>(
                        &row.sums[matrix * K_SPLIT + other][tile0 + number / 4][lane])[number % 4];
                }
#endif
#if DROPS
            if (DROP) {
                const uint2 masks = row.kept[tile0 + tile_of(j)][group];
                dh = (e0 + e_of(j) ? masks.y : masks.x) >> lane & 1 ? dh * keep : 0.0f;
            }
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
            UNROLL for (int part = 0; part < PARTS; ++part) {
                const uint2 value = make_uint2(first_two[part], last_two[part]);
                *reinterpret_cast<uint2*>(&shared.dz[now][part][window][4 * (unit0 + 8 * half_of(j))]) = value;
                *reinterpret_cast<uint2*>(own_gates + part * gate_plane + 4 * item_at(j)) = value;
            }
        }
        own_gates -= 4 * unit_row;
#if !BULK
        wait_copies<STAGES - 2>();  // the values of the row before are there
#endif
        __syncthreads();
#if PROJECTED
        // dz of own units to the blocks that multiply W.
        if (SENDS) {
            wait_copy(room + 8 * (s % STAGES), s / STAGES % 2);
            for (int v = threadIdx.x; v < SPLIT * PARTS * WINDOWS * (OWN / 2); v += THREADS) {
                const int other = v / (PARTS * WINDOWS * (OWN / 2)), rest = v % (PARTS * WINDOWS * (OWN / 2));
                const int part = rest / (WINDOWS * (OWN / 2)), window = rest / (OWN / 2) % WINDOWS;
                const int column = 4 * rank * OWN + rest % (OWN / 2) * 8;
                const uint32 peer = (place - 1) * SPLIT + other;
                send(peer_address(shared_address(&shared.stages[s % STAGES].dz[part][window][column]), peer),
                     *reinterpret_cast<const uint4*>(&shared.dz[now][part][window][column]),
                     peer_address(loaded + 8 * (s % STAGES), peer));
            }
        }
#endif
        if (t == 0 && (PROJECTED || !SENDS)) break;
#if SPLIT > 1
        // dz of own units to the layer's other blocks, and theirs.
        if (threadIdx.x == 0) expect_arrivals(arrived + 8 * now, (SPLIT - 1) * PARTS * WINDOWS * 4 * OWN * 2);
        for (int v = threadIdx.x; v < (SPLIT - 1) * PARTS * WINDOWS * (OWN / 2); v += THREADS) {
            const int other = v / (PARTS * WINDOWS * (OWN / 2)), rest = v % (PARTS * WINDOWS * (OWN / 2));
            const bf16* from = &shared.dz[now][rest / (WINDOWS * (OWN / 2))][rest / (OWN / 2) % WINDOWS]
                                         [4 * rank * OWN + rest % (OWN / 2) * 8];
            const uint32 peer = place * SPLIT + other + (other >= rank);
            send(peer_address(shared_address(from), peer), *reinterpret_cast<const uint4*>(from),
                 peer_address(arrived + 8 * now, peer));
        }
        wait_arrivals(arrived + 8 * now, s / 2 % 2);
#endif
        UNROLL for (int tile = 0; tile < TILES; ++tile) {
            float sums[4][4] = {};  // chains of products
            UNROLL for (int k = 0; k < INNER; k += 2)
                add_two_steps(sums, dz_at + (now * PARTS * WINDOWS + 8 * tile) * PITCH * 2, k, u[k],
                              u[k + 1 < INNER ? k + 1 : k]);
            UNROLL for (int r = 0; r < 4; ++r) shared.dh[warp][tile * 4 + r][lane] = sum_of(sums, r);
        }
#if HAS_BELOW && !PROJECTED
        if (SENDS) {
            wait_copy(room + 8 * (s % STAGES), s / STAGES % 2);
            UNROLL for (int tile = 0; tile < TILES; ++tile) {
                float sums[4][4] = {};
                UNROLL for (int k = 0; k < INNER; k += 2) {
                    const int next_k = k + 1 < INNER ? k + 1 : k;
                    const uint32 at = dz_at + (now * PARTS * WINDOWS + 8 * tile) * PITCH * 2;
#if W_SHARED
                    add_two_steps(sums, at, k, stored_tile(shared.w[warp][k], lane),
                                  stored_tile(shared.w[warp][next_k], lane));
#else
                    add_two_steps(sums, at, k, w[k % W_STEPS], w[next_k % W_STEPS]);
#endif
                }
                send_sums(shared, sums, s % STAGES, warp, tile, (place - 1) * SPLIT + rank);
            }
        }
        if (t == 0) break;
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
        layer.bias_gradients[int64(blockIdx.x / CLUSTER) * 4 * UNITS + 4 * rank * OWN + v] = sum;
    }
}

#if PROJECTED
// W dz^T of a layer, of whose dz it is sent all.
INLINE void project(const Layer& layer, Shared& shared, const int rows, const int place, const int rank) {
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32;
    const int matrix = warp / K_SPLIT, part_of_k = warp % K_SPLIT;
    Tile w[INNER];
    UNROLL for (int k = 0; k < INNER; ++k)
        w[k] = load_tile(layer.w, rank * MATRICES + matrix, (part_of_k * INNER + k) * 16);
    const uint32 in_window = ((lane % 8) * PITCH + lane / 8 * 8 + part_of_k * INNER * 16) * 2;
    const auto load_row = [&](int s) {
        if (s < rows && warp == 0 && elected())
            receive_row(shared.loaded[s % STAGES], shared.room[s % STAGES],
                        PARTS * WINDOWS * 4 * UNITS * 2, (place + 1) * SPLIT, SPLIT);
    };
    for (int s = 0; s < STAGES - 1; ++s) load_row(s);
    wait_for_kernel_before();
    begin_next_kernel();
    for (int s = 0; s < rows; ++s) {
        const int stage = s % STAGES, turn = s / STAGES % 2;
        load_row(s + STAGES - 1);
        wait_copy(shared_address(&shared.loaded[stage]), turn);
        wait_copy(shared_address(&shared.room[stage]), turn);
        UNROLL for (int tile = 0; tile < TILES; ++tile) {
            float sums[4][4] = {};
            UNROLL for (int k = 0; k < INNER; k += 2)
                add_two_steps(sums, shared_address(shared.stages[stage].dz[0][8 * tile]) + in_window, k, w[k],
                              w[k + 1 < INNER ? k + 1 : k]);
            send_sums(shared, sums, stage, warp, tile, (place - 1) * SPLIT + rank);
        }
        __syncthreads();  // all have read the row
    }
}
#endif

// layers: those of the launch, from the lowest one up
// above: [PARTS][rows][windows][UNITS], gradient of the highest layer's outputs after dropout, unless TOP
// last: [windows][UNITS], gradient of its h at the last row, if TOP
// kept: dropout masks (lstm_masks.cu) of the lowest layer, `kept_layer` words before those of the next
// DROPS: all of them drop outputs, but for the network's highest one
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
#if CLUSTER > 1
    __cluster_dims__(CLUSTER, 1, 1)
#endif
        lstm_backward(const Layer* __restrict__ layers, const bf16* __restrict__ above, const float* __restrict__ last,
                      const uint32* __restrict__ kept, const int64 kept_layer, const float keep, const int rows,
                      const int windows) {
    extern __shared__ __align__(16) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
#if CLUSTER > 1
    const int place = cluster_rank() / SPLIT, rank = cluster_rank() % SPLIT;
#else
    const int place = 0, rank = 0;
#endif
    for (int v = threadIdx.x; v < WARPS * TILES * 4 * 32; v += THREADS) (&shared.dh[0][0][0])[v] = 0.0f;
#if BULK
    if (threadIdx.x < 2 + STAGES) init_arrivals(shared_address(&shared.arrived[threadIdx.x]));
    else if (threadIdx.x < 2 + 2 * STAGES)  // dz goes to all blocks that multiply W, sums to one block
        init_arrivals_of(shared_address(&shared.arrived[threadIdx.x]), PROJECTED && place % STEP == 0 ? SPLIT : 1);
    publish_arrivals();
#endif
#if CLUSTER > 1
    cluster_barrier();
#endif
    __syncthreads();
    constexpr Source source = TOP ? FROM_LAST : FROM_PRODUCT;
    constexpr bool drop = DROPS && !TOP;  // of the highest one
#if LAYERS == 1
    run_layer<source, drop, false>(layers[0], shared, above, last, kept, keep, rows, windows, place, rank);
#else
    const int level = (place + STEP - 1) / STEP;
    kept += level * kept_layer;
#if PROJECTED
    if (place % STEP) project(layers[level], shared, rows, place, rank);
    else
#endif
    if (level + 1 == LAYERS)
        run_layer<source, drop, true>(layers[level], shared, above, last, kept, keep, rows, windows, place, rank);
    else if (level == 0)
        run_layer<FROM_ABOVE, DROPS, false>(layers[0], shared, above, last, kept, keep, rows, windows, place, rank);
    else run_layer<FROM_ABOVE, DROPS, true>(layers[level], shared, above, last, kept, keep, rows, windows, place, rank);
#endif
#if CLUSTER > 1
    cluster_barrier();  // no block ends while another may still write to it
#endif
}
