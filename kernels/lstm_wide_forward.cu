// LSTM layers of 129 to 512 units, in float32 of 64 and 128 too, over all rows of a batch's windows, for compute
// capability 9.0.
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
// - Tiles of x come first: they are multiplied while h' passes from block to block. Of h', the block's own tile is
//   still in shared memory and comes before the others.
// - The gates are kept for the backward pass, in 16 bits, as what tanh gave: of a sigmoid, of half its argument.
//
// Floor on an H100 for 512 units at 8,192 windows of 60 rows, above the first layer: 1.03 TMAC, 2.6 ms at 800
// TFLOP/s; 3.5 GB, 1.2 ms at 3 TB/s. Weights and windows from the second-level cache: 30 bytes a cycle and
// multiprocessor, of about 35.

#include "lstm_tiles.cuh"
#define HELPERS 1  // warpgroups that do not compute
#include "lstm_wide.cuh"
#include "lstm_cells.cuh"

#define STAGES (TILES == 2 ? 4 : 5)
// Whether two tiles take turns, so that the activations of one run beside the products of the other. In between, all
// stages of a row are held.
#define TURNS (PARTS == 2 && SPLIT == 1 && TILES == 2)
#define SETS (TURNS ? TILES : 1)  // of tiles, each of which is stored by itself
#define TURN 3                    // named barrier: the first tile's products are done

// One layer's arrays.
struct Layer {
    const bf16* weights;        // U^T, as tiles [UNITS / 64 blocks][UNITS / 64][256 gate columns][64]
    const bf16* input_weights;  // W^T, likewise, or [blocks][256][16]
    const float* bias;          // [4 UNITS], 4 * unit + gate
    const bf16* x;              // tiles [rows][windows / 64][UNITS / 64], or of 16 columns
    bf16* h;                    // tiles [rows + 1][windows / 64][UNITS / 64], begins with zeros
    Cell* cells;                // [rows + 1][windows / 64][UNITS / 64][one tile, in the order of the threads], begins with zeros
    bf16* gates;                // [rows][windows / 64][UNITS / 64][8 groups of 8 units][2 windows][128 threads]
                                // [4 gates][2 units] in 16 bits (pack_tangents); if KEEPS
    bf16* dropped;              // tiles as h, without the row of zeros; where the layer drops outputs; planes as far apart
};

#if defined(__CUDA_ARCH__)
struct Stage {  // one part of each
    bf16 windows[TILES][TILE_SIZE];
    bf16 weights[GATES * 64];
};
struct Shared {
    Stage stages[STAGES];
    bf16 h[PARTS][TILES][TILE_SIZE];
#if DROPS && PARTS == 1
    bf16 dropped[TILES][TILE_SIZE];
#endif
    float bias[GATES];
    Ring<STAGES> ring;
    uint64 written[SETS], stored[SETS];  // a row's h is in shared memory; was read from there
    uint64 ready, given;     // that of all blocks, and the layer's input, are in global memory
    uint64 seen;             // the latter is known
};

// How many of the blocks of a group of windows have stored a row, summed over rows.
struct Progress {
    uint32 h, dropped;
};

