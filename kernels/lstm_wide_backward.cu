// The gradients of one LSTM layer of 129 to 512 units over all rows of a large batch's windows, for compute capability 9.0.
//
// Equations are those of lstm_tile_backward.cu, clusters and stages those of lstm_wide.cuh. What the gates are of was
// kept by lstm_wide_forward.cu; nothing is computed again. From the last row to the first:
//
//     dh' = dz U^T, dx = dz W^T of the row after, as one product: 4 UNITS inner numbers, in stages of 64 gate columns; a
//           block has the columns of its 64 units of h and of x
//     dz  = of this row, by its activations; the tensor cores wait
//
// Two warpgroups of the same windows have each a half of the inner numbers and swap sums: by columns, both would read all of
// dz, and shared memory is what a product of few columns waits for.
//
// Sender of a stage is the block whose units the gate columns are of. dx is written as one part for the layer below.
//
// Floor on an H100 for 512 units at 8,192 windows of 60 rows, above the first layer: 1.03 TMAC, 2.6 ms at 800 TFLOP/s; 5.5 GB,
// 1.8 ms at 3 TB/s.

#include "lstm_tiles.cuh"
#include "lstm_wide.cuh"
#include "lstm_cells.cuh"

#define STEPS (4 * SPLIT)  // stages of a row
#define OPERANDS (NARROW ? 1 : 2)
#define STAGES (TILES == 2 ? (NARROW ? 6 : 5) : (NARROW ? 8 : 6))
#define OWN_UNITS (64 / SHARE)  // units of a warpgroup
#define AHEAD (EIGHTS < 8 ? EIGHTS : 5)  // groups of 8 units that registers hold the gates of while products run

#if defined(__CUDA_ARCH__)
struct Stage {
    bf16 windows[TILES][TILE_SIZE];  // of dz
    bf16 weights[OPERANDS][TILE_SIZE];
};
struct Shared {
    Stage stages[STAGES];
    bf16 dz[TILES][4 * TILE_SIZE];
#if SHARE == 2
    float4 halves[SHARE][OPERANDS][4][128];  // sums of the one warpgroup for the other
#endif
    Ring<STAGES> ring;
    uint64 written, stored;  // a row's dz is in shared memory; is in global memory
};

