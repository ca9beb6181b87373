// What lstm_exchange_forward.cu and lstm_exchange_backward.cu share: how the blocks of a layer exchange rows.
//
// They are for GPUs that have no clusters of blocks, those before compute capability 9.0, or place no cluster that is
// large enough. A launch is one layer. SPLIT blocks have the same windows, each with OWN of the layer's units, and
// every row needs the values of all units in the row before. A block writes its part of a row to global memory, where
// it has to go anyway, and says so in a counter. Then it waits until all blocks of its windows have said so, and brings
// the whole row from the second-level cache.
//
// A row is brought into buffers of shared memory, of which there are BUFFERS, while what came before is multiplied.
// There are two ways:
//
//                  the recurrent weights                             a buffer has
//     STREAMED = 0   stay in registers                                 8 windows, the whole inner dimension
//     STREAMED = 1   pass through shared memory, too, at every row     all windows, CHUNK of the inner dimension
//
// The second one is slower, but needs few blocks for many units.
//
// Blocks take their work by a ticket, in the order in which they begin (lstm_progress.cuh); the plan sees to it that
// the blocks of the same windows find room (hpc_lstm/model/engines/cuda/memory_plan.py).

#define CLUSTER 1
#define HELD (STREAMED ? WINDOWS : 8)  // windows of a buffer

#include "lstm_chains.cuh"
#include "lstm_progress.cuh"

// Which share of a launch a block has.
struct Share {
    int rank;         // among the blocks that share units
    int number;       // of its windows, among the groups of windows
    uint32* counter;  // of the blocks with these windows
};

// Counters of a launch in global memory: of its tickets, then of each group of windows, in sectors of their own.
#define COUNTERS_APART 8

// This block's share. ticket: in shared memory.
INLINE Share take_share(uint32* counters, uint32& ticket) {
    if (threadIdx.x == 0) ticket = atomicAdd(counters, 1);
    __syncthreads();
    const int own = uniform(ticket), number = own / SPLIT;
    return {own % SPLIT, number, counters + (1 + number) * COUNTERS_APART};
}

// Says that all threads of this block have written their part of a row.
INLINE void say_written(uint32* counter) {
    __syncthreads();
    if (threadIdx.x == 0) add_progress(counter, 1);
}

// Waits until all blocks of the windows have said so of `count` rows. The sum of all tells, since none counts a row
// before all have counted the one before, whose values it needs.
INLINE void wait_written(const uint32* counter, const int count) {
    if (threadIdx.x == 0) wait_progress(counter, SPLIT * count);
    __syncthreads();
}

// What others wrote in this launch is read by copy_async alone, which goes past the first-level cache. That is not kept
// up to date with the memory.

// Brings a row of HELD windows into an array [PARTS][HELD][PITCH], in the background: of each window COUNT numbers. In
// memory the windows lie WIDTH numbers apart.
template <int COUNT, int WIDTH, int PITCH>
INLINE void bring_windows(bf16* to, const bf16* from, const int64 plane, const int threads) {
    UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 2
        for (int v = threadIdx.x; v < HELD * (COUNT / 8); v += threads) {
            const int window = v / (COUNT / 8), column = v % (COUNT / 8) * 8;
            copy_async(shared_address(to + (part * HELD + window) * PITCH + column),
                       from + part * plane + window * WIDTH + column, true);
        }
}

#if STREAMED
// The same number, of which the compiler knows nothing: it then unrolls no loop of so many turns.
INLINE int turns(int count) {
    asm volatile("" : "+r"(count));
    return count;
}

// Where 8 numbers of a row of COUNT lie, at most 64, such that those of 8 rows lie in different banks.
template <int COUNT> INLINE int swizzled(const int row, const int eight) {
    return row * COUNT + (eight ^ row / (64 / COUNT) % (COUNT / 8)) * 8;
}

// Brings COUNT columns of ROWS rows of weights into an array [PARTS][ROWS][COUNT], in the background.
template <int ROWS, int COUNT>
INLINE void bring_weights(bf16* to, const bf16* from, const int columns, const int64 plane, const int threads) {
    UNROLL for (int part = 0; part < PARTS; ++part)
#pragma unroll 2
        for (int v = threadIdx.x; v < ROWS * (COUNT / 8); v += threads) {
            const int row = v / (COUNT / 8), eight = v % (COUNT / 8);
            copy_async(shared_address(to + part * ROWS * COUNT + swizzled<COUNT>(row, eight)),
                       from + part * plane + int64(row) * columns + eight * 8, true);
        }
}

// Of these the A tile whose rows begin at `row`, for step k of 16 columns.
template <int ROWS, int COUNT> INLINE Tile brought_tile(const bf16* from, const int row, const int k) {
    const int lane = threadIdx.x % 32;
    Tile tile;
    UNROLL for (int part = 0; part < PARTS; ++part) {
        uint32(&to)[4] = tile.at[part];
        load_matrices(shared_address(from + part * ROWS * COUNT + swizzled<COUNT>(row + lane % 16, 2 * k + lane / 16)),
                      to[0], to[1], to[2], to[3]);
    }
    return tile;
}
#endif
