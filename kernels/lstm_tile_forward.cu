// One LSTM layer over all rows of a large batch's windows, for compute capability 9.0: outputs and cells.
//
// The equations are those of lstm_forward.cu, which is for small batches. There a block has few windows and a row's
// latency decides; here blocks are full and bytes and the tensor cores do:
//
// - A block owns 64 units and keeps their weights, of h and of the layer's input, in shared memory. With 128 units two
//   blocks, a cluster, have the same windows and send each other their half of h.
// - gates = x W + h U is one product of 64 windows by 256 gate columns, by wgmma; x W is never written to memory. Nor
//   are the gates: the backward pass computes them again.
// - Four warpgroups share the product by columns. With two tiles of 64 windows they take turns: one tile's
//   activations run beside the other's product.
//
//                  TILES = 1                          TILES = 2
//   warpgroup      0     1     2      3               0      1      2      3
//   windows        0-63  0-63  0-63   0-63            0-63   0-63   64-127 64-127
//   gate columns   0-63  64-   128-   192-255         0-127  128-   0-127  128-255
//
// - A tile's h is written to shared memory as the next row's operand; bulk copies bring it from there to the other
//   block and to global memory.
//
// Floor on an H100 for 128 units at 8,192 windows of 60 rows, above the first layer: 380 MB, 130 us at 3 TB/s; 64 GMAC,
// 160 us; 640 special functions for a window and row, 90 us.

#include "lstm_tiles.cuh"

#define GROUPS 4                     // warpgroups
#define THREADS (128 * GROUPS)
#define SHARE (GROUPS / TILES)       // warpgroups of a tile
#define COLUMNS (GATES / SHARE)      // gate columns of a warpgroup
#define EIGHTS (COLUMNS / 32)        // groups of 8 units of a warpgroup
#define STAGES (NARROW ? 2 : 1)      // rows whose input is on its way or in use

#include "lstm_cells.cuh"

#if defined(__CUDA_ARCH__)

struct Shared {
    bf16 u[SPLIT][GATES * 64];
    bf16 w[GATES * INPUT];
    bf16 h[2][TILES][SPLIT][TILE_SIZE];
#if DROPS
    bf16 dropped[2][TILES][TILE_SIZE];
#endif
    bf16 input[STAGES][TILES][TILE * INPUT];
#if DROPS
    uint2 kept[STAGES + 1][TILES][8][UNITS / 8];  // a row's are read after its input
#endif
    float bias[GATES];
    uint64 arrived[TILES][2], loaded[TILES][STAGES];
};

// Named barriers, by tile.
#define READ 1     // a row's product has read its input
#define WRITTEN 3  // a row's h is in shared memory
#define TURN 5     // a tile may compute its activations
#endif

// weights: U^T [4 UNITS][UNITS], input_weights: W^T [4 UNITS][INPUT], rows in the order of the gate columns
// bias: [4 UNITS], 4 * unit + gate
// x: tiles [rows][windows / 64][INPUT / 64], or of 16 columns
// h: tiles [rows + 1][windows / 64][UNITS / 64], begins with zeros
// cells: [rows + 1][windows / 64][UNITS / 64][4][128 threads][8]: a thread's windows of 16 units; begins with zeros
// dropped: tiles as h, without the row of zeros; kept: its masks (lstm_masks.cu); if DROPS
extern "C" __global__ void __launch_bounds__(THREADS, 1)
#if SPLIT > 1
    __cluster_dims__(SPLIT, 1, 1)
