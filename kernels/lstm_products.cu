// Products over all rows of all windows at once, which no row has to wait for.
//
//   multiply_rows    out [m, n] = a [m, k] b [n, k]^T:   x W + b of a layer, and dx = dz W^T for the layer below
//   multiply_columns out [m, n] = a [k, m]^T b [k, n]:   the gradients of U and W, dz^T h_before and dz^T x, in one
//                                                        launch, so that dz is read once
//
// One tile of BLOCK_M x COLUMNS numbers of the result a block, 8 warps on it, by mma.m16n8k16 from shared memory. Tiles
// of the operands come by cp.async, STAGES of them (2, or 3 where there is room) on the way. Results of
// multiply_columns have a long inner dimension and few tiles: it is cut into `splits` parts, whose sums are written
// side by side and added in order by whoever reads them, so that results do not depend on chance.
//
// Floor: at 8,192 windows of 60 rows and 128 units each reads and writes 630 MB: 210 us at 3 TB/s, and takes 64 GFLOP:
// 81 us at 790 TFLOP/s, or 140 us at what mma.sync reaches.
//
// Sizes: k of multiply_rows and n are multiples of 16, m of multiply_columns of 64, m of multiply_rows and k of
// multiply_columns of 8. What lies outside counts as 0.

#include "lstm_common.cuh"

#define THREADS 256
#define BLOCK_M 128
#define K 32             // of one stage
#define EXTRA 16         // columns of a narrow second operand

// How the 8 warps share a tile of BLOCK_M x N.
template <int N> struct Shape {
    static constexpr int across = N >= 64 ? 2 : 1, down = 8 / across;
    static constexpr int m = BLOCK_M / down / 16, n = N / across / 8;  // tiles of mma of a warp
    static constexpr int extra = EXTRA / 8 / across;                   // and those across a narrow operand
};

template <int N> struct Sums { float at[Shape<N>::m][Shape<N>::n][4]; };

// One stage for operands whose rows are along k. Pitch in numbers: no bank conflicts.
template <int N> struct RowStage {
    static constexpr int pitch = K + 8;
    bf16 a[PARTS][BLOCK_M][pitch], b[PARTS][N][pitch];
};
// And for operands whose columns are along k; `more` are EXTRA columns of another operand.
template <int N> struct ColumnStage {
    static constexpr int pitch_a = BLOCK_M + 8, pitch_b = N + 8;
    bf16 a[PARTS][K][pitch_a], b[PARTS][K][pitch_b], more[PARTS][K][EXTRA + 8];
};

template <int N> INLINE void clear(Sums<N>& sums) {
    UNROLL for (int i = 0; i < Shape<N>::m; ++i)
        UNROLL for (int j = 0; j < Shape<N>::n; ++j)
            UNROLL for (int r = 0; r < 4; ++r) sums.at[i][j][r] = 0.0f;
}

template <int N> INLINE void accumulate(Sums<N>& sums, const uint32 (&a)[Shape<N>::m][PARTS][4],
                                        const uint32 (&b)[Shape<N>::n][PARTS][2]) {
    UNROLL for (int i = 0; i < Shape<N>::m; ++i)
        UNROLL for (int j = 0; j < Shape<N>::n; ++j) multiply_parts(sums.at[i][j], a[i], b[j]);
}

template <int N> INLINE void rows_stage(Sums<N>& sums, const RowStage<N>& stage) {
    using S = Shape<N>;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int m = warp / S::across * S::m * 16, n = warp % S::across * S::n * 8;
    UNROLL for (int k = 0; k < K; k += 16) {
        uint32 a[S::m][PARTS][4], b[S::n][PARTS][2];
        UNROLL for (int part = 0; part < PARTS; ++part) {
            UNROLL for (int i = 0; i < S::m; ++i)
                load_matrices(shared_address(&stage.a[part][m + 16 * i + lane % 16][k + lane / 16 * 8]),
                              a[i][part][0], a[i][part][1], a[i][part][2], a[i][part][3]);
            UNROLL for (int j = 0; j < S::n; j += 2)
                load_matrices(shared_address(&stage.b[part][n + 8 * j + lane % 8 + lane / 16 * 8][k + lane / 8 % 2 * 8]),
                              b[j][part][0], b[j][part][1], b[j + 1][part][0], b[j + 1][part][1]);
        }
        accumulate<N>(sums, a, b);
    }
}

