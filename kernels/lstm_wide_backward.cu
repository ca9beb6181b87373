// The gradients of LSTM layers of 129 to 512 units, in float32 of 64 and 128 too, over all rows of a batch's windows,
// for compute capability 9.0.
//
// Equations are those of lstm_tile_backward.cu, blocks and stages those of lstm_wide.cuh. The gates were kept by
// lstm_wide_forward.cu; but for tanh of the cells nothing is computed again. From the last row to the first:
//
//     dh' = dz U^T, dx = dz W^T of the row after, as one product: 4 UNITS inner numbers, in stages of 64 gate
//           columns; a block has the columns of its 64 units of h and of x. Its own dz comes first, from shared memory.
//     dz  = of this row, by its activations; the tensor cores wait. A quarter of a block's gate columns is on its way
//           to the others as soon as it is computed, and first quarters are multiplied first.
//
// Two warpgroups of the same windows have each a half of the inner numbers and swap sums: by columns, both would read
// all of dz, and shared memory is what a product of few columns waits for.
//
// In float32 a block has 64 windows: both parts of its dz take the room of two tiles.
//
// dx is written once, as the sum over all gates, for the layer below.
//
// Floor on an H100 for 512 units at 8,192 windows of 60 rows, above the first layer: 1.03 TMAC, 2.6 ms at 800
// TFLOP/s; 5.5 GB, 1.8 ms at 3 TB/s. Weights and windows from the second-level cache: 22 KiB a stage, of 512 cycles'
// work for the tensor cores.

#include "lstm_tiles.cuh"
#define HELPERS 2  // warpgroups that do not compute
#include "lstm_wide.cuh"
#include "lstm_cells.cuh"

#define STEPS (4 * SPLIT)  // stages of a row
#define OWN_UNITS (64 / SHARE)  // units of a warpgroup
#define AHEAD (PARTS == 1 ? 4 : 2)  // groups of 8 units that registers hold the gates of while products run
#define BATCH 4                 // of which what the activations add is read at once
#define ASKED_AHEAD (SHARE == 2 && PARTS == 1)  // before the products, where registers hold it while they run

// One layer's arrays.
struct Layer {
    const bf16* weights;        // U^T, W^T, cells and gates as in lstm_wide_forward.cu
    const bf16* input_weights;
    const Cell* cells;
    const bf16* gates;
    const Cell* above;  // gradients of the layer's outputs after dropout, in the order of cells without the row of zeros; of all
                        // layers but the last
    bf16* dz;           // tiles [rows][windows / 64][UNITS / 64 blocks][4]
    Cell* below;        // as above, of the layer's input; of all layers but the lowest
};

#if defined(__CUDA_ARCH__)
#if PARTS == 2 && TILES == 2
#error "two parts of dz of two tiles leave no room for stages"
#endif
// OPERANDS: 1 for U, 2 for U and W.
template <int OPERANDS> struct Stage {  // one part of each
    bf16 windows[TILES][TILE_SIZE];  // of dz
    bf16 weights[OPERANDS][TILE_SIZE];
};
template <int OPERANDS> struct Shared {
    static constexpr int STAGES = PARTS == 2 ? 11 - 3 * OPERANDS : TILES == 2 ? 7 - OPERANDS : 10 - 2 * OPERANDS;
    Stage<OPERANDS> stages[STAGES];
    bf16 dz[PARTS][TILES][4 * TILE_SIZE];
#if SHARE == 2
    float4 halves[SHARE][OPERANDS][4][128];  // sums of the one warpgroup for the other
#endif
    Ring<STAGES> ring;
    uint64 written[4], stored;  // a quarter of a row's dz is in shared memory; all of it was read from there
    uint64 ready[4];            // that quarter of all blocks is in global memory
    uint64 asked, given, taken;  // the gradient of a row's outputs, of its input, is in global memory; the latter is known
};

// How many of the blocks of a group of windows have stored each quarter of a row's dz, and its dx, summed over rows.
struct Progress {
    uint32 dz[4], dx, unused;
};

// The quarters of a block's gate columns, in the order in which they are computed.
INLINE int quarter_of(int k) { return SHARE == 2 ? k % 2 * 2 + k / 2 : k; }

