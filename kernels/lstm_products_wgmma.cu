// The products of lstm_products.cu, of the same arrays, by wgmma, for compute capability 9.0.
//
//   multiply_rows                  out [m, n] = a [m, k] b [n, k]^T
//   multiply_columns               out [m, n] = a [k, m]^T b [k, n] for two operands b, in several sums over parts of k
//   multiply_columns_and_narrow    the same where the second operand is narrow
//   multiply_column_and_narrow     and the first has at most 64 columns
//
// Threads bring 16-byte pieces of whole rows by cp.async and place them as the tiles of lstm_wgmma.cuh, STAGES of them,
// each 64 numbers of k (32 in multiply_columns with two parts). The products of one stage run while the next are on their
// way.
//
//   multiply_rows: 2 warpgroups         multiply_columns: 4 warpgroups, 256 rows of the result by two
//                                       tiles of columns, of either operand
//     a [128][k]   b [128][k]             a [k][256]         h [k][64]  h or x [k][64]  (x [k][16])
//        128 x 128 of the result             256 x 128 of the result      (and 256 x 16)
//
// In multiply_columns two blocks are a cluster: each adds to half of its sums those that the other left in its shared
// memory, so that half as many are written, and read by lstm_update.cu.
//
// Floor: at 1,024 windows of 60 rows and 128 units, multiply_rows reads and writes 79 MB, 26 us at 3 TB/s,
// multiply_columns reads 95 MB, 32 us; their 4 and 8 GMAC take 10 and 20 us at 800 TFLOP/s.
//
// Sizes: as in lstm_products.cu.

#include "lstm_wgmma.cuh"

#define EXTRA 16         // columns of a narrow second operand
#define BLOCK_M 128      // of multiply_rows: rows, columns, threads
#define BLOCK_N 128
#define ROW_THREADS 256
#define ROW_STAGES 3
#define COLUMN_M 256     // of multiply_columns
#define COLUMN_THREADS 512
#define COLUMN_BOUND 576  // a limit of 96 registers a thread, which leaves room for blocks of lstm_masks.cu
#define COLUMN_STAGES 4
#define DEPTH (TILE / PARTS)  // rows of a stage of multiply_columns
#define PIECE (DEPTH * TILE)  // numbers of a tile of so many rows
#define PIECES (TILE / 8)     // of 16 bytes in a row of a tile

struct Operand {
    const bf16* values;  // [PARTS][k][n]
    float* out;          // [parts][m][n]
    int64 plane;         // numbers from one plane to the next
    int n, unused;
};

#if defined(__CUDA_ARCH__)
// Where piece `piece` of row `row` of a tile lies, in bytes; that of row + 8 is 8 rows, 8 * ROW_BYTES, on.
#define ROW_BYTES (2 * TILE)
INLINE uint32 in_tile(uint32 row, uint32 piece) { return row * ROW_BYTES + (piece ^ row % 8) * 16; }

struct RowStage {
    struct Part { bf16 a[BLOCK_M * TILE], b[BLOCK_N * TILE]; } parts[PARTS];
};

