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
#define OWN_PITCH (OWN + 8)
#if K_SPLIT == 1
#define AHEAD 2                         // items whose x W is loaded ahead
#else
#define AHEAD ITEMS
#endif

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
    float reduced[REDUCED];
    uint64 arrived[2];
};

// Copies a block's part of h, or of h after dropout, of one row to global memory.
template <int P> INLINE void store_rows(const bf16 (*from)[WINDOWS][P], int first, bf16* to, int64 plane) {
    UNROLL for (int part = 0; part < PARTS; ++part)
        for (int v = threadIdx.x; v < WINDOWS * GROUPS; v += THREADS) {
            const int window = v / GROUPS, unit = v % GROUPS * 8;
            *reinterpret_cast<uint4*>(to + part * plane + int64(window) * UNITS + unit) =
                *reinterpret_cast<const uint4*>(&from[part][window][first + unit]);
        }
}

// weights: U^T [PARTS][4 UNITS][UNITS], rows in the order of the A tiles: 32 * (unit / 8) + 8 * gate + unit % 8
// input_weights: W^T likewise [PARTS][4 UNITS][16], if INPUT_TILES
// bias: [4 UNITS], row 4 * unit + gate
// x: [PARTS][rows][windows][16], if INPUT_TILES
// gates: [PARTS][rows][windows][4 UNITS], column 4 * unit + gate: x W, unless INPUT_TILES; activated gates afterwards
// h: [PARTS][rows + 1][windows][UNITS], begins with zeros
// dropped: [PARTS][rows][windows][UNITS], h after dropout, if DROPS and training
// cells: [rows][windows / 8][UNITS / 8][32 lanes][2]; kept: the masks, a bit a lane, [rows][windows / 8][UNITS / 8][2]
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
#if SPLIT > 1
    __cluster_dims__(SPLIT, 1, 1)