// Which quarter of whose dz a stage has: those of the block, then the first quarters of all others, and so on.
struct Source {
    int owner, k = 0;

    INLINE void advance(int block) {
        const int next = block + 1 < SPLIT ? block + 1 : 0;
        if (owner == block) {
            if (++k == 4) {
                k = 0;
                owner = next;
            }
            return;
        }
        owner = owner + 1 < SPLIT ? owner + 1 : 0;
        if (owner == block) {
            ++k;
            owner = next;
        }
    }
};

// Of the sums of both warpgroups, each over a half of the inner numbers, those of this warpgroup's units.
#if SHARE == 2
template <int OPERANDS>
INLINE void add_halves(const float (&sums)[32 * OPERANDS], float (&out)[16 * OPERANDS], Shared<OPERANDS>& shared, const int share) {
    const int thread = threadIdx.x % 128;
    barrier(1, 128 * SHARE);  // those of the row before were read
    UNROLL for (int operand = 0; operand < OPERANDS; ++operand)
        UNROLL for (int j = 0; j < 4; ++j) {
            const float* const first = sums + 32 * operand + 4 * j;
            shared.halves[1 - share][operand][j][thread] =
                share ? make_float4(first[0], first[1], first[2], first[3]) : make_float4(first[16], first[17], first[18], first[19]);
        }
    barrier(1, 128 * SHARE);
    UNROLL for (int operand = 0; operand < OPERANDS; ++operand)
        UNROLL for (int j = 0; j < 4; ++j) {
            const float* const first = sums + 32 * operand + 4 * j;
            const float4 other = shared.halves[share][operand][j][thread];
            float* const to = out + 16 * operand + 4 * j;
            to[0] = (share ? first[16] : first[0]) + other.x;
            to[1] = (share ? first[17] : first[1]) + other.y;
            to[2] = (share ? first[18] : first[2]) + other.z;
            to[3] = (share ? first[19] : first[3]) + other.w;
        }
}
#endif

