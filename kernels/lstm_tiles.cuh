// What the kernels for large batches share: products of whole tiles by wgmma, and how tiles lie in memory.
//
// A tile (lstm_wgmma.cuh) is 64 windows by 64 columns. It lies in global memory as it does in shared memory, so that one
// bulk copy moves it.
//
// Arrays of rows, windows and units are [rows][windows / 64][units / 64] tiles.
//
// Gate columns are ordered 32 * (unit / 8) + 8 * gate + unit % 8: the accumulators of a thread then hold all four gates
// of its units. A block owns 64 units, 256 gate columns.

#include "lstm_wgmma.cuh"

#define SPLIT (UNITS / 64)      // blocks that share the units of the same windows
#define GATES 256               // gate columns of a block
#define NARROW (INPUT == 16)    // the layer's input: 16 columns, or as many as units
#define INPUT_TILES (INPUT / 64)
#define INPUT_BYTES (TILE * INPUT * 2)
#define PAIR 2  // blocks of a cluster that share what they read

#if defined(__CUDA_ARCH__)

// -- copies and barriers ----------------------------------------------------------------------------------------------

// From shared to global memory, and to the shared memory of another block of the cluster.
INLINE void store_bulk(void* to, uint32 from, uint32 bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\ncp.async.bulk.commit_group;" ::"l"(to),
                 "r"(from), "r"(bytes) : "memory");
}
INLINE void send_bulk(uint32 peer, uint32 from, uint32 bytes, uint32 peer_arrived) {
    asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     peer), "r"(from), "r"(bytes), "r"(peer_arrived) : "memory");
}
// From global memory to the same place in the shared memory of both blocks of a pair, counted by a barrier in each.
INLINE void copy_to_both(uint32 to, const void* from, uint32 bytes, uint32 arrived) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;"
                 ::"r"(to), "l"(from), "r"(bytes), "r"(arrived), "h"((unsigned short)((1 << PAIR) - 1)) : "memory");
}
INLINE void prefetch_bulk(const void* from, uint32 bytes) {
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}
// Until this thread's bulk stores have read what they store; until they have ended.
INLINE void wait_stores_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
INLINE void wait_stores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
// Of the same barrier in both blocks of a pair.
INLINE void arrive_at_both(uint32 barrier) {
    UNROLL for (uint32 rank = 0; rank < PAIR; ++rank) arrive_at_peer(peer_address(barrier, rank));
}
INLINE void arrive_here(uint32 at) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory"); }
// Counts this thread at a named barrier without waiting for the others.
INLINE void arrive(int name, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(name), "r"(threads) : "memory"); }

INLINE uint4 load_shared(uint32 at) {
    uint4 v;
    asm volatile("ld.shared.v4.b32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at) : "memory");
    return v;
}
INLINE void store_shared(uint32 at, uint4 v) {
    asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(at), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
// Four 8 x 8 matrices to shared memory, as load_matrices reads them.
INLINE void store_matrices(uint32 address, uint32 a, uint32 b, uint32 c, uint32 d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(a), "r"(b), "r"(c),
                 "r"(d) : "memory");
}

// -- weights ----------------------------------------------------------------------------------------------------------

// The rows of a matrix [4 UNITS, width] that belong to a block's 256 gate columns, as tiles of 64 columns: [width / 64][256].
INLINE void load_weights(bf16* to, const bf16* from, int width, uint32 rank, int threads) {
    for (int v = threadIdx.x; v < GATES * width / 8; v += threads) {
        const int row = v / (width / 8), piece = v % (width / 8);
        *reinterpret_cast<uint4*>(to + piece / 8 * GATES * 64 + row * 64 + (piece % 8 ^ row % 8) * 8) =
            *reinterpret_cast<const uint4*>(from + int64(GATES * rank + row) * width + piece * 8);
    }
}
// The same for 16 columns.
INLINE void load_narrow_weights(bf16* to, const bf16* from, uint32 rank, int threads) {
    for (int v = threadIdx.x; v < GATES * 2; v += threads) {
        const int row = v / 2, piece = v % 2;
        *reinterpret_cast<uint4*>(to + row * 16 + (piece ^ row / 4 % 2) * 8) =
            *reinterpret_cast<const uint4*>(from + int64(GATES * rank + row) * 16 + piece * 8);
    }
}
// The bias of a block's gates, so that a thread's eight of 8 units are neighbours: [8 units' groups][q][gate][e].
INLINE void load_bias(float* to, const float* from, uint32 rank, int threads) {
    for (int v = threadIdx.x; v < GATES; v += threads) {
        const int unit = v / 32 * 8 + v / 8 % 4 * 2 + v % 2, gate = v / 2 % 4;
        to[v] = from[4 * (64 * rank + unit) + gate];
    }
}

// gates[64 windows, COLUMNS] += input W + h U, from column `first` of a block on; `input`, `h`: tiles in shared memory.
// h: its tiles from `begin` to `end`.
template <int COLUMNS>
INLINE void add_input(float (&gates)[COLUMNS / 2], uint32 input, uint32 w, int first) {
#if NARROW
    multiply_tiles<false, false>(gates, along_narrow_rows(input), along_narrow_rows(w + first * 32), false);
#else
    UNROLL for (int k = 0; k < INPUT / 16; ++k)
        multiply_tiles<false, false>(gates, along_rows(input + k / 4 * TILE_BYTES + k % 4 * 32),
                                     along_rows(w + k / 4 * GATES * 128 + first * 128 + k % 4 * 32), k > 0);
#endif
}
template <int COLUMNS>
INLINE void add_tile(float (&gates)[COLUMNS / 2], uint32 tile, uint32 u, int first) {
    UNROLL for (int k = 0; k < 4; ++k)
        multiply_tiles<false, false>(gates, along_rows(tile + k * 32), along_rows(u + first * 128 + k * 32), true);
}
#endif
