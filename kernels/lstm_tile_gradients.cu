// The gradients of a layer's weights for a large batch, for compute capability 9.0:
//
//     dU = h'^T dz        dW = x^T dz        db = the sum of dz        over all windows and rows
//
// A stage is 64 windows of one row, or 32 in two parts: tiles of dz, of h' and of x, which the copy engine brings three
// stages ahead. A block of four warpgroups has 256 gate columns and two tiles of columns of h' and x, whose sums stay
// in registers: D[256, 128] += dz^T [256, 64] [h' | x] [64, 128], both operands read down the rows of their tiles.
// Blocks share the stages among them in turn, and each writes its sums side by side; lstm_update.cu adds them in order,
// so that results do not depend on chance. The sum of dz is a product with ones, by the blocks of the first tiles.
//
//     pairs of tiles    [h' h'] ... [h' x] or [h' h'] ... [x x], for each 256 gate columns
//     x narrow          [h' h'] ... , or [h'] alone; its 16 columns go to the first
//
// Floor on an H100 for 128 units above the first layer at 8,192 windows of 60 rows: 760 MB, 250 us at 3 TB/s; 64 GMAC,
// 160 us.

#include "lstm_tiles.cuh"

#define GROUPS 4
#define THREADS (128 * GROUPS)
#define STAGES 4
#define DEPTH (TILE / PARTS)    // windows of a stage: rows of tiles, which lie side by side
#define PIECE (DEPTH * TILE)    // of a tile
#define PIECES (TILE / DEPTH)
#define ALL_TILES (SPLIT + INPUT_TILES)  // of h', then of x
#define OWN (ALL_TILES > 1 ? 2 : 1)      // tiles of a block
// Two blocks with the same gate columns and parts fetch a half of dz each, for both: what is read from the second-level
// cache decides.
#define PAIRED ((ALL_TILES + OWN - 1) / OWN % PAIR == 0)
#define SHARED_BY (PAIRED ? PAIR : 1)

#if defined(__CUDA_ARCH__)
struct Stage {
    struct {
        bf16 dz[4][PIECE];
        bf16 columns[OWN][PIECE];
#if NARROW
        bf16 narrow[DEPTH * 16];
#endif
    } parts[PARTS];
};
struct Shared {
    Stage stages[STAGES];
    bf16 ones[8 * 16];
    uint64 full[STAGES], empty[STAGES];
};

