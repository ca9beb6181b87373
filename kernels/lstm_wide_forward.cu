// One LSTM layer of 129 to 512 units over all rows of a large batch's windows, for compute capability 9.0.
//
// Equations, tiles and the order of gate columns are those of lstm_tile_forward.cu. There the weights lie in shared
// memory; here they pass through it (lstm_wide.cuh), since a block's share of 512 units is 512 KiB.
//
//   a row of a block of 128 windows and 64 units, as one product:
//
//                     x tiles           h' tiles
//     windows  0-63   [ ][ ] ... [ ]    [ ][ ] ... [ ]      times 256 gate columns of W, then of U
//             64-127  [ ][ ] ... [ ]    [ ][ ] ... [ ]
//
// - Tiles of x come first: their stages are on their way while the activations of the row before are computed, and h'
//   from one block to the others.
// - What the gates are of is kept for the backward pass, in bfloat16.
//
// Floor on an H100 for 512 units at 8,192 windows of 60 rows, above the first layer: 1.03 TMAC, 2.6 ms at 800 TFLOP/s; 3.5 GB,
// 1.2 ms at 3 TB/s. Weights and windows from the second-level cache: 20 GB.

#include "lstm_tiles.cuh"
#include "lstm_wide.cuh"
#include "lstm_cells.cuh"

#define INPUT_STEPS (NARROW ? 1 : INPUT_TILES)
#define STEPS (INPUT_STEPS + SPLIT)  // stages of a row
#define STAGES (TILES == 2 ? 4 : 5)

#if defined(__CUDA_ARCH__)
struct Stage {
    bf16 windows[TILES][TILE_SIZE];
    bf16 weights[GATES * 64];
};
struct Shared {
    Stage stages[STAGES];
    bf16 h[TILES][TILE_SIZE];
#if DROPS
    bf16 dropped[TILES][TILE_SIZE];
#endif
    float bias[GATES];
    Ring<STAGES> ring;
    uint64 written, stored;  // a row's h is in shared memory; is in global memory
};

// The block that sends the windows of a row's stage.
INLINE int sender(int step) {
    if (NARROW) return step ? step - 1 : ALONE;
    return step % SPLIT;
}
#endif

