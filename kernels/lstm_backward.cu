// One LSTM layer backwards over all rows: from gates to their gradients.
//
// dv being the gradient of the loss with respect to v, and dz that with respect to x W + h_before U + b, at each row,
// the last one first:
//
//     dh = dh_above + dh_after              dc = dc_after + dh * o * (1 - tanh(c)^2)
//     dz = dc g i (1 - i), dc c_before f (1 - f), dc i (1 - g^2), dh tanh(c) o (1 - o)
//     dc_after = dc f                       dh_after = dz U^T, for the row before
//
// dz replaces the gates in memory. What the weights' gradients and the layer below need of it are products over all
// rows at once (lstm_products.cu).
//
// As in lstm_forward.cu the whole chain is one launch, a block keeps its windows, and SPLIT blocks share the units. A
// row has two phases with a barrier between them:
//
// - cells: each thread computes dz of its (unit, window) pairs, and writes it to shared memory for all;
// - product: dh^T [units, windows] = U dz^T, U in registers. An A tile is 16 units; K_SPLIT warps share it, each with a
//   part of the 4 UNITS inner numbers, and add up their sums in shared memory.
//
// The sums of dz over the windows and rows are the gradient of the bias: kept in registers, written once per block.
//
// Floor on an H100, per layer, row and window of 128 units in bfloat16: 1,536 bytes read, 1,024 written; 65,536
// multiply-adds.

#include "lstm_common.cuh"

#define OWN (UNITS / SPLIT)                   // units of this block
#define MATRICES (OWN / 16)                   // of 16 units
#define WARPS (MATRICES * K_SPLIT)
#define THREADS (32 * WARPS)
#define INNER (4 * UNITS / 16 / K_SPLIT)      // steps of 16 of a warp's inner dimension
#define WINDOWS (8 * TILES)
#define PITCH (4 * UNITS + 8)
#define ITEMS (TILES * 4 / K_SPLIT)           // (unit, window) pairs of a thread
#define HALVES (ITEMS % 4 == 0 ? 2 : 1)       // units of a thread
#define STAGES 4                              // rows whose values are on their way or in use
#define GROUPS (OWN / 8)

// What a row needs from memory.
struct Row {
    bf16 gates[PARTS][WINDOWS][4 * OWN + 16];
    CELL cells[TILES][GROUPS][64];  // of the row before
#if !TOP
    bf16 above[PARTS][WINDOWS][OWN + 8];
#if DROPS
    uint2 kept[TILES][GROUPS];
#endif
#endif
};

#define ROW_BYTES                                                                                          \
    (PARTS * WINDOWS * OWN * (TOP ? 8 : 10) + WINDOWS * OWN * sizeof(CELL) + (!TOP && DROPS ? TILES * GROUPS * 8 : 0))

struct Shared {
    bf16 dz[2][PARTS][WINDOWS][PITCH];
    float dh[WARPS][TILES * 4][32];
    Row row[STAGES];
    uint64 arrived[2], loaded[STAGES];
};

INLINE float widen_cell(bf16 c) { return widen(c); }
INLINE float widen_cell(float c) { return c; }

// weights: U [PARTS][UNITS][4 UNITS], column 4 * unit + gate
// gates: [PARTS][rows][windows][4 UNITS]: activated gates, then dz
// cells: as lstm_forward.cu writes them
// above: [PARTS][rows][windows][UNITS], gradient of this layer's output after dropout, unless TOP
// last: [windows][UNITS], gradient of h at the last row, if TOP
// kept: dropout masks (lstm_masks.cu), if DROPS and not TOP
// bias_gradients: [blocks of windows][4 UNITS]
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
#if SPLIT > 1
    __cluster_dims__(SPLIT, 1, 1)