// FIRST: the pair that also has the sum of dz and a narrow x.
template <bool FIRST>
INLINE void sum_products(const bf16* __restrict__ dz, const bf16* __restrict__ h, const bf16* __restrict__ x,
                         float* __restrict__ du, float* __restrict__ dw, float* __restrict__ db, const int rows,
                         const int windows, Shared& shared) {
    constexpr bool WITH_NARROW = NARROW && FIRST;
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, group = warp / 4;
    const int part = blockIdx.x, parts = gridDim.x, rank = blockIdx.y, first = OWN * blockIdx.z;
    const int count = (rows * (windows / DEPTH) - part + parts - 1) / parts;
    const int64 row = int64(windows) * UNITS, dz_plane = rows * 4 * row, h_plane = (rows + 1) * row;
    const int64 x_plane = NARROW ? int64(rows) * windows * INPUT : h_plane;
    const uint32 full = shared_address(shared.full), empty = shared_address(shared.empty);
    const auto load_stage = [&](int i) {  // by one thread
        const int k = i % STAGES;
        const int64 number_of_stage = int64(i) * parts + part, at = number_of_stage / PIECES;
        const int piece = number_of_stage % PIECES;
        const uint32 own = full + 8 * k;
        expect_arrivals(own, PARTS * ((4 + OWN) * PIECE * 2 + (WITH_NARROW ? DEPTH * 32 : 0)));
        UNROLL for (int number = 0; number < PARTS; ++number) {
            auto& stage = shared.stages[k].parts[number];
            const bf16* const from_dz = dz + number * dz_plane + (at * SPLIT + rank) * 4 * TILE_SIZE + piece * PIECE;
            constexpr int TILES_OF_DZ = 4 / SHARED_BY, RUN = PIECES == 1 ? TILES_OF_DZ : 1;  // whole tiles by one copy
            UNROLL for (int j = 0; j < TILES_OF_DZ; j += RUN) {
#if PAIRED
                const int tile = cluster_rank() * TILES_OF_DZ + j;
                copy_to_both(shared_address(stage.dz[tile]), from_dz + tile * TILE_SIZE, RUN * PIECE * 2, own);
#else
                copy_bulk(shared_address(stage.dz[j]), from_dz + j * TILE_SIZE, RUN * PIECE * 2, own);
#endif
            }
            UNROLL for (int j = 0; j < OWN; ++j) {
                const int tile = min(first + j, ALL_TILES - 1);  // an odd last one twice
                const bf16* const from = tile < SPLIT ? h + number * h_plane + (at * SPLIT + tile) * TILE_SIZE
                                                      : x + number * x_plane + (at * INPUT_TILES + tile - SPLIT) * TILE_SIZE;
                copy_bulk(shared_address(stage.columns[j]), from + piece * PIECE, PIECE * 2, own);
            }
#if NARROW
            if (FIRST)
                copy_bulk(shared_address(stage.narrow), x + number * x_plane + (at * TILE + piece * DEPTH) * INPUT, DEPTH * 32, own);
#endif
        }
    };
    if (warp == 0 && elected())
        for (int i = 0; i < STAGES && i < count; ++i) load_stage(i);

    float sums[32 * OWN], of_dz[4];
#if NARROW
    float narrow[8];
#endif
    const uint64 ones = describe(shared_address(shared.ones), 128, 128, 0);
    for (int i = 0; i < count; ++i) {
        const int k = i % STAGES;
        const Stage& stage = shared.stages[k];
        wait_copy(full + 8 * k, i / STAGES & 1);
        __syncwarp();
        begin_products();
        // Of all parts, the products but that of both second ones.
        UNROLL for (int step = 0; step < DEPTH / 16; ++step)
            UNROLL for (int first_part = 0; first_part < PARTS; ++first_part) {
                const uint64 a =
                    down_rows(shared_address(stage.parts[first_part].dz[group]) + step * 2048, PIECE * 2);
                UNROLL for (int other = 0; first_part + other < PARTS; ++other) {
                    const bool add = i + step + first_part + other > 0;
                    const auto& columns = stage.parts[other];
                    multiply_tiles<true, true>(sums, a, down_rows(shared_address(columns.columns) + step * 2048, PIECE * 2), add);
#if NARROW
                    if (FIRST)
                        multiply_tiles<true, true>(narrow, a, down_narrow_rows(shared_address(columns.narrow) + step * 512), add);
#endif
                }
                if (FIRST) multiply_tiles<true, false>(of_dz, a, ones, i + step + first_part > 0);
            }
        commit_products();
        wait_products<1>();
        const int done = (i + STAGES - 1) % STAGES;  // of the stage before
        if (i > 0 && elected()) {
#if PAIRED
            arrive_at_both(empty + 8 * done);
#else
            arrive_here(empty + 8 * done);
#endif
        }
        if (warp == 0 && i > 0 && i - 1 + STAGES < count) {
            wait_copy(empty + 8 * done, (i - 1) / STAGES & 1);
            if (elected()) load_stage(i - 1 + STAGES);
        }
    }
    wait_products<0>();

    // A row of the product is a gate column: 32 * (unit / 8) + 8 * gate + unit % 8.
    const int g = lane / 4, q = lane % 4;
    UNROLL for (int half = 0; half < 2; ++half) {
        const int column = 64 * group + 16 * (warp % 4) + 8 * half + g, gate = column / 8 % 4;
        const int64 row = int64(part) * 4 * UNITS + 4 * (64 * rank + column / 32 * 8 + column % 8) + gate;
        const float factor = HALVED_GATE(gate) ? 0.5f : 1.0f;
        const auto store = [&](float* to, const float* from) {
            *reinterpret_cast<float2*>(to + 2 * q) = make_float2(factor * from[2 * half], factor * from[2 * half + 1]);
        };
        UNROLL for (int j = 0; j < OWN; ++j) {
            const int tile = first + j;
            if (tile >= ALL_TILES) break;
            float* const to = tile < SPLIT ? du + row * UNITS + 64 * tile : dw + row * INPUT + 64 * (tile - SPLIT);
            UNROLL for (int eighth = 0; eighth < 8; ++eighth) store(to + 8 * eighth, sums + 32 * j + 4 * eighth);
        }
#if NARROW
        if (FIRST)
            UNROLL for (int j = 0; j < 2; ++j) store(dw + row * INPUT + 8 * j, narrow + 4 * j);
#endif
        if (FIRST && q == 0) db[row] = factor * of_dz[2 * half];
    }
}
#endif

// Rows of the outputs are 4 * unit + gate.
// dz: tiles [rows][windows / 64][UNITS / 64][4]; h: tiles [rows + 1][windows / 64][UNITS / 64]; x: tiles, or of 16 columns
// du: [parts][4 UNITS][UNITS]; dw: [parts][4 UNITS][INPUT]; db: [parts][4 UNITS]
// Blocks: x over the parts; y over blocks of 64 units; z over pairs of tiles.
extern "C" __global__ void __launch_bounds__(THREADS, 1) __cluster_dims__(1, 1, SHARED_BY)
lstm_tile_gradients(const bf16* __restrict__ dz, const bf16* __restrict__ h, const bf16* __restrict__ x,
                    float* __restrict__ du, float* __restrict__ dw, float* __restrict__ db, const int rows,
                    const int windows) {
#if defined(__CUDA_ARCH__)
    extern __shared__ __align__(1024) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    for (int v = threadIdx.x; v < 8 * 16; v += THREADS) shared.ones[v] = 0x3f80;  // 1
    if (threadIdx.x == 0)
        for (int i = 0; i < STAGES; ++i) {
            init_arrivals(shared_address(&shared.full[i]));
            init_arrivals_of(shared_address(&shared.empty[i]), GROUPS * 4 * SHARED_BY);
        }
    publish_arrivals();
    publish_writes();
    __syncthreads();
    if (PAIRED) cluster_barrier();

#if ALL_TILES > 2
    if (blockIdx.z > 0)
        sum_products<false>(dz, h, x, du, dw, db, rows, windows, shared);
    else
#endif
        sum_products<true>(dz, h, x, du, dw, db, rows, windows, shared);
    __syncwarp();
    if (PAIRED) cluster_barrier();  // no block ends while the other still sends to it
#endif
}
