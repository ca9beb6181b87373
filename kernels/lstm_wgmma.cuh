// Products of whole tiles by wgmma, the tensor cores' instruction of compute capability 9.0, from shared memory.
//
// A tile is 64 rows of 64 numbers of bfloat16, 8 KiB, in the 128-byte swizzle of wgmma: a row's 64 numbers are 128 bytes
// in 8 pieces of 16, and piece p of row r is stored as piece p ^ (r % 8). Products read it by rows (as A[rows, columns])
// and by columns (as A[columns, rows]) without conflicts. A tile of 16 columns has the 32-byte swizzle: piece p ^ (r / 4 % 2).

#include "lstm_common.cuh"

#define TILE 64  // rows, and columns
#define TILE_SIZE (TILE * TILE)
#define TILE_BYTES (2 * TILE_SIZE)

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
#endif
