// The gradients of one LSTM layer over all rows of a large batch's windows, for compute capability 9.0.
//
// From the last row to the first, with c' the cells of the row before, and dh, dc what later rows and the layer above
// ask:
//
//     gates i, f, g, o and c are computed again from x, h' and c'
//     dc += dh o (1 - tanh(c)^2)
//     dz  = [dc g i(1-i), dc c' f(1-f), dc i (1-g^2), dh tanh(c) o(1-o)]        dc' = dc f
//     dh' = dz U^T          dx = dz W^T, for the layer below
//
// Blocks, clusters, tiles and warpgroups are those of lstm_tile_forward.cu. A block computes dz of its 256 gate columns
// and from it a part of all units' dh' and dx:
//
// - The weights lie once in shared memory: by rows as the operand of the gates, by columns as that of dh' and dx.
// - dz is written to shared memory as the operand of both products; one bulk copy brings it to global memory.
// - One warpgroup of a tile multiplies dh', another dx. dh' of own units is handed to the others through shared memory,
//   that of the other block's units by st.async into its. dx is written as a part for each block, which the layer
//   below adds up.
// - With two blocks shared memory is full: dz then takes the place of the x and h that it was computed from.
//
// Since weights of sigmoid gates are halved, the product's z is z / 2, and what is computed here are gradients by that:
// dz is twice what it is above for i, f and o. With halved weights dh' and dx are right; lstm_tile_gradients.cu
// halves the others.
//
// Floor on an H100 for 128 units at 8,192 windows of 60 rows, above the first layer: 1,130 MB, 380 us at 3 TB/s; 129
// GMAC, 320 us.

#include "lstm_tiles.cuh"

#define GROUPS 4                     // warpgroups
#define THREADS (128 * GROUPS)
#define SHARE (GROUPS / TILES)       // warpgroups of a tile
#define COLUMNS (GATES / SHARE)      // gate columns of a warpgroup
#define EIGHTS (COLUMNS / 32)        // groups of 8 units of a warpgroup
#define OVERLAY (SPLIT > 1)          // dz takes the place of x and h
#define STAGED (NARROW || SPLIT == 1)  // there is room in shared memory for what else a row reads
#define OF_H 0                       // which warpgroup of a tile multiplies dh'
#define OF_X 1                       // and dx

#include "lstm_cells.cuh"

#if defined(__CUDA_ARCH__)

#define INPUTS_SIZE (SPLIT * TILE_SIZE + TILE * INPUT)  // of h', then x
struct Shared {
    bf16 u[SPLIT][GATES * 64];
    bf16 w[GATES * INPUT];
#if OVERLAY
    bf16 dz[TILES][4 * TILE_SIZE];  // and before, h' and x
#else
    bf16 dz[TILES][4 * TILE_SIZE];
    bf16 inputs[TILES][INPUTS_SIZE];
#endif
    bf16 dh[TILES][TILE_SIZE];  // of own units, by own gates: [4][128 threads][8], as cells
#if SPLIT > 1
    bf16 dh_of_peer[TILES][TILE_SIZE];  // by the other block's gates
#endif
    float bias[GATES];
#if STAGED
    bf16 cells[TILES][TILE_SIZE];  // of the row before
#if !TOP
    bf16 above[TILES][SPLIT][TILE_SIZE];
#if DROPS
    uint2 kept[TILES][8][UNITS / 8];
#endif
#endif
#endif
    uint64 loaded[TILES], arrived[TILES], freed[TILES], staged[TILES];
};

// Named barriers, by tile.
#define READ 1     // the gates' products have read x and h'
#define WRITTEN 3  // dz is in shared memory
#define FREED 5    // the products of dz have read it
#define TURN 7     // a tile may compute its gradients

// dz [64, 256] times the columns of weights [256 rows][UNITS].
INLINE void multiply_dz(float (&out)[UNITS / 2], uint32 dz, uint32 weights) {
    UNROLL for (int k = 0; k < GATES / 16; ++k)
        multiply_tiles<false, true>(out, along_rows(dz + k / 4 * TILE_BYTES + k % 4 * 32),
                                    down_rows(weights + k * 2048, GATES * 128), k > 0);
}
#endif

// weights, input_weights, bias, x, h, cells, kept: as in lstm_tile_forward.cu
// above: gradients of the layer's outputs after dropout, parts by both blocks of the layer above:
//     [rows][windows / 64][UNITS / 64][parts: UNITS / 64][4][128 threads][8], units as in cells; unless TOP
// last: [windows][UNITS], the gradient of the last row's outputs, if TOP
// dz: tiles [rows][windows / 64][UNITS / 64 blocks][4]
// below: as above, of the layer's input, unless that is narrow
extern "C" __global__ void __launch_bounds__(THREADS, 1)
#if SPLIT > 1
    __cluster_dims__(SPLIT, 1, 1)
