// What the kernels for large batches share: products of whole tiles by wgmma, and how tiles lie in memory.
//
// A tile is 64 windows by 64 columns of bfloat16, 8 KiB. It lies in global memory as it does in shared memory, so that
// one bulk copy moves it: a window's 64 numbers are 128 bytes in 8 pieces of 16, and piece p of window w is stored as
// piece p ^ (w % 8). That is the 128-byte swizzle of wgmma, which reads a tile by windows (as A[windows, columns]) and by
// columns (as A[columns, windows]) without conflicts. A tile of 16 columns has the 32-byte swizzle: piece p ^ (w / 4 % 2).
//
// Arrays of rows, windows and units are [rows][windows / 64][units / 64] tiles.
//
// Gate columns are ordered 32 * (unit / 8) + 8 * gate + unit % 8: the accumulators of a thread then hold all four gates
// of its units. A block owns 64 units, 256 gate columns.

#include "lstm_common.cuh"

#define SPLIT (UNITS / 64)      // blocks that share the units of the same windows
#define TILE 64                 // windows, and columns
#define TILE_SIZE (TILE * TILE)
#define TILE_BYTES (2 * TILE_SIZE)
#define GATES 256               // gate columns of a block
#define NARROW (INPUT == 16)    // the layer's input: 16 columns, or as many as units
#define INPUT_TILES (INPUT / 64)
#define INPUT_BYTES (TILE * INPUT * 2)
#define PAIR 2  // blocks of a cluster that share what they read

#if defined(__CUDA_ARCH__)

// -- products ---------------------------------------------------------------------------------------------------------
//
// D[64, N] (+)= A[64, 16] B[16, N], by the four warps of a warpgroup. A thread of warp w holds rows 16 w + g and that +
// 8, columns 8 j + 2 q and that + 1: d[4 j], d[4 j + 1] of the first row, d[4 j + 2], d[4 j + 3] of the second.

// Describes an operand in shared memory for wgmma; see "Matrix Descriptor" in the PTX manual.
// leading, stride: bytes between its parts; swizzle: 1 for 128 bytes, 3 for 32, 0 for none.
INLINE uint64 describe(uint32 address, uint32 leading, uint32 stride, uint64 swizzle) {
    return uint64((address & 0x3ffff) >> 4) | uint64(leading >> 4) << 16 | uint64(stride >> 4) << 32 | swizzle << 62;
}
// Rows of 64 numbers along the inner dimension; 16 further inner numbers are 32 bytes on.
INLINE uint64 along_rows(uint32 address) { return describe(address, 16, 1024, 1); }
// The same with the inner dimension down the rows; 16 further rows are 2,048 bytes on, the next 64 columns `next` bytes.
INLINE uint64 down_rows(uint32 address, uint32 next) { return describe(address, next, 1024, 1); }
// Rows of 16 numbers; down the rows, 16 further ones are 512 bytes on.
INLINE uint64 along_narrow_rows(uint32 address) { return describe(address, 16, 256, 3); }
INLINE uint64 down_narrow_rows(uint32 address) { return describe(address, 256, 256, 3); }

#define TEN(tens) \
    "%" #tens "0,%" #tens "1,%" #tens "2,%" #tens "3,%" #tens "4,%" #tens "5,%" #tens "6,%" #tens "7,%" #tens "8,%" #tens "9"
#define FOUR_OF(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SIXTEEN_OF(d, i) FOUR_OF(d, i), FOUR_OF(d, i + 4), FOUR_OF(d, i + 8), FOUR_OF(d, i + 12)
#define THIRTY_TWO_OF(d, i) SIXTEEN_OF(d, i), SIXTEEN_OF(d, i + 16)
// The operands A and B, whether their inner dimension runs down the rows, and whether D is added to.
#define MULTIPLY_TILES(N, REGISTERS, A, B, ADD, DOWN_A, DOWN_B, ...)                                                            \
    template <bool DOWN_ROWS_A, bool DOWN_ROWS_B>                                                                      \
    INLINE void multiply_tiles(float (&d)[N / 2], uint64 a, uint64 b, bool add) {                                      \
        asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" #ADD ", 0;\n"                                            \
                     "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" REGISTERS "}, %" #A ", %" #B         \
                     ", add, 1, 1, %" #DOWN_A ", %" #DOWN_B ";\n}"                                                     \
                     : __VA_ARGS__                                                                                     \
                     : "l"(a), "l"(b), "r"(int(add)), "n"(int(DOWN_ROWS_A)), "n"(int(DOWN_ROWS_B)));                   \
    }
MULTIPLY_TILES(8, "%0,%1,%2,%3", 4, 5, 6, 7, 8, FOUR_OF(d, 0))
MULTIPLY_TILES(16, "%0,%1,%2,%3,%4,%5,%6,%7", 8, 9, 10, 11, 12, FOUR_OF(d, 0), FOUR_OF(d, 4))
MULTIPLY_TILES(32, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15", 16, 17, 18, 19, 20, SIXTEEN_OF(d, 0))
MULTIPLY_TILES(64, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9," TEN(1) "," TEN(2) ",%30,%31", 32, 33, 34, 35, 36, THIRTY_TWO_OF(d, 0))
MULTIPLY_TILES(128, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9," TEN(1) "," TEN(2) "," TEN(3) "," TEN(4) "," TEN(5) ",%60,%61,%62,%63", 64,
      65, 66, 67, 68, THIRTY_TWO_OF(d, 0), THIRTY_TWO_OF(d, 32))
MULTIPLY_TILES(256, "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9," TEN(1) "," TEN(2) "," TEN(3) "," TEN(4) "," TEN(5) "," TEN(6) "," TEN(7) \
      "," TEN(8) "," TEN(9) "," TEN(10) "," TEN(11) ",%120,%121,%122,%123,%124,%125,%126,%127", 128, 129, 130, 131, 132,
      THIRTY_TWO_OF(d, 0), THIRTY_TWO_OF(d, 32), THIRTY_TWO_OF(d, 64), THIRTY_TWO_OF(d, 96))

// Orders what was written to registers before products that read or add to them.
INLINE void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
INLINE void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING> INLINE void wait_products() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
// Makes what this thread wrote to shared memory visible to products and to the copy engine.
INLINE void publish_writes() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// The same address, as one that the compiler knows nothing of: what is computed from it is computed where it is used,
// rather than kept in registers over the whole loop.
INLINE uint32 opaque(uint32 address) {
    asm volatile("" : "+r"(address));
    return address;
}

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