// a: [PARTS][m][k]; b: [PARTS][n][k]; bias: [n], or null; out: [PARTS][m][n]; a_plane: numbers from one plane to the next
// last_first: begin with the last rows
INLINE void rows(unsigned char* memory, const bf16* __restrict__ a, const int64 a_plane, const bf16* __restrict__ b,
                 const float* bias, bf16* __restrict__ out, const int64 m, const int n, const int k, const int last_first) {
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, group = warp / 4;
    // Neighbouring blocks read the same rows of a, and run at the same time.
    const int across = (n + BLOCK_N - 1) / BLOCK_N, n0 = blockIdx.x % across * BLOCK_N, count = (k + TILE - 1) / TILE;
    const int number = blockIdx.x / across;
    const int64 m0 = int64(last_first ? gridDim.x / across - 1 - number : number) * BLOCK_M;
    constexpr int STRIDE = ROW_THREADS / PIECES;  // rows that all threads bring at a time
    const int row = threadIdx.x / PIECES, piece = threadIdx.x % PIECES;
    const int rows_of_a = int(min(m - m0, int64(BLOCK_M))), rows_of_b = min(n - n0, BLOCK_N);
    const uint32 to = shared_address(memory) + in_tile(row, piece);
    const bf16* from_a = a + (m0 + row) * k + piece * 8;
    const bf16* from_b = b + int64(n0 + row) * k + piece * 8;
    const auto load = [&](int i) {
        if (i < count) {
            const bool along = i * TILE + piece * 8 < k;
            UNROLL for (int part = 0; part < PARTS; ++part) {
                const uint32 stage = to + i % ROW_STAGES * sizeof(RowStage) + part * sizeof(RowStage::Part);
                const bf16* from = from_a + part * a_plane;
                UNROLL for (int j = 0; j < BLOCK_M; j += STRIDE, from += STRIDE * k)
                    copy_async(stage + j * ROW_BYTES, from, along && row + j < rows_of_a);
                from = from_b + part * int64(n) * k;
                UNROLL for (int j = 0; j < BLOCK_N; j += STRIDE, from += STRIDE * k)
                    copy_async(stage + sizeof(RowStage::Part::a) + j * ROW_BYTES, from, along && row + j < rows_of_b);
            }
            from_a += TILE;
            from_b += TILE;
        }
        commit_copies();
    };
    float sums[BLOCK_N / 2] = {};
    wait_for_kernel_before();
    begin_next_kernel();
    UNROLL for (int i = 0; i < ROW_STAGES - 1; ++i) load(i);
    for (int i = 0; i < count; ++i) {
        wait_copies<ROW_STAGES - 2>();
        publish_writes();
        wait_products<0>();
        __syncthreads();  // stage i is there, and all have done with stage i - 1, which is loaded anew
        begin_products();
        const RowStage& stage = reinterpret_cast<const RowStage*>(memory)[i % ROW_STAGES];
        UNROLL for (int step = 0; step < TILE / 16; ++step)
            UNROLL for (int one = 0; one < PARTS; ++one)
                UNROLL for (int other = 0; one + other < PARTS; ++other)
                    multiply_tiles<false, false>(
                        sums, along_rows(shared_address(stage.parts[one].a + group * TILE_SIZE) + step * 32),
                        along_rows(shared_address(stage.parts[other].b) + step * 32), true);
        commit_products();
        load(i + ROW_STAGES - 1);
    }
    wait_products<0>();
    wait_copies<0>();
    // Through shared memory, so that whole rows of the tile are written.
    constexpr int PITCH = BLOCK_N + 8;
    bf16* const tile = reinterpret_cast<bf16*>(memory);
    UNROLL for (int part = 0; part < PARTS; ++part) {
        __syncthreads();
        UNROLL for (int j = 0; j < BLOCK_N / 8; ++j) {
            const int column = 8 * j + lane % 4 * 2;
            float2 add = make_float2(0.0f, 0.0f);
            if (bias && n0 + column < n) add = *reinterpret_cast<const float2*>(bias + n0 + column);
            UNROLL for (int half = 0; half < 2; ++half) {
                uint32 parts[PARTS];
                split(sums[4 * j + 2 * half] + add.x, sums[4 * j + 2 * half + 1] + add.y, parts);
                *reinterpret_cast<uint32*>(tile + (16 * warp + 8 * half + lane / 4) * PITCH + column) = parts[part];
            }
        }
        __syncthreads();
        for (int v = threadIdx.x; v < BLOCK_M * BLOCK_N / 8; v += ROW_THREADS) {
            const int row = v / (BLOCK_N / 8), column = v % (BLOCK_N / 8) * 8;
            if (row < rows_of_a && n0 + column < n)
                *reinterpret_cast<uint4*>(out + part * m * n + (m0 + row) * n + n0 + column) =
                    *reinterpret_cast<const uint4*>(tile + row * PITCH + column);
        }
    }
}

template <int TILES> struct ColumnStage {
    struct Part { bf16 a[COLUMN_M / TILE][PIECE], b[TILES][PIECE], narrow[DEPTH * EXTRA]; } parts[PARTS];
};