#endif
        lstm_tile_forward(const bf16* __restrict__ weights, const bf16* __restrict__ input_weights,
                          const float* __restrict__ bias, const bf16* __restrict__ x, bf16* __restrict__ h,
                          bf16* __restrict__ cells, bf16* __restrict__ dropped, const uint32* __restrict__ kept,
                          const float keep, const int rows, const int windows) {
#if defined(__CUDA_ARCH__)
    extern __shared__ __align__(1024) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, q = lane % 4;
    const int group = warp / 4, tile = group / SHARE, share = group % SHARE;
#if SPLIT > 1
    const uint32 rank = cluster_rank(), peer = 1 - rank;
#else
    const uint32 rank = 0;
#endif
    load_weights(shared.u[0], weights, UNITS, rank, THREADS);
#if NARROW
    load_narrow_weights(shared.w, input_weights, rank, THREADS);
#else
    load_weights(shared.w, input_weights, INPUT, rank, THREADS);
#endif
    load_bias(shared.bias, bias, rank, THREADS);
    for (int v = threadIdx.x; v < TILES * SPLIT * TILE_SIZE / 8; v += THREADS)
        reinterpret_cast<uint4*>(shared.h[0])[v] = make_uint4(0, 0, 0, 0);
    const uint32 arrived = shared_address(shared.arrived[tile]), loaded = shared_address(shared.loaded[tile]);
    if (warp == 0 && elected())
        for (int i = 0; i < TILES * (2 + STAGES); ++i) init_arrivals(shared_address(shared.arrived) + 8 * i);
    publish_arrivals();
    publish_writes();
    __syncthreads();
#if SPLIT > 1
    cluster_barrier();
#endif

    const int tiles = windows / TILE, own_tile = blockIdx.x / SPLIT * TILES + tile;
    const uint32 u = shared_address(shared.u), w = shared_address(shared.w);
    const uint32 own_bias = shared_address(shared.bias) + share * EIGHTS * 128 + q * 32;
    const int row = 16 * (warp % 4) + lane / 8 % 2 * 8 + lane % 8;  // for store_matrices
    const int first = share * COLUMNS, thread = threadIdx.x % 128;
    bf16* own_cells = cells + (int64(tiles + own_tile) * SPLIT + rank) * TILE_SIZE + (share * EIGHTS / 2 * 128 + thread) * 8;

    const auto load_row = [&](int t) {  // by one thread
        const uint32 own = loaded + 8 * (t % STAGES);
        expect_arrivals(own, INPUT_BYTES + (DROPS ? MASK_BYTES : 0));
        copy_bulk(shared_address(shared.input[t % STAGES][tile]), x + (int64(t) * tiles + own_tile) * TILE * INPUT,
                  INPUT_BYTES, own);
#if DROPS
        copy_bulk(shared_address(shared.kept[t % (STAGES + 1)][tile]), kept + (int64(t) * tiles + own_tile) * (MASK_BYTES / 4),
                  MASK_BYTES, own);
#endif
    };
    const bool loads = share == 0 && warp % 4 == 0, stores = share == SHARE - 1 && warp % 4 == 1;
#if SPLIT > 1
    const bool sends = share == 0 && warp % 4 == 2;
#endif
    if (loads && elected())
        for (int t = 0; t < STAGES && t < rows; ++t) load_row(t);
#if TILES == 2
    if (tile == 1) arrive(TURN, THREADS);
#endif

    float gates[COLUMNS / 2], c[4 * EIGHTS];
    UNROLL for (int i = 0; i < 4 * EIGHTS; ++i) c[i] = 0.0f;
    for (int t = 0; t < rows; ++t) {
        const int now = t % 2, next = 1 - now;
        const uint32 h_now = shared_address(shared.h[now][tile]), h_next = shared_address(shared.h[next][tile]);
#if SPLIT > 1
        if (t > 0 && sends && elected()) expect_arrivals(arrived + 8 * (1 - (t & 1)), TILE_BYTES);
#endif
        wait_copy(loaded + 8 * (t % STAGES), t / STAGES % 2);
        __syncwarp();
        begin_products();
        add_input<COLUMNS>(gates, shared_address(shared.input[t % STAGES][tile]), w, first);
        add_tile<COLUMNS>(gates, h_now + rank * TILE_BYTES, u + rank * GATES * 128, first);
        commit_products();
#if SPLIT > 1
        if (t > 0) wait_copy(arrived + 8 * (1 - (t & 1)), (t - 1) / 2 % 2);
        begin_products();
        add_tile<COLUMNS>(gates, h_now + peer * TILE_BYTES, u + peer * GATES * 128, first);
        commit_products();
#endif
#if TILES == 2
        barrier(TURN + tile, THREADS);
#endif
        wait_products<0>();
        if (loads) {
            barrier(READ + tile, 128 * SHARE);
            if (t + STAGES < rows && elected()) load_row(t + STAGES);
        } else {
            arrive(READ + tile, 128 * SHARE);
        }
#if DROPS
        const uint32 dropped_at = shared_address(shared.dropped[now][tile]) + row * 128;
        const uint2* const own_kept = &shared.kept[t % (STAGES + 1)][tile][2 * (warp % 4)][8 * rank + share * EIGHTS];
        const auto own_masks = [&](int half, int m) { return own_mask(own_kept[half * (UNITS / 8) + m], lane); };
#else
        const uint32 dropped_at = 0;
        const auto own_masks = [](int, int) { return 0u; };
#endif
        activate<DROPS>(gates, c, own_bias, h_next + rank * TILE_BYTES + row * 128, row, share * EIGHTS, own_cells, dropped_at,
                 own_masks, keep, lane, [](int, int, const float (&)[4][2]) {});
        own_cells += int64(tiles) * SPLIT * TILE_SIZE;
#if TILES == 2
        if (!(tile == 1 && t + 1 == rows)) arrive(TURN + 1 - tile, THREADS);
#endif
        publish_writes();
        if (stores && elected()) wait_stores_read();  // of the row before: its memory is written again in the next
        barrier(WRITTEN + tile, 128 * SHARE);
#if SPLIT > 1
        if (sends && t + 1 < rows && elected())
            send_bulk(peer_address(h_next + rank * TILE_BYTES, peer), h_next + rank * TILE_BYTES, TILE_BYTES,
                      peer_address(arrived + 8 * now, peer));
#endif
        if (stores && elected()) {
            const int64 at = (int64(t) * tiles + own_tile) * SPLIT + rank;
            store_bulk(h + (at + int64(tiles) * SPLIT) * TILE_SIZE, h_next + rank * TILE_BYTES, TILE_BYTES);
#if DROPS
            store_bulk(dropped + at * TILE_SIZE, shared_address(shared.dropped[now][tile]), TILE_BYTES);
#endif
        }
    }
    if (stores && elected()) wait_stores();
#if SPLIT > 1
    cluster_barrier();
#endif
#endif
}
