// What the kernels for layers wider than a block's memory share: the ring of stages that a row's product runs over.
//
// A cluster has a block for each 64 units and the same windows. Weights do not fit shared memory; they pass through it from
// the second-level cache, in stages of 64 numbers of the inner dimension. What a stage has of the windows is the same for
// all blocks: one of them, which wrote it, sends it to all at once.
//
//   warpgroups 0, 1   consume stages and compute; of 64 windows each, or of half of a block's columns
//   warp 8            loads stages, in order, as they become empty
//   warp 9            brings what a row computed from shared to global memory, from where it is sent

#define GROUPS 2                 // warpgroups that compute
#define THREADS (128 * (GROUPS + 1))
#define SHARE (GROUPS / TILES)   // warpgroups of a tile
#define COLUMNS (GATES / SHARE)  // gate columns of a warpgroup
#define EIGHTS (COLUMNS / 32)    // groups of 8 units of a warpgroup
#define WARPS (4 * GROUPS)
#define LOADER WARPS
#define MOVER (WARPS + 1)
#define ALONE (-1)               // each block loads it for itself

#if defined(__CUDA_ARCH__)

// Registers from warps that need few to those that need many; by all warps of a warpgroup.
template <int COUNT> INLINE void give_registers() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT)); }
template <int COUNT> INLINE void take_registers() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT)); }

// From global memory to the same place in the shared memory of all blocks of the cluster, counted by a barrier in each.
INLINE void copy_to_all(uint32 to, const void* from, uint32 bytes, uint32 arrived) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;"
                 ::"r"(to), "l"(from), "r"(bytes), "r"(arrived), "h"((unsigned short)((1 << SPLIT) - 1)) : "memory");
}
// Orders what bulk copies wrote to global memory, and this thread knows of, before bulk copies that read it.
INLINE void order_copies() { asm volatile("fence.proxy.async;" ::: "memory"); }

// Barriers of the ring. full: a stage has arrived. empty: this block's warps have read it. taken: all blocks' warps have
// read it, so that this block may send the next one to all.
template <int STAGES> struct Ring {
    uint64 full[STAGES], empty[STAGES], taken[STAGES];

    INLINE void init() {  // by one thread
        for (int i = 0; i < STAGES; ++i) {
            init_arrivals(shared_address(full + i));
            init_arrivals_of(shared_address(empty + i), WARPS);
            init_arrivals_of(shared_address(taken + i), WARPS * SPLIT);
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

// Says that this warp has read a stage. next: which block sends the next one into its place.
template <int STAGES> INLINE void release_stage(Ring<STAGES>& ring, int slot, int next) {
    if (elected()) {
        arrive_here(shared_address(ring.empty + slot));
        if (next != ALONE) arrive_at_peer(peer_address(shared_address(ring.taken + slot), next));
    }
}
#endif
