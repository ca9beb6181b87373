// What lstm_forward.cu and lstm_backward.cu share: a launch of several layers, each a chain of rows.
//
// Blocks of all layers for the same windows are a cluster. SPLIT blocks share a layer's units; with PROJECTED = 1 as
// many lie between two layers and multiply the weights of what the one sends the other:
//
//     place in the cluster    0          1            2
//     PROJECTED = 0           layer 1    layer 2      layer 3
//     PROJECTED = 1           layer 1    products     layer 2
//
// A row that one layer sends to the next goes into one of STAGES stages of the receiver's shared memory. Two barriers
// keep them apart: `loaded`, at the receiver, counts the bytes that came; `room`, at the sender, the receivers that are
// ready for the row.
//
// With THROUGH_MEMORY = 1 there are no clusters: GPUs before compute capability 9.0 have none, and others no large ones.
// A launch is one layer, and the SPLIT blocks of the same windows exchange a row through global memory, where its values
// have to go anyway. Each says in a counter that its part is written, waits until all have done so, and brings the row
// from the second-level cache, 8 windows at a time: of BUFFERS such tiles it has room. With U_STREAMED = 1 the recurrent
// weights are not kept, but pass through shared memory at every row, so that few blocks do for many units: they and the
// row come in chunks of the inner dimension, of all windows at once.

#include "lstm_common.cuh"
#include "lstm_progress.cuh"

#define STEP (1 + PROJECTED)            // from the place of a layer to that of the next
#if THROUGH_MEMORY
#define CLUSTER 1
#define HELD (U_STREAMED ? WINDOWS : 8)  // windows of a buffer in shared memory
#else
#define CLUSTER ((STEP * (LAYERS - 1) + 1) * SPLIT)  // blocks
#define HELD WINDOWS
#endif
#define OWN (UNITS / SPLIT)             // units of this block
#define GROUPS (OWN / 8)
#define WINDOWS (8 * TILES)             // of this block
#define HAS_BELOW (LAYERS > 1)          // some layer has one below it in the launch

// An A tile of weights: 16 rows, 16 columns, in a thread's registers.
struct Tile { uint32 at[PARTS][4]; };

// From the thread's first number on, row lane / 4 and column 2 * (lane % 4) of the tile, in a matrix of `columns` columns.
INLINE void load_registers(uint32 (&registers)[4], const bf16* at, const int columns) {
    UNROLL for (int r = 0; r < 4; ++r)
        registers[r] = *reinterpret_cast<const uint32*>(at + r % 2 * 8 * columns + r / 2 * 8);
}

// The registers of a warp's threads in shared memory.
typedef uint4 StoredTile[PARTS][32];
INLINE void store_tile(StoredTile& to, const int lane, const Tile& tile) {
    UNROLL for (int part = 0; part < PARTS; ++part) {
        const uint32(&r)[4] = tile.at[part];
        to[part][lane] = make_uint4(r[0], r[1], r[2], r[3]);
    }
}
INLINE Tile stored_tile(const StoredTile& from, const int lane) {
    Tile tile;
    UNROLL for (int part = 0; part < PARTS; ++part) {
        const uint4 r = from[part][lane];
        uint32(&to)[4] = tile.at[part];
        to[0] = r.x, to[1] = r.y, to[2] = r.z, to[3] = r.w;
    }
    return tile;
}

// Values of 8 windows for steps k and k + 1 of a product, 16 of the inner dimension each, from an array
// [PARTS][HELD][PITCH] of which `at` is this lane's place. Of the last step alone, if their number is odd.
template <int STEPS, int PITCH>
INLINE void load_two_steps(uint32 (&values)[2][PARTS][2], const uint32 at, const int k) {
    UNROLL for (int part = 0; part < PARTS; ++part)
        load_matrices(at + part * HELD * PITCH * 2 + k * 32 - (k + 1 < STEPS ? 0 : threadIdx.x % 32 / 16 * 32),
                      values[0][part][0], values[0][part][1], values[1][part][0], values[1][part][1]);
}

#if DROPS
typedef uint2 Masks[TILES][OWN / 8];  // of a row: for each 8 windows and 8 units
#endif

// Which share of a launch a block has.
struct Share {
    int in_cluster;   // of its layer, or of products between two layers
    int rank;         // among the blocks that share units
    int number;       // of its windows, among the groups of windows
    uint32* counter;  // of those blocks
};

#if THROUGH_MEMORY
// Counters of a launch in global memory: of its tickets, then of each group of windows, in sectors of their own.
#define COUNTERS_APART 8
// A block's share, in the order in which they begin. ticket: in shared memory.
INLINE Share take_share(uint32* counters, uint32& ticket) {
    if (threadIdx.x == 0) ticket = atomicAdd(counters, 1);
    __syncthreads();
    const int own = uniform(ticket), number = own / SPLIT;
    return {0, own % SPLIT, number, counters + (1 + number) * COUNTERS_APART};
}
// Says that all threads of this block have written their part of a row.
INLINE void say_written(uint32* counter) {
    __syncthreads();
    if (threadIdx.x == 0) add_progress(counter, 1);
}
// Waits until all blocks of the windows have said so of `count` rows. A sum of all says that since none counts a row before
// all have counted the one before, whose values it needs.
INLINE void wait_written(const uint32* counter, const int count) {
    if (threadIdx.x == 0) wait_progress(counter, SPLIT * count);
    __syncthreads();
}
// Brings numbers of a row of HELD windows into an array [PARTS][HELD][PITCH], in the background: of each window COUNT, which
// lie WIDTH from those of the next.
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
#if U_STREAMED
// The same, of which the compiler knows nothing: it then unrolls no loop of so many turns.
INLINE int turns(int count) {
    asm volatile("" : "+r"(count));
    return count;
}
// Where 8 numbers of a row of COUNT lie, at most 64, such that those of 8 rows lie in different banks.
template <int COUNT> INLINE int swizzled(const int row, const int eight) {
    return row * COUNT + (eight ^ row / (64 / COUNT) % (COUNT / 8)) * 8;
}
// Brings COUNT columns of ROWS rows of weights into an array [PARTS][ROWS][COUNT], likewise.
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
#elif CLUSTER > 1
INLINE Share own_share() {
    const uint32 place = cluster_rank();
    return {int(place / SPLIT), int(place % SPLIT), int(blockIdx.x / CLUSTER), nullptr};
}
#else
INLINE Share own_share() { return {0, 0, int(blockIdx.x), nullptr}; }
#endif

#if CLUSTER > 1
INLINE void send_to(uint32 peer, uint4 value, const void* to, uint32 barrier) {
    send(peer_address(shared_address(to), peer), value, peer_address(barrier, peer));
}
INLINE uint4 bits_of(float a, float b, float c, float d) {
    return make_uint4(__float_as_uint(a), __float_as_uint(b), __float_as_uint(c), __float_as_uint(d));
}
#endif
#if LAYERS > 1
// A stage for a row that other blocks send, `bytes` in all; from `first_sender` on, they are told that there is room.
INLINE void receive_row(const uint64& loaded, const uint64& room, const int bytes, const int first_sender,
                        const int senders) {
    expect_arrivals(shared_address(&loaded), bytes);
    for (int sender = 0; sender < senders; ++sender)
        arrive_at_peer(peer_address(shared_address(&room), first_sender + sender));
}
#endif