// narrow: sums of this warp's columns of `more`.
template <int N> INLINE void columns_stage(Sums<N>& sums, float (&narrow)[Shape<N>::m][Shape<N>::extra][4], const bool has_more,
                                           const ColumnStage<N>& stage) {
    using S = Shape<N>;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int m = warp / S::across * S::m * 16, n = warp % S::across * S::n * 8;
    UNROLL for (int k = 0; k < K; k += 16) {
        uint32 a[S::m][PARTS][4], b[S::n][PARTS][2];
        UNROLL for (int part = 0; part < PARTS; ++part) {
            UNROLL for (int i = 0; i < S::m; ++i)
                load_matrices_transposed(
                    shared_address(&stage.a[part][k + lane / 16 * 8 + lane % 8][m + 16 * i + lane / 8 % 2 * 8]),
                    a[i][part][0], a[i][part][1], a[i][part][2], a[i][part][3]);
            UNROLL for (int j = 0; j < S::n; j += 2)
                load_matrices_transposed(
                    shared_address(&stage.b[part][k + lane / 8 % 2 * 8 + lane % 8][n + 8 * j + lane / 16 * 8]),
                    b[j][part][0], b[j][part][1], b[j + 1][part][0], b[j + 1][part][1]);
        }
        accumulate<N>(sums, a, b);
        if (has_more) {
            uint32 more[EXTRA / 8][PARTS][2];
            UNROLL for (int part = 0; part < PARTS; ++part)
                load_matrices_transposed(
                    shared_address(&stage.more[part][k + lane / 8 % 2 * 8 + lane % 8][lane / 16 * 8]),
                    more[0][part][0], more[0][part][1], more[1][part][0], more[1][part][1]);
            if (S::across == 2 && warp % 2)  // warps side by side take one column of tiles each
                UNROLL for (int part = 0; part < PARTS; ++part)
                    UNROLL for (int r = 0; r < 2; ++r) more[0][part][r] = more[1][part][r];
            UNROLL for (int i = 0; i < S::m; ++i)
                UNROLL for (int j = 0; j < S::extra; ++j) multiply_parts(narrow[i][j], a[i], more[j]);
        }
    }
}

