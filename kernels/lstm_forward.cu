// One LSTM layer over all rows of a batch's windows: gates, cells and outputs.
//
// At each row t of the windows, for all units and windows (Hochreiter and Schmidhuber 1997; Gers et al. 2000):
//
//     i, f, o = sigmoid(x W + h_before U + b)    g = tanh(x W + h_before U + b), each with columns of its own
//     c = f * c_before + i * g                   h = o * tanh(c)
//
// Every row needs the h of the row before, so time is spent in the chain of rows, not in arithmetic. Hence:
//
// - The whole chain is one launch. A block has 8 * TILES windows and keeps them for all rows; SPLIT blocks, a cluster,
//   share its units, where U is too large for one: each owns UNITS / SPLIT units.
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
// - x W comes from a product over all rows at once (lstm_products.cu) and is overwritten in place by the activated
//   gates, which the backward pass overwrites by their gradients. With INPUT_TILES = 1, up to 16 features, x W is
//   computed here.
//
// Floor on an H100, per layer, row and window of 128 units in bfloat16: 1,024 bytes read, 1,536 written; 131,072
// multiply-adds; 640 special functions. At 8,192 windows of 60 rows the bytes decide: 420 us at 3 TB/s.
//
// Shapes, all padded: units to UNITS, windows to whole blocks. Weights of padded units are 0, so they stay 0.

#include "lstm_common.cuh"

#define OWN (UNITS / SPLIT)             // units of this block
#define GROUPS (OWN / 8)                // of 8 units
#define WARPS (GROUPS * K_SPLIT)
#define THREADS (32 * WARPS)
#define INNER (UNITS / 16 / K_SPLIT)    // steps of 16 of a warp's inner dimension
#define WINDOWS (8 * TILES)             // of this block
#define PITCH (UNITS + 8)               // numbers from one window's h to the next: no bank conflicts in ldmatrix
#define ITEMS (TILES * 2 / K_SPLIT)     // (unit, window) pairs whose cells a thread computes
#define PAIR (ITEMS < 2 ? 1 : 2)        // of them, neighbouring windows of one unit
#define PAIRS (ITEMS / PAIR)
#define STAGES 4                        // rows whose input is on its way or in use
#if INPUT_TILES
#define INPUT_WIDTH 16
#define INPUT_PITCH 24
#else
#define INPUT_WIDTH (4 * OWN)
#define INPUT_PITCH (4 * OWN + 16)
#endif
#define OWN_PITCH (OWN + 8)

#if K_SPLIT > 1
#define REDUCED (WARPS * TILES * 8 * 32)
#else
#define REDUCED 1
#endif

struct Shared {
    bf16 h[2][PARTS][WINDOWS][PITCH];
#if DROPS
    bf16 dropped[2][PARTS][WINDOWS][OWN_PITCH];
#endif
    bf16 input[STAGES][PARTS][WINDOWS][INPUT_PITCH];
#if DROPS
    uint2 kept[STAGES][TILES][GROUPS];
#endif
    float reduced[REDUCED];
    uint64 arrived[2], loaded[STAGES];
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
        const uint2 four = *reinterpret_cast<const uint2*>(at + part * WINDOWS * INPUT_PITCH);
        first_two[part] = four.x;
        last_two[part] = four.y;
    }
    return make_float4(join_lower(first_two), join_upper(first_two), join_lower(last_two), join_upper(last_two));
}

// weights: U^T [PARTS][4 UNITS][UNITS], rows in the order of the A tiles: 32 * (unit / 8) + 8 * gate + unit % 8
// input_weights: W^T likewise [PARTS][4 UNITS][16], if INPUT_TILES
// bias: [4 UNITS], row 4 * unit + gate, if INPUT_TILES
// x: [PARTS][rows][windows][16], if INPUT_TILES
// gates: [PARTS][rows][windows][4 UNITS], column 4 * unit + gate: x W + b, unless INPUT_TILES; activated gates afterwards
// h: [PARTS][rows + 1][windows][UNITS], begins with zeros
// cells: [rows + 1][windows / 8][UNITS / 8][32 lanes][2 windows], begins with zeros
// dropped: [PARTS][rows][windows][UNITS], h after dropout; kept: its masks (lstm_masks.cu); if DROPS
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
#if SPLIT > 1
    __cluster_dims__(SPLIT, 1, 1)