// FIRST: the lowest layer, whose input has 16 columns. DROP: it drops outputs.
// below: the progress of its input; null: it is complete.
template <bool FIRST, bool DROP>
INLINE void run_layer(const Layer& layer, const uint32* below, Progress* own_progress, const uint32* kept, const float keep,
                      const int rows, const int windows, const int block, const int group, Shared& shared) {
    // Of 64 inner numbers each, a stage for each part; the first row has those of the input alone.
    constexpr int INPUT_STEPS = FIRST ? 1 : SPLIT, STEPS = INPUT_STEPS + SPLIT;
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32;
    const uint32 rank = cluster_rank();
    const int tiles = windows / TILE, first_tile = group * TILES;
    const int64 plane = int64(rows + 1) * windows * UNITS, input_plane = FIRST ? int64(rows) * windows * 16 : plane;
    const uint32 written = shared_address(shared.written), stored = shared_address(shared.stored);
    const uint32 ready = shared_address(&shared.ready), given = shared_address(&shared.given);
    const uint32 seen = shared_address(&shared.seen);
    // Of which 64 units step `step` has h'.
    const auto units_of_step = [&](int step) {
        const int number = block + step - INPUT_STEPS;
        return number < SPLIT ? number : number - SPLIT;
    };
    load_bias(shared.bias, layer.bias, block, THREADS);
    if (warp == 0 && elected()) {
        shared.ring.init();
        for (int set = 0; set < SETS; ++set) {
            init_arrivals_of(written + 8 * set, WARPS / SETS);
            init_arrivals(stored + 8 * set);
        }
        init_arrivals(ready);
        init_arrivals(given);
        init_arrivals(seen);
        publish_arrivals();
    }
    cluster_barrier();
    if (warp >= WARPS) give_registers<HELPER_REGISTERS>();
    if (warp == WEIGHTS) {
        Position<STAGES> at;
        for (int t = 0, i = 0; t < rows; ++t)
            for (int step = 0; step < (t ? STEPS : INPUT_STEPS); ++step)
                for (int part = 0; part < PARTS; ++part, ++i) {
                    Stage& stage = shared.stages[at.slot];
                    const bool of_x = step < INPUT_STEPS, narrow = FIRST && of_x;
                    const uint32 full = shared_address(shared.ring.full + at.slot), bytes = narrow ? GATES * 16 * 2 : GATES * 128;
                    if (i >= STAGES) wait_copy(shared_address(shared.ring.empty + at.slot), at.phase ^ 1);
                    if (elected()) {
                        const bf16* const from = narrow ? layer.input_weights + block * (GATES * 16)
                                                 : (of_x ? layer.input_weights : layer.weights) +
                                                       int64(block * SPLIT + (of_x ? step : units_of_step(step))) * (GATES * 64);
                        const uint32 begin = rank * bytes / PAIR;
                        expect_arrivals(full, bytes);
                        copy_to_both(shared_address(stage.weights) + begin,
                                     from + part * (4 * UNITS * (narrow ? 16 : UNITS)) + begin / 2, bytes / PAIR, full);
                    }
                    __syncwarp();
                    at.advance();
                }
    } else if (warp == WINDOWS) {
        Position<STAGES> at;
        for (int t = 0, i = 0; t < rows; ++t)
            for (int step = 0; step < (t ? STEPS : INPUT_STEPS); ++step)
                for (int part = 0; part < PARTS; ++part, ++i) {
                    Stage& stage = shared.stages[at.slot];
                    const bool of_x = step < INPUT_STEPS;
                    const uint32 full = shared_address(shared.ring.full + at.slot);
                    if (i >= STAGES) wait_copy(shared_address(shared.ring.empty + at.slot), at.phase ^ 1);
                    if (part == 0) {
                        if (!FIRST && step == 0 && below) {
                            wait_copy(given, t & 1);
                            if (elected()) arrive_here(seen);
                        }
                        if (!TURNS && step == INPUT_STEPS) wait_copy(written, t - 1 & 1);
                        if (step == INPUT_STEPS + 1) wait_copy(ready, t - 1 & 1);
                    }
                    if (elected()) {
                        if (FIRST && of_x) {
                            expect_arrivals(full, TILES * TILE * 16 * 2);
                            copy_bulk(shared_address(stage.windows),
                                      layer.x + part * input_plane + (int64(t) * tiles + first_tile) * (TILE * 16),
                                      TILES * TILE * 16 * 2, full);
                        } else if (step == INPUT_STEPS) {
                            arrive_here(full);  // the block's own h'
                        } else {
                            expect_arrivals(full, TILES * TILE_BYTES);
                            const int units = of_x ? step : units_of_step(step);
                            // h begins with zeros: its row t is of the row before.
                            const bf16* const from = of_x ? layer.x + part * input_plane : layer.h + part * plane;
                            UNROLL for (int tile = 0; tile < TILES; ++tile)
                                copy_bulk(shared_address(stage.windows[tile]),
                                          from + ((int64(t) * tiles + first_tile + tile) * SPLIT + units) * TILE_SIZE, TILE_BYTES,
                                          full);
                        }
                    }
                    __syncwarp();
                    at.advance();
                }
    } else if (warp == WAITER) {
        for (int t = 0; t < rows; ++t) {
            if (elected()) {
                if (!FIRST && below) {
                    wait_progress_to_copy(below, SPLIT * (t + 1));
                    if (t > 0) wait_copy(seen, t - 1 & 1);
                    arrive_here(given);
                }
                if (t > 0) {
                    wait_progress_to_copy(&own_progress->h, SPLIT * t);
                    arrive_here(ready);
                }
            }
            __syncwarp();
        }
    } else if (warp == MOVER) {
        for (int t = 0; t < rows; ++t) {
#if TURNS
            wait_copy(written, t & 1);
            if (elected()) {
                UNROLL for (int part = 0; part < PARTS; ++part)
                    store_bulk(layer.h + part * plane + ((int64(t + 1) * tiles + first_tile) * SPLIT + block) * TILE_SIZE,
                               shared_address(shared.h[part][0]), TILE_BYTES);
                wait_stores_read();
                arrive_here(stored);
            }
            __syncwarp();
#endif
            wait_copy(written + 8 * (SETS - 1), t & 1);
            if (elected()) {
                const int64 place = (int64(t) * tiles + first_tile) * SPLIT + block;
                UNROLL for (int part = 0; part < PARTS; ++part)
                    UNROLL for (int tile = SETS - 1; tile < TILES; ++tile)
                        store_bulk(layer.h + part * plane + (place + int64(tiles + tile) * SPLIT) * TILE_SIZE,
                                   shared_address(shared.h[part][tile]), TILE_BYTES);
#if DROPS && PARTS == 1
                if (DROP)
                    UNROLL for (int tile = 0; tile < TILES; ++tile)
                        store_bulk(layer.dropped + (place + tile * SPLIT) * TILE_SIZE, shared_address(shared.dropped[tile]),
                                   TILE_BYTES);
#endif
                wait_all_stores_but<DROP && PARTS == 1 ? TILES : 0>();
                add_progress(&own_progress->h, 1);
                if (DROP && PARTS == 1) wait_stores();
                arrive_here(stored + 8 * (SETS - 1));
                if (DROP) {
                    // A sum says that all blocks have stored a row if none counts it before all have counted the one before. Of
                    // h that is so, since a row needs h of the one before.
                    wait_progress(&own_progress->dropped, SPLIT * t);
                    add_progress(&own_progress->dropped, 1);
                }
            }
            __syncwarp();
        }
    } else if (warp < WARPS) {
        take_registers<REGISTERS>();
        const int warpgroup = warp / 4, tile = warpgroup / SHARE, share = warpgroup % SHARE;
        const int own_tile = first_tile + tile, first = share * COLUMNS;
        const uint32 own_bias = shared_address(shared.bias) + share * EIGHTS * 128 + lane % 4 * 32;
        const int row = 16 * (warp % 4) + lane / 8 % 2 * 8 + lane % 8;  // for store_matrices
        const uint32 h_at = shared_address(shared.h[0][tile]) + row * 128;
        float gates[COLUMNS / 2], c[4 * EIGHTS];
        UNROLL for (int i = 0; i < 4 * EIGHTS; ++i) c[i] = 0.0f;
        Position<STAGES> at;
        for (int t = 0; t < rows; ++t) {
            if (TURNS && tile == 1) barrier(TURN, 128 * GROUPS);
#if TILES == 1
            // Masks are on their way while the products run: of the two words of 8 units and 8 windows, the one that this
            // thread's window is in.
            uint32 words[2][EIGHTS];
            if (DROP) {
                const uint32* const own_kept =
                    kept + 2 * (((int64(t) * tiles + own_tile) * 8 + 2 * (warp % 4)) * (UNITS / 8) + 8 * block + share * EIGHTS) +
                    lane / 4 % 2;
                UNROLL for (int half = 0; half < 2; ++half)
                    UNROLL for (int m = 0; m < EIGHTS; ++m) words[half][m] = load_mask(own_kept + 2 * (half * (UNITS / 8) + m));
            }
#endif
            int before[PARTS] = {};  // stages of the step before
            const auto add_step = [&](int step) {
                int slots[PARTS];
                UNROLL for (int part = 0; part < PARTS; ++part) {
                    wait_copy(shared_address(shared.ring.full + at.slot), at.phase);
                    slots[part] = at.slot;
                    at.advance();
                    begin_products();
                    // Products with what has arrived: the last one, of the second parts of both, is left out.
                    UNROLL for (int first_part = part; first_part >= 0; --first_part) {
                        const Stage &stage = shared.stages[slots[first_part]], &other = shared.stages[slots[part - first_part]];
                        const uint32 a = shared_address(stage.windows[0]), b = shared_address(other.weights);
                        if (FIRST && step == 0)
                            multiply_tiles<false, false>(gates, along_narrow_rows(a + tile * TILE * 32),
                                                         along_narrow_rows(b + first * 32), part);
                        else {
                            const uint32 own = step == INPUT_STEPS ? shared_address(shared.h[first_part][tile]) : a + tile * TILE_BYTES;
                            UNROLL for (int k = 0; k < 4; ++k)
                                multiply_tiles<false, false>(gates, along_rows(own + k * 32), along_rows(b + first * 128 + k * 32),
                                                             k || step || part);
                        }
                    }
                    commit_products();
                    if (part == 0) {
                        wait_products<1>();
                        if (step > 0) UNROLL for (int one = 0; one < PARTS; ++one) release_stage(shared.ring, before[one]);
                    }
                }
                UNROLL for (int part = 0; part < PARTS; ++part) before[part] = slots[part];
            };
            add_step(0);
            for (int step = 1; step < (t ? STEPS : INPUT_STEPS); ++step) add_step(step);
            wait_products<0>();
            UNROLL for (int part = 0; part < PARTS; ++part) release_stage(shared.ring, before[part]);
            if (TURNS && tile == 0) arrive(TURN, 128 * GROUPS);
            const uint32 set = TURNS ? 8 * tile : 0;
            if (t > 0) {  // what is written now was read
                wait_copy(stored + set, t - 1 & 1);
                barrier(1 + tile, 128 * SHARE);
            }
            const int64 own = (int64(t) * tiles + own_tile) * SPLIT + block;
#if PARTS == 2
            const Dropped dropped_at = {layer.dropped + own * TILE_SIZE + (16 * (warp % 4) + lane / 4) * TILE + 2 * (lane % 4), plane};
#elif DROPS
            const Dropped dropped_at = DROP ? shared_address(shared.dropped[tile]) + row * 128 : 0;
#else
            const Dropped dropped_at = 0;
#endif
#if TILES == 1
            const auto own_masks = [&](int half, int m) { return words[half][m] >> (8 * (lane % 4) + lane / 8); };
#else
            const uint2* const own_kept = reinterpret_cast<const uint2*>(kept) +
                                          ((int64(t) * tiles + own_tile) * 8 + 2 * (warp % 4)) * (UNITS / 8) + 8 * block +
                                          share * EIGHTS;
            const auto own_masks = [&](int half, int m) { return own_mask(own_kept[half * (UNITS / 8) + m], lane); };
#endif
            const int thread = opaque(threadIdx.x) % 128;
            Cell* const own_cells =
                layer.cells + (own + tiles * SPLIT) * TILE_SIZE + (share * EIGHTS / TOGETHER * 128 + thread) * CELLS_OF_THREAD;
#if KEEPS
            uint4* const own_gates = reinterpret_cast<uint4*>(layer.gates) + (own * 8 + share * EIGHTS) * 2 * 128 + thread;
#endif
            activate<DROP>(gates, c, own_bias, h_at, row, share * EIGHTS, own_cells, dropped_at, own_masks, keep, lane,
                           [&](int m, int half, const float (&t)[4][2]) {
#if KEEPS
                               own_gates[(2 * m + half) * 128] =
                                   make_uint4(pack_tangents(t[0][0], t[0][1]), pack_tangents(t[1][0], t[1][1]),
                                              pack_tangents(t[2][0], t[2][1]), pack_tangents(t[3][0], t[3][1]));
#endif
                           });
            publish_writes();
            __syncwarp();
            if (elected()) arrive_here(written + set);
            if (TURNS) barrier(1 + tile, 128);  // the next row's product may read it
        }
    }
}
#endif