// a: [PARTS][m][k]; b: [PARTS][n][k]; bias: [n], or null; out: [PARTS][m][n]; `..._plane`: numbers from one plane to the next
template <int N>
INLINE void multiply_rows(const bf16* __restrict__ a, const int64 a_plane, const bf16* __restrict__ b,
                          const float* bias, bf16* __restrict__ out, const int64 m, const int n,
                          const int k) {
    extern __shared__ __align__(16) unsigned char memory[];
    RowStage<N>* const stages = reinterpret_cast<RowStage<N>*>(memory);
    using S = Shape<N>;
    // Blocks that share rows of a run at the same time.
    const int across = (n + N - 1) / N;
    const int64 m0 = int64(blockIdx.x / across) * BLOCK_M;
    const int n0 = blockIdx.x % across * N, count = (k + K - 1) / K;
    const auto load = [&](int i) {
        if (i < count) {
            RowStage<N>& stage = stages[i % STAGES];
            UNROLL for (int part = 0; part < PARTS; ++part) {
                for (int v = threadIdx.x; v < BLOCK_M * K / 8; v += THREADS) {
                    const int row = v / (K / 8), column = v % (K / 8) * 8, at = i * K + column;
                    const bool inside = m0 + row < m && at < k;
                    copy_async(shared_address(&stage.a[part][row][column]),
                               inside ? a + part * a_plane + (m0 + row) * k + at : a, inside);
                }
                for (int v = threadIdx.x; v < N * K / 8; v += THREADS) {
                    const int row = v / (K / 8), column = v % (K / 8) * 8, at = i * K + column;
                    const bool inside = n0 + row < n && at < k;
                    copy_async(shared_address(&stage.b[part][row][column]),
                               inside ? b + part * int64(n) * k + int64(n0 + row) * k + at : b, inside);
                }
            }
        }
        commit_copies();
    };
    Sums<N> sums;
    clear<N>(sums);
    wait_for_kernel_before();
    begin_next_kernel();
    UNROLL for (int i = 0; i < STAGES - 1; ++i) load(i);
    for (int i = 0; i < count; ++i) {
        wait_copies<STAGES - 2>();
        __syncthreads();  // stage i is there, and all have done with stage i - 1, which is loaded anew
        load(i + STAGES - 1);
        rows_stage<N>(sums, stages[i % STAGES]);
    }
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, own_column = warp % S::across * S::n * 8 + lane % 4 * 2;
    if (bias)
        UNROLL for (int j = 0; j < S::n; ++j)
            if (n0 + own_column + 8 * j < n) {
                const float2 two = *reinterpret_cast<const float2*>(bias + n0 + own_column + 8 * j);
                UNROLL for (int i = 0; i < S::m; ++i)
                    UNROLL for (int r = 0; r < 4; ++r) sums.at[i][j][r] += r % 2 ? two.y : two.x;
            }
    // Through shared memory, so that whole rows of the tile are written.
    constexpr int pitch = N + 8;
    bf16* const tile = reinterpret_cast<bf16*>(memory);
    UNROLL for (int part = 0; part < PARTS; ++part) {
        wait_copies<0>();
        __syncthreads();
        UNROLL for (int i = 0; i < S::m; ++i)
            UNROLL for (int half = 0; half < 2; ++half) {
                const int row = warp / S::across * S::m * 16 + 16 * i + 8 * half + lane / 4;
                UNROLL for (int j = 0; j < S::n; ++j) {
                    uint32 parts[PARTS];
                    split(sums.at[i][j][2 * half], sums.at[i][j][2 * half + 1], parts);
                    *reinterpret_cast<uint32*>(
                        tile + row * pitch + own_column + 8 * j) = parts[part];
                }
            }
        __syncthreads();
        for (int v = threadIdx.x; v < BLOCK_M * N / 8; v += THREADS) {
            const int row = v / (N / 8), column = v % (N / 8) * 8;
            if (m0 + row < m && n0 + column < n)
                *reinterpret_cast<uint4*>(out + part * m * n + (m0 + row) * n + n0 + column) =
                    *reinterpret_cast<const uint4*>(tile + row * pitch + column);
        }
    }
}

struct Operand {
    const bf16* values;  // [PARTS][k][n]
    float* out;          // [splits][m][n]
    int64 plane;         // numbers from one plane to the next
    int n, unused;
};