#endif
        lstm_forward(const bf16* __restrict__ weights, const bf16* __restrict__ input_weights,
                     const float* __restrict__ bias, const bf16* __restrict__ x, bf16* __restrict__ gates,
                     bf16* __restrict__ h, bf16* __restrict__ dropped, CELL* __restrict__ cells,
                     uint32* __restrict__ kept, const int rows, const int windows, const Call* __restrict__ call,
                     const int step, const int layer, const int units, const uint32 threshold, const float keep) {
    extern __shared__ __align__(16) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
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
#if DROPS
    const int64 dropped_plane = int64(rows) * windows * UNITS;
#endif

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
    const int64 input_plane = int64(4) * UNITS * 16, x_plane = int64(rows) * windows * 16;
    uint32 w[2][PARTS][4];
    UNROLL for (int tile = 0; tile < 2; ++tile)
        UNROLL for (int part = 0; part < PARTS; ++part) {
            const bf16* at = input_weights + part * input_plane + (32 * all_group + 16 * tile + g) * 16 + 2 * q;
            UNROLL for (int r = 0; r < 4; ++r)
                w[tile][part][r] = *reinterpret_cast<const uint32*>(at + r % 2 * 8 * 16 + r / 2 * 8);
        }
#endif
    const float4 b = *reinterpret_cast<const float4*>(bias + 4 * unit);  // of i, f, g, o
    for (int v = threadIdx.x; v < PARTS * WINDOWS * PITCH / 8; v += THREADS)
        reinterpret_cast<uint4*>(shared.h[0])[v] = make_uint4(0, 0, 0, 0);
#if SPLIT > 1
    const uint32 arrived = shared_address(shared.arrived);
    if (threadIdx.x == 0) { init_arrivals(arrived); init_arrivals(arrived + 8); }
    publish_arrivals();
    cluster_barrier();
#endif
    __syncthreads();

    float c[ITEMS];
    UNROLL for (int j = 0; j < ITEMS; ++j) c[j] = 0.0f;
#if DROPS
    uint32 odd_row = 0;  // bit j: item j is kept at the next, odd row
#endif
    const uint32 h_at = shared_address(shared.h) +
                        ((lane % 8) * PITCH + lane / 8 * 8 + part_of_k * INNER * 16) * 2;
    // This thread's part of an array of one row: of windows 2q and 2q + 1 of the first tile.
    const auto window_of = [&](int item) { return item / 2 * 8 + 2 * q + item % 2; };

    // x, or x W, of the next tile, loaded ahead.
#if INPUT_TILES
    uint32 ahead[PARTS][2];
    const auto load_ahead = [&](int t, int tile) {
        UNROLL for (int part = 0; part < PARTS; ++part) {
            const bf16* at = x + part * x_plane + (int64(t) * windows + first + 8 * tile + g) * 16 + 2 * q;
            ahead[part][0] = *reinterpret_cast<const uint32*>(at);
            ahead[part][1] = *reinterpret_cast<const uint32*>(at + 8);
        }
    };
    load_ahead(0, 0);
#else
    uint2 ahead[AHEAD][PARTS];
    const auto load_ahead = [&](int t, int item) {
        UNROLL for (int j = 0; j < AHEAD; ++j)
            UNROLL for (int part = 0; part < PARTS; ++part)
                ahead[j][part] = *reinterpret_cast<const uint2*>(
                    gates + part * gate_plane + (int64(t) * windows + first + window_of(item + j)) * 4 * UNITS +
                    4 * unit);
    };
    load_ahead(0, part_of_k * ITEMS);
#endif

    for (int t = 0; t < rows; ++t) {
        const int now = t % 2, next = 1 - now;
#if SPLIT > 1
        // The other blocks' h of the row before.
        if (t > 0) wait_arrivals(arrived + 8 * now, (t - 1) / 2 % 2);
        if (threadIdx.x == 0 && t + 1 < rows)
            expect_arrivals(arrived + 8 * next, (SPLIT - 1) * PARTS * WINDOWS * OWN * 2);
#endif
        if (t > 0) {
            store_rows<PITCH>(shared.h[now], rank * OWN, h + (int64(t) * windows + first) * UNITS + rank * OWN, h_plane);
#if DROPS
            if (dropped)
                store_rows<OWN_PITCH>(shared.dropped[now], 0,
                                      dropped + (int64(t - 1) * windows + first) * UNITS + rank * OWN, dropped_plane);
#endif
        }
        const int64 row = int64(t) * windows + first;

        // gates^T of 8 windows: a tile of the product.
        const auto multiply_tile = [&](int tile, float (&sums)[2][4]) {
            float other[2][4];
            UNROLL for (int half = 0; half < 2; ++half)
                UNROLL for (int r = 0; r < 4; ++r) sums[half][r] = other[half][r] = 0.0f;
#if INPUT_TILES
            if (part_of_k == 0)
                UNROLL for (int half = 0; half < 2; ++half) multiply_parts(sums[half], w[half], ahead);
            if (tile + 1 < TILES) load_ahead(t, tile + 1);
            else if (t + 1 < rows) load_ahead(t + 1, 0);
#endif
            // Two chains of products, since one waits for the result of the one before.
            UNROLL for (int k = 0; k < INNER; k += 2) {
                uint32 values[2][PARTS][2];
                UNROLL for (int part = 0; part < PARTS; ++part)
                    load_matrices(h_at + ((now * PARTS + part) * WINDOWS + 8 * tile) * PITCH * 2 + k * 32,
                                  values[0][part][0], values[0][part][1], values[1][part][0], values[1][part][1]);
                UNROLL for (int half = 0; half < 2; ++half) {
                    multiply_parts(sums[half], u[half][k], values[0]);
                    if (k + 1 < INNER) multiply_parts(other[half], u[half][k + 1 < INNER ? k + 1 : k], values[1]);
                }
            }
            UNROLL for (int half = 0; half < 2; ++half)
                UNROLL for (int r = 0; r < 4; ++r) sums[half][r] += other[half][r];
        };

        // Gates, cell and output of this thread's item j, from the sums z of i, f, g, o.
        const auto compute_cell = [&](int j, int item, float4 z) {
            const int window = window_of(item), tile = item / 2, e = item % 2;
            z.x += b.x; z.y += b.y; z.z += b.z; z.w += b.w;
#if !INPUT_TILES
            UNROLL for (int part = 0; part < PARTS; ++part) {
                const uint2 before = ahead[j % AHEAD][part];
                z.x += lower(before.x); z.y += upper(before.x); z.z += lower(before.y); z.w += upper(before.y);
            }
#endif
            const float input = sigmoid(z.x), forget = sigmoid(z.y), candidate = tangent(z.z), output = sigmoid(z.w);
            c[j] = fmaf(forget, c[j], input * candidate);
            const float value = output * tangent(c[j]);
            uint32 first_two[PARTS], last_two[PARTS], one[PARTS];
            split(input, forget, first_two);
            split(candidate, output, last_two);
            bf16* const four = gates + (row + window) * 4 * UNITS + 4 * unit;
            UNROLL for (int part = 0; part < PARTS; ++part)
                *reinterpret_cast<uint2*>(four + part * gate_plane) = make_uint2(first_two[part], last_two[part]);
            CELL* const cell = cells + ((row / 8 + tile) * (UNITS / 8) + all_group) * 64 + 2 * lane + e;
#if PARTS == 1
            *cell = bf16(pack(c[j], 0.0f));
#else
            *cell = c[j];
#endif
            split(value, 0.0f, one);
            UNROLL for (int part = 0; part < PARTS; ++part) shared.h[next][part][window][unit] = bf16(one[part]);
#if DROPS
            if (dropped) {
                bool keeps;
                if (t % 2 == 0) {
                    const uint2 drawn = draw(call, step, layer, first + window, t / 2, units, unit);
                    keeps = (drawn.x >> 8) >= threshold;
                    odd_row = (odd_row & ~(1u << j)) | uint32((drawn.y >> 8) >= threshold) << j;
                } else {
                    keeps = odd_row >> j & 1;
                }
                split(keeps ? value * keep : 0.0f, 0.0f, one);
                UNROLL for (int part = 0; part < PARTS; ++part)
                    shared.dropped[next][part][window][8 * group + g] = bf16(one[part]);
                const uint32 all = __ballot_sync(0xffffffffu, keeps);
                if (lane == 0) kept[((row / 8 + tile) * (UNITS / 8) + all_group) * 2 + e] = all;
            }
#endif
        };

#if K_SPLIT == 1
        UNROLL for (int tile = 0; tile < TILES; ++tile) {
            float sums[2][4];
            multiply_tile(tile, sums);
            UNROLL for (int e = 0; e < 2; ++e)
                compute_cell(2 * tile + e, 2 * tile + e,
                             make_float4(sums[0][e], sums[0][2 + e], sums[1][e], sums[1][2 + e]));
#if !INPUT_TILES
            if (tile + 1 < TILES) load_ahead(t, 2 * tile + 2);
            else if (t + 1 < rows) load_ahead(t + 1, 0);
#endif
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
        UNROLL for (int j = 0; j < ITEMS; ++j) {
            const int item = part_of_k * ITEMS + j;
            float4 z = make_float4(0, 0, 0, 0);
            UNROLL for (int other = 0; other < K_SPLIT; ++other) {
                const float* at = shared.reduced + ((group * K_SPLIT + other) * TILES + item / 2) * 8 * 32 +
                                  item % 2 * 32 + lane;
                z.x += at[0];
                z.y += at[2 * 32];
                z.z += at[4 * 32];
                z.w += at[6 * 32];
            }
            compute_cell(j, item, z);
        }
#if !INPUT_TILES
        if (t + 1 < rows) load_ahead(t + 1, part_of_k * ITEMS);
#endif
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
    }
    const int last = rows % 2;
    store_rows<PITCH>(shared.h[last], rank * OWN, h + (int64(rows) * windows + first) * UNITS + rank * OWN, h_plane);
#if DROPS
    if (dropped)
        store_rows<OWN_PITCH>(shared.dropped[last], 0,
                              dropped + (int64(rows - 1) * windows + first) * UNITS + rank * OWN, dropped_plane);
#endif
#if SPLIT > 1
    cluster_barrier();  // no block ends while another may still write to it
#endif
}