// TILES: of columns, 1 or 2; NARROW: whether the second operand is narrow; the first blocks of columns have it.
template <int TILES, bool NARROW>
INLINE void columns(unsigned char* memory, const bf16* __restrict__ a, const int64 a_plane, const Operand& first,
                    const Operand& second, const int m, const int k) {
    const int warp = uniform(threadIdx.x / 32), lane = threadIdx.x % 32, group = warp / 4, m0 = blockIdx.x * COLUMN_M;
    // Blocks take the stages in turn, so that together they read k from its begin to its end.
    const int k0 = blockIdx.z * DEPTH, each = gridDim.z * DEPTH, count = (k - k0 + each - 1) / each;
    // Of a, this thread brings a piece of every A_STRIDE-th row; of the columns, of every B_STRIDE-th.
    constexpr int A_STRIDE = COLUMN_THREADS / (COLUMN_M / 8), B_STRIDE = COLUMN_THREADS / (TILES * PIECES);
    using Stage = ColumnStage<TILES>;
    const uint32 begin = shared_address(memory);
    const int a_row = threadIdx.x / (COLUMN_M / 8), a_piece = threadIdx.x % (COLUMN_M / 8);
    const int a_rows = m0 + a_piece * 8 < m ? k - k0 - a_row : 0;  // those below this one that there are
    const uint32 a_to = begin + a_piece / PIECES * (2 * PIECE) + in_tile(a_row, a_piece % PIECES);
    const bf16* from_a = a + int64(k0 + a_row) * m + m0 + a_piece * 8;
    const int b_row = threadIdx.x / (TILES * PIECES);
    const int b_tile = threadIdx.x / PIECES % TILES, b_piece = threadIdx.x % PIECES;
    // The tiles of the first operand, then those of the second.
    const int of_first = (first.n + TILE - 1) / TILE, tile = TILES * blockIdx.y + b_tile;
    const bool is_first = tile < of_first;
    const int column = (is_first ? tile : tile - of_first) * TILE + b_piece * 8, b_n = is_first ? first.n : second.n;
    const int64 b_plane = is_first ? first.plane : second.plane;
    const int b_rows = column < b_n && (is_first || second.n > EXTRA) ? k - k0 - b_row : 0;
    const uint32 b_to = begin + sizeof(Stage::Part::a) + b_tile * (2 * PIECE) + in_tile(b_row, b_piece);
    const bf16* from_b = (is_first ? first.values : second.values) + int64(k0 + b_row) * b_n + column;
    const int narrow_row = threadIdx.x / (EXTRA / 8), narrow_piece = threadIdx.x % (EXTRA / 8);
    const int narrow_rows = blockIdx.y == 0 && narrow_piece * 8 < second.n ? k - k0 - narrow_row : 0;
    const uint32 narrow_to = begin + sizeof(Stage::Part::a) + sizeof(Stage::Part::b) + narrow_row * (2 * EXTRA) +
                             (narrow_piece ^ narrow_row / 4 % 2) * 16;
    const bf16* from_narrow = second.values + int64(k0 + narrow_row) * second.n + narrow_piece * 8;
    const auto load = [&](int i) {
        if (i < count) {
            UNROLL for (int part = 0; part < PARTS; ++part) {
                const uint32 to = i % COLUMN_STAGES * sizeof(Stage) + part * sizeof(Stage::Part);
                const bf16* from = from_a + part * a_plane;
                UNROLL for (int j = 0; j < DEPTH; j += A_STRIDE, from += A_STRIDE * m)
                    copy_async(a_to + to + j * ROW_BYTES, from, i * each + j < a_rows);
                from = from_b + part * b_plane;
                UNROLL for (int j = 0; j < DEPTH; j += B_STRIDE, from += B_STRIDE * b_n)
                    if (B_STRIDE <= DEPTH || b_row < DEPTH)
                        copy_async(b_to + to + j * ROW_BYTES, from, i * each + j < b_rows);
                if (NARROW && narrow_row < DEPTH)
                    copy_async(narrow_to + to, from_narrow + part * second.plane, i * each < narrow_rows);
            }
            from_a += int64(each) * m;
            from_b += int64(each) * b_n;
            from_narrow += int64(each) * second.n;
        }
        commit_copies();
    };
    float sums[32 * TILES] = {}, narrow[NARROW ? EXTRA / 2 : 1] = {};
    wait_for_kernel_before();
    begin_next_kernel();
    UNROLL for (int i = 0; i < COLUMN_STAGES - 1; ++i) load(i);
    for (int i = 0; i < count; ++i) {
        wait_copies<COLUMN_STAGES - 2>();
        publish_writes();
        wait_products<0>();
        __syncthreads();  // as above
        begin_products();
        const Stage& stage = reinterpret_cast<const Stage*>(memory)[i % COLUMN_STAGES];
        UNROLL for (int step = 0; step < DEPTH / 16; ++step)
            UNROLL for (int one = 0; one < PARTS; ++one) {
                const uint64 left = down_rows(shared_address(stage.parts[one].a[group]) + step * 2048, PIECE * 2);
                UNROLL for (int other = 0; one + other < PARTS; ++other) {
                    const auto& right = stage.parts[other];
                    const uint32 b = shared_address(right.b) + step * 2048;
                    multiply_tiles<true, true>(sums, left, down_rows(b, PIECE * 2), true);
                    const uint32 x = shared_address(right.narrow) + step * 512;
                    if constexpr (NARROW) multiply_tiles<true, true>(narrow, left, down_narrow_rows(x), true);
                }
            }
        commit_products();
        load(i + COLUMN_STAGES - 1);
    }
    wait_products<0>();
    wait_copies<0>();
    // A cluster is two blocks, whose stages are neighbours: each adds up half of the columns of both.
    constexpr int EIGHTHS = 4 * TILES;  // groups of 8 columns of a half
    const bool upper = cluster_rank() != 0, has_narrow = NARROW && blockIdx.y == 0;
    const uint32 place = threadIdx.x * 16, step = COLUMN_THREADS * 16, peer = peer_address(begin + place, !upper);
    const auto leave = [&](int number, const float* lower, const float* higher) {
        float left[4];
        UNROLL for (int i = 0; i < 4; ++i) left[i] = upper ? lower[i] : higher[i];
        *reinterpret_cast<float4*>(memory + place + number * step) = make_float4(left[0], left[1], left[2], left[3]);
    };
    __syncthreads();  // all have done with the stages
    UNROLL for (int i = 0; i < EIGHTHS; ++i) leave(i, sums + 4 * i, sums + 4 * (EIGHTHS + i));
    if (has_narrow) leave(EIGHTHS, narrow, narrow + 4 * NARROW);
    cluster_barrier();
    const auto add = [&](float (&own)[4], const float4& other, const float* lower, const float* higher) {
        const float values[4] = {other.x, other.y, other.z, other.w};
        UNROLL for (int i = 0; i < 4; ++i) own[i] = (upper ? higher[i] : lower[i]) + values[i];
    };
    const int own_row = m0 + 16 * warp + lane / 4;
    const auto store = [&](float* out, int n, int column, const float (&values)[4]) {
        UNROLL for (int half = 0; half < 2; ++half)
            if (own_row + 8 * half < m && column < n)
                *reinterpret_cast<float2*>(out + (int64(blockIdx.z / 2) * m + own_row + 8 * half) * n + column) =
                    make_float2(values[2 * half], values[2 * half + 1]);
    };
    constexpr int AT_ONCE = 4;  // reads on their way
    float4 others[AT_ONCE];
    UNROLL for (int i = 0; i < EIGHTHS; ++i) {
        if (i % AT_ONCE == 0)
            UNROLL for (int ahead = 0; ahead < AT_ONCE; ++ahead) others[ahead] = load_from_peer(peer + (i + ahead) * step);
        float values[4];
        add(values, others[i % AT_ONCE], sums + 4 * i, sums + 4 * (EIGHTHS + i));
        const int eighth = upper * EIGHTHS + i, number = TILES * blockIdx.y + eighth / 8;
        const bool one = number < of_first;
        if (one || second.n > EXTRA)
            store(one ? first.out : second.out, one ? first.n : second.n,
                  (one ? number : number - of_first) * TILE + eighth % 8 * 8 + lane % 4 * 2, values);
    }
    if (has_narrow) {
        float values[4];
        add(values, load_from_peer(peer + EIGHTHS * step), narrow, narrow + 4 * NARROW);
        store(second.out, second.n, upper * 8 + lane % 4 * 2, values);
    }
    cluster_barrier();  // no block ends while the other still reads from it
}
#endif