#endif
        lstm_backward(const bf16* __restrict__ weights, bf16* __restrict__ gates, const CELL* __restrict__ cells,
                      const bf16* __restrict__ above, const float* __restrict__ last, const uint32* __restrict__ kept,
                      const float keep, float* __restrict__ bias_gradients, const int rows, const int windows) {
    extern __shared__ __align__(16) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const int matrix = warp / K_SPLIT, part_of_k = warp % K_SPLIT;
#if SPLIT > 1
    const int rank = cluster_rank();
#else
    const int rank = 0;
#endif
    const int first = blockIdx.x / SPLIT * WINDOWS;
    const int all_matrix = rank * MATRICES + matrix;
    const int64 weight_plane = int64(4) * UNITS * UNITS;
    const int64 gate_plane = int64(rows) * windows * 4 * UNITS;
#if !TOP
    const int64 above_plane = int64(rows) * windows * UNITS;
#endif

    uint32 u[INNER][PARTS][4];
    UNROLL for (int k = 0; k < INNER; ++k)
        UNROLL for (int part = 0; part < PARTS; ++part) {
            const bf16* at = weights + part * weight_plane + int64(16 * all_matrix + g) * 4 * UNITS +
                             16 * (part_of_k * INNER + k) + 2 * q;
            UNROLL for (int r = 0; r < 4; ++r)
                u[k][part][r] = *reinterpret_cast<const uint32*>(at + r % 2 * 8 * 4 * UNITS + r / 2 * 8);
        }
    for (int v = threadIdx.x; v < WARPS * TILES * 4 * 32; v += THREADS) (&shared.dh[0][0][0])[v] = 0.0f;
#if BULK
    const uint32 arrived = shared_address(shared.arrived), loaded = shared_address(shared.loaded);
    if (threadIdx.x < 2 + STAGES) init_arrivals(arrived + 8 * threadIdx.x);
    publish_arrivals();
#endif
#if SPLIT > 1
    cluster_barrier();
#endif
    __syncthreads();

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
    bf16* own_gates = gates + 4 * ((rows - 1) * unit_row + at0);

    // The values of the next row, in the background: from where the row begins.
    const int64 last_row = (rows - 1) * unit_row;
    const bf16* gates_from = gates + 4 * (last_row + int64(first) * UNITS + rank * OWN);
    const CELL* cells_from = cells + last_row + int64(first) * UNITS + rank * OWN * 8;
#if !TOP
    const bf16* above_from = above + last_row + int64(first) * UNITS + rank * OWN;
#if DROPS
    const uint32* kept_from = kept + last_row / 32 + (first / 8 * (UNITS / 8) + rank * GROUPS) * 2;
#endif
#endif
    int to_load = rows, stage = 0;
    const auto load_row = [&] {
        if (to_load > 0) {
            Row& row = shared.row[stage];
#if BULK
            // Every warp copies some windows.
            const uint32 own = loaded + 8 * stage;
            if (warp == 0 && elected()) expect_arrivals(own, ROW_BYTES);
            UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 1
                for (int v = warp; v < WINDOWS; v += WARPS)
                    if (elected()) {
                        copy_bulk(shared_address(row.gates[part][v]), gates_from + part * gate_plane + v * 4 * UNITS,
                                  8 * OWN, own);
#if !TOP
                        copy_bulk(shared_address(row.above[part][v]), above_from + part * above_plane + v * UNITS,
                                  2 * OWN, own);
#endif
                    }
#pragma unroll 1
            for (int v = WARPS - 1 - warp; v < TILES; v += WARPS)
                if (elected()) {
                    copy_bulk(shared_address(row.cells[v]), cells_from + v * 8 * UNITS, 8 * OWN * sizeof(CELL), own);
#if !TOP && DROPS
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
                               above_from + part * above_plane + window * UNITS + column, true);
                }
#endif
            }
            constexpr int each = 16 / sizeof(CELL);
#pragma unroll 1
            for (int v = threadIdx.x; v < WINDOWS * OWN / each; v += THREADS) {
                const int tile = v / (8 * OWN / each), own = v % (8 * OWN / each) * each;
                copy_async(shared_address(&row.cells[tile][0][own]), cells_from + tile * 8 * UNITS + own, true);
            }
#if !TOP && DROPS
            for (int v = threadIdx.x; v < TILES * GROUPS; v += THREADS)
                copy_async_8(shared_address(&row.kept[v / GROUPS][v % GROUPS]),
                             kept_from + v / GROUPS * (UNITS / 4) + v % GROUPS * 2);
#endif
#endif
            gates_from -= 4 * unit_row;
            cells_from -= unit_row;
#if !TOP
            above_from -= unit_row;
#if DROPS
            kept_from -= unit_row / 32;
#endif
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
        cell[j] = cells[rows * unit_row + int64(block0) * 64 + 2 * lane + e0 +
                        (tile_of(j) * (UNITS / 8) + half_of(j)) * 64 + e_of(j)];
#if !BULK
    wait_copies<STAGES - 2>();
    __syncthreads();
#endif
    const uint32 dz_at = shared_address(shared.dz) +
                         ((lane % 8) * PITCH + lane / 8 * 8 + part_of_k * INNER * 16) * 2;

    for (int s = 0; s < rows; ++s) {
        const int t = rows - 1 - s, now = s % 2;
        const Row& row = shared.row[s % STAGES];
        load_row();
#if BULK
        wait_copy(loaded + 8 * (s % STAGES), s / STAGES % 2);
#endif
        UNROLL for (int j = 0; j < ITEMS; ++j) {
            const int window = window0 + 8 * tile_of(j) + e_of(j), unit = unit0 + 8 * half_of(j) - rank * OWN;
            const int group = 2 * matrix + half0 + half_of(j);
            const float tanh_c = tangent(widen_cell(cell[j]));
            cell[j] = row.cells[tile0 + tile_of(j)][group][2 * lane + e0 + e_of(j)];
#if TOP
            float dh = s > 0 ? 0.0f : last[at0 + item_at(j)];
#else
            float dh = widen(row.above[0][window][unit]);
            if (PARTS == 2) dh += widen(row.above[PARTS - 1][window][unit]);
#if DROPS
            const uint2 masks = row.kept[tile0 + tile_of(j)][group];
            dh = (e0 + e_of(j) ? masks.y : masks.x) >> lane & 1 ? dh * keep : 0.0f;
#endif
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
        if (t == 0) break;
#if SPLIT > 1
        // dz of own units to the other blocks of the cluster, and theirs.
        if (threadIdx.x == 0) expect_arrivals(arrived + 8 * now, (SPLIT - 1) * PARTS * WINDOWS * 4 * OWN * 2);
        for (int v = threadIdx.x; v < (SPLIT - 1) * PARTS * WINDOWS * (OWN / 2); v += THREADS) {
            const int other = v / (PARTS * WINDOWS * (OWN / 2)), rest = v % (PARTS * WINDOWS * (OWN / 2));
            const bf16* from = &shared.dz[now][rest / (WINDOWS * (OWN / 2))][rest / (OWN / 2) % WINDOWS]
                                         [4 * rank * OWN + rest % (OWN / 2) * 8];
            const uint32 peer = other + (other >= rank);
            send(peer_address(shared_address(from), peer), *reinterpret_cast<const uint4*>(from),
                 peer_address(arrived + 8 * now, peer));
        }
        wait_arrivals(arrived + 8 * now, s / 2 % 2);
#endif
        UNROLL for (int tile = 0; tile < TILES; ++tile) {
            float sums[4][4] = {};  // chains of products
            // Two steps at a time; the last one alone, if their number is odd, twice.
            UNROLL for (int k = 0; k < INNER; k += 2) {
                uint32 values[2][PARTS][2];
                UNROLL for (int part = 0; part < PARTS; ++part)
                    load_matrices(dz_at + ((now * PARTS + part) * WINDOWS + 8 * tile) * PITCH * 2 + k * 32 -
                                      (k + 1 < INNER ? 0 : lane / 16 * 32),
                                  values[0][part][0], values[0][part][1], values[1][part][0], values[1][part][1]);
                multiply_parts(sums[k % 4], u[k], values[0]);
                if (k + 1 < INNER) multiply_parts(sums[(k + 1) % 4], u[k + 1 < INNER ? k + 1 : k], values[1]);
            }
            UNROLL for (int r = 0; r < 4; ++r)
                shared.dh[warp][tile * 4 + r][lane] = (sums[0][r] + sums[1][r]) + (sums[2][r] + sums[3][r]);
        }
#if K_SPLIT > 1
        barrier(1 + matrix, 32 * K_SPLIT);
#else
        __syncwarp();
#endif
    }

    // Over the windows of a thread's quad, then over the warps that share units.
    float* const sums = &shared.dh[0][0][0];  // [K_SPLIT][OWN][4]
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
        bias_gradients[int64(blockIdx.x / SPLIT) * 4 * UNITS + 4 * rank * OWN + v] = sum;
    }
#if SPLIT > 1
    cluster_barrier();
#endif
}