// out = a^T b for two operands b, of which the second may be narrow: n <= EXTRA.
// a: [PARTS][k][m]. Blocks: x over m, y over the first operand's columns, then, unless it is narrow, over the second's;
// z over the splits, parts of `length` numbers of k each.
template <int N>
INLINE void multiply_columns(const bf16* __restrict__ a, const int64 a_plane, const Operand first,
                             const Operand second, const int m, const int64 k, const int length) {
    extern __shared__ __align__(16) unsigned char memory[];
    ColumnStage<N>* const stages = reinterpret_cast<ColumnStage<N>*>(memory);
    using S = Shape<N>;
    const int own_blocks = (first.n + N - 1) / N, m0 = blockIdx.x * BLOCK_M;
    const bool of_second = blockIdx.y >= own_blocks, has_more = second.n <= EXTRA && blockIdx.y == 0;
    const bf16* const b = of_second ? second.values : first.values;
    const int64 b_plane = of_second ? second.plane : first.plane;
    float* const out = of_second ? second.out : first.out;
    const int n0 = (blockIdx.y - (of_second ? own_blocks : 0)) * N, n = of_second ? second.n : first.n;
    const int64 k0 = int64(blockIdx.z) * length, end = min(k, k0 + length);
    const int count = int((end - k0 + K - 1) / K);
    const auto load = [&](int i) {
        if (i < count) {
            ColumnStage<N>& stage = stages[i % STAGES];
            UNROLL for (int part = 0; part < PARTS; ++part) {
                for (int v = threadIdx.x; v < K * BLOCK_M / 8; v += THREADS) {
                    const int row = v / (BLOCK_M / 8), column = v % (BLOCK_M / 8) * 8;
                    const int64 at = k0 + int64(i) * K + row;
                    const bool inside = at < end && m0 + column < m;
                    copy_async(shared_address(&stage.a[part][row][column]),
                               inside ? a + part * a_plane + at * m + m0 + column : a, inside);
                }
                for (int v = threadIdx.x; v < K * N / 8; v += THREADS) {
                    const int row = v / (N / 8), column = v % (N / 8) * 8;
                    const int64 at = k0 + int64(i) * K + row;
                    const bool inside = at < end && n0 + column < n;
                    copy_async(shared_address(&stage.b[part][row][column]),
                               inside ? b + part * b_plane + at * n + n0 + column : b, inside);
                }
                if (has_more && threadIdx.x < K * EXTRA / 8) {
                    const int row = threadIdx.x / (EXTRA / 8), column = threadIdx.x % (EXTRA / 8) * 8;
                    const int64 at = k0 + int64(i) * K + row;
                    const bool inside = at < end && column < second.n;
                    copy_async(shared_address(&stage.more[part][row][column]),
                               inside ? second.values + part * second.plane + at * second.n + column : a, inside);
                }
            }
        }
        commit_copies();
    };
    Sums<N> sums;
    clear<N>(sums);
    float narrow[S::m][S::extra][4] = {};
    wait_for_kernel_before();
    begin_next_kernel();
    UNROLL for (int i = 0; i < STAGES - 1; ++i) load(i);
    for (int i = 0; i < count; ++i) {
        wait_copies<STAGES - 2>();
        __syncthreads();
        load(i + STAGES - 1);
        columns_stage<N>(sums, narrow, has_more, stages[i % STAGES]);
    }
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    UNROLL for (int i = 0; i < S::m; ++i)
        UNROLL for (int half = 0; half < 2; ++half) {
            const int row = m0 + warp / S::across * S::m * 16 + 16 * i + 8 * half + lane / 4;
            if (row >= m) continue;
            const int64 at = int64(blockIdx.z) * m + row;
            UNROLL for (int j = 0; j < S::n; ++j) {
                const int column = n0 + warp % S::across * S::n * 8 + 8 * j + lane % 4 * 2;
                if (column < n)
                    *reinterpret_cast<float2*>(out + at * n + column) =
                        make_float2(sums.at[i][j][2 * half], sums.at[i][j][2 * half + 1]);
            }
            if (has_more)
                UNROLL for (int j = 0; j < S::extra; ++j)
                    *reinterpret_cast<float2*>(second.out + at * second.n + 8 * (j + (S::across == 2 ? warp % 2 : 0)) +
                                               lane % 4 * 2) =
                        make_float2(narrow[i][j][2 * half], narrow[i][j][2 * half + 1]);
        }
}

extern "C" __global__ void __launch_bounds__(THREADS, PARTS == 1 ? 2 : 1)
multiply_rows(const bf16* a, const int64 a_plane, const bf16* b, const float* bias, bf16* out, const int64 m,
              const int n, const int k) {
    multiply_rows<COLUMNS>(a, a_plane, b, bias, out, m, n, k);
}

extern "C" __global__ void __launch_bounds__(THREADS, PARTS == 1 ? 2 : 1)
multiply_columns(const bf16* a, const int64 a_plane, const Operand first, const Operand second, const int m,
                 const int64 k, const int length) {
    multiply_columns<COLUMNS>(a, a_plane, first, second, m, k, length);
}