// Of the sums of both warpgroups, each over a half of the inner numbers, those of this warpgroup's units.
#if SHARE == 2
INLINE void add_halves(const float (&sums)[32 * OPERANDS], float (&out)[16 * OPERANDS], Shared& shared, const int share) {
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
#endif

// weights: U^T, input_weights: W^T as in lstm_wide_forward.cu
// cells, gates: as there
// above: gradients of the layer's outputs after dropout: [rows][windows / 64][UNITS / 64][4][128 threads][8], units as in
//     cells; unless TOP
// last: [windows][UNITS], the gradient of the last row's outputs, if TOP
// dz: tiles [rows][windows / 64][UNITS / 64 blocks][4]
// below: as above, of the layer's input, unless that is narrow
extern "C" __global__ void __launch_bounds__(THREADS, 1) __cluster_dims__(SPLIT, 1, 1)
lstm_wide_backward(const bf16* __restrict__ weights, const bf16* __restrict__ input_weights, const bf16* __restrict__ cells,
                   const bf16* __restrict__ gates, const bf16* __restrict__ above, const float* __restrict__ last,
                   const uint32* __restrict__ kept, const float keep, bf16* __restrict__ dz, bf16* __restrict__ below,
                   const int rows, const int windows) {
#if defined(__CUDA_ARCH__)
    extern __shared__ __align__(1024) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32;
    const uint32 rank = cluster_rank();
    if (warp == 0 && elected()) {
        shared.ring.init();
        init_arrivals_of(shared_address(&shared.written), WARPS);
        init_arrivals(shared_address(&shared.stored));
    }
    publish_arrivals();
    __syncthreads();
    cluster_barrier();

    const int tiles = windows / TILE, first_tile = blockIdx.x / SPLIT * TILES;
    const int products = NARROW ? rows - 1 : rows, total = products * STEPS;
    const uint32 written = shared_address(&shared.written), stored = shared_address(&shared.stored);
    if (warp >= WARPS) {
        give_registers<24>();
        if (warp == LOADER) {
            Position<STAGES> at;
            uint32 taken = 0;  // phases, a bit for each stage
            for (int s = 0, i = 0; s < products; ++s)
                for (int step = 0; step < STEPS; ++step, ++i) {
                    Stage& stage = shared.stages[at.slot];
                    const uint32 full = shared_address(shared.ring.full + at.slot);
                    const int owner = step / 4, quarter = step % 4;
                    if (i >= STAGES) wait_copy(shared_address(shared.ring.empty + at.slot), at.phase ^ 1);
                    if (elected()) {
                        // The tiles of 64 of the owner's gate columns and this block's units.
                        const int64 tile = (int64(owner) * SPLIT + rank) * (GATES * 64) + quarter * TILE_SIZE;
                        expect_arrivals(full, (OPERANDS + TILES) * TILE_BYTES);
                        copy_bulk(shared_address(stage.weights[0]), weights + tile, TILE_BYTES, full);
                        if (!NARROW) copy_bulk(shared_address(stage.weights[OPERANDS - 1]), input_weights + tile, TILE_BYTES, full);
                    }
                    if (owner == int(rank)) {
                        if (i >= STAGES) {
                            wait_copy(shared_address(shared.ring.taken + at.slot), taken >> at.slot & 1);
                            taken ^= 1u << at.slot;
                        }
                        if (quarter == 0) wait_copy(stored, s & 1);
                        if (elected()) {
                            order_copies();
                            UNROLL for (int tile = 0; tile < TILES; ++tile) {
                                const int64 place = (int64(rows - 1 - s) * tiles + first_tile + tile) * SPLIT + rank;
                                copy_to_all(shared_address(stage.windows[tile]), dz + (place * 4 + quarter) * TILE_SIZE,
                                            TILE_BYTES, full);
                            }
                        }
                    }
                    __syncwarp();
                    at.advance();
                }
        } else if (warp == MOVER) {
            for (int s = 0; s < rows; ++s) {
                wait_copy(written, s & 1);
                if (elected()) {
                    UNROLL for (int tile = 0; tile < TILES; ++tile) {
                        const int64 place = (int64(rows - 1 - s) * tiles + first_tile + tile) * SPLIT + rank;
                        store_bulk(dz + place * 4 * TILE_SIZE, shared_address(shared.dz[tile]), 4 * TILE_BYTES);
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
        const auto block_of = [&](int t) { return (int64(t) * tiles + opaque(first_tile) + tile) * SPLIT + rank; };
        const int row = 16 * (warp % 4) + lane / 8 % 2 * 8 + lane % 8;  // for store_matrices
        const uint32 dz_at = shared_address(shared.dz[tile]) + row * 128;
        const auto gates_of = [&](int64 block) {
            return reinterpret_cast<const uint4*>(gates) + (block * 8 + share * EIGHTS) * 2 * 128 + threadIdx.x % 128;
        };
        // Where an array like cells has this thread's numbers of two groups of 8 units.
        const auto place = [&](int m) { return ((share * EIGHTS + m) / 2 * 128 + int(threadIdx.x % 128)) * 8; };
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
#if TOP
            const float* const from = last + (int64(first_tile + tile) * TILE + 16 * (warp % 4) + lane / 4) * UNITS + 64 * rank +
                                      8 * (share * EIGHTS + m) + 2 * (lane % 4);
            UNROLL for (int half = 0; half < 2; ++half) {
                const float2 asked = *reinterpret_cast<const float2*>(from + half * 8 * UNITS);
                out[4 * m + 2 * half] = asked.x;
                out[4 * m + 2 * half + 1] = asked.y;
            }
#endif
        }
        Position<STAGES> at;
        for (int s = 0, i = 0; s <= products; ++s) {
            const int t = rows - 1 - s;
            // What the activations need is on its way while the products run.
            uint4 z[AHEAD][2];
            if (s < rows) {
                const uint4* const from = gates_of(block_of(t));
                UNROLL for (int m = 0; m < AHEAD; ++m)
                    UNROLL for (int half = 0; half < 2; ++half) z[m][half] = load_once(from + (2 * m + half) * 128);
            }
            if (s > 0) {
                int before = 0;
                for (int step = 0; step < STEPS; ++step, ++i) {
                    const Stage& stage = shared.stages[at.slot];
                    wait_copy(shared_address(shared.ring.full + at.slot), at.phase);
                    const uint32 a = shared_address(stage.windows[tile]), b = shared_address(stage.weights[0]);
                    begin_products();
                    // Columns of U and W are read at once; warpgroups of the same windows share the inner numbers.
                    UNROLL for (int j = 0; j < 4 / SHARE; ++j) {
                        const int k = 4 / SHARE * share + j;
                        multiply_tiles<false, true>(sums, along_rows(a + k * 32), down_rows(b + k * 2048, TILE_BYTES), j || step);
                    }
                    commit_products();
                    wait_products<1>();
                    if (step > 0)
                        release_stage(shared.ring, before, i - 1 + STAGES < total ? (step - 1 + STAGES) % STEPS / 4 : ALONE);
                    before = at.slot;
                    at.advance();
                }
                wait_products<0>();
                release_stage(shared.ring, before, i - 1 + STAGES < total ? (STEPS - 1 + STAGES) % STEPS / 4 : ALONE);
#if SHARE == 2
                add_halves(sums, out, shared, share);
#endif
            }
            if (s < rows) {
                if (s > 0) wait_copy(stored, s - 1 & 1);  // what is written now was read
                const int64 now = block_of(t);
                const uint4* const from = gates_of(now);
                UNROLL for (int m = 0; m < EIGHTS; ++m) {
                    const uint2 c0 = load_two(cells + now * TILE_SIZE + place(m) + m % 2 * 4);
                    float dh[2][2];  // [row][unit]
                    UNROLL for (int half = 0; half < 2; ++half)
                        UNROLL for (int e = 0; e < 2; ++e) dh[half][e] = out[4 * m + 2 * half + e];
#if !TOP
                    float asked[2][2];
                    add_units<true>(asked, load_two(above + now * TILE_SIZE + place(m) + m % 2 * 4));
                    UNROLL for (int half = 0; half < 2; ++half) {
#if DROPS
                        const uint32 bits = own_mask(
                            reinterpret_cast<const uint2*>(kept)[((int64(t) * tiles + first_tile + tile) * 8 + 2 * (warp % 4) + half) *
                                                                     (UNITS / 8) + 8 * rank + share * EIGHTS + m], lane);
                        dh[half][0] += bits & 1 ? asked[half][0] * keep : 0.0f;
                        dh[half][1] += bits & 16 ? asked[half][1] * keep : 0.0f;
#else
                        dh[half][0] += asked[half][0];
                        dh[half][1] += asked[half][1];
#endif
                    }
#endif
                    uint32 found[2][4];
                    UNROLL for (int half = 0; half < 2; ++half) {
                        const uint4 both = m < AHEAD ? z[m][half] : load_once(from + (2 * m + half) * 128);
                        const float of_gates[4][2] = {{lower(both.x), upper(both.x)}, {lower(both.y), upper(both.y)},
                                                      {lower(both.z), upper(both.z)}, {lower(both.w), upper(both.w)}};
                        differentiate(of_gates, half ? c0.y : c0.x, dh[half], dc + 4 * m + 2 * half, found[half]);
                    }
                    UNROLL for (int gate = 0; gate < 4; gate += 2)
                        store_matrices(dz_at + (share * EIGHTS + m) / 2 * TILE_BYTES +
                                           (((share * EIGHTS + m) % 2 * 4 + gate + lane / 16) ^ row % 8) * 16,
                                       found[0][gate], found[1][gate], found[0][gate + 1], found[1][gate + 1]);
                }
                publish_writes();
                __syncwarp();
                if (elected()) arrive_here(written);
            }
#if !NARROW
            if (s > 0)
                UNROLL for (int m = 0; m < EIGHTS; m += 2)
                    *reinterpret_cast<uint4*>(below + block_of(t + 1) * TILE_SIZE + place(m)) =
                        pack_units(out + OWN_UNITS / 2 + 4 * m);
#endif
        }
    }
    __syncwarp();
    cluster_barrier();
#endif
}