extern "C" __global__ void __launch_bounds__(ROW_THREADS, PARTS == 1 ? 2 : 1)
multiply_rows(const bf16* a, const int64 a_plane, const bf16* b, const float* bias, bf16* out, const int64 m,
              const int n, const int k, const int last_first) {
#if defined(__CUDA_ARCH__)
    extern __shared__ __align__(1024) unsigned char memory[];
    rows(memory, a, a_plane, b, bias, out, m, n, k, last_first);
#endif
}

// a: [PARTS][k][m]. Blocks: x over m; y over pairs of tiles of columns; z over the stages of k, which they take in turn,
// twice as many as there are sums.
#define COLUMNS_KERNEL(name, bound, TILES, NARROW)                                                                      \
    extern "C" __global__ void __cluster_dims__(1, 1, 2) __launch_bounds__(bound, 1)                                   \
    name(const bf16* a, const int64 a_plane, const Operand first, const Operand second, const int m, const int k) {     \
        extern __shared__ __align__(1024) unsigned char memory[];                                                      \
        COLUMNS_BODY(TILES, NARROW)                                                                                    \
    }
#if defined(__CUDA_ARCH__)
#define COLUMNS_BODY(TILES, NARROW) columns<TILES, NARROW>(memory, a, a_plane, first, second, m, k);
#else
#define COLUMNS_BODY(TILES, NARROW)
#endif
COLUMNS_KERNEL(multiply_columns, COLUMN_BOUND, 2, false)
COLUMNS_KERNEL(multiply_columns_and_narrow, COLUMN_THREADS, 2, true)
COLUMNS_KERNEL(multiply_column_and_narrow, COLUMN_BOUND, 1, true)