// weights: U^T, input_weights: W^T, as tiles [UNITS / 64 blocks][width / 64][256 gate columns][64], or [blocks][256][16]
// bias: [4 UNITS], 4 * unit + gate
// x: tiles [rows][windows / 64][INPUT / 64], or of 16 columns
// h: tiles [rows + 1][windows / 64][UNITS / 64], begins with zeros
// cells: [rows + 1][windows / 64][UNITS / 64][4][128 threads][8], begins with zeros
// gates: [rows][windows / 64][UNITS / 64][8][2][128 threads][8]: what the gates of a thread's 8 units are of, by window; if KEEPS
// dropped: tiles as h, without the row of zeros; kept: its masks (lstm_masks.cu); if DROPS
extern "C" __global__ void __launch_bounds__(THREADS, 1) __cluster_dims__(SPLIT, 1, 1)
lstm_wide_forward(const bf16* __restrict__ weights, const bf16* __restrict__ input_weights, const float* __restrict__ bias,
                  const bf16* __restrict__ x, bf16* __restrict__ h, bf16* __restrict__ cells, bf16* __restrict__ gates_kept,
                  bf16* __restrict__ dropped, const uint32* __restrict__ kept, const float keep, const int rows,
                  const int windows) {
#if defined(__CUDA_ARCH__)
    extern __shared__ __align__(1024) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32;
    const uint32 rank = cluster_rank();
    load_bias(shared.bias, bias, rank, THREADS);
    if (warp == 0 && elected()) {
        shared.ring.init();
        init_arrivals_of(shared_address(&shared.written), WARPS);
        init_arrivals(shared_address(&shared.stored));
    }
    publish_arrivals();
    __syncthreads();
    cluster_barrier();

    const int tiles = windows / TILE, first_tile = blockIdx.x / SPLIT * TILES, total = rows * STEPS;
    const uint32 written = shared_address(&shared.written), stored = shared_address(&shared.stored);
    if (warp >= WARPS) {
        give_registers<24>();
        if (warp == LOADER) {
            Position<STAGES> at;
            uint32 taken = 0;  // phases, a bit for each stage
            for (int t = 0, i = 0; t < rows; ++t)
                for (int step = 0; step < STEPS; ++step, ++i) {
                    Stage& stage = shared.stages[at.slot];
                    const uint32 full = shared_address(shared.ring.full + at.slot);
                    const bool of_x = step < INPUT_STEPS, narrow = NARROW && of_x;
                    const uint32 window_bytes = narrow ? TILE * 16 * 2 : TILE_BYTES;
                    const int k = of_x ? step : step - INPUT_STEPS;
                    if (i >= STAGES) wait_copy(shared_address(shared.ring.empty + at.slot), at.phase ^ 1);
                    if (elected()) {
                        const uint32 weight_bytes = narrow ? GATES * 16 * 2 : GATES * 128;
                        const bf16* const from = narrow ? input_weights + rank * (GATES * 16)
                                                 : (of_x ? input_weights : weights) + int64(rank * SPLIT + k) * (GATES * 64);
                        expect_arrivals(full, weight_bytes + TILES * window_bytes);
                        copy_bulk(shared_address(stage.weights), from, weight_bytes, full);
                    }
                    if (narrow) {
                        if (elected())
                            copy_bulk(shared_address(stage.windows), x + (int64(t) * tiles + first_tile) * (TILE * 16),
                                      TILES * window_bytes, full);
                    } else if (sender(step) == int(rank)) {
                        if (i >= STAGES) {
                            wait_copy(shared_address(shared.ring.taken + at.slot), taken >> at.slot & 1);
                            taken ^= 1u << at.slot;
                        }
                        if (!of_x && t > 0) wait_copy(stored, t - 1 & 1);
                        if (elected()) {
                            order_copies();
                            // h begins with zeros: its row t is of the row before.
                            UNROLL for (int tile = 0; tile < TILES; ++tile)
                                copy_to_all(shared_address(stage.windows[tile]),
                                            (of_x ? x : h) + ((int64(t) * tiles + first_tile + tile) * SPLIT + k) * TILE_SIZE,
                                            TILE_BYTES, full);
                        }
                    }
                    __syncwarp();
                    at.advance();
                }
        } else if (warp == MOVER) {
            for (int t = 0; t < rows; ++t) {
                wait_copy(written, t & 1);
                if (elected()) {
                    UNROLL for (int tile = 0; tile < TILES; ++tile) {
                        const int64 place = (int64(t) * tiles + first_tile + tile) * SPLIT + rank;
                        store_bulk(h + (place + int64(tiles) * SPLIT) * TILE_SIZE, shared_address(shared.h[tile]), TILE_BYTES);
#if DROPS
                        store_bulk(dropped + place * TILE_SIZE, shared_address(shared.dropped[tile]), TILE_BYTES);
#endif
                    }
                    wait_stores();
                    order_copies();
                    arrive_here(stored);
                }
                __syncwarp();
            }
        }
    } else {
        take_registers<240>();
        const int group = warp / 4, tile = group / SHARE, share = group % SHARE;
        const int own_tile = first_tile + tile, first = share * COLUMNS;
        const uint32 own_bias = shared_address(shared.bias) + share * EIGHTS * 128 + lane % 4 * 32;
        const int row = 16 * (warp % 4) + lane / 8 % 2 * 8 + lane % 8;  // for store_matrices
        const uint32 h_at = shared_address(shared.h[tile]) + row * 128;
        float gates[COLUMNS / 2], c[4 * EIGHTS];
        UNROLL for (int i = 0; i < 4 * EIGHTS; ++i) c[i] = 0.0f;
        Position<STAGES> at;
        for (int t = 0, i = 0; t < rows; ++t) {
            int before = 0;
            const auto add_stage = [&](int step) {
                const Stage& stage = shared.stages[at.slot];
                wait_copy(shared_address(shared.ring.full + at.slot), at.phase);
                const uint32 a = shared_address(stage.windows[0]), b = shared_address(stage.weights);
                begin_products();
                if (NARROW && step == 0)
                    multiply_tiles<false, false>(gates, along_narrow_rows(a + tile * TILE * 32), along_narrow_rows(b + first * 32),
                                                 false);
                else
                    UNROLL for (int k = 0; k < 4; ++k)
                        multiply_tiles<false, false>(gates, along_rows(a + tile * TILE_BYTES + k * 32),
                                                     along_rows(b + first * 128 + k * 32), k || step);
                commit_products();
                wait_products<1>();
                if (step > 0)
                    release_stage(shared.ring, before, i - 1 + STAGES < total ? sender((step - 1 + STAGES) % STEPS) : ALONE);
                before = at.slot;
                at.advance();
                ++i;
            };
            add_stage(0);
            for (int step = 1; step < STEPS; ++step) add_stage(step);
            wait_products<0>();
            release_stage(shared.ring, before, i - 1 + STAGES < total ? sender((STEPS - 1 + STAGES) % STEPS) : ALONE);
            if (t > 0) wait_copy(stored, t - 1 & 1);  // what is written now was read
#if DROPS
            const uint32 dropped_at = shared_address(shared.dropped[tile]) + row * 128;
            const uint2* const own_kept = reinterpret_cast<const uint2*>(kept) +
                                          ((int64(t) * tiles + own_tile) * 8 + 2 * (warp % 4)) * (UNITS / 8) + 8 * rank +
                                          share * EIGHTS;
            const auto words = [&](int half, int m) { return own_kept[half * (UNITS / 8) + m]; };
#else
            const uint32 dropped_at = 0;
            const auto words = [](int, int) { return make_uint2(0, 0); };
#endif
            const int64 own = (int64(t) * tiles + own_tile) * SPLIT + rank;
            const int thread = opaque(threadIdx.x) % 128;
            bf16* const own_cells = cells + (own + tiles * SPLIT) * TILE_SIZE + (share * EIGHTS / 2 * 128 + thread) * 8;
#if KEEPS
            uint4* const own_gates = reinterpret_cast<uint4*>(gates_kept) + (own * 8 + share * EIGHTS) * 2 * 128 + thread;
#endif
            activate(gates, c, own_bias, h_at, row, share * EIGHTS, own_cells, dropped_at, words, keep, lane,
                     [&](int m, int half, const float (&z)[4][2]) {
#if KEEPS
                         own_gates[(2 * m + half) * 128] = make_uint4(pack(z[0][0], z[0][1]), pack(z[1][0], z[1][1]),
                                                                      pack(z[2][0], z[2][1]), pack(z[3][0], z[3][1]));
#endif
                     });
            publish_writes();
            __syncwarp();
            if (elected()) arrive_here(written);
        }
    }
    __syncwarp();
    cluster_barrier();
#endif
}