#endif
        lstm_forward(const bf16* __restrict__ weights, const bf16* __restrict__ input_weights,
                     const float* __restrict__ bias, const bf16* __restrict__ x, bf16* __restrict__ gates,
                     bf16* __restrict__ h, CELL* __restrict__ cells, bf16* __restrict__ dropped,
                     const uint32* __restrict__ kept, const float keep, const int rows, const int windows) {
    extern __shared__ __align__(16) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const int group = warp / K_SPLIT, part_of_k = warp % K_SPLIT;
#if SPLIT > 1
    const int rank = cluster_rank();
#else
    const int rank = 0;
#endif
    const int first = blockIdx.x / SPLIT * WINDOWS;      // window
    const int all_group = rank * GROUPS + group;         // of 8 units, among all
    const int unit = 8 * all_group + g;
    const int64 weight_plane = int64(4) * UNITS * UNITS, gate_plane = int64(rows) * windows * 4 * UNITS;
    const int64 h_plane = int64(rows + 1) * windows * UNITS;

    uint32 u[2][INNER][PARTS][4];
    UNROLL for (int tile = 0; tile < 2; ++tile)
        UNROLL for (int k = 0; k < INNER; ++k)
            UNROLL for (int part = 0; part < PARTS; ++part) {
                const bf16* at = weights + part * weight_plane + int64(32 * all_group + 16 * tile + g) * UNITS +
                                 16 * (part_of_k * INNER + k) + 2 * q;
                UNROLL for (int r = 0; r < 4; ++r)
                    u[tile][k][part][r] = *reinterpret_cast<const uint32*>(at + r % 2 * 8 * UNITS + r / 2 * 8);
            }
#if INPUT_TILES
    const int64 w_plane = int64(4) * UNITS * 16, x_plane = int64(rows) * windows * 16;
    uint32 w[2][PARTS][4];
    UNROLL for (int tile = 0; tile < 2; ++tile)
        UNROLL for (int part = 0; part < PARTS; ++part) {
            const bf16* at = input_weights + part * w_plane + (32 * all_group + 16 * tile + g) * 16 + 2 * q;
            UNROLL for (int r = 0; r < 4; ++r)
                w[tile][part][r] = *reinterpret_cast<const uint32*>(at + r % 2 * 8 * 16 + r / 2 * 8);
        }
#endif
#if INPUT_TILES
    const float4 b = *reinterpret_cast<const float4*>(bias + 4 * unit);  // of i, f, g, o
#endif
    for (int v = threadIdx.x; v < PARTS * WINDOWS * PITCH / 8; v += THREADS)
        reinterpret_cast<uint4*>(shared.h[0])[v] = make_uint4(0, 0, 0, 0);
#if BULK
    const uint32 arrived = shared_address(shared.arrived), loaded = shared_address(shared.loaded);
    if (threadIdx.x < 2 + STAGES) init_arrivals(arrived + 8 * threadIdx.x);
    publish_arrivals();
#endif
#if SPLIT > 1
    cluster_barrier();
#endif
    __syncthreads();

    float c[PAIRS][PAIR];
    UNROLL for (int j = 0; j < PAIRS; ++j)
        UNROLL for (int e = 0; e < PAIR; ++e) c[j][e] = 0.0f;
    const uint32 h_at = shared_address(shared.h) +
                        ((lane % 8) * PITCH + lane / 8 * 8 + part_of_k * INNER * 16) * 2;

    // This thread's places in arrays, at the row: of its first pair of windows. Pair j lies j tiles on.
    const int tile0 = part_of_k * ITEMS / 2, e0 = PAIR == 1 ? part_of_k % 2 : 0, window0 = 8 * tile0 + 2 * q + e0;
    const int64 block0 = int64(first / 8 + tile0) * (UNITS / 8) + all_group, unit_row = int64(windows) * UNITS;
    bf16* own_gates = gates + int64(first + window0) * 4 * UNITS + 4 * unit;
    CELL* own_cells = cells + unit_row + block0 * 64 + 2 * lane + e0;
    // And for copies of whole rows from shared memory.
    const int own_window = threadIdx.x / GROUPS, own_units = threadIdx.x % GROUPS * 8;
    bf16* h_out = h + unit_row + int64(first + own_window) * UNITS + rank * OWN + own_units;
#if DROPS
    bf16* dropped_out = dropped + int64(first + own_window) * UNITS + rank * OWN + own_units;
#endif

    // The input of the next row, x or x W + b, and its masks, in the background: from where the row begins.
#if INPUT_TILES
    const bf16* input_from = x + int64(first) * 16;
    const int64 input_plane = x_plane, input_row = int64(windows) * 16;
    constexpr int input_window = 16;
#else
    const bf16* input_from = gates + int64(first) * 4 * UNITS + 4 * rank * OWN;
    const int64 input_plane = gate_plane, input_row = 4 * unit_row;
    constexpr int input_window = 4 * UNITS;
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
            if (warp == 0 && elected())
                expect_arrivals(own, PARTS * WINDOWS * INPUT_WIDTH * 2 + (DROPS ? TILES * GROUPS * 8 : 0));
            UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 1
                for (int v = warp; v < WINDOWS; v += WARPS)
                    if (elected())
                        copy_bulk(shared_address(shared.input[stage][part][v]),
                                  input_from + part * input_plane + v * input_window, INPUT_WIDTH * 2, own);
#if DROPS
#pragma unroll 1
            for (int v = WARPS - 1 - warp; v < TILES; v += WARPS)
                if (elected())
                    copy_bulk(shared_address(shared.kept[stage][v]), kept_from + v * (UNITS / 4), GROUPS * 8, own);
#endif
#else
            UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 1
                for (int v = threadIdx.x; v < WINDOWS * INPUT_WIDTH / 8; v += THREADS) {
                    const int window = v / (INPUT_WIDTH / 8), column = v % (INPUT_WIDTH / 8) * 8;
                    copy_async(shared_address(&shared.input[stage][part][window][column]),
                               input_from + part * input_plane + window * input_window + column, true);
                }
#if DROPS
            for (int v = threadIdx.x; v < TILES * GROUPS; v += THREADS)
                copy_async_8(shared_address(&shared.kept[stage][v / GROUPS][v % GROUPS]),
                             kept_from + v / GROUPS * (UNITS / 4) + v % GROUPS * 2);
#endif
#endif
            input_from += input_row;
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
        const int now = t % 2, next = 1 - now;
        load_row();
#if BULK
        wait_copy(loaded + 8 * (t % STAGES), t / STAGES % 2);
#endif
        const bf16* const own_input = &shared.input[t % STAGES][0][INPUT_TILES ? g : window0][INPUT_TILES ? 2 * q
                                                                                              : 4 * (8 * group + g)];
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
#elif INPUT_TILES
                sums[0][r] = r < 2 ? b.x : b.y;
                sums[1][r] = r < 2 ? b.z : b.w;
#else
                const float4 before = x_w(own_input + (8 * tile + r % 2) * INPUT_PITCH);
                sums[0][r] = r < 2 ? before.x : before.y;
                sums[1][r] = r < 2 ? before.z : before.w;
#endif
            }
        };

        // gates^T of 8 windows: a tile of the product.
        const auto multiply_tile = [&](int tile, float (&sums)[2][4]) {
            float other[2][4] = {};
            begin_sums(tile, sums);
#if INPUT_TILES
            if (part_of_k == 0) {
                uint32 values[PARTS][2];
                UNROLL for (int part = 0; part < PARTS; ++part)
                    UNROLL for (int r = 0; r < 2; ++r)
                        values[part][r] = *reinterpret_cast<const uint32*>(
                            own_input + (part * WINDOWS + 8 * tile) * INPUT_PITCH + 8 * r);
                UNROLL for (int half = 0; half < 2; ++half) multiply_parts(sums[half], w[half], values);
            }
#endif
            // Two chains of products, since one waits for the result of the one before.
            UNROLL for (int k = 0; k < INNER; k += 2) {
                uint32 values[2][PARTS][2];
                UNROLL for (int part = 0; part < PARTS; ++part)
                    load_matrices(h_at + ((now * PARTS + part) * WINDOWS + 8 * tile) * PITCH * 2 + k * 32 -
                                      (k + 1 < INNER ? 0 : lane / 16 * 32),
                                  values[0][part][0], values[0][part][1], values[1][part][0], values[1][part][1]);
                UNROLL for (int half = 0; half < 2; ++half) {
                    multiply_parts(sums[half], u[half][k], values[0]);
                    if (k + 1 < INNER) multiply_parts(other[half], u[half][k + 1 < INNER ? k + 1 : k], values[1]);
                }
            }
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
                const uint2 masks = shared.kept[t % STAGES][tile0 + j][group];
                split((e0 + e ? masks.y : masks.x) >> lane & 1 ? value * keep : 0.0f, 0.0f, one);
                UNROLL for (int part = 0; part < PARTS; ++part)
                    shared.dropped[next][part][window][8 * group + g] = bf16(one[part]);
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
#if SPLIT > 1
        // Own h to the other blocks of the cluster.
        if (t + 1 < rows)
            for (int v = threadIdx.x; v < (SPLIT - 1) * PARTS * WINDOWS * GROUPS; v += THREADS) {
                const int other = v / (PARTS * WINDOWS * GROUPS), rest = v % (PARTS * WINDOWS * GROUPS);
                const bf16* from = &shared.h[next][rest / (WINDOWS * GROUPS)][rest / GROUPS % WINDOWS]
                                          [rank * OWN + rest % GROUPS * 8];
                const uint32 peer = other + (other >= rank);
                send(peer_address(shared_address(from), peer), *reinterpret_cast<const uint4*>(from),
                     peer_address(arrived + 8 * next, peer));
            }
#endif
        // While others compute the next row.
        store_rows(&shared.h[next][0][own_window][rank * OWN + own_units], PITCH, h_out, h_plane, own_window);
        h_out += unit_row;
#if DROPS
        store_rows(&shared.dropped[next][0][own_window][own_units], OWN_PITCH, dropped_out, unit_row * rows,
                   own_window);
        dropped_out += unit_row;
#endif
        own_gates += 4 * unit_row;
        own_cells += unit_row;
    }
#if SPLIT > 1
    cluster_barrier();  // no block ends while another may still write to it
#endif
}