#endif
        lstm_tile_backward(const bf16* __restrict__ weights, const bf16* __restrict__ input_weights,
                           const float* __restrict__ bias, const bf16* __restrict__ x, const bf16* __restrict__ h,
                           const bf16* __restrict__ cells, const bf16* __restrict__ above,
                           const float* __restrict__ last, const uint32* __restrict__ kept, const float keep,
                           bf16* __restrict__ dz, bf16* __restrict__ below, const int rows, const int windows) {
#if defined(__CUDA_ARCH__)
    extern __shared__ __align__(1024) unsigned char memory[];
    Shared& shared = *reinterpret_cast<Shared*>(memory);
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, q = lane % 4;
    const int group = warp / 4, tile = group / SHARE, share = group % SHARE, thread = threadIdx.x % 128;
#if SPLIT > 1
    const uint32 rank = cluster_rank(), peer = 1 - rank;
#else
    const uint32 rank = 0;
#endif
    const int tiles = windows / TILE, own_tile = blockIdx.x / SPLIT * TILES + tile;
    // Where an array like cells has this thread's numbers of a group of 8 units.
    const auto place = [&](int m) { return ((share * EIGHTS + m) / 2 * 128 + thread) * 8 + (share * EIGHTS + m) % 2 * 4; };
    load_weights(shared.u[0], weights, UNITS, rank, THREADS);
#if NARROW
    load_narrow_weights(shared.w, input_weights, rank, THREADS);
#else
    load_weights(shared.w, input_weights, INPUT, rank, THREADS);
#endif
    load_bias(shared.bias, bias, rank, THREADS);
    // What the last row is asked.
    UNROLL for (int m = 0; m < EIGHTS; ++m) {
        uint2 asked = make_uint2(0, 0);
#if TOP
        const float* const from = last + (int64(own_tile) * TILE + 16 * (warp % 4) + lane / 4) * UNITS + 64 * rank +
                                  8 * (share * EIGHTS + m) + 2 * q;
        const float2 a = *reinterpret_cast<const float2*>(from), b = *reinterpret_cast<const float2*>(from + 8 * UNITS);
        asked = make_uint2(pack(a.x, a.y), pack(b.x, b.y));
#endif
        *reinterpret_cast<uint2*>(shared.dh[tile] + place(m)) = asked;
#if SPLIT > 1
        *reinterpret_cast<uint2*>(shared.dh_of_peer[tile] + place(m)) = make_uint2(0, 0);
#endif
    }
    if (warp == 0 && elected())
        for (int i = 0; i < 4 * TILES; ++i) init_arrivals(shared_address(shared.loaded) + 8 * i);
    publish_arrivals();
    publish_writes();
    __syncthreads();
#if SPLIT > 1
    cluster_barrier();
#endif

    const uint32 u = shared_address(shared.u), w = shared_address(shared.w);
    const uint32 loaded = shared_address(&shared.loaded[tile]);
#if SPLIT > 1
    const uint32 arrived = shared_address(&shared.arrived[tile]), freed = shared_address(&shared.freed[tile]);
#endif
    const uint32 own_dz = shared_address(shared.dz[tile]);
#if OVERLAY
    const uint32 inputs = own_dz;
#else
    const uint32 inputs = shared_address(shared.inputs[tile]);
#endif
    const int first = share * COLUMNS;
    const uint32 own_dh = shared_address(shared.dh[tile]);
    const uint32 own_bias = shared_address(shared.bias) + share * EIGHTS * 128 + q * 32;
    const int row = 16 * (warp % 4) + lane / 8 % 2 * 8 + lane % 8;  // for store_matrices
    const bool moves = share == SHARE - 1 && warp % 4 == 1;         // this warp's bulk copies

    const auto load_row = [&](int t) {  // by one thread
        const int64 at = int64(t) * tiles + own_tile;
        expect_arrivals(loaded, SPLIT * TILE_BYTES + INPUT_BYTES);
        copy_bulk(inputs, h + at * SPLIT * TILE_SIZE, SPLIT * TILE_BYTES, loaded);  // begins with zeros: of the row before
        copy_bulk(inputs + SPLIT * TILE_BYTES, x + at * TILE * INPUT, INPUT_BYTES, loaded);
        if (t > 0) {
            const int64 next = at - tiles;
            if (rank == 0) {
                prefetch_bulk(h + next * SPLIT * TILE_SIZE, SPLIT * TILE_BYTES);
                prefetch_bulk(x + next * TILE * INPUT, INPUT_BYTES);
            }
            prefetch_bulk(cells + (next * SPLIT + rank) * TILE_SIZE, TILE_BYTES);
#if !TOP
            prefetch_bulk(above + (next * SPLIT + rank) * SPLIT * TILE_SIZE, SPLIT * TILE_BYTES);
#endif
        }
    };
    if (moves && elected()) load_row(rows - 1);

#if STAGED
    const uint32 staged = shared_address(&shared.staged[tile]);
    const auto stage_row = [&](int t) {  // by one thread
        const int64 at = (int64(t) * tiles + own_tile) * SPLIT + rank;
        expect_arrivals(staged, TILE_BYTES + (TOP ? 0 : SPLIT * TILE_BYTES + (DROPS ? MASK_BYTES : 0)));
        copy_bulk(shared_address(shared.cells[tile]), cells + at * TILE_SIZE, TILE_BYTES, staged);
#if !TOP
        copy_bulk(shared_address(shared.above[tile]), above + at * SPLIT * TILE_SIZE, SPLIT * TILE_BYTES, staged);
#if DROPS
        copy_bulk(shared_address(shared.kept[tile]), kept + (int64(t) * tiles + own_tile) * (MASK_BYTES / 4), MASK_BYTES,
                  staged);
#endif
#endif
    };
    if (moves && elected()) stage_row(rows - 1);
#endif
    float dc[4 * EIGHTS];
    UNROLL for (int i = 0; i < 4 * EIGHTS; ++i) dc[i] = 0.0f;
#if TILES == 2
    if (tile == 1) arrive(TURN, THREADS);
#endif

    for (int s = 0; s < rows; ++s) {
        const int t = rows - 1 - s;
        float gates[COLUMNS / 2];
        wait_copy(loaded, s & 1);
        __syncwarp();
        begin_products();
        const uint32 own_h = opaque(inputs), own_x = own_h + SPLIT * TILE_BYTES;
        add_input<COLUMNS>(gates, own_x, opaque(w), first);
        const uint32 own_u = opaque(u);
        UNROLL for (int block = 0; block < SPLIT; ++block)
            add_tile<COLUMNS>(gates, own_h + block * TILE_BYTES, own_u + block * GATES * 128, first);
        commit_products();
#if !STAGED
        // The next group's cells are on their way while one is computed.
        const bf16* const from_cells = cells + ((int64(t) * tiles + own_tile) * SPLIT + rank) * TILE_SIZE;
        uint2 next_cells = *reinterpret_cast<const uint2*>(from_cells + place(0));
#endif
#if !OVERLAY
        if (moves && elected()) wait_stores_read();  // of dz, which is written again
#endif
#if TILES == 2
        barrier(TURN + tile, THREADS);
#endif
        wait_products<0>();
        barrier(READ + tile, 128 * SHARE);  // x and h' are read, and dh is there
#if !OVERLAY
        if (moves && t > 0 && elected()) load_row(t - 1);
#endif
#if SPLIT > 1
        if (s > 0) wait_copy(arrived, (s - 1) & 1);
#endif
#if STAGED
        wait_copy(staged, s & 1);
#endif
        UNROLL for (int m = 0; m < EIGHTS; ++m) {
#if STAGED
            const uint2 c0 = load_two(shared.cells[tile] + place(m));
#else
            const uint2 c0 = next_cells;
            if (m + 1 < EIGHTS) next_cells = *reinterpret_cast<const uint2*>(from_cells + place(m + 1));
#endif
            float dh[2][2];  // [row][unit]
            add_units<true>(dh, load_two(shared.dh[tile] + place(m)));
#if SPLIT > 1
            add_units<false>(dh, load_two(shared.dh_of_peer[tile] + place(m)));
#endif
#if !TOP
            float asked[2][2];
#if STAGED
            add_units<true>(asked, load_two(shared.above[tile][0] + place(m)));
            if (SPLIT > 1) add_units<false>(asked, load_two(shared.above[tile][SPLIT - 1] + place(m)));
#else
            const bf16* const from =
                above + ((int64(t) * tiles + own_tile) * SPLIT + rank) * SPLIT * TILE_SIZE + place(m);
            add_units<true>(asked, *reinterpret_cast<const uint2*>(from));
            if (SPLIT > 1) add_units<false>(asked, *reinterpret_cast<const uint2*>(from + (SPLIT - 1) * TILE_SIZE));
#endif
            UNROLL for (int half = 0; half < 2; ++half) {
#if DROPS
                const int eighth = 8 * rank + share * EIGHTS + m, windows_eighth = 2 * (warp % 4) + half;
#if STAGED
                const uint2 words = shared.kept[tile][windows_eighth][eighth];
#else
                const uint2 words = reinterpret_cast<const uint2*>(
                    kept)[((int64(t) * tiles + own_tile) * 8 + windows_eighth) * (UNITS / 8) + eighth];
#endif
                const uint32 bits = own_mask(words, lane);
                dh[half][0] += bits & 1 ? asked[half][0] * keep : 0.0f;
                dh[half][1] += bits & 16 ? asked[half][1] * keep : 0.0f;
#else
                dh[half][0] += asked[half][0];
                dh[half][1] += asked[half][1];
#endif
            }
#endif
            const uint4 b0 = load_shared(own_bias + m * 128), b1 = load_shared(own_bias + m * 128 + 16);
            const float b[4][2] = {{__uint_as_float(b0.x), __uint_as_float(b0.y)},
                                   {__uint_as_float(b0.z), __uint_as_float(b0.w)},
                                   {__uint_as_float(b1.x), __uint_as_float(b1.y)},
                                   {__uint_as_float(b1.z), __uint_as_float(b1.w)}};
            uint32 found[2][4][PARTS];
            UNROLL for (int half = 0; half < 2; ++half) {
                float tangents[4][2];
                UNROLL for (int gate = 0; gate < 4; ++gate)
                    UNROLL for (int e = 0; e < 2; ++e)
                        tangents[gate][e] = tangent(gates[16 * m + 4 * gate + 2 * half + e] + b[gate][e]);
                const uint32 both = half ? c0.y : c0.x;
                const float before[2] = {lower(both), upper(both)};
                differentiate(tangents, before, dh[half], dc + 4 * m + 2 * half, found[half]);
            }
            const uint32 to = own_dz + (share * EIGHTS + m) / 2 * TILE_BYTES + row * 128;
            UNROLL for (int gate = 0; gate < 4; gate += 2)
                store_matrices(to + (((share * EIGHTS + m) % 2 * 4 + gate + lane / 16) ^ row % 8) * 16, found[0][gate][0],
                               found[1][gate][0], found[0][gate + 1][0], found[1][gate + 1][0]);
        }
#if TILES == 2
        if (!(tile == 1 && t == 0)) arrive(TURN + 1 - tile, THREADS);
#endif
        publish_writes();
        barrier(WRITTEN + tile, 128 * SHARE);
        if (moves && elected()) {
#if STAGED
            if (t > 0) stage_row(t - 1);
#endif
            store_bulk(dz + ((int64(t) * tiles + own_tile) * SPLIT + rank) * 4 * TILE_SIZE, own_dz, 4 * TILE_BYTES);
#if SPLIT > 1
            if (t > 0) {
                expect_arrivals(arrived, TILE_BYTES);
                arrive_at_peer(peer_address(freed, peer));
            }
#endif
        }
#if OVERLAY
        // After a product of dz: when all are done, x and h' of the row before may take its place.
        const auto release = [&] {
            if (t == 0) return;
            if (moves) {
                barrier(FREED + tile, 128 * SHARE);
                if (elected()) {
                    wait_stores_read();
                    load_row(t - 1);
                }
            } else {
                arrive(FREED + tile, 128 * SHARE);
            }
        };
#else
        const auto release = [] {};
#endif
        float out[UNITS / 2];
        if (share == OF_H && t > 0) {
            begin_products();
            multiply_dz(out, opaque(own_dz), opaque(u));
            commit_products();
            wait_products<0>();
            release();
#if SPLIT > 1
            wait_copy(freed, s & 1);
            const uint32 to = peer_address(shared_address(shared.dh_of_peer[tile]) + thread * 16, peer);
            const uint32 their_arrived = peer_address(arrived, peer);
            UNROLL for (int j = 0; j < 4; ++j) {
                const uint4 low = pack_units(out + 8 * j), high = pack_units(out + 32 + 8 * j);
                send(to + j * 2048, rank ? low : high, their_arrived);
                store_shared(own_dh + (j * 128 + thread) * 16, rank ? high : low);
            }
#else
            UNROLL for (int j = 0; j < 4; ++j)
                store_shared(own_dh + (j * 128 + thread) * 16, pack_units(out + 8 * j));
#endif
        } else if (!NARROW && share == OF_X) {
            begin_products();
            multiply_dz(out, opaque(own_dz), opaque(w));
            commit_products();
            wait_products<0>();
            release();
            UNROLL for (int half = 0; half < SPLIT; ++half) {
                bf16* to = below + (((int64(t) * tiles + own_tile) * SPLIT + half) * SPLIT + rank) * TILE_SIZE + thread * 8;
                UNROLL for (int j = 0; j < 4; ++j)
                    *reinterpret_cast<uint4*>(to + j * 128 * 8) = pack_units(out + 32 * half + 8 * j);
            }
        } else {
            release();
        }
    }
    if (moves && elected()) wait_stores();
#if SPLIT > 1
    cluster_barrier();
#endif
#endif
}
