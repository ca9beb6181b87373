// What the kernels for layers wider than a block's memory share: how blocks divide and exchange a layer's work.
//
// A block has 64 units of 64 or 128 windows, over all rows. What it needs of the other units of its windows, the blocks
// of these exchange through global memory: each says in a counter how far it is. Weights do not fit shared memory; they
// pass through it from the second-level cache, in stages of 64 numbers of the inner dimension. A cluster is two blocks
// with the same units of neighbouring windows, each of which fetches a half of the weights for both.
//
// In float32 (PARTS is 2, lstm_common.cuh) such a step is two stages, of the first and of the second part of weights
// and windows. When the first has arrived, its product begins, and both mixed ones when the second has; so each is
// fetched once.
//
//   warpgroups 0, 1   consume stages and compute; of 64 windows each, or of half of a block's columns
//   warp 8            brings weights into stages, in order, as they become empty
//   warp 9            brings what stages have of the windows
//   warp 10           waits until the blocks that compute it have stored it
//   warp 11           stores what a row computed, and says so; backwards four warps, of a quarter each
//   warp 15           backwards: waits for the layer above, and says when the layer below may go on
//
// Each of these waits has a warp of its own, since a flag costs: about 500 cycles to read, some hundred to order what
// follows, 1,000 to write after what was stored (on an H100).
//
// Why not clusters of all units, which could exchange through shared memory: a cluster lies in one part of the GPU,
// where clusters of 4 or 8 leave multiprocessors unused, and there would be fewer to spread evenly.
//
// A launch has one layer or several. A layer that follows another one in it works at the same time, some rows behind.
// Clusters take their work in the order in which they begin (lstm_progress.cuh; how many find room: tile_plan.py).

#include "lstm_progress.cuh"

#define GROUPS 2                 // warpgroups that compute
#define THREADS (128 * (GROUPS + HELPERS))
#define SHARE (GROUPS / TILES)   // warpgroups of a tile
#define COLUMNS (GATES / SHARE)  // gate columns of a warpgroup
#define EIGHTS (COLUMNS / 32)    // groups of 8 units of a warpgroup
#define WARPS (4 * GROUPS)
#define REGISTERS 232            // of a thread of theirs, and of the other warps: together at most 65,536
#define HELPER_REGISTERS (HELPERS == 2 ? 24 : 40)
enum Helper { WEIGHTS = WARPS, WINDOWS, WAITER, MOVER, WATCHER = MOVER + 4 };

#if defined(__CUDA_ARCH__)

// Registers from warps that need few to those that need many; by all warps of a warpgroup.
template <int COUNT> INLINE void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT)); }
template <int COUNT> INLINE void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT)); }

// Until all but the last PENDING bulk stores of this thread have ended.
template <int PENDING> INLINE void wait_all_stores_but() { asm volatile("cp.async.bulk.wait_group %0;" ::"n"(PENDING) : "memory"); }
// Waits for a counter before bulk copies of what was written. They read the second-level cache, to which the release has
// brought it; so what an acquire adds, to empty the first-level cache, would only make the other warps wait: on an H100
// it costs 5 % of a step. PTX promises this order with the acquire alone, but these kernels run on capability 9.0 alone.
INLINE void wait_progress_to_copy(const uint32* counter, uint32 least) {
    wait_count(counter, least);
    asm volatile("fence.proxy.async.global;" ::: "memory");
}

// The number of this cluster among those of a launch, in the order in which they begin; by all threads. A cluster
// barrier has to follow before `place` is used otherwise. place: in shared memory.
INLINE uint32 take_ticket(uint32* tickets, uint32* place) {
    if (cluster_rank() == 0 && threadIdx.x == 0) *place = atomicAdd(tickets, 1);
    cluster_barrier();
    uint32 ticket;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(ticket) : "r"(peer_address(shared_address(place), 0)) : "memory");
    return ticket;
}

// Barriers of the ring. full: a stage has arrived. empty: the warps of both blocks have read it.
template <int STAGES> struct Ring {
    uint64 full[STAGES], empty[STAGES];

    INLINE void init() {  // by one thread
        for (int i = 0; i < STAGES; ++i) {
            init_arrivals_of(shared_address(full + i), 2);  // weights, windows
            init_arrivals_of(shared_address(empty + i), WARPS * PAIR);
        }
    }
};

// A place in the ring, and how often it went round.
template <int STAGES> struct Position {
    int slot = 0;
    uint32 phase = 0;

    INLINE void advance() {
        if (++slot == STAGES) {
            slot = 0;
            phase ^= 1;
        }
    }
};

// Says that this warp has read a stage.
template <int STAGES> INLINE void release_stage(Ring<STAGES>& ring, int slot) {
    const uint32 empty = shared_address(ring.empty + slot);
    if (elected()) arrive_at_both(empty);
}

// A word of a mask; not moved behind the products that follow.
INLINE uint32 load_mask(const uint32* from) {
    uint32 v;
    asm volatile("ld.global.nc.u32 %0, [%1];" : "=r"(v) : "l"(from));
    return v;
}

// Which part of a launch a block has: 64 units of `tiles` tiles of windows of one layer.
struct Place {
    int number;      // of the layer within the launch
    int block;       // of 64 units
    int group;       // of windows
};
INLINE Place find_place(uint32 ticket, int windows) {
    const int pairs = windows / (TILE * TILES * PAIR), each = pairs * SPLIT, rest = ticket % each;
    return {int(ticket / each), rest % SPLIT, rest / SPLIT * PAIR + int(cluster_rank())};
}
#endif