// 16 bytes that are read once, kept out of the first-level cache. Not moved behind the products that follow.
INLINE uint4 load_once(const void* from) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from));
    return v;
}
// The same of what another block may have written during this launch.
INLINE uint4 load_written(const Cell* from) {
    uint4 v;
    asm volatile("ld.global.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from) : "memory");
    return v;
}

// FIRST: the lowest layer, whose input has 16 columns and wants no gradient. TOP: the last one. DROP: it drops outputs.
// last: [windows][UNITS], the gradient of the last row's outputs, if TOP
// above: the progress of the layer above; null: it is complete.
template <bool FIRST, bool TOP, bool DROP>
INLINE void run_layer(const Layer& layer, const float* last, const uint32* above, Progress* own_progress, const uint32* kept,
                      const float keep, const int rows, const int windows, const int block, const int group,
                      Shared<FIRST ? 1 : 2>& shared) {
    constexpr int OPERANDS = FIRST ? 1 : 2, STAGES = Shared<OPERANDS>::STAGES;
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32;
    const uint32 rank = cluster_rank();
    const int tiles = windows / TILE, first_tile = group * TILES;
    const int products = FIRST ? rows - 1 : rows;
    const int64 plane = int64(rows) * windows * (4 * UNITS);
    const uint32 written = shared_address(shared.written), stored = shared_address(&shared.stored);
    const uint32 ready = shared_address(shared.ready), asked = shared_address(&shared.asked);
    const uint32 given = shared_address(&shared.given), taken = shared_address(&shared.taken);
    if (warp == 0 && elected()) {
        shared.ring.init();
        for (int quarter = 0; quarter < 4; ++quarter) {
            init_arrivals_of(written + 8 * quarter, WARPS / SHARE);
            init_arrivals(ready + 8 * quarter);
        }
        init_arrivals_of(stored, 4);
        init_arrivals(asked);
        init_arrivals_of(given, WARPS);
        init_arrivals(taken);
        publish_arrivals();
    }
    cluster_barrier();
    if (warp >= WARPS) give_registers<HELPER_REGISTERS>();
    if (warp == WEIGHTS) {
        Position<STAGES> at;
        for (int s = 0, i = 0; s < products; ++s) {
            Source source{block};
            for (int step = 0; step < STEPS; ++step) {
                for (int part = 0; part < PARTS; ++part, ++i) {
                    Stage<OPERANDS>& stage = shared.stages[at.slot];
                    const uint32 full = shared_address(shared.ring.full + at.slot);
                    if (i >= STAGES) wait_copy(shared_address(shared.ring.empty + at.slot), at.phase ^ 1);
                    if (elected()) {
                        // The tiles of 64 of the owner's gate columns and this block's units.
                        const int64 tile = (int64(source.owner) * SPLIT + block) * (GATES * 64) + quarter_of(source.k) * TILE_SIZE +
                                           part * (4 * UNITS * UNITS);
                        expect_arrivals(full, OPERANDS * TILE_BYTES);
                        if (FIRST)
                            copy_to_both(shared_address(stage.weights[0]) + rank * (TILE_BYTES / PAIR),
                                         layer.weights + tile + rank * (TILE_SIZE / PAIR), TILE_BYTES / PAIR, full);
                        else
                            copy_to_both(shared_address(stage.weights[0]) + rank * TILE_BYTES,
                                         (rank ? layer.input_weights : layer.weights) + tile, TILE_BYTES, full);
                    }
                    __syncwarp();
                    at.advance();
                }
                source.advance(block);
            }
        }
    } else if (warp == WINDOWS) {
        Position<STAGES> at;
        for (int s = 0, i = 0; s < products; ++s) {
            Source source{block};
            int last_k = -1;  // that was waited for
            for (int step = 0; step < STEPS; ++step) {
                const int quarter = quarter_of(source.k);
                for (int part = 0; part < PARTS; ++part, ++i) {
                    Stage<OPERANDS>& stage = shared.stages[at.slot];
                    const uint32 full = shared_address(shared.ring.full + at.slot);
                    if (i >= STAGES) wait_copy(shared_address(shared.ring.empty + at.slot), at.phase ^ 1);
                    if (step < 4) {
                        if (part == 0) wait_copy(written + 8 * quarter, s & 1);
                    } else if (source.k != last_k) {
                        wait_copy(ready + 8 * quarter, s & 1);
                    }
                    if (elected()) {
                        if (step < 4) {
                            arrive_here(full);  // the block's own dz
                        } else {
                            expect_arrivals(full, TILES * TILE_BYTES);
                            UNROLL for (int tile = 0; tile < TILES; ++tile) {
                                const int64 place = (int64(rows - 1 - s) * tiles + first_tile + tile) * SPLIT + source.owner;
                                copy_bulk(shared_address(stage.windows[tile]),
                                          layer.dz + part * plane + (place * 4 + quarter) * TILE_SIZE, TILE_BYTES, full);
                            }
                        }
                    }
                    __syncwarp();
                    if (step >= 4) last_k = source.k;
                    at.advance();
                }
                source.advance(block);
            }
        }
    } else if (warp == WAITER) {
        for (int s = 0; s < products; ++s)
            for (int k = 0; k < 4; ++k) {
                if (elected()) {
                    wait_progress_to_copy(own_progress->dz + quarter_of(k), SPLIT * (s + 1));
                    arrive_here(ready + 8 * quarter_of(k));
                }
                __syncwarp();
            }
    } else if (warp == WATCHER) {
        for (int s = 0; s <= products; ++s) {
            if (!TOP && above && s < rows) {
                if (elected()) {
                    wait_progress(above, SPLIT * (s + 1));
                    arrive_here(asked);
                }
                __syncwarp();
                // No more than a row ahead, of either warpgroup.
                wait_copy(written + 8 * 3, s & 1);
                if (SHARE == 2) wait_copy(written + 8 * 1, s & 1);
            }
            if (!FIRST && s > 0) {
                wait_copy(given, s - 1 & 1);
                if (elected()) {
                    arrive_here(taken);
                    // A sum says that all blocks have stored a row if none counts it before all have counted the one before.
                    wait_progress(&own_progress->dx, SPLIT * (s - 1));
                    add_progress(&own_progress->dx, 1);
                }
                __syncwarp();
            }
        }
    } else if (warp >= MOVER) {
        const int quarter = warp - MOVER;
        for (int s = 0; s < rows; ++s) {
            wait_copy(written + 8 * quarter, s & 1);
            if (elected()) {
                UNROLL for (int tile = 0; tile < TILES; ++tile) {
                    const int64 place = (int64(rows - 1 - s) * tiles + first_tile + tile) * SPLIT + block;
                    UNROLL for (int part = 0; part < PARTS; ++part)
                        store_bulk(layer.dz + part * plane + (place * 4 + quarter) * TILE_SIZE,
                                   shared_address(shared.dz[part][tile]) + quarter * TILE_BYTES, TILE_BYTES);
                }
                wait_stores();
                add_progress(own_progress->dz + quarter, 1);
                arrive_here(stored);
            }
            __syncwarp();
        }
    } else {
        take_registers<REGISTERS>();
        const int warpgroup = warp / 4, tile = warpgroup / SHARE, share = warpgroup % SHARE;
        const auto block_of = [&](int t) { return (int64(t) * tiles + opaque(first_tile) + tile) * SPLIT + block; };
        const int row = 16 * (warp % 4) + lane / 8 % 2 * 8 + lane % 8;  // for store_matrices
        const uint32 own_dz = shared_address(shared.dz[0][tile]), dz_row = row * 128;
        const auto gates_of = [&](int64 place) {
            return reinterpret_cast<const uint4*>(layer.gates) + (place * 8 + share * EIGHTS) * 2 * 128 + threadIdx.x % 128;
        };
        // Where an array like cells has this thread's 16 bytes with group m of 8 units.
        const auto place = [&](int m) {
            return ((share * EIGHTS + m) / TOGETHER * 128 + int(threadIdx.x % 128)) * CELLS_OF_THREAD;
        };
        float out[OPERANDS * OWN_UNITS / 2], dc[4 * EIGHTS];  // dh', then dx
#if SHARE == 2
        float sums[32 * OPERANDS];
#else
        auto& sums = out;
#endif
        UNROLL for (int i = 0; i < 4 * EIGHTS; ++i) dc[i] = 0.0f;
        // What the last row is asked.
        UNROLL for (int m = 0; m < EIGHTS; ++m) {
            UNROLL for (int j = 0; j < 4; ++j) out[4 * m + j] = 0.0f;
            if (TOP) {
                const float* const from = last + (int64(first_tile + tile) * TILE + 16 * (warp % 4) + lane / 4) * UNITS + 64 * block +
                                          8 * (share * EIGHTS + m) + 2 * (lane % 4);
                UNROLL for (int half = 0; half < 2; ++half) {
                    const float2 of_last = *reinterpret_cast<const float2*>(from + half * 8 * UNITS);
                    out[4 * m + 2 * half] = of_last.x;
                    out[4 * m + 2 * half + 1] = of_last.y;
                }
            }
        }
        // What the activations of `BATCH` groups of 8 units add, of the layer above, and its masks.
        struct Asked {
            uint4 above[BATCH / TOGETHER];
            uint32 masks[BATCH][2];  // of the two words of 8 units and 8 windows, the one that this thread's window is in
        };
        const auto load_asked = [&](int64 of_row, const uint32* own_kept, int first, Asked& to) {
            UNROLL for (int m = 0; m < BATCH; ++m) {
                if (!TOP && m % TOGETHER == 0) to.above[m / TOGETHER] = load_written(layer.above + of_row * TILE_SIZE + place(first + m));
                if (DROP)
                    UNROLL for (int half = 0; half < 2; ++half)
                        to.masks[m][half] = load_mask(own_kept + 2 * (half * (UNITS / 8) + first + m));
            }
        };
        const auto kept_of = [&](int t) {
            return kept + 2 * (((int64(t) * tiles + first_tile + tile) * 8 + 2 * (warp % 4)) * (UNITS / 8) + 8 * block + share * EIGHTS) +
                   lane / 4 % 2;
        };
        Position<STAGES> at;
        for (int s = 0; s <= products; ++s) {
            const int t = rows - 1 - s;
            // What the activations need is on its way while the products run.
            uint4 z[AHEAD][2], c0[EIGHTS / TOGETHER];
#if ASKED_AHEAD
            Asked of_asked;
#endif
            if (s < rows) {
                const uint4* const from = gates_of(block_of(t));
                UNROLL for (int m = 0; m < AHEAD; ++m)
                    UNROLL for (int half = 0; half < 2; ++half) z[m][half] = load_once(from + (2 * m + half) * 128);
                UNROLL for (int m = 0; m < EIGHTS; m += TOGETHER)
                    c0[m / TOGETHER] = load_once(layer.cells + block_of(t) * TILE_SIZE + place(m));
#if ASKED_AHEAD
                if (!TOP && above) wait_copy(asked, s & 1);
                load_asked(block_of(t), kept_of(t), 0, of_asked);
#endif
            }
            if (s > 0) {
                int before[PARTS] = {};  // stages of the step before
                for (int step = 0; step < STEPS; ++step) {
                    int slots[PARTS];
                    UNROLL for (int part = 0; part < PARTS; ++part) {
                        wait_copy(shared_address(shared.ring.full + at.slot), at.phase);
                        slots[part] = at.slot;
                        at.advance();
                        begin_products();
                        // As in lstm_wide_forward.cu. Columns of U and W are read at once; warpgroups of the same windows share the
                        // inner numbers.
                        UNROLL for (int first_part = part; first_part >= 0; --first_part) {
                            const Stage<OPERANDS>&stage = shared.stages[slots[first_part]], &other = shared.stages[slots[part - first_part]];
                            const uint32 a = step < 4 ? own_dz + first_part * (TILES * 4 * TILE_BYTES) + quarter_of(step) * TILE_BYTES
                                                      : shared_address(stage.windows[tile]);
                            const uint32 b = shared_address(other.weights[0]);
                            UNROLL for (int j = 0; j < 4 / SHARE; ++j) {
                                const int k = 4 / SHARE * share + j;
                                multiply_tiles<false, true>(sums, along_rows(a + k * 32), down_rows(b + k * 2048, TILE_BYTES),
                                                            j || step || part);
                            }
                        }
                        commit_products();
                        if (part == 0) {
                            wait_products<1>();
                            if (step > 0) UNROLL for (int one = 0; one < PARTS; ++one) release_stage(shared.ring, before[one]);
                        }
                    }
                    UNROLL for (int part = 0; part < PARTS; ++part) before[part] = slots[part];
                }
                wait_products<0>();
                UNROLL for (int part = 0; part < PARTS; ++part) release_stage(shared.ring, before[part]);
#if SHARE == 2
                add_halves<OPERANDS>(sums, out, shared, share);
#else
                barrier(1 + tile, 128);  // dz, which is written now, was read by all warps
#endif
            }
            if (s < rows) {
                if (s > 0) wait_copy(stored, s - 1 & 1);  // what is written now was read
                if (!ASKED_AHEAD && !TOP && above) wait_copy(asked, s & 1);
                const int64 now = block_of(t);
                const uint4* const from = gates_of(now);
                uint4 late[EIGHTS][2];
                UNROLL for (int m = AHEAD; m < EIGHTS; ++m)
                    UNROLL for (int half = 0; half < 2; ++half) late[m][half] = load_once(from + (2 * m + half) * 128);
#if !ASKED_AHEAD
                const uint32* const own_kept = kept_of(t);
#endif
                UNROLL for (int first = 0; first < EIGHTS; first += BATCH) {
#if !ASKED_AHEAD
                    Asked of_asked;
                    load_asked(now, own_kept, first, of_asked);
#endif
                    UNROLL for (int m = first; m < first + BATCH; ++m) {
                        float before[2][2], dh[2][2];  // [row][unit]
                        units_of(c0[m / TOGETHER], m, before);
                        UNROLL for (int half = 0; half < 2; ++half)
                            UNROLL for (int e = 0; e < 2; ++e) dh[half][e] = out[4 * m + 2 * half + e];
                        if (!TOP) {
                            float added[2][2];
                            units_of(of_asked.above[(m - first) / TOGETHER], m, added);
                            UNROLL for (int half = 0; half < 2; ++half) {
                                const uint32 bits = DROP ? of_asked.masks[m - first][half] >> (8 * (lane % 4) + lane / 8) : 0;
                                UNROLL for (int e = 0; e < 2; ++e)
                                    dh[half][e] += !DROP ? added[half][e] : bits & (e ? 16 : 1) ? added[half][e] * keep : 0.0f;
                            }
                        }
                        uint32 found[2][4][PARTS];
                        UNROLL for (int half = 0; half < 2; ++half) {
                            const uint4 both = m < AHEAD ? z[m][half] : late[m][half];
                            float tangents[4][2];
                            unpack_tangents(both.x, tangents[0][0], tangents[0][1]);
                            unpack_tangents(both.y, tangents[1][0], tangents[1][1]);
                            unpack_tangents(both.z, tangents[2][0], tangents[2][1]);
                            unpack_tangents(both.w, tangents[3][0], tangents[3][1]);
                            differentiate(tangents, before[half], dh[half], dc + 4 * m + 2 * half, found[half]);
                        }
                        const int eighth = share * EIGHTS + m;
                        UNROLL for (int part = 0; part < PARTS; ++part)
                            UNROLL for (int gate = 0; gate < 4; gate += 2)
                                store_matrices(opaque(own_dz) + part * (TILES * 4 * TILE_BYTES) + dz_row + eighth / 2 * TILE_BYTES +
                                                   ((eighth % 2 * 4 + gate + lane / 16) ^ row % 8) * 16,
                                               found[0][gate][part], found[1][gate][part], found[0][gate + 1][part],
                                               found[1][gate + 1][part]);
                        if (m % 2) {
                            publish_writes();
                            __syncwarp();
                            if (elected()) arrive_here(written + 8 * (eighth / 2));
                        }
                    }
                }
            }
            if (!FIRST && s > 0) {
                UNROLL for (int m = 0; m < EIGHTS; m += TOGETHER)
                    *reinterpret_cast<uint4*>(layer.below + block_of(t + 1) * TILE_SIZE + place(m)) =
                        cells_of(out + OWN_UNITS / 2 * (OPERANDS - 1) + 4 * m);
                if (s > 1) wait_copy(taken, s - 2 & 1);  // no more than a row ahead of the watcher
                __syncwarp();
                if (elected()) arrive_here(given);
            }
        }
    }
}
#endif

// The layers from `begin` down, as many as there are clusters for.
// kept: masks of the lowest layer's outputs (lstm_masks.cu), `mask_words` before those of the next, if DROPS
// tickets: counts clusters; progress: of [layers][groups of windows]; both zero
extern "C" __global__ void __launch_bounds__(THREADS, 1) __cluster_dims__(PAIR, 1, 1)
lstm_wide_backward(const Layer* __restrict__ layers, const float* __restrict__ last, const uint32* __restrict__ kept,
                   const int64 mask_words, const float keep, uint32* tickets, Progress* progress, const int begin, const int rows,
                   const int windows) {
#if defined(__CUDA_ARCH__)
    extern __shared__ __align__(1024) unsigned char memory[];
    // The place of the ticket is overwritten by stages, after both blocks have read it.
    const Place place = find_place(uniform(take_ticket(tickets, reinterpret_cast<uint32*>(memory))), windows);
    const int number = begin - place.number, groups = windows / (TILE * TILES);
    const Layer& layer = layers[number];
    Progress* const own = progress + number * groups + place.group;
    const uint32* const above = place.number == 0 ? nullptr : &own[groups].dx;
    const uint32* const own_kept = kept + (DROPS ? number * mask_words : 0);
    if (number == 0) {
        auto& shared = *reinterpret_cast<Shared<1>*>(memory);
        run_layer<true, LAYERS == 1, DROPS && LAYERS != 1>(layer, last, above, own, own_kept, keep, rows, windows, place.block,
                                                           place.group, shared);
    } else {
        auto& shared = *reinterpret_cast<Shared<2>*>(memory);
        if (number + 1 < LAYERS)
            run_layer<false, false, DROPS>(layer, last, above, own, own_kept, keep, rows, windows, place.block, place.group, shared);
        else
            run_layer<false, true, false>(layer, last, above, own, own_kept, keep, rows, windows, place.block, place.group, shared);
    }
    __syncwarp();
    cluster_barrier();
#endif
}