// The layers from `begin` on, as many as there are clusters for.
// kept: masks of the lowest layer's outputs (lstm_masks.cu), `mask_words` before those of the next, if DROPS
// tickets: counts clusters; progress: of [layers][groups of windows]; both zero
extern "C" __global__ void __launch_bounds__(THREADS, 1) __cluster_dims__(PAIR, 1, 1)
lstm_wide_forward(const Layer* __restrict__ layers, const uint32* __restrict__ kept, const int64 mask_words, const float keep,
                  uint32* tickets, Progress* progress, const int begin, const int rows, const int windows) {
#if defined(__CUDA_ARCH__)
    extern __shared__ __align__(1024) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    // The place of the ticket is overwritten by stages, after both blocks have read it.
    const Place place = find_place(uniform(take_ticket(tickets, reinterpret_cast<uint32*>(memory))), windows);
    const int number = begin + place.number, groups = windows / (TILE * TILES);
    const Layer& layer = layers[number];
    Progress* const own = progress + number * groups + place.group;
    const uint32* const below = place.number == 0 ? nullptr : DROPS ? &own[-groups].dropped : &own[-groups].h;
    const uint32* const own_kept = kept + (DROPS ? number * mask_words : 0);
    if (number == 0)
        run_layer<true, DROPS && LAYERS != 1>(layer, below, own, own_kept, keep, rows, windows, place.block, place.group, shared);
    else if (DROPS && number + 1 < LAYERS)
        run_layer<false, DROPS>(layer, below, own, own_kept, keep, rows, windows, place.block, place.group, shared);
    else
        run_layer<false, false>(layer, below, own, own_kept, keep, rows, windows, place.block, place.group, shared);
    __syncwarp();
    cluster_barrier();
#endif
}
